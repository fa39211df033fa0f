"""What the journal does not keep: foreign types, cycles, depth, length. Each error names a cure."""

import collections
import math
import pathlib
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest

from legato.errors import NotStorable
from legato.model.values import (
    MAX_BYTES,
    MAX_DEPTH,
    decode,
    encode,
    from_stored,
    round_trip,
    to_stored,
)
from tests.unit.model.codec_values import Item, Order, Payment, Point, Size, same


class Zone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> None: ...
    def dst(self, moment: datetime | None) -> None: ...
    def tzname(self, moment: datetime | None) -> None: ...


class Text(str):
    __slots__ = ()


class Pydantic:
    def model_dump(self) -> None: ...


class Attrs:
    __attrs_attrs__ = ()


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
    (Pydantic(), r"a Pydantic.*model_dump\(\)"),
    (Attrs(), r"an Attrs.*attrs.asdict\(\)"),
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
