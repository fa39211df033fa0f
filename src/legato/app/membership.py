"""Which parts of a cluster's work a worker has: one worker's view of all.

Each worker holds the lease "worker:<app>:<holder>", which says that it lives, and leases
"shard:<app>:<unit>/<units>" of the parts that it works on. All are renewed with one call each heartbeat. From
the names of those who live, everybody computes for himself who is to have what (`spread`), takes what is free
of his own, and gives up in good order what is another's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

from legato.abc import Clock, Leases
from legato.app.share import Part
from legato.app.tasks import Task, cancelled
from legato.errors import StoreError

log: logging.Logger = logging.getLogger("legato.worker")

TERM = 3.0
"""Heartbeats that a lease lasts."""
EAGER = 0.25
"""Heartbeats between two looks while something of ours is not here yet."""

Unit = tuple[int, int]
"""(number, of how many): the slots that are number modulo how many."""


def spread(units: int, workers: Collection[str]) -> dict[int, str]:
    """Who is to have which unit: the same for all who ask, as even as can be (the counts differ by one at
    most), and with few moves when a worker comes or goes (rendezvous hashing with a cap).
    """
    if not workers:
        return {}
    least, more = divmod(units, len(workers))
    pairs = sorted(
        (_score(unit, worker), unit, worker) for unit in range(units) for worker in workers
    )
    counts = dict.fromkeys(workers, 0)
    found: dict[int, str] = {}
    for _, unit, worker in pairs:
        if unit in found:
            continue
        if counts[worker] == least and more:
            more -= 1
        elif counts[worker] >= least:
            continue
        counts[worker] += 1
        found[unit] = worker
    return found


def _score(unit: int, worker: str) -> bytes:
    return blake2b(f"{unit}|{worker}".encode(), digest_size=8).digest()


class Duties(Protocol):
    """What a worker does with the units that it has."""

    async def units(self) -> int:
        """Into how many parts the work falls now. May raise StoreError."""

    async def begin(self, units: Sequence[Unit]) -> None:
        """Takes them up. Cancelled if they are lost meanwhile; else it does not return without success."""

    async def finish(self, unit: Unit) -> None:
        """Brings what is in hand of a unit to its end, and then lets go of it."""

    def stop(self, units: Collection[Unit]) -> None:
        """Lets go of units at once: another process may have them now."""


class Membership:
    """Keeps a worker's leases. Belongs to one event loop.

    Args:
        leases: Where they are.
        clock: Time.
        app: Name of the bot.
        holder: This process: no other one, not even an earlier life of it, has this name.
        share: Is told how long the leases run.
        duties: See there.
        heartbeat_s: How often leases are renewed.

    Attributes:
        units: Those held, whose work is taken up or in hand.
        workers: Holders of all workers that live, as seen last.
        stats: Units gained and lost since the start.
    """

    def __init__(
        self,
        leases: Leases,
        clock: Clock,
        *,
        app: str,
        holder: str,
        share: Part,
        duties: Duties,
        heartbeat_s: float = 1.0,
    ) -> None:
        self._leases = leases
        self._clock = clock
        self._app = app
        self._holder = holder
        self._share = share
        self._duties = duties
        self._heartbeat_s = heartbeat_s
        self.units: dict[Unit, Task] = {}
        self.workers: frozenset[str] = frozenset()
        self.stats: dict[str, int] = {"gained": 0, "lost": 0}
        self._count = 0
        self._target: set[Unit] = set()
        self._giving: dict[Unit, Task] = {}
        self._waiting: set[Unit] = set()  # held, while another has a part of it by another count
        self._loops: list[Task] = []
        self._spread: tuple[int, frozenset[str], dict[int, str]] = (0, frozenset(), {})
        self._told = ""
        self._closing = False

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes part from now on."""
        self._loops = [asyncio.create_task(self._beats()), asyncio.create_task(self._watch())]

    async def close(self, deadline_s: float) -> None:
        """Gives everything up, in good order as far as `deadline_s` allows.

        The others are told first, and what is in hand is finished one heartbeat later: then they
        already wait for it.
        """
        self._closing = True
        if not self._loops:
            return  # it never took part
        others = self.workers - {self._holder}
        await self._release([self._me])
        if others and self.units:
            await self._clock.sleep(min(1.25 * self._heartbeat_s, deadline_s / 4))
        for unit in list(self.units):
            self._give_up(unit)
        if self._giving:
            limit = asyncio.create_task(self._clock.sleep(deadline_s))
            giving = asyncio.gather(*self._giving.values(), return_exceptions=True)
            ends: set[asyncio.Future[Any]] = {limit, giving}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await cancelled([limit, *self._giving.values()])
            await asyncio.gather(giving, return_exceptions=True)
        await cancelled(self._loops)
        left = list(self.units)
        self._lose(left)
        await self._release([self._name(unit) for unit in left])
        self._share.end()

    async def abandon(self) -> None:
        """Ends as a crash would: the leases run on to their end."""
        self._closing = True
        self._lose(list(self.units))
        await cancelled([*self._loops, *self._giving.values()])

    # -- the heart ----------------------------------------------------------------------------

    async def _beats(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._term_s):
                    await self.beat()
                self._say("")
            except (StoreError, TimeoutError) as error:
                self._say(f"leases cannot be renewed: {str(error) or 'no answer'}")
            except Exception:
                log.exception("a heartbeat failed")
            await self._clock.sleep(self._heartbeat_s * (EAGER if self._eager else 1.0))

    @property
    def _eager(self) -> bool:
        return bool(self._told or self._waiting or self._target - self.units.keys())

    async def beat(self) -> None:
        """One heartbeat: renews, looks who lives, takes and gives.

        Raises:
            StoreError: Nothing was renewed, perhaps.
        """
        if not self._share.good():
            self._lose(list(self.units))
        count = 0
        while True:
            wanted = set() if self._closing else self._target - self._giving.keys()
            asked, asked_ms = self._clock.monotonic(), self._clock.now_ms()
            names = {self._name(unit): unit for unit in (*self.units, *wanted, *self._waiting)}
            mine = [] if self._closing else [self._me]
            held = await self._leases.hold(self._holder, [*mine, *names], self._term_s)
            if not held.issuperset(mine):
                log.error("another process has the name %s", self._holder)
            self._share.last(self._term_s, asked, asked_ms)
            await self._settle(held, names)
            if self._closing:
                return
            count = count or await self._counted()
            if not await self._look(count):
                return

    async def _counted(self) -> int:
        """Into how many parts the work falls. It is asked after the leases are renewed, and not waited for
        long: the store may be busy with other questions of ours.
        """
        try:
            async with asyncio.timeout(self._heartbeat_s):
                self._count = await self._duties.units()
        except TimeoutError:
            if not self._count:
                raise
        return self._count

    async def _settle(self, held: Collection[str], names: Mapping[str, Unit]) -> None:
        """What was renewed or taken, and what was not."""
        lost = [unit for unit in self.units if self._name(unit) in names.keys() - held]
        if lost:
            log.warning("lost to other workers: %s", _said(lost))
            self._lose(lost)
        self._waiting = {u for name, u in names.items() if name in held and u not in self.units}
        # Given up while the call was under way, which may have taken it again.
        strays = [unit for unit in self._waiting if unit not in self._target]
        self._waiting.difference_update(strays)
        if strays:
            await self._leases.release(self._holder, [self._name(unit) for unit in strays])

    async def _look(self, count: int) -> bool:
        """Who lives, and what follows; whether there is something more to be taken at once."""
        alive, shards = await asyncio.gather(
            self._leases.holders(f"worker:{self._app}:"),
            self._leases.holders(f"shard:{self._app}:"),
        )
        self.workers = frozenset(alive.values()) | {self._holder}
        before = self._target
        self._target = {
            (unit, count) for unit, worker in self._wanted(count).items() if worker == self._holder
        }
        for unit in self.units.keys() - self._target:
            self._give_up(unit)
        others = [_unit(name) for name, holder in shards.items() if holder != self._holder]
        free = {u for u in self._waiting & self._target if not any(_overlap(u, o) for o in others)}
        mine = [unit for unit in self.units if unit[1] != count]  # by another count, not left yet
        free = {u for u in free if not any(_overlap(u, m) for m in mine)}
        if free:
            self._begin(sorted(free))
        taken = {_unit(name) for name in shards}
        return bool(self._target - before - taken - self.units.keys() - self._giving.keys())

    def _wanted(self, count: int) -> dict[int, str]:
        if self._spread[:2] != (count, self.workers):
            self._spread = (count, self.workers, spread(count, self.workers))
        return self._spread[2]

    async def _watch(self) -> None:
        """Lets go of everything once the leases are over by our own clock: the store is away, or this
        process was stopped for a while.
        """
        while True:
            await self._clock.sleep(self._heartbeat_s * EAGER)
            if self.units and not self._share.good():
                log.warning("the leases are over: everything stops until they can be renewed")
                self._lose(list(self.units))

    # -- taking and giving --------------------------------------------------------------------

    def _begin(self, units: Sequence[Unit]) -> None:
        log.info("takes up %s", _said(units))
        self._waiting.difference_update(units)
        task = asyncio.create_task(self._duties.begin(units))
        task.add_done_callback(_told)
        task.add_done_callback(self._begun)
        self.stats["gained"] += len(units)
        for unit in units:
            self.units[unit] = task

    def _begun(self, task: Task) -> None:
        """If that failed, nobody works on these: they are taken up anew by the next heartbeat."""
        if not task.cancelled() and task.exception() is not None:
            self._lose([unit for unit, begun in self.units.items() if begun is task])

    def _give_up(self, unit: Unit) -> None:
        if unit not in self._giving:
            task = asyncio.create_task(self._given_up(unit))
            self._giving[unit] = task
            task.add_done_callback(_told)
            task.add_done_callback(lambda _: self._giving.pop(unit, None))

    async def _given_up(self, unit: Unit) -> None:
        begun = self.units[unit]
        await asyncio.wait({begun})
        await self._duties.finish(unit)
        if self.units.pop(unit, None) is not None:
            self.stats["lost"] += 1
            log.info("gave up %s", _said([unit]))
            await self._release([self._name(unit)])

    def _lose(self, units: Collection[Unit]) -> None:
        """These are not ours any more."""
        for unit in units:
            begun = self.units.pop(unit, None)
            self.stats["lost"] += begun is not None
            giving = self._giving.get(unit)
            for task in (begun, giving):
                if task is not None:
                    task.cancel()
        if units:
            self._duties.stop(units)

    async def _release(self, names: Collection[str]) -> None:
        try:
            async with asyncio.timeout(self._term_s):
                await self._leases.release(self._holder, names)
        except (StoreError, TimeoutError) as error:
            log.warning("leases could not be given up, they end by themselves: %s", error)

    # -- names --------------------------------------------------------------------------------

    @property
    def _term_s(self) -> float:
        return TERM * self._heartbeat_s

    @property
    def _me(self) -> str:
        return f"worker:{self._app}:{self._holder}"

    def _name(self, unit: Unit) -> str:
        return f"shard:{self._app}:{unit[0]}/{unit[1]}"

    def _say(self, news: str) -> None:
        if news and news != self._told:
            log.warning("%s", news)
        elif self._told and not news:
            log.info("leases are renewed again")
        self._told = news


def _unit(name: str) -> Unit:
    number, _, count = name.rpartition(":")[2].partition("/")
    return int(number), int(count)


def _overlap(one: Unit, other: Unit) -> bool:
    """Whether two units by different counts share slots. By the same count the lease itself decides."""
    if one[1] == other[1]:
        return False
    count = min(one[1], other[1])
    return one[0] % count == other[0] % count


def _said(units: Collection[Unit]) -> str:
    numbers = " ".join(str(number) for number, _ in sorted(units))
    return f"shards {numbers} of {next(iter(units))[1]}"


def _told(task: Task) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("a worker's share could not be changed", exc_info=error)


__all__ = ["EAGER", "TERM", "Duties", "Membership", "Unit", "spread"]
