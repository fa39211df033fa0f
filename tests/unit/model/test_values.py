"""The codec of journaled values: what comes back exactly, and what is refused with a cure."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from legato.errors import NotStorable
from legato.model.events import Address, Contact, MessageReceived, User
from legato.model.values import (
    decode,
    encode,
    from_stored,
    round_trip,
    to_stored,
)
from tests.unit.model.codec_values import (
    Basket,
    Item,
    Level,
    Order,
    Payment,
    Point,
    Right,
    Size,
    Sku,
    same,
)

ROOT = Path(__file__).parents[3]
RIGA = ZoneInfo("Europe/Riga")
EXACT: list[object] = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2**63,
    -(2**63) - 1,
    10**5000,
    1.0,
    -0.0,
    1e16,
    5e-324,
    1.7976931348623157e308,
    float("inf"),
    float("-inf"),
    "",
    "Jānis 🎼",
    "\0\x1f\x7f\u2028",
    "\ud800",
    "a\udfff\ud83d",
    b"",
    b"\0\xff",
    bytearray(b"abc"),
    [],
    {},
    (),
    set(),
    frozenset(),
    [1, [2.0, ["3"]]],
    (1, (2, [3, (4,)])),
    {"a": {"b": (1,)}},
    {"$": "int", "v": "ff"},
    {"a": 1, "$": {"$": None}},
    {1: "a", "1": "b", None: "c", (1, 2): "d", Size.SMALL: "e"},
    {"\ud800": 1},
    {1, 2.5, "x", b"y", (1, 2), frozenset({3})},
    datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 # naive moments are storable too
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 10, 25, 3, 30, tzinfo=RIGA, fold=0),
    datetime(2026, 10, 25, 3, 30, tzinfo=RIGA, fold=1),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3, microseconds=1))),
    datetime.min,  # noqa: DTZ901
    datetime.max,  # noqa: DTZ901
    date(2026, 2, 28),
    time(23, 59, 59, 999999),
    time(1, fold=1, tzinfo=RIGA),
    timedelta.min,
    timedelta.max,
    timedelta(microseconds=-1),
    Decimal("1.50"),
    Decimal("-0"),
    Decimal("Infinity"),
    Decimal("1E+999999"),
    UUID(int=2**128 - 1),
    Size.LARGE,
    Level.LOW,
    Right.READ,
    Right.READ | Right.WRITE,
    Right(0),
    Item("tea", Decimal("2.50"), ["hot"]),
    Order((Item("tea"), Item("milk")), Size.SMALL),
    Order.Line("nested"),
    Payment(Decimal(1)),
    Payment(Decimal(1), datetime(2026, 1, 2, tzinfo=UTC), "thanks", [Order.Line("x")]),
    Point(1, -2),
    Sku("a-1"),
    Basket(tea=2),
    msgspec.UNSET,
    MessageReceived(
        id="telegram:1:2",
        place=Address("telegram", "1", "3", "4"),
        user=User("4", "Ann"),
        text="hi",
        attachments=(Contact("+371"),),
    ),
]


@pytest.mark.parametrize(
    "value", EXACT, ids=[f"{index}-{type(value).__name__}" for index, value in enumerate(EXACT)]
)
def test_comes_back_exactly(value: object) -> None:
    assert same(round_trip(value), value)
    assert same(round_trip([value, {"k": value}]), [value, {"k": value}])


def test_fold_and_zone_of_a_moment_survive() -> None:
    moment = round_trip(datetime(2026, 10, 25, 3, 30, tzinfo=RIGA, fold=1))
    named = round_trip(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")))

    assert (moment.fold, moment.tzinfo) == (1, RIGA)
    assert moment.utcoffset() == timedelta(hours=2)
    assert named.tzname() == "CET"
    assert round_trip(datetime(2026, 1, 1, tzinfo=UTC)).tzinfo is UTC


def test_not_a_number_survives() -> None:
    assert repr(round_trip([float("nan"), Decimal("sNaN7")])) == "[nan, Decimal('sNaN7')]"


def test_what_json_has_is_stored_as_it_is() -> None:
    value: list[object] = [None, True, 1, 1.5, "é", {"a": []}]

    assert to_stored(value) == value
    assert encode(to_stored(value)) == '[null,true,1,1.5,"é",{"a":[]}]'.encode()


def test_every_read_gives_fresh_objects() -> None:
    stored = to_stored([[1], {"a": [2]}, Item("tea")])
    first, second = from_stored(stored), from_stored(stored)

    first[0].append(9)
    first[1]["a"].append(9)
    first[2].tags.append("9")
    assert second == from_stored(stored) == [[1], {"a": [2]}, Item("tea")]


def test_storing_shares_nothing_with_the_value() -> None:
    value: dict[str, Any] = {"a": [1]}
    stored = to_stored(value)

    value["a"].append(2)
    assert from_stored(stored) == {"a": [1]}


# -- damaged rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        '{"$":"pickle","v":"x"}',
        '{"$":null}',
        '{"$":["int"]}',
        '{"$":{"$":"int"}}',
        '{"$":"int"}',
        '{"$":"int","v":"zz"}',
        '{"$":"int","v":7}',
        '{"$":"float","v":"x"}',
        '{"$":"str","v":"/w=="}',
        '{"$":"bytes","v":"x"}',
        '{"$":"bytes","v":"я"}',
        '{"$":"tuple","v":{}}',
        '{"$":"set","v":[[]]}',
        '{"$":"dict","v":[1]}',
        '{"$":"dict","v":[[1,2,3]]}',
        '{"$":"dict","v":[[[],1]]}',
        '{"$":"datetime","v":"yesterday"}',
        '{"$":"datetime","v":"2026-01-01","o":["x"]}',
        '{"$":"datetime","v":"2026-01-01","o":[1,2,3]}',
        '{"$":"datetime","v":"2026-01-01","o":[99999999999999]}',
        '{"$":"datetime","v":"2026-01-01","z":"../../etc/passwd"}',
        '{"$":"datetime","v":"2026-01-01","z":"/etc/localtime"}',
        '{"$":"datetime","v":"2026-01-01","z":"__init__.py"}',
        '{"$":"datetime","v":"2026-01-01","z":"Europe"}',
        '{"$":"datetime","v":"2026-01-01","z":"Europe/Atlantis"}',
        '{"$":"datetime","v":"2026-01-01","z":""}',
        '{"$":"date","v":"2026-02-30"}',
        '{"$":"time","v":"25:00"}',
        '{"$":"timedelta","v":[1,2]}',
        '{"$":"timedelta","v":[9999999999,0,0]}',
        '{"$":"decimal","v":"1.2.3"}',
        '{"$":"set","v":[{"$":"decimal","v":"sNaN"}]}',
        '{"$":"uuid","v":"12"}',
        '{"$":"enum","v":"x"}',
        '{"$":"state","v":{}}',
    ],
)
def test_a_damaged_row_is_told_as_such(row: str) -> None:
    with pytest.raises(NotStorable):
        from_stored(decode(row.encode()))


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/localtime", "__init__.py", "a//b", ""])
def test_no_file_is_looked_for_under_a_forged_zone(key: str) -> None:
    with pytest.raises(NotStorable, match="is no time zone"):
        from_stored({"$": "datetime", "v": "2026-01-01", "z": key})


@pytest.mark.parametrize("row", [b"", b"{", b"\xff", b'"\xff"', b"NaN", b"1" * 5000, b"1e999"])
def test_what_is_no_json_is_told_as_such(row: bytes) -> None:
    with pytest.raises(NotStorable, match="damaged"):
        decode(row)


# -- cost --------------------------------------------------------------------------------------


def test_importing_the_codec_loads_nothing_beyond_asyncio_and_msgspec() -> None:
    code = (
        "import asyncio, sys, msgspec; before = set(sys.modules); import legato.model.values;"
        "print(*sorted(name for name in set(sys.modules) - before if name[:6] != 'legato'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "some short text"])
@pytest.mark.parametrize("work", [to_stored, from_stored])
def test_a_plain_value_costs_one_call(work: Callable[[object], object], value: object) -> None:
    calls = []
    sys.setprofile(lambda frame, event, arg: calls.append(event))
    try:
        work(value)
    finally:
        sys.setprofile(None)
    assert calls.count("call") == 1
