"""The codec of journaled values: what comes back exactly, and what is refused with a cure."""

import collections
import math
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
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
    MAX_BYTES,
    MAX_DEPTH,
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


# -- refusals ----------------------------------------------------------------------------------


class Zone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> None: ...
    def dst(self, moment: datetime | None) -> None: ...
    def tzname(self, moment: datetime | None) -> None: ...


class Text(str):
    __slots__ = ()


async def _coroutine() -> None: ...


REFUSED: list[tuple[object, str]] = [
    (pathlib.PurePosixPath("/x"), "a PurePosixPath.*str\\(path\\)"),
    (object(), "an object"),
    (1j, "a complex"),
    (range(3), "a range.*list"),
    (iter([1]), "a list_iterator.*list"),
    ({}.keys(), "a dict_keys.*list"),
    ((x for x in "a"), "a generator.*list"),
    (memoryview(b"x"), "a memoryview.*bytes"),
    (print, "a builtin_function_or_method.*name"),
    (lambda: 1, "a function.*name"),
    (int, "a type.*name"),
    (Item, "a type.*name"),
    (math, "a module.*[Ii]mport"),
    (collections.deque(), "a deque.*list"),
    (collections.defaultdict(int), "a defaultdict.*dict"),
    (collections.Counter("a"), "a Counter.*dict"),
    (collections.OrderedDict(), "an OrderedDict.*dict"),
    (Text("x"), "a Text.*str.*@register"),
    (re.match("a", "a"), "a Match.*group"),
    (re.compile("a"), "a Pattern.*pattern"),
    (ValueError("x"), "a ValueError.*str\\(error\\)"),
    (UTC, "a timezone"),
    (ZoneInfo("UTC"), "a ZoneInfo.*key"),
    (datetime(2026, 1, 1, tzinfo=Zone()), "time zone of type .*Zone.*ZoneInfo"),
    (msgspec.Raw(b"1"), "a Raw"),
    (..., "an ellipsis"),
    (NotImplemented, "a NotImplementedType"),
]


@pytest.mark.parametrize(
    ("value", "says"), REFUSED, ids=[f"{n}-{type(v).__name__}" for n, (v, _) in enumerate(REFUSED)]
)
def test_what_cannot_be_kept_is_refused_with_a_cure(value: object, says: str) -> None:
    with pytest.raises(NotStorable, match=rf"^value .*{says}"):
        to_stored(value)


def test_a_coroutine_must_be_awaited_first() -> None:
    coroutine = _coroutine()
    with pytest.raises(NotStorable, match=r"a coroutine.*Await it"):
        to_stored(coroutine)
    coroutine.close()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([0, 1, object()], "value[2]"),
        ((0, (object(),)), "value[1][0]"),
        ({"items": [0, {"a": object()}]}, "value['items'][1]['a']"),
        ({1: {None: object()}}, "value[1][NoneType]"),
        ({(1,): object()}, "value[tuple]"),
        ({object(): 1}, "value[object]"),
        ({object()}, "value{...}"),
        (Item("x", tags=[object()]), "value.tags[0]"),  # type: ignore[list-item]
        (Payment(object()), "value.amount"),  # type: ignore[arg-type]
    ],
)
def test_the_error_tells_where_in_the_value(value: object, path: str) -> None:
    with pytest.raises(NotStorable) as caught:
        to_stored(value, where="bot.py:12")
    assert str(caught.value).startswith(f"bot.py:12: {path} is an object, which")


def test_what_contains_itself_is_refused() -> None:
    items: list[object] = [1]
    items.append({"again": (items,)})
    loop = Item("x")
    loop.tags.append(loop)  # type: ignore[arg-type]

    for value in (items, loop):
        with pytest.raises(NotStorable, match="value contains itself"):
            to_stored(value)


def _nested(depth: int, wrap: Callable[[object], object]) -> object:
    value: object = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda v: [v],
        lambda v: (v,),
        lambda v: {"k": v},
        lambda v: {"$": v},
        lambda v: frozenset({v}),
        Order.Line,
        lambda v: Order(v, Size.SMALL),
        lambda v: Point(v, 0),
    ],
    ids=["list", "tuple", "dict", "pairs", "frozenset", "struct", "dataclass", "namedtuple"],
)
def test_depth_is_limited_alike_both_ways(wrap: Callable[[object], object]) -> None:
    deepest = _nested(MAX_DEPTH, wrap)
    assert same(round_trip(deepest), deepest)

    with pytest.raises(NotStorable, match="nested more than 100 deep"):
        to_stored(wrap(deepest))


def test_depth_is_limited_in_rows() -> None:
    for row in (b"[" * 101 + b"]" * 101, b'{"k":' * 101 + b"1" + b"}" * 101):
        with pytest.raises(NotStorable, match="nested"):
            from_stored(decode(row))
    with pytest.raises(NotStorable):
        decode(b"[" * 100_000)


def test_a_stack_that_is_nearly_used_up_is_no_recursion_error() -> None:
    value = _nested(90, lambda v: (v,))
    stored = to_stored(value)

    def sink(left: int) -> None:
        if left:
            return sink(left - 1)
        with pytest.raises(NotStorable, match="stack"):
            to_stored(value)
        with pytest.raises(NotStorable, match="stack"):
            from_stored(stored)
        return None

    depth = 0
    frame = sys._getframe()
    while frame.f_back:
        frame, depth = frame.f_back, depth + 1
    sink(sys.getrecursionlimit() - depth - 100)


@pytest.mark.parametrize(
    "value",
    [
        "x" * MAX_BYTES,
        "\0" * (MAX_BYTES // 5),
        "я" * (MAX_BYTES // 2),
        b"x" * MAX_BYTES,
        1 << (4 * MAX_BYTES),
        list(range(MAX_BYTES // 5)),
        {"x" * MAX_BYTES: 1},
        ["x" * 1000] * 1000,
        [Decimal("1" * 1000)] * 1000,
    ],
    ids=["text", "escapes", "cyrillic", "bytes", "int", "list", "key", "same", "decimals"],
)
def test_what_is_too_long_is_refused_with_a_cure(value: object) -> None:
    with pytest.raises(NotStorable, match=r"longer than 1 MB.*journal the key"):
        to_stored(value)


def test_almost_a_megabyte_is_kept() -> None:
    value = "x" * (MAX_BYTES - 2)
    assert round_trip(value) == value


def test_shared_lists_cannot_explode() -> None:
    wide = _nested(90, lambda v: [v, v])
    with pytest.raises(NotStorable, match="longer than 1 MB"):
        to_stored(wide)


def test_encode_refuses_what_is_not_stored() -> None:
    with pytest.raises(NotStorable, match="to_stored"):
        encode(object())
    with pytest.raises(NotStorable, match="to_stored"):
        encode("\ud800")
    with pytest.raises(NotStorable, match="longer than"):
        encode(["x" * MAX_BYTES])


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
