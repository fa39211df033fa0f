"""Answers of all sorts: what a person can write is read back, and junk is refused, never an error."""

import enum
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from legato.engine.parsers import Email, parser_for
from legato.model.events import Address, ButtonPressed, Contact, MessageReceived, Photo
from legato.model.values import round_trip

PLACE = Address("web", "bot", "1", "1")


class Size(enum.Enum):
    SMALL = "S"
    LARGE = "L"


KINDS: list[Any] = [
    str, int, float, Decimal, bool, date, time, datetime, timedelta, Size, Literal["a", 1], ["x", "y"],
    ["1", "2"], list[int], list[float], list[Size], re.compile(r"(\w+) (\d*)"), Email, Photo, None,
]  # fmt: skip
BOUNDS: list[tuple[Any, Any, Any]] = [
    (int, -5, 10**9),
    (float, 0.5, 1e6),
    (Decimal, Decimal("0.1"), None),
    (str, 2, 5),
    (date, date(2000, 1, 1), date(2100, 1, 1)),
    (datetime, datetime.min.replace(tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)),
    (timedelta, 1, timedelta(days=9)),
    (list[int], 2, 3),
]


def read(kind: Any, text: str, **bounds: Any) -> Any:
    event = MessageReceived(id="web:bot:1", place=PLACE, text=text)
    return parser_for(kind, **bounds).read(event)


def outcome(kind: Any, event: Any, **bounds: Any) -> tuple[Any, ValueError | None]:
    """What was read, or why not. Any other exception fails the test."""
    try:
        return parser_for(kind, **bounds).read(event), None
    except ValueError as error:
        return None, error


@given(st.integers(-(10**100) + 1, 10**100 - 1))
@example(10**100 - 1)
def test_every_integer_is_read_back(number: int) -> None:
    assert read(int, str(number)) == number
    assert read(int, f" {number:+}\n") == number
    assert read(list[int], f"{number},{number}") == [number, number]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back(number: float) -> None:
    assert repr(read(float, repr(number))) == repr(number)
    assert repr(read(float, repr(number).replace(".", ","))) == repr(number)


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12
    )
)
def test_every_amount_is_read_back_with_its_zeros(number: Decimal) -> None:
    assert str(read(Decimal, format(number, "f"))) == format(number, "f")


@given(st.dates())
def test_every_date_is_read_back(day: date) -> None:
    assert read(date, day.isoformat()) == day
    assert read(date, f"{day.day}.{day.month:02}.{day.year:04}") == day


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_every_moment_is_read_back(moment: datetime) -> None:
    offset = moment.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        moment = moment.replace(
            tzinfo=UTC
        )  # the offsets of old times have seconds: nobody says them
    again = read(datetime, moment.isoformat(" "))

    assert again.replace(tzinfo=None) == moment.replace(tzinfo=None)
    assert again.utcoffset() == moment.utcoffset()


@given(st.timedeltas(timedelta(), timedelta(days=10_000)))
def test_every_duration_of_whole_seconds_is_read_back(value: timedelta) -> None:
    value -= timedelta(microseconds=value.microseconds)
    hours, rest = divmod(value.days * 86_400 + value.seconds, 3_600)

    assert read(timedelta, f"{value.days}d {value.seconds}s") == value
    assert read(timedelta, f"{hours}:{rest // 60:02}:{rest % 60:02}") == value
    assert read(timedelta, str(value.days * 86_400 + value.seconds)) == value


@given(st.text(st.characters(codec=None), min_size=1))
def test_every_text_is_read_back_without_what_is_not_seen(text: str) -> None:
    try:
        again = read(str, text)
    except ValueError:
        assert not text.strip().isalnum()
    else:
        assert again in text
        assert read(str, again) == again == round_trip(again)


junk = (
    st.text(st.characters(codec=None), max_size=30)
    | st.text("0123456789+-.,:;eEdhms/TZ \n٣⁷½二", max_size=30)
    | st.from_regex(
        r"\d{1,5}-\d{1,3}-\d{1,3}[T ]\d{1,3}:\d{1,3}(:\d+(\.\d+)?)?([+-]\d{1,2}:?\d{1,2}|Z)?"
    )
    | st.from_regex(r"\d{1,3}\.\d{1,3}\.\d{1,5}( \d+:\d+)?")
    | st.from_regex(r"(\d{1,20}([.,]\d+)? ?(w|d|hours?|min|s)[, ]*){1,4}")
    | st.from_regex(r"\S{0,9}@\S{0,9}\.\S{0,4}")
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: parser_for(kind).name + f"-{kind!r:.20}")
@given(junk, st.booleans())
def test_junk_is_a_value_or_a_reason(kind: Any, text: str, button: bool) -> None:
    event: Any = (
        ButtonPressed(id="1", place=PLACE, data=text)
        if button
        else MessageReceived(id="1", place=PLACE, text=text, attachments=(Contact("+1"),))
    )
    value, reason = outcome(kind, event)
    assert reason is None or (type(reason) is ValueError and str(reason).endswith("."))
    assert round_trip(value) == value


@pytest.mark.parametrize(("kind", "low", "high"), BOUNDS, ids=[f"{kind}" for kind, _, _ in BOUNDS])
@given(junk)
def test_what_is_read_lies_within_the_bounds(kind: Any, low: Any, high: Any, text: str) -> None:
    event = MessageReceived(id="1", place=PLACE, text=text)
    value, reason = outcome(kind, event, min=low, max=high)
    if reason is not None:
        return
    size = len(value) if kind is str or kind == list[int] else value
    low = timedelta(seconds=low) if kind is timedelta else low
    assert low <= size
    assert high is None or size <= high
