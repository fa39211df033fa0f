"""Types that hold no other values: bytes, dates and times, Decimal, UUID. Both directions.

The modules imported here cost nothing: msgspec has loaded them.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID

from msgspec import UNSET, UnsetType

from legato.model.values._classes import Refused

_MICROSECOND = timedelta(microseconds=1)


def to_base64(value: bytes | bytearray) -> str:
    """Base64 without line breaks."""
    return b2a_base64(value, newline=False).decode()


def part(stored: dict[str, Any], key: str, kind: type) -> Any:
    """`stored[key]`, which must be exactly a `kind`.

    Raises:
        ValueError: It is missing, or something else.
    """
    value = stored.get(key)
    if type(value) is not kind:
        raise ValueError(f"its '{key}' is no {kind.__name__}")
    return value


# -- writing: a value to its tag ---------------------------------------------------------------


def _write_bytes(value: bytes | bytearray) -> dict[str, Any]:
    return {"$": type(value).__name__, "v": to_base64(value)}


def _write_moment(value: datetime | time) -> dict[str, Any]:
    bare = value.replace(tzinfo=None)
    stored: dict[str, Any] = {"$": type(value).__name__, "v": bare.isoformat()}
    if value.fold:
        stored["f"] = 1
    zone = value.tzinfo
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined] # typeshed lacks it
        stored["o"] = [offset // _MICROSECOND, *name]
    elif zone is not None:
        stored["z"] = _zone_key(zone)
    return stored


def _zone_key(zone: tzinfo) -> str:
    key = getattr(zone, "key", None)
    if type(zone).__module__.partition(".")[0] != "zoneinfo" or type(key) is not str:
        raise Refused(
            f"has a time zone of type {type(zone).__module__}.{type(zone).__name__}, which cannot "
            f"be found again by a key. Use zoneinfo.ZoneInfo('Region/City') or datetime.timezone"
        )
    return key


def _write_date(value: date) -> dict[str, Any]:
    return {"$": "date", "v": value.isoformat()}


def _write_timedelta(value: timedelta) -> dict[str, Any]:
    return {"$": "timedelta", "v": [value.days, value.seconds, value.microseconds]}


def _write_decimal(value: Decimal) -> dict[str, Any]:
    return {"$": "decimal", "v": str(value)}


def _write_uuid(value: UUID) -> dict[str, Any]:
    return {"$": "uuid", "v": value.hex}


def _write_unset(value: UnsetType) -> dict[str, Any]:
    return {"$": "unset"}


WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    bytes: _write_bytes,
    bytearray: _write_bytes,
    datetime: _write_moment,
    time: _write_moment,
    date: _write_date,
    timedelta: _write_timedelta,
    Decimal: _write_decimal,
    UUID: _write_uuid,
    UnsetType: _write_unset,
}


# -- reading: a tag to its value; each may raise ValueError and its kin ------------------------


def _read_int(stored: dict[str, Any]) -> int:
    return int(part(stored, "v", str), 16)


def _read_float(stored: dict[str, Any]) -> float:
    return float(part(stored, "v", str))


def _read_str(stored: dict[str, Any]) -> str:
    return _read_bytes(stored).decode("utf-8", "surrogatepass")


def _read_bytes(stored: dict[str, Any]) -> bytes:
    return a2b_base64(part(stored, "v", str), strict_mode=True)


def _read_bytearray(stored: dict[str, Any]) -> bytearray:
    return bytearray(_read_bytes(stored))


def _read_datetime(stored: dict[str, Any]) -> datetime:
    bare = datetime.fromisoformat(part(stored, "v", str))
    return bare.replace(tzinfo=_read_zone(stored), fold=1 if "f" in stored else 0)


def _read_time(stored: dict[str, Any]) -> time:
    bare = time.fromisoformat(part(stored, "v", str))
    return bare.replace(tzinfo=_read_zone(stored), fold=1 if "f" in stored else 0)


def _read_zone(stored: dict[str, Any]) -> tzinfo | None:
    if "o" in stored:
        offset, *name = part(stored, "o", list)
        return timezone(timedelta(microseconds=offset), *name)
    if "z" not in stored:
        return None
    key = part(stored, "z", str)
    if not all(_is_zone_word(word) for word in key.split("/")):
        raise ValueError(f"'{key}' is no time zone")
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"this machine has no time zone '{key}': pip install tzdata") from error


def _is_zone_word(word: str) -> bool:
    """Whether it can be no path ("..") and no module's file ("__init__.py")."""
    return word.isascii() and word.translate(_ZONE_SIGNS).isalnum() and word[0] not in "_-+"


_ZONE_SIGNS = str.maketrans("", "", "_-+")


def _read_date(stored: dict[str, Any]) -> date:
    return date.fromisoformat(part(stored, "v", str))


def _read_timedelta(stored: dict[str, Any]) -> timedelta:
    days, seconds, microseconds = part(stored, "v", list)
    return timedelta(days, seconds, microseconds)


def _read_decimal(stored: dict[str, Any]) -> Decimal:
    return Decimal(part(stored, "v", str))


def _read_uuid(stored: dict[str, Any]) -> UUID:
    return UUID(hex=part(stored, "v", str))


def _read_unset(stored: dict[str, Any]) -> UnsetType:
    return UNSET


READERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "int": _read_int,
    "float": _read_float,
    "str": _read_str,
    "bytes": _read_bytes,
    "bytearray": _read_bytearray,
    "datetime": _read_datetime,
    "time": _read_time,
    "date": _read_date,
    "timedelta": _read_timedelta,
    "decimal": _read_decimal,
    "uuid": _read_uuid,
    "unset": _read_unset,
}
