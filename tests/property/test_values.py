"""The codec of journaled values, for all values: exact, deterministic, and safe against its rows."""

import os
import subprocess
import sys
from datetime import UTC, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from legato.errors import NotStorable
from legato.model.values import decode, decode_error, encode, from_stored, round_trip, to_stored
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

ROOT = Path(__file__).parents[2]

texts = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(["$", "v", "\ud800"])
zones = st.none() | st.sampled_from(
    [
        UTC,
        timezone(timedelta(hours=5, minutes=45)),
        timezone(timedelta(0), "Z"),
        ZoneInfo("Europe/Riga"),
    ]
)
hashable_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | texts
    | st.binary(max_size=20)
    | st.datetimes(timezones=zones, allow_imaginary=True)
    | st.times(timezones=zones)
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from([*Size, *Level, Right(0), Right.READ, Right.READ | Right.WRITE])
    | st.builds(Sku, texts)
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=6,
)
values: st.SearchStrategy[Any] = st.recursive(
    hashables
    | st.binary(max_size=9).map(bytearray)
    | st.decimals()
    | st.sets(hashables, max_size=4)
    | st.builds(Basket, st.dictionaries(texts, st.integers(), max_size=2)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.builds(Item, texts, st.decimals(allow_nan=False), st.lists(inner, max_size=2))
        | st.builds(Order, st.lists(inner, max_size=2).map(tuple), inner)
        | st.builds(Payment, inner, inner, inner, st.lists(inner, max_size=2))
    ),
    max_leaves=12,
)


@given(values)
@example({"$": {"$": [{"$": "int", "v": "ff"}]}})
def test_every_value_comes_back_exactly(value: object) -> None:
    again = round_trip(value)

    assert same(again, value)
    assert encode(to_stored(again)) == encode(to_stored(value))


@given(values)
def test_what_was_stored_is_not_changed_by_reading(value: object) -> None:
    stored = to_stored(value)
    row = encode(stored)

    from_stored(stored)
    assert encode(stored) == row
    assert encode(decode(row)) == row


PRINT_ROWS = """
import random, sys
from tests.unit.model.codec_values import *
from legato.model.values import encode, to_stored
words = [f"w{n}" for n in range(50)]
random.Random(int(sys.argv[1])).shuffle(words)
value = [
    set(words), frozenset(words), {(w, 1) for w in words}, {frozenset(words[:5] + [1]): None} and 0,
    {Size.SMALL, Size.LARGE}, Item("x", tags=[frozenset(words)]), {Point(n % 7, n) for n in range(50)},
    {"b": 1, "a": {1.5, "x", None, b"y"}},
]
sys.stdout.buffer.write(encode(to_stored(value)))
"""


def test_rows_are_the_same_in_every_process() -> None:
    rows = {
        subprocess.run(
            [sys.executable, "-c", PRINT_ROWS, str(seed)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in (0, 1, 4242)
    }
    assert len(rows) == 1
    assert rows.pop().startswith(b'[{"$":"set","v":["w0","w1","w10"')


# -- forged rows -------------------------------------------------------------------------------

FORGED_NAMES = [
    "os:system",
    "subprocess:Popen",
    "builtins:eval",
    "builtins:type",
    "sys:modules",
    "legato.errors:StepError",
    "tests.unit.model.codec_values:Item",
    "tests.unit.model.codec_values:Point",
    "tests.unit.model.codec_values:Size",
    "tests.unit.model.codec_values:Payment",
]
TAGS = [
    "int", "float", "str", "dict", "bytes", "bytearray", "tuple", "set", "frozenset", "datetime",
    "date", "time", "timedelta", "decimal", "uuid", "enum", "data", "struct", "sub", "unset", "state",
]  # fmt: skip
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(FORGED_NAMES + TAGS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["$", "c", "v", "f", "o", "z", "name"]), inner, max_size=4
        )
        | st.fixed_dictionaries({"$": st.sampled_from(TAGS), "v": inner})
        | st.fixed_dictionaries(
            {"$": st.sampled_from(TAGS), "c": st.sampled_from(FORGED_NAMES), "v": inner}
        )
    ),
    max_leaves=10,
)


@given(json_values)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_read_or_refused(stored: object) -> None:
    try:
        from_stored(stored)
    except NotStorable:
        pass


@given(
    json_values
    | st.tuples(
        st.sampled_from([*FORGED_NAMES, "ValueError", "OSError", "UnicodeDecodeError"]),
        st.lists(json_values, max_size=5),
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_an_exception_or_refused(pair: Any) -> None:
    try:
        exc = decode_error(pair)
    except NotStorable:
        pass
    else:
        assert isinstance(exc, Exception)
        assert exc.__traceback__ is None


def test_ten_thousand_damaged_rows_run_nothing() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.property.damaged_rows"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    read, refused = map(int, run.stdout.split())
    assert read + refused == 10_000
    assert min(read, refused) > 500
