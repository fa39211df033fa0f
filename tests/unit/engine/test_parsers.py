"""How each kind of `ask` reads answers: what is good, what is refused, and what the reason says."""

import enum
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NewType

import pytest

from legato.engine.parsers import Email, Parser, parser_for
from legato.model.events import (
    Address,
    ButtonPressed,
    Contact,
    File,
    Location,
    MessageReceived,
    Photo,
)
from legato.model.values import round_trip

PLACE = Address("web", "bot", "1", "1")
CET = timezone(timedelta(hours=1))


class Size(enum.Enum):
    SMALL = 1
    VERY_LARGE = 2
    TINY = SMALL


class Colour(enum.StrEnum):
    RED = "Red wine"
    BLUE = "Blue"


def said(text: str, **more: Any) -> MessageReceived:
    return MessageReceived(id="web:bot:1", place=PLACE, text=text, **more)


def pressed(data: str) -> ButtonPressed:
    return ButtonPressed(id="web:bot:2", place=PLACE, data=data)


def read(kind: Any, text: str, **bounds: Any) -> Any:
    return parser_for(kind, **bounds).read(said(text))


def refused(kind: Any, text: str, **bounds: Any) -> str:
    with pytest.raises(ValueError, match=r"^[A-Z].*\.$") as caught:
        read(kind, text, **bounds)
    return str(caught.value)


GOOD: list[tuple[Any, str, object]] = [
    (int, "12", 12),
    (int, " 12 ", 12),
    (int, "-3", -3),
    (int, "+4", 4),
    (int, "007", 7),
    (int, "\u2212 5".replace(" ", ""), -5),
    (int, "١٢", 12),
    (int, "\u200f١٢\u200e", 12),
    (int, "１２", 12),
    (int, "9" * 100, int("9" * 100)),
    (float, "1.5", 1.5),
    (float, "1,5", 1.5),
    (float, "-.5", -0.5),
    (float, "2", 2.0),
    (float, "1e3", 1000.0),
    (float, "1,234", 1.234),
    (Decimal, "1.50", Decimal("1.50")),
    (Decimal, "1,50", Decimal("1.50")),
    (Decimal, "-0.10", Decimal("-0.10")),
    (str, "  hello\n", "hello"),
    (str, "\0 \ud800", "\0 \ud800"),
    (date, "2026-12-31", date(2026, 12, 31)),
    (date, "31.12.2026", date(2026, 12, 31)),
    (date, "1.2.2026", date(2026, 2, 1)),
    (date, "2024-2-29", date(2024, 2, 29)),
    (time, "18:00", time(18)),
    (time, "7:05:30", time(7, 5, 30)),
    (datetime, "2026-12-31T18:00Z", datetime(2026, 12, 31, 18, tzinfo=UTC)),
    (datetime, "2026-12-31 18:00:30.25+01:00", datetime(2026, 12, 31, 18, 0, 30, 250000, CET)),
    (datetime, "31.12.2026, 18:00 +0100", datetime(2026, 12, 31, 18, tzinfo=CET)),
    (datetime, "31.12.2026 18:00", datetime(2026, 12, 31, 18)),  # noqa: DTZ001 # as it was said
    (timedelta, "90", timedelta(seconds=90)),
    (timedelta, "1h 30m", timedelta(hours=1, minutes=30)),
    (timedelta, "1h30m", timedelta(hours=1, minutes=30)),
    (timedelta, "01:30", timedelta(hours=1, minutes=30)),
    (timedelta, "100:00:01", timedelta(hours=100, seconds=1)),
    (timedelta, "2 Days, 3 hours", timedelta(days=2, hours=3)),
    (timedelta, "1.5 h", timedelta(minutes=90)),
    (timedelta, "1 week", timedelta(weeks=1)),
    (timedelta, "5 min", timedelta(minutes=5)),
    (timedelta, "0", timedelta()),
    (Size, "small", Size.SMALL),
    (Size, "Very large", Size.VERY_LARGE),
    (Size, "very_large", Size.VERY_LARGE),
    (Size, "2", Size.VERY_LARGE),
    (Size, "2.", Size.VERY_LARGE),
    (Size, "1)", Size.SMALL),
    (Colour, "red WINE", Colour.RED),
    (Colour, "blue", Colour.BLUE),
    (Colour, "RED", Colour.RED),
    (Literal["a", 3], "A", "a"),
    (Literal["a", 3], "3", 3),
    (Literal["a", True], "true", True),
    (["Straße", "Позже"], "STRASSE", "Straße"),
    (["Straße", "Позже"], "позже", "Позже"),
    (["é"], "e\u0301", "é"),
    (("tea", "milk"), "2", "milk"),
    (["10", "20"], "10", "10"),
    ([3, 2, 1], "1", 1),
    ([Size.SMALL], "small", Size.SMALL),
    (["a", "A"], "A", "A"),
    (list[int], "1, 2,3,", [1, 2, 3]),
    (list[int], "5", [5]),
    (list[float], "1,5; 2", [1.5, 2.0]),
    (list[str], "a\nb, c", ["a", "b, c"]),
    (list, "a,b", ["a", "b"]),
    (list[Size], "small, 2", [Size.SMALL, Size.VERY_LARGE]),
    (re.compile(r"\d+"), "12", "12"),
    (re.compile(r"(\d+)-(\d+)?"), "12-", ("12", None)),
    (re.compile(r"(?P<a>x)", re.IGNORECASE), "X", ("X",)),
    (Email, " Ann.O'Neil+x@mail.example.com ", "Ann.O'Neil+x@mail.example.com"),
    (Email, "ä@bü-cher.de", "ä@bü-cher.de"),
    (str.upper, " x ", "X"),
    (NewType("UserId", int), "7", 7),
]


@pytest.mark.parametrize(
    ("kind", "text", "value"), GOOD, ids=[f"{number}" for number in range(len(GOOD))]
)
def test_a_good_answer_is_read(kind: Any, text: str, value: object) -> None:
    again = read(kind, text)

    assert (type(again), again) == (type(value), value)
    assert round_trip(again) == value
    assert parser_for(kind).read(pressed(text)) == value


BAD: list[tuple[Any, list[str]]] = [
    (
        int,
        [
            "12abc",
            "1.5",
            "1,000",
            "1 000",
            "1_000",
            "0x1f",
            "--1",
            "+",
            "-",
            "1e3",
            "²",
            "Ⅷ",
            "½",
            "twelve",
            "٫",
        ],
    ),
    (int, ["9" * 101, "-" + "9" * 101, "9" * 100_000]),
    (
        float,
        [
            "nan",
            "inf",
            "-Infinity",
            "1e999",
            "1.2.3",
            "1,234.5",
            "1.",
            "e5",
            "0x1p3",
            "1_0.0",
            "abc",
        ],
    ),
    (float, ["9" * 100_000, "1." + "0" * 99]),
    (Decimal, ["1." + "0" * 99]),
    (Decimal, ["nan", "sNaN", "Infinity", "1e5", "1e999999999", "1..2"]),
    (str, [" ", "\n\t", "\u200b", "\ufeff \u200e"]),
    (bool, ["maybe", "yesno", "11", "3", "-", "да нет"]),
    (
        date,
        [
            "2026-02-30",
            "31.02.2026",
            "12/31/2026",
            "31.12.26",
            "20261231",
            "2026-W01-1",
            "0000-01-01",
            "today",
        ],
    ),
    (time, ["25:00", "18:60", "18", "1800", "18:00:61", "6 pm", "-1:00"]),
    (
        datetime,
        ["2026-12-31", "18:00", "2026-12-31 24:00", "2026-12-31 18:00+25:00", "2026-02-30 18:00"],
    ),
    (datetime, ["2026-12-31 18:00 Mars", "2026-12-3118:00"]),
    (
        timedelta,
        [
            "-5",
            "1h h",
            "1m 1m",
            "5 m 3",
            "h",
            "1 month",
            "1:60",
            "999999999 w",
            "1h30",
            "soon",
            "1.5",
            "9:9",
        ],
    ),
    (timedelta, ["9" * 15, "9" * 100, "about 1h", "1h and 2m", "1h - 2m"]),
    (Size, ["3", "0", "medium", "1.5", "-1"]),
    (["10", "20"], ["1", "2", "3"]),
    (["a", "A", "b"], ["4", "c"]),
    (["Ab", "aB"], ["ab", "AB"]),
    (list[int], ["1,x", ",", ";", "1;2,3"]),
    (re.compile(r"\d+"), ["12a", "a12"]),
    (
        Email,
        [
            "ann",
            "@x.y",
            "a@b",
            "a@b.",
            "a@.b",
            "a b@c.de",
            "a@b..de",
            "a..b@c.de",
            ".a@b.de",
            "a.@b.de",
            "a@-b.de",
            "a@b.1",
        ],
    ),
    (
        Email,
        [
            "a@b@c.de",
            "x" * 65 + "@b.de",
            "a@" + "b" * 64 + ".de",
            "<a@b.de>",
            "a@" + ("b" * 60 + ".") * 5 + "de",
            "a@b.de\nc",
        ],
    ),
]


@pytest.mark.parametrize(("kind", "answers"), BAD, ids=[f"{number}" for number in range(len(BAD))])
def test_a_bad_answer_is_refused_with_a_reason(kind: Any, answers: list[str]) -> None:
    for text in answers:
        refused(kind, text)


def test_yes_and_no_are_understood_in_eight_languages() -> None:
    for text in [
        "yes",
        "YES",
        "y",
        "true",
        "1",
        "да",
        "Да!",
        "ja",
        "sí",
        "si",
        "oui",
        "sì",
        "sim",
        "jā",
        "Yes.",
    ]:
        assert read(bool, text) is True, text
    for text in ["no", "N", "false", "0", "2", "нет", "nein", "non", "não", "nao", "nē", "NO!"]:
        assert read(bool, text) is False, text
    assert read(bool, "si\u0301") is True
    assert refused(bool, "perhaps") == "Please answer yes or no."


# -- what a message carries --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "attachment", "reason"),
    [
        (Photo, Photo("p1", 1, 2), "Please send a photo."),
        (File, File("f1", "a.txt"), "Please send a file."),
        (Location, Location(56.9, 24.1), "Please share a location."),
        (Contact, Contact("+371"), "Please share a contact."),
    ],
)
def test_an_attachment_is_read_from_the_message(kind: Any, attachment: Any, reason: str) -> None:
    parser = parser_for(kind)
    other = Contact("+1") if kind is not Contact else Photo("x")

    assert parser.name == kind.__name__
    assert parser.read(said("caption", attachments=(other, attachment))) is attachment
    for event in (said("text"), said("", attachments=(other,)), pressed("x")):
        with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
            parser.read(event)


def test_any_message_can_be_the_answer() -> None:
    for kind in (None, MessageReceived):
        for event in (said("/anything"), said(""), pressed("x")):
            assert parser_for(kind).read(event) is event


def test_a_message_without_text_asks_for_text() -> None:
    for kind in (int, str, bool, Size, list[int], Email, str.upper):
        with pytest.raises(ValueError, match="Please answer with a text"):
            parser_for(kind).read(said("", attachments=(Photo("p"),)))


# -- names and purity --------------------------------------------------------------------------


def half(text: str) -> float:
    return int(text) / 2


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (int, "int"),
        (str, "str"),
        (float, "float"),
        (Decimal, "Decimal"),
        (bool, "bool"),
        (date, "date"),
        (datetime, "datetime"),
        (timedelta, "timedelta"),
        (Size, "Size"),
        (Literal["a"], "Literal"),
        (["a"], "choice"),
        (list[int], "list[int]"),
        (list, "list[str]"),
        (re.compile("a"), "regex"),
        (Email, "Email"),
        (Photo, "Photo"),
        (None, "message"),
        (MessageReceived, "message"),
        (half, "half"),
        (lambda text: text, "<lambda>"),
    ],
)
def test_the_journal_has_a_name_for_each_kind(kind: Any, name: str) -> None:
    parser: Parser = parser_for(kind)
    assert parser.name == name
