"""Texts to values. Each function raises ValueError with a reason for the person to read."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal

MAX_DIGITS = 100
"""Nobody means a longer number, and converting one takes time that grows with its square."""

_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\u2066\u2067\u2068\u2069\u202a\u202b\u202c\ufeff"
"""Marks that keyboards and copied texts leave around what a person sees."""


class Email(str):
    """Kind of an e-mail address: `await chat.ask("Your e-mail?", Email)`. The answer is a str."""

    __slots__ = ()


def stripped(text: str) -> str:
    """`text` without space and invisible marks around it."""
    if text.isascii():
        return text.strip()
    before = ""
    while text != before:
        before, text = text, text.strip().strip(_INVISIBLE)
    return text


def folded(text: str) -> str:
    """For comparing words: in one case and one Unicode form."""
    if text.isascii():
        return text.lower()
    import unicodedata

    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())


def ordinal(text: str) -> int:
    """The number in a list that `text` is: "2", "2." or "2)". 0 if it is none."""
    match = re.fullmatch(r"(\d{1,4})[.)]?", text)
    return int(match[1]) if match else 0


def is_number(text: str) -> bool:
    """Whether a person would take `text` for a number."""
    return re.fullmatch(r"[+\-\u2212]?\d[\d.,\s]*", text) is not None


# -- numbers -----------------------------------------------------------------------------------


def whole(text: str) -> int:
    """12, -3, +4. Digits of any script; the minus may be a typographic one."""
    if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        return int(text)
    if not re.fullmatch(rf"[+\-\u2212]?\d{{1,{MAX_DIGITS}}}", text):
        raise ValueError("Please answer with a whole number, for example 12.")
    return int(text.replace("\u2212", "-"))


def real(text: str) -> float:
    """1.5, 1,5, .5, 1e3."""
    number = _number(text, r"(?:[eE][+\-]?\d{1,3})?")
    value = float(number)
    if value - value != 0.0:
        raise ValueError("Please answer with a smaller number.")
    return value


def decimal(text: str) -> Decimal:
    """1.5, 1,5, .5: exactly as written, zeros included."""
    return Decimal(_number(text, ""))


def _number(text: str, exponent: str) -> str:
    pattern = rf"[+\-\u2212]?(?:\d+(?:[.,]\d+)?|[.,]\d+){exponent}"
    if len(text) > MAX_DIGITS or not re.fullmatch(pattern, text):
        raise ValueError("Please answer with a number, for example 1.5.")
    return text.replace("\u2212", "-").replace(",", ".")


# -- yes and no --------------------------------------------------------------------------------

_WORDS = {
    "en": ("yes y yeah yep true 1", "no n nope false 0 2"),  # 2: No is the second choice
    "ru": ("да д", "нет н"),
    "de": ("ja j", "nein"),
    "es": ("sí si s", "no"),
    "fr": ("oui o", "non"),
    "it": ("sì si s", "no"),
    "pt": ("sim", "não nao"),
    "lv": ("jā ja", "nē ne"),
}
YES = frozenset(word for yes, _ in _WORDS.values() for word in yes.split())
NO = frozenset(word for _, no in _WORDS.values() for word in no.split())


def boolean(text: str) -> bool:
    """Yes or no, in some languages."""
    word = folded(text.rstrip(".!"))
    if word in YES:
        return True
    if word in NO:
        return False
    raise ValueError("Please answer yes or no.")


# -- dates and times ---------------------------------------------------------------------------

_DAY = r"(?:(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})\.(\d{1,2})\.(\d{4}))"
_CLOCK = r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?"
_OFFSET = r"(?:\s*([zZ]|[+\-\u2212]\d{2}:?\d{2}))?"


def day(text: str) -> date:
    """2026-12-31 or 31.12.2026."""
    match = re.fullmatch(_DAY, text)
    if match:
        try:
            return _date(match.groups())
        except ValueError:
            pass  # there is no such day
    raise ValueError("Please answer with a date, for example 2026-12-31 or 31.12.2026.")


def _date(groups: tuple[str | None, ...]) -> date:
    year, month, number = groups[:3] if groups[0] else groups[5:2:-1]
    return date(_int(year), _int(month), _int(number))


def clock(text: str) -> time:
    """18:00, 18:00:30."""
    match = re.fullmatch(_CLOCK, text)
    if match:
        try:
            return _time(match.groups())
        except ValueError:
            pass  # 25:00
    raise ValueError("Please answer with a time, for example 18:00.")


def _time(groups: tuple[str | None, ...], zone: tzinfo | None = None) -> time:
    hour, minute, second, fraction = groups[:4]
    micro = int((fraction or "").ljust(6, "0"))
    return time(_int(hour), _int(minute), _int(second), micro, tzinfo=zone)


def moment(text: str, zone: tzinfo | None) -> datetime:
    """2026-12-31 18:00, 2026-12-31T18:00:30+02:00, 31.12.2026 18:00.

    Args:
        text: The answer.
        zone: Zone of an answer without offset; None leaves it naive.
    """
    match = re.fullmatch(rf"{_DAY}(?:[tT]|,?\s+){_CLOCK}{_OFFSET}", text)
    if match:
        groups = match.groups()
        try:
            offset = _offset(groups[10]) if groups[10] else zone
            return datetime.combine(_date(groups[:6]), _time(groups[6:10], offset))
        except ValueError:
            pass  # there is no such day, hour or offset
    raise ValueError("Please answer with date and time, for example 2026-12-31 18:00.")


def _offset(text: str) -> tzinfo:
    if text in "zZ":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=minutes if text[0] == "+" else -minutes))


_UNITS = {
    "w": "weeks",
    "week": "weeks",
    "d": "days",
    "day": "days",
    "h": "hours",
    "hr": "hours",
    "hour": "hours",
    "m": "minutes",
    "min": "minutes",
    "minute": "minutes",
    "s": "seconds",
    "sec": "seconds",
    "second": "seconds",
}


def duration(text: str) -> timedelta:
    """90 (seconds), 1h 30m, 2 days, 1.5h, 01:30 (hours and minutes), 01:30:15. Never negative."""
    try:
        found = _duration(folded(text))
        if found is not None:
            return found
    except OverflowError:
        pass
    raise ValueError("Please answer with a duration, for example 1h 30m or 2 days.")


def _duration(text: str) -> timedelta | None:
    if re.fullmatch(r"\d{1,15}", text):
        return timedelta(seconds=int(text))
    match = re.fullmatch(r"(\d{1,6}):([0-5]\d)(?::([0-5]\d))?", text)
    if match:
        hours, minutes, seconds = match.groups()
        return timedelta(hours=int(hours), minutes=int(minutes), seconds=_int(seconds))
    total: dict[str, float] = {}
    end = 0
    for match in re.finditer(r"(\d{1,9}(?:[.,]\d{1,6})?)\s*([a-z]+)(?:\s*,\s*|\s+|(?=\d)|$)", text):
        unit = _UNITS.get(match[2]) or _UNITS.get(match[2].removesuffix("s"))
        if match.start() != end or unit is None or unit in total:
            return None
        total[unit] = float(match[1].replace(",", "."))
        end = match.end()
    return timedelta(**total) if total and end == len(text) else None


def _int(digits: str | None) -> int:
    return int(digits or 0)


# -- texts of a form ---------------------------------------------------------------------------


def email(text: str) -> str:
    """An address that mail could go to; whether it exists, only a mail can tell."""
    name, at, domain = text.rpartition("@")
    labels = domain.split(".")
    good = (
        at
        and len(text) <= 254
        and 1 <= len(name) <= 64
        and all(part and _is_local(part) for part in name.split("."))
        and len(labels) >= 2
        and all(_is_label(label) for label in labels)
        and not labels[-1].isdigit()
    )
    if not good:
        raise ValueError("Please answer with an e-mail address, for example ann@example.com.")
    return text


def _is_local(part: str) -> bool:
    return all(sign.isalnum() or sign in "!#$%&'*+-/=?^_`{|}~" for sign in part)


def _is_label(label: str) -> bool:
    inner = label.replace("-", "")
    return 1 <= len(label) <= 63 and inner.isalnum() and label[0] != "-" != label[-1]
