"""CPU microseconds that the SQLite store costs: a turn's commit and its settle, and a load.

    python bench/store_commit.py [directory]

A turn here is what most turns are: one update id, one conversation row, one journal segment and one
outbox item, which is settled afterwards. CPU time of all threads of the process, fsync included
as far as it is CPU; the wall time depends on the disk and is printed for interest only.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from legato.model.events import Address
from legato.model.records import Call, Commit, Conversation, OutboxItem, Settled
from legato.stores.sqlite import SQLiteStore

TURNS = 6400
PEOPLE = 2000
STATE = b'{"waits":[{"path":"3","kind":"ask","name":"int","events":["message"],"user":"4217"}]}'
BIRTH = b'{"event":{"type":"message","id":"telegram:1:99","text":"/start"},"place":{}}' * 3
SEGMENT = b'[["2","ask","int",1700000000000,42]]'


def turns(count: int = TURNS, people: int = PEOPLE) -> Iterator[Commit]:
    """So many commits of so many conversations in turn."""
    for number in range(count):
        head, person = divmod(number, people)
        key = f"telegram:7000000001:{person * 7919 % 100003}:{person * 7919 % 100003}:"
        place = Address("telegram", "7000000001", str(person), str(person))
        at_ms = 1_700_000_000_000 + number
        yield Commit(
            at_ms=at_ms,
            key=key,
            expect=(at_ms - number, head) if head else None,
            row=Conversation(
                *(key, "adder", "1", at_ms - number, head + 1, "waiting"),
                *(at_ms + 20_000, STATE, at_ms),
            ),
            birth=b"" if head else BIRTH,
            segment=SEGMENT,
            update_id=f"telegram:7000000001:{number + 1_000_000}",
            outbox=(
                OutboxItem(
                    *(0, place.lane, place, key, at_ms - number, ""),
                    Call("sendMessage", {"chat_id": str(person), "text": "Second number?"}),
                ),
            ),
        )


async def measure(path: Path, batch: int, *, threads: bool) -> None:
    """Prints what commits and settles cost with `batch` callers at once."""
    store = SQLiteStore(path, threads=threads)
    await store.open()
    commits = list(turns())

    async def caller(own: list[Commit]) -> None:
        for commit in own:
            done = await store.commit(commit)
            assert done.result == "committed", done
            await store.settle([Settled(done.ids[0], "sent")])

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller(commits[lane::batch]) for lane in range(batch)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    how = "threads" if threads else "inline "
    print(
        f"commit + settle, {how}, {batch:2} at once: {cpu / TURNS * 1e6:6.1f} us CPU"
        f" ({wall / TURNS * 1e6:6.1f} us wall)"
    )
    keys = [commit.key for commit in commits[:PEOPLE]]
    cpu = time.process_time()
    for key in keys:
        await store.load(key)
    print(f"load, 4 segments: {(time.process_time() - cpu) / PEOPLE * 1e6:6.1f} us CPU")
    await store.close()


def main() -> None:
    """Runs every case on a new file."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for number, (batch, threads) in enumerate(((1, False), (1, True), (16, True))):
            asyncio.run(measure(Path(folder, f"{number}.db"), batch, threads=threads))


if __name__ == "__main__":
    main()
