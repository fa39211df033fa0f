"""Bounds of answers: included, told to the person who breaks them, and checked themselves."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from legato.engine.parsers import Email, parser_for
from legato.errors import Misuse
from legato.model.events import Address, MessageReceived

CET = timezone(timedelta(hours=1))


def read(kind: Any, text: str, **bounds: Any) -> Any:
    place = Address("web", "bot", "1", "1")
    return parser_for(kind, **bounds).read(MessageReceived(id="web:bot:1", place=place, text=text))


def refused(kind: Any, text: str, **bounds: Any) -> str:
    with pytest.raises(ValueError, match=r"^The .*must (be|have) .*\.$|^Please .*\.$") as caught:
        read(kind, text, **bounds)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "low", "high", "inside", "outside"),
    [
        (int, 0, 150, ["0", "150"], ["-1", "151"]),
        (int, None, 2.5, ["2", "-9"], ["3"]),
        (float, 0.5, None, ["0.5", "1e9"], ["0.49"]),
        (Decimal, Decimal("0.1"), Decimal("0.3"), ["0.1", "0.30"], ["0.09", "0.31"]),
        (str, 2, 3, ["ab", "abc", " abc "], ["a", " a ", "abcd"]),
        (date, date(2026, 1, 1), None, ["2026-01-01"], ["31.12.2025"]),
        (time, time(9), time(17), ["9:00", "17:00"], ["8:59", "17:00:01"]),
        (timedelta, 60, timedelta(hours=1), ["60", "1h"], ["59", "61 min"]),
        (list[int], 2, 3, ["1,2", "1,2,3"], ["1", "1,2,3,4"]),
        (list, None, 1, ["a"], ["a,b"]),
    ],
)
def test_bounds_are_included(
    kind: Any, low: Any, high: Any, inside: list[str], outside: list[str]
) -> None:
    for text in inside:
        read(kind, text, min=low, max=high)
    for text in outside:
        refused(kind, text, min=low, max=high)


def test_the_reason_names_the_bounds() -> None:
    assert refused(int, "-1", min=0, max=150) == "The number must be 0 to 150."
    assert refused(int, "-1", min=0) == "The number must be at least 0."
    assert refused(float, "2", max=1.5) == "The number must be at most 1.5."
    assert refused(str, "a", min=2) == "The answer must have at least 2 characters."
    assert refused(list[int], "1", min=2, max=3) == "The list must have 2 to 3 items."
    assert (
        refused(date, "1.1.2025", min=date(2026, 1, 1)) == "The date must be at least 2026-01-01."
    )


def test_a_moment_without_offset_has_the_zone_of_its_bounds() -> None:
    low = datetime(2026, 1, 1, tzinfo=CET)

    assert read(datetime, "2026-06-01 12:00", min=low) == datetime(2026, 6, 1, 12, tzinfo=CET)
    assert read(datetime, "2026-06-01 12:00Z", max=datetime(2027, 1, 1, tzinfo=UTC)).tzinfo is UTC
    assert read(datetime, "2025-12-31 23:30Z", min=low) > low
    refused(datetime, "2025-12-31 23:30", min=low)
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 # a bot that knows no zones
    assert read(datetime, "2026-06-01 12:00", min=naive).tzinfo is None
    assert "without a time zone" in refused(datetime, "2026-06-01 12:00Z", min=naive)


@pytest.mark.parametrize(
    ("kind", "bounds", "says"),
    [
        (bool, {"min": 1}, "mean nothing here"),
        (Email, {"max": 9}, "mean nothing here"),
        (str.upper, {"min": 0}, "mean nothing here"),
        (["a"], {"max": 1}, "mean nothing here"),
        (None, {"min": 1}, "mean nothing here"),
        (int, {"min": "0"}, "min must be int or float or Decimal"),
        (int, {"min": True}, "min must be int"),
        (int, {"min": 3, "max": 2}, "min=3 is above max=2"),
        (float, {"max": float("nan")}, "no answer compares"),
        (str, {"min": 1.5}, "min must be int"),
        (list[int], {"max": "3"}, "max must be int"),
        (date, {"min": datetime(2026, 1, 1, tzinfo=UTC)}, "min must be date"),
        (datetime, {"min": date(2026, 1, 1)}, "min must be datetime"),
        (time, {"min": time(9, tzinfo=UTC)}, "no answer compares"),
        (timedelta, {"max": "1h"}, "max must be timedelta or int or float"),
        (Decimal, {"min": 2, "max": Decimal(1)}, "is above"),
        (
            datetime,
            {"min": datetime(2026, 1, 1), "max": datetime(2027, 1, 1, tzinfo=UTC)},  # noqa: DTZ001
            "do not compare",
        ),
    ],
)
def test_bounds_that_cannot_hold_are_told(kind: Any, bounds: dict[str, Any], says: str) -> None:
    with pytest.raises(Misuse, match=says):
        parser_for(kind, **bounds)
