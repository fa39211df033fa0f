"""Writes the fate of items to the store, in batches, and never forgets one on the way."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from legato.abc import Clock, Store
from legato.model.records import SENT, Settled
from legato.outbox.backoff import Backoff

log: logging.Logger = logging.getLogger("legato.relay")

LONGEST_PAUSE_S = 2.0
"""Between two tries: what was sent is not marked meanwhile, and its chat waits."""


class Settler:
    """Gathers settlements while an earlier batch is being written, then writes them together.

    One batch at a time, in the order of `put`; for one item the latest fate wins. A store that
    fails is tried again with backoff, for as long as this process lives.

    Also keeps the message ids of recently sent items, because a later edit may need one before
    it is durable, and nearly always soon after.
    """

    __slots__ = (
        "_backoff",
        "_clock",
        "_durable",
        "_lanes",
        "_lanes_writing",
        "_pending",
        "_recent",
        "_recent_size",
        "_store",
        "_waiters",
        "_writing",
        "running",
    )

    def __init__(self, store: Store, clock: Clock, backoff: Backoff, recent: int) -> None:
        self._store = store
        self._clock = clock
        self._backoff = backoff
        self._pending: dict[int, Settled] = {}
        self._writing: dict[int, Settled] = {}
        self._durable: list[asyncio.Future[None]] = []
        self._lanes: set[str] = set()
        self._lanes_writing: set[str] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._recent: OrderedDict[str, str] = OrderedDict()
        self._recent_size = recent
        self.running: bool = False
        """Whether somebody is in `drain`."""

    def __len__(self) -> int:
        """Items whose fate is known but not durable yet."""
        return len(self._pending.keys() | self._writing.keys())

    @property
    def waiting(self) -> bool:
        """Whether there is something to write that nobody writes yet."""
        return bool(self._pending) and not self.running

    def ids(self) -> set[int]:
        """The items whose fate is known but not durable yet."""
        return self._pending.keys() | self._writing.keys()

    def put(self, settled: Settled, lane: str = "") -> None:
        """Takes note; the caller sees to it that `drain` runs.

        Args:
            settled: The fate.
            lane: Where it was sent, "" if it was not: `unsettled` tells until that is durable.
        """
        self._pending[settled.id] = settled
        if lane:
            self._lanes.add(lane)
        if settled.message_id and settled.ref and settled.state == SENT:
            self._recent[f"{settled.key}|{settled.epoch}|{settled.ref}"] = settled.message_id

    def put_durably(self, settled: Settled) -> asyncio.Future[None]:
        """As `put`; the future is done once it (and all before it) is durable."""
        self.put(settled)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._durable.append(future)
        return future

    async def written(self) -> None:
        """Returns once all fates that are known now are durable. Somebody must be in `drain`."""
        if len(self):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._durable.append(future)
            await future

    def unsettled(self, lane: str) -> bool:
        """Whether the last message sent in `lane` would be sent again after a crash now."""
        return lane in self._lanes or lane in self._lanes_writing

    async def settled(self, lane: str) -> None:
        """Returns once that is over. Somebody must be in `drain`."""
        while self.unsettled(lane):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            await future

    async def message_id(self, handle: str) -> str:
        """Platform id of the message under "key|epoch|ref", "" if none was sent.

        Raises:
            StoreUnavailable: It is not known here, and the store cannot tell now.
        """
        known = self._recent.get(handle)
        if known is not None:
            return known
        kept = await self._store.get("sent", handle)
        return kept.decode() if kept else ""

    async def drain(self) -> None:
        """Writes until nothing is left to write. At most one runs at a time."""
        if self.running:
            return
        self.running = True
        failures = 0
        try:
            while self._pending or self._durable:
                if await self.write():
                    failures = 0
                    continue
                failures += 1
                await self._clock.sleep(min(LONGEST_PAUSE_S, self._backoff.after(failures)))
        finally:
            self.running = False

    async def write(self) -> bool:
        """Writes one batch of all there is; False if the store could not (all is kept)."""
        batch, self._pending = self._pending, {}
        durable, self._durable = self._durable, []
        self._writing = batch
        self._lanes_writing, self._lanes = self._lanes, set()
        done = False
        try:
            await self._store.settle(list(batch.values()))
            done = True
        except Exception as error:  # noqa: BLE001 - a failing store must not make us forget
            log.warning("the store did not take what became of %d messages: %s", len(batch), error)
        finally:
            self._writing = {}
            lanes, self._lanes_writing = self._lanes_writing, set()
            if not done:
                self._pending = {**batch, **self._pending}
                self._durable = durable + self._durable
                self._lanes |= lanes
        if done:
            self._trim()
            waiters, self._waiters = self._waiters, []
            for future in (*durable, *waiters):
                if not future.done():
                    future.set_result(None)
        return done

    def _trim(self) -> None:
        # what is not durable yet is newest, so the oldest beyond it can be read from the store
        excess = len(self._recent) - len(self._pending) - self._recent_size
        for _ in range(excess):
            self._recent.popitem(last=False)
