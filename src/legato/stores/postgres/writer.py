"""Group commit: writes that are asked for at the same time share one transaction and one round trip.

While one batch is on its way, the next one gathers. Nothing is ever delayed to make a batch larger: a lone
commit goes at once, and the batches grow with the load.

A batch that the database refuses (a deadlock, a text it does not take) is undone as a whole; its works are
run again one by one then, so that only the guilty one fails.

If the connection breaks under a batch, nobody knows whether it took place. Each transaction therefore leaves
its number and its results in a row of the table `writer`, and `recover_1` tells, on a new connection; it
waits for the old transaction if that still runs, and keeps it from beginning later. What did not take place
is run again. So callers are told StoreUnavailable only if the database is away for long.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from legato.errors import Misuse, StoreUnavailable
from legato.model.records import Committed, Settled
from legato.stores.postgres.failures import AGAIN, explained, sqlstate
from legato.stores.postgres.functions import LOST, PARAMETERS
from legato.stores.postgres.links import Door, Link, Pool
from legato.stores.postgres.rows import Packed, arrays, outcomes

BATCH = 64
"""Works in one transaction at most: bounds how long the loop is kept, and how long a row is locked."""
TRIES = 6

Work = Packed | Sequence[Settled]
Result = Committed | None
Job = tuple[Work, asyncio.Future[Result]]


class Statements:
    """The calls of the functions, for one schema.

    Args:
        schema: Where they are.
        synchronous: "on"; "off" loses what was acknowledged when the server crashes (for tests).
    """

    __slots__ = ("check", "mode", "purge", "recover", "write")

    def __init__(self, schema: str, synchronous: str) -> None:
        numbers = ", ".join(f"${number}" for number in range(1, len(PARAMETERS) + 4))
        self.mode: str = synchronous
        self.write: str = f"SELECT * FROM {schema}.write_1({numbers})"
        self.recover: str = f"SELECT * FROM {schema}.recover_1($1, $2)"
        self.check: str = f"SELECT * FROM {schema}.check_1($1, $2, $3, $4, $5, $6, $7)"
        self.purge: str = f"SELECT {schema}.purge_1($1, $2)"


class Unknown(StoreUnavailable):
    """Private: whether the transaction took place was not to be learned in time."""


class Writer:
    """Writes the works of concurrent callers in common transactions. Belongs to one event loop.

    Args:
        pool: Where it borrows a connection, one at a time.
        door: Makes connections.
        statements: What it calls.
        hurry_s: How long a work that was not sent yet waits for a connection.
        patience_s: How long it waits to learn what became of one that was.
    """

    def __init__(
        self, pool: Pool, door: Door, statements: Statements, *, hurry_s: float, patience_s: float
    ) -> None:
        self._pool = pool
        self._door = door
        self._statements = statements
        self._hurry_s = hurry_s
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        # These go first, in their own order: what they are about is committed long since, and a crash
        # meanwhile would send it again.
        self._settling: deque[Job] = deque()
        self._inside: dict[str, int] = {}
        self._later: list[Job] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, work: Work) -> asyncio.Future[Result]:
        """Writes one work with whatever else is waiting; durable once the future has its result.

        An exception of the future means that nothing of the work was written (but see Unknown). A work
        whose future is cancelled is still written if its batch had begun.
        """
        self.check_loop()
        done: asyncio.Future[Result] = self._loop.create_future()
        (self._waiting if isinstance(work, Packed) else self._settling).append((work, done))
        self._go()
        return done

    def check_loop(self) -> None:
        """Raises Misuse in another event loop than ours, or after `close`."""
        if self._closed or asyncio.get_running_loop() is not self._loop:
            raise Misuse(
                "this store was opened in another event loop (or is closed): open it in the loop that "
                "uses it"
            )

    def hold(self, keys: Sequence[str]) -> None:
        """Keeps works on these conversations back: a transaction of its own has locked them, and a
        batch that waited for it would keep all others waiting.
        """
        for key in keys:
            self._inside[key] = self._inside.get(key, 0) + 1

    def free(self, keys: Sequence[str]) -> None:
        """Undoes one `hold`."""
        for key in keys:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]
        self._waiting.extendleft(reversed(self._later))
        self._later.clear()
        self._go()

    async def close(self) -> None:
        """Finishes what was asked for before."""
        self._closed = True
        while self._task is not None and self._task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait((self._task,))

    def _go(self) -> None:
        if self._task is None and (self._waiting or self._settling):
            self._task = self._loop.create_task(self._drain())  # soon: who else runs now joins

    async def _drain(self) -> None:
        try:
            while jobs := self._take():
                link = await self._pool.take()
                try:
                    await self._together(link, jobs)
                finally:
                    self._pool.back(link)
                await asyncio.sleep(0)  # who waited goes on, and what they write next joins
        finally:
            self._task = None

    def _take(self) -> list[Job]:
        jobs: list[Job] = []
        while len(jobs) < BATCH and (queue := self._settling or self._waiting):
            job = queue.popleft()
            if job[1].cancelled():
                continue  # nobody waits for it any more, and nothing is written yet
            work = job[0]
            if self._inside and isinstance(work, Packed) and self._is_held(work):
                self._later.append(job)
            else:
                jobs.append(job)
        return jobs

    def _is_held(self, work: Packed) -> bool:
        return any(key in self._inside for key in work.keys)

    # -- one batch ----------------------------------------------------------------------------

    async def _together(self, link: Link, jobs: list[Job]) -> None:
        try:
            results = await self.write(link, [work for work, _ in jobs])
        except StoreUnavailable as error:
            self._fail(jobs, error)
        except Exception as error:  # noqa: BLE001 - goes to whoever waits for the jobs
            if len(jobs) == 1 and sqlstate(error) not in AGAIN:
                self._fail(jobs, error)
                return
            for job in jobs:
                await self._alone(link, job)
        else:
            for (_, done), result in zip(jobs, results, strict=True):
                if not done.done():
                    done.set_result(result)

    async def _alone(self, link: Link, job: Job) -> None:
        for number in range(TRIES):
            try:
                (result,) = await self.write(link, (job[0],))
            except Exception as error:  # noqa: BLE001 - goes to whoever waits for the job
                if sqlstate(error) not in AGAIN or number == TRIES - 1:
                    self._fail([job], error)
                    return
                await asyncio.sleep(random.uniform(0, 0.01 * 2**number))  # nosec B311
            else:
                if not job[1].done():
                    job[1].set_result(result)
                return

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        for _, done in jobs:
            if not done.done():
                ours = explained(error, self._door.where.name)
                ours.__cause__ = error if ours is not error else error.__cause__
                done.set_exception(ours)

    # -- one transaction ----------------------------------------------------------------------

    async def write(self, link: Link, works: Sequence[Work]) -> list[Result]:
        """Writes `works` in one transaction, and knows whether it took place.

        Raises:
            StoreUnavailable: There is no connection; Unknown: there was one.
            Exception: The database refused; nothing was written.
        """
        values = arrays(works)
        numbered = any(isinstance(work, Packed) for work in works)  # fates may be written twice
        for number in range(TRIES):
            await self._connected(link, self._hurry_s)
            try:
                row = await self.call(link, values, numbered=numbered)
            except Exception:
                if not link.lost or number == TRIES - 1:
                    raise
                row = await self.find_out(link) if numbered else None
            if row is not None:
                return outcomes(works, row)
        raise StoreUnavailable(f"{self._door.where.name}: the connection breaks again and again")

    async def call(
        self, link: Link, values: list[Any], *, numbered: bool = True, inside: bool = False
    ) -> Any:
        """Runs write_1 as the link's next transaction, or at the end of the one that is open; its row."""
        link.number += numbered
        fetch = link.fetch_inside if inside else link.fetch
        write, mode = self._statements.write, self._statements.mode
        try:
            (row,) = await fetch(write, link.session, link.number, mode, *values)
        except Exception as error:
            if not link.lost:
                link.number -= numbered  # undone, and the number with it
            if sqlstate(error) == LOST:
                link.forget()
            raise
        return row

    async def find_out(self, link: Link) -> Any:
        """What the last transaction of the link gave; None if it did not, and will not, take place.

        Raises:
            Unknown: The database did not answer in time.
        """
        begun = self._loop.time()
        while True:
            patience_s = self._hurry_s if self._closed else self._patience_s
            give_up = begun + patience_s
            try:
                await link.up()
                (row,) = await link.fetch(self._statements.recover, link.session, link.number)
            except Exception as error:
                if self._loop.time() < give_up:
                    if self._loop.time() > begun + self._hurry_s:
                        self._turn_away(error)
                    await asyncio.sleep(max(0.05, self._door.pause_s))
                    continue
                link.forget()
                raise Unknown(
                    f"{self._door.where.name} went away during a commit and has not come back for "
                    f"{patience_s:g} s: whether it was written is not known. An update that is "
                    "repeated will be recognised by its id."
                ) from error
            return None if row[0] is None else row

    def _turn_away(self, error: Exception) -> None:
        """Tells those who wait behind a transaction that is being inquired after: theirs was not sent."""
        self._fail([*self._settling, *self._waiting], error)
        self._settling.clear()
        self._waiting.clear()

    async def _connected(self, link: Link, within_s: float) -> None:
        give_up = self._loop.time() + within_s
        while True:
            try:
                await link.up()
            except StoreUnavailable:
                pause_s = self._door.pause_s
                if self._closed or self._loop.time() + pause_s > give_up:
                    raise
                await asyncio.sleep(pause_s)
            else:
                return
