"""Reads 10,000 damaged rows under the eye of an audit hook. A program of its own: hooks stay for good.

Prints how many were read, and how many refused; fails if anything was run, imported or opened.
"""

import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from uuid import UUID
from zoneinfo import ZoneInfo

from legato.errors import NotStorable
from legato.model.values import decode, encode, from_stored, to_stored
from tests.unit.model.codec_values import Item, Order, Payment, Point, Right, Size, Sku

MOMENT = datetime(2026, 10, 25, 3, 30, fold=1, tzinfo=ZoneInfo("Europe/Riga"))
CET = timezone(timedelta(hours=1), "CET")
VALUES: list[object] = [
    [1, "text", None, 2.5, {"a": True}, 2**80, float("inf"), "\ud800", {"$": 1}, {1: 2}],
    [b"bytes", (1, {2, 3}), Size.SMALL, Right.READ | Right.WRITE, Sku("x"), Point(1, 2)],
    [Item("tea", tags=["x"]), Payment(Decimal(1)), Order((Item("y"),), Size.LARGE)],
    [MOMENT, MOMENT.astimezone(CET), MOMENT.date(), MOMENT.timetz(), timedelta(1, 2, 3)],
    [Decimal("1.50"), UUID(int=7)],
]
ROWS = [encode(to_stored(value)) for value in VALUES]
WORDS = [
    b'"$"',
    b'"v"',
    b'"c"',
    b'"z"',
    b'"o"',
    b'"int"',
    b'"data"',
    b'"struct"',
    b'"enum"',
    b'"sub"',
]
JUNK = [b"[", b"]", b"{", b'"', b"\\u0000", b"1e999", b"-", b",null", b"9" * 40, b"\xff", b"[[]],"]
CLASSES = [b"codec_values:" + name for name in (b"Item", b"Size", b"Point", b"Payment", b"Sku")]
FORGED = [
    b"os:system",
    b"subprocess:Popen",
    b"builtins:eval",
    b"this:d",
    b"antigravity:x",
    b"codec_values:Right",
    b"codec_values:same",
]
RUNS = ("exec", "compile", "import", "open", "os.system", "subprocess.Popen", "socket.connect")


def damaged(random: Random) -> bytes:
    """A real row with one or a few injuries."""
    row = random.choice(ROWS)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(row) + 1)
        match random.randrange(6):
            case 0:
                row = row[:at] + random.randbytes(1) + row[at + 1 :]
            case 1:
                row = row[:at] + row[at + random.randrange(1, 9) :]
            case 2:
                row = row[:at] + random.choice(ROWS)[: random.randrange(40)] + row[at:]
            case 3:
                row = row.replace(random.choice(WORDS), random.choice(WORDS), 1)
            case 4:
                row = row.replace(random.choice(CLASSES), random.choice(FORGED), 1)
            case _:
                row = row[:at] + random.choice(JUNK) + row[at:]
    return row


def read_all(rows: list[bytes]) -> tuple[int, int]:
    """Counts the rows read and the rows refused; any other exception ends the program."""
    refused = 0
    for row in rows:
        try:
            from_stored(decode(row))
        except NotStorable:
            refused += 1
    return len(rows) - refused, refused


def main() -> None:
    """See the module's docstring."""
    random = Random(7)  # seeded: the same rows in every run
    rows = [damaged(random) for _ in range(10_000)]
    for zone in ("Europe/Nowhere", "Nowhere"):  # what looking for a zone's file rightly imports
        read_all([encode({"$": "datetime", "v": "2026-01-01", "z": zone})])
    read_all(ROWS)
    modules = set(sys.modules)
    events: list[tuple[str, str]] = []
    sys.addaudithook(lambda event, args: events.append((event, str(args))))

    read, refused = read_all(rows)

    ran = {(event, args) for event, args in events if event in RUNS}
    ran = {(event, args) for event, args in ran if "zoneinfo" not in args and "tzdata" not in args}
    assert not ran, ran
    assert not set(sys.modules) - modules, set(sys.modules) - modules
    print(read, refused)  # noqa: T201 # for the test


if __name__ == "__main__":
    main()
