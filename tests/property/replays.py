"""What a replay of a stored conversation comes to. As a program, it tells that of a whole file:

    python -m tests.property.replays bot.db

Prints {key: lines} as JSON, to be compared with what another process says.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from legato.engine import journal, outgoing, versions
from legato.engine.branches import Raised
from legato.engine.replay import INTERRUPT
from legato.engine.services import Services
from legato.engine.versions import Live
from legato.model.events import Address
from legato.model.records import Loaded, State
from legato.stores.sqlite import SQLiteStore
from legato.testing.platform import ScriptedPlatform
from tests.property.programs import app


def _services(place: Address) -> outgoing.Services:
    """What dialogs are given, for replays only: nothing is sent or stored."""
    nothing = cast("Any", None)
    services = Services(
        store=nothing,
        relay=nothing,
        clock=nothing,
        dialogs=app.dialogs,
        platform=lambda place: ScriptedPlatform(),
        apology="",
        download=lambda place, file, path: path,
    )
    return services.chat_services(place)


def begun(loaded: Loaded) -> Live:
    """The conversation at its first waits; what it said is kept as if it were new."""
    dialog, birth = app.dialogs.get(loaded.conversation.dialog), journal.decode_birth(loaded.birth)
    assert dialog is not None
    live = Live(dialog, loaded.conversation, birth, _services(birth.place), State())
    live.start()
    return live


def lines(live: Live) -> list[str]:
    """The next commands, and everything said so far."""
    driver = live.driver
    found = [
        f"{path} {one.op.kind} {one.op.name} {one.wait}" for path, one in driver.pending.items()
    ]
    found += [f"{said.ref} {msgspec.json.encode(said.out).decode()}" for said in driver.outputs]
    done = driver.done
    found.append(repr(done.error) if isinstance(done, Raised) else repr(type(done).__name__))
    return found


def prefixes(loaded: Loaded) -> Iterator[tuple[list[str], list[str]]]:
    """For each prefix of the journal: the lines of a replay of just that, and those of one replay
    that goes on from record to record.
    """
    records = journal.read(loaded.segments)
    steady = begun(loaded)
    for length in range(len(records) + 1):
        fresh = begun(loaded)
        for record in records[:length]:
            fresh.driver.feed(record)
        yield lines(fresh), lines(steady)
        fresh.driver.evict()
        if length < len(records):
            record = records[length]
            waiting = steady.driver.pending.get(record.path)
            if record.kind != INTERRUPT:
                assert waiting is not None, record
                assert (waiting.op.kind, waiting.op.name) == (record.kind, record.name)
            steady.driver.feed(record)
    steady.driver.evict()


def told(loaded: Loaded) -> list[str]:
    """The verdict of `legato check`, and the lines of the whole journal."""
    place = journal.decode_birth(loaded.birth).place
    report = versions.check(loaded, app.dialogs.get(loaded.conversation.dialog), _services(place))
    live = begun(loaded)
    for record in journal.read(loaded.segments):
        live.driver.feed(record)
    found = [report.verdict, report.detail, *lines(live)]
    live.driver.evict()
    return found


async def read(path: Path) -> dict[str, list[str]]:
    """What is told of every conversation in a file."""
    store = SQLiteStore(path, threads=False)
    await store.open()
    try:
        found: dict[str, list[str]] = {}
        while rows := await store.find(after=max(found, default=""), limit=500):
            for row in rows:
                loaded = await store.load(row.key)
                assert loaded is not None
                found[row.key] = told(loaded)
        return found
    finally:
        await store.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(read(Path(sys.argv[1])))))
