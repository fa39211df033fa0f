"""`legato queue`: the queues of a cluster: how many there are, how full they are, and how that changes."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from legato.abc import Leases, Queue, Store
from legato.abc.queue import Depth
from legato.app.settings import Settings
from legato.cli.common import printed, settings_of
from legato.cli.moving import Move, facts_of, headline
from legato.deploy.clock import SystemClock
from legato.deploy.loader import load_app
from legato.deploy.parts import make_queue, make_store
from legato.deploy.topology import Layout, Topology
from legato.errors import ConfigError, Unavailable
from legato.model.shards import check_shards

DEFAULT_BOT = "bot.py"
NONE_YET = "there are no queues yet: `legato queue declare` makes them, or a worker's first start"


def queue(options: argparse.Namespace) -> int:
    """Carries out one action; returns 0, or 1 if it could not be done now.

    Raises:
        ConfigError, StoreError: It cannot be done like this.
    """
    actions: dict[str, Callable[[Desk], Awaitable[int]]] = {
        "declare": _declare,
        "status": _status,
        "resize": _resize,
    }
    app, target = _whose(options)
    settings = settings_of(options, target)
    if options.action == "resize":
        _check(options.to)
    desk: Desk | None = None

    async def act() -> int:
        nonlocal desk
        async with _opened(options, settings, app) as desk:
            return await actions[options.action](desk)

    try:
        return asyncio.run(act())
    except Unavailable as error:
        return _failed(options, str(error))
    except KeyboardInterrupt:
        move = desk.move if desk is not None else None
        if move is not None:
            sys.stderr.write(f"legato: {move.left_alone()}\n")
        return 130


def _whose(options: argparse.Namespace) -> tuple[str, str]:
    """(name of the app, the bot that it is of or "")."""
    target = options.bot or ("" if options.app or not Path(DEFAULT_BOT).is_file() else DEFAULT_BOT)
    if not target and not options.app:
        raise ConfigError(
            "say whose queues are meant: --bot bot.py, or where the bot's code is not, --app NAME: the "
            "name in its App('NAME')"
        )
    return options.app or load_app(target).name, target


def _check(shards: int) -> None:
    try:
        check_shards(shards)
    except ValueError as error:
        raise ConfigError(f"--to {shards}: {error}") from None


class Desk:
    """What the actions work with.

    Attributes:
        move: Under way, None if there is none.
    """

    def __init__(
        self, options: argparse.Namespace, app: str, store: Store, queue: Queue, shards: int
    ) -> None:
        assert isinstance(store, Leases)
        self.options = options
        self.app = app
        self.leases: Leases = store
        self.queue = queue
        self.clock: SystemClock = SystemClock()
        self.topology: Topology = Topology(store, queue, app, self.clock, shards=shards)
        self.move: Move | None = None

    def tell(self, text: str, facts: dict[str, object]) -> None:
        """Prints a text, or the facts for a program, at once."""
        print(json.dumps(facts) if self.options.json else text, flush=True)

    async def workers(self) -> list[str]:
        """host:pid of each worker that lives."""
        holders = await self.leases.holders(f"worker:{self.app}:")
        return sorted(holder.rpartition(":")[0] for holder in holders.values())


@asynccontextmanager
async def _opened(options: argparse.Namespace, settings: Settings, app: str) -> AsyncIterator[Desk]:
    """Store and broker, as the bot's gateways and workers have them.

    Raises:
        ConfigError, StoreError: They are not named, cannot be shared, or refuse us.
    """
    if not settings.queue or settings.queue.startswith("memory:"):
        raise ConfigError(
            "say which broker: --queue amqp://... (or LEGATO_QUEUE), as gateways and workers have it"
        )
    creating = options.action == "declare"
    store = make_store(settings.store or "memory://", shared=True, create=creating)
    if not isinstance(store, Leases):
        raise ConfigError(
            "say which store the workers share: --store postgresql://... (or LEGATO_STORE)"
        )
    broker = make_queue(settings.queue, app)
    await store.open()
    try:
        yield Desk(options, app, store, broker, settings.shards)
    finally:
        await broker.close()
        await store.close()


def _failed(options: argparse.Namespace, why: str) -> int:
    if options.json:
        print(json.dumps({"error": why}), flush=True)
    else:
        sys.stderr.write(f"legato: {printed(why)}\n")
    return 1


# -- declare ---------------------------------------------------------------------------------------


async def _declare(desk: Desk) -> int:
    await desk.queue.open()
    layout = await desk.topology.ensure()
    asked = desk.options.shards
    if asked is not None and int(asked) != layout.shards:
        what = f"there are {layout.shards} queues: `legato queue resize --to {asked}` changes that"
        return _failed(desk.options, what)
    desk.tell(f"all queues are there: {headline(layout)}", facts_of(layout))
    return 0


# -- status ----------------------------------------------------------------------------------------


async def _status(desk: Desk) -> int:
    layout = await desk.topology.layout()
    if layout is None:
        return _failed(desk.options, NONE_YET)
    workers = await desk.workers()
    rows: list[tuple[int, int, Depth]] = []
    why = ""
    try:
        await desk.queue.open()
        for generation, shards in layout.generations:
            depths = await desk.queue.depths(generation, shards)
            rows += [(generation, shard, depth) for shard, depth in enumerate(depths)]
    except Unavailable as error:  # what the store knows is worth seeing none the less
        why = str(error)
    if desk.options.json:
        about: dict[str, object] = {"app": desk.app, "workers": workers, "error": why or None}
        print(json.dumps(about | facts_of(layout) | {"queues": _as_facts(layout, rows)}))
    else:
        print(f"app       {printed(desk.app)}")
        print(f"queues    {headline(layout)}")
        print(f"workers   {', '.join(map(printed, workers)) or 'none: start `legato worker`'}")
        if rows:
            print("\n".join(_as_table(layout, rows)))
        if why:
            sys.stderr.write(f"legato: {printed(why)}\n")
    return 1 if why else 0


def _note(layout: Layout, generation: int, shard: int, depth: Depth) -> str:
    """What is special about a queue; "" if nothing is."""
    old = layout.old is not None and generation == layout.old[0]
    if old and shard in layout.drained:
        return "drained"
    if (generation, shard) not in layout.queues():
        return "waits until the old ones are drained"
    return "" if depth.consumers else "nobody consumes it"


def _as_table(layout: Layout, rows: list[tuple[int, int, Depth]]) -> list[str]:
    wide = max(len(depth.queue) for *_, depth in rows)
    lines = [f"letters   {sum(depth.ready for *_, depth in rows)} waiting", ""]
    lines += [f"{'queue':{wide}}  letters  consumers"]
    for generation, shard, depth in rows:
        note = _note(layout, generation, shard, depth)
        line = f"{depth.queue:{wide}}  {depth.ready:7}  {depth.consumers:9}  {note}"
        lines.append(line.rstrip())
    return lines


def _as_facts(layout: Layout, rows: list[tuple[int, int, Depth]]) -> list[dict[str, object]]:
    return [
        {
            "queue": depth.queue,
            "generation": generation,
            "shard": shard,
            "letters": depth.ready,
            "consumers": depth.consumers,
            "note": _note(layout, generation, shard, depth) or None,
        }
        for generation, shard, depth in rows
    ]


# -- resize ----------------------------------------------------------------------------------------


async def _resize(desk: Desk) -> int:
    layout = await desk.topology.layout()
    if layout is None:
        return _failed(desk.options, NONE_YET)
    await desk.queue.open()
    desk.move = Move(desk.topology, desk.queue, desk.clock, desk.workers, desk.tell)
    await desk.move.run(desk.options.to)
    return 0


__all__ = ["queue"]
