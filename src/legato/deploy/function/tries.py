"""How often a conversation was handed to a version that failed: one that cannot start must not keep people for ever.

    1st failure   it is tried again at once: a process may just have died
    2nd ... 4th   after a pause that grows; meanwhile whatever comes for it is refused at once, and repeated
    5th           it is given up: the conversation fails, and `legato dialogs retry` begins to count anew

Where several fail one after another, it is the version: then no other is asked either for some seconds, and that
counts as a failure of theirs, so that nobody waits in line for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

import msgspec
from msgspec import Struct

from legato.engine.outcomes import GivenUp
from legato.errors import StoreError, Unavailable
from legato.model.records import SENT, Commit

if TYPE_CHECKING:
    from legato.abc import Clock, Store

PAUSES_S = (0, 5, 30, 90)
MOST_TRIES = len(PAUSES_S) + 1
FORGET_MS = 3_600_000
"""Failures so long ago count no more."""
DOWN_S = 10.0
DOWN_AFTER = 2
"""Conversations that failed one after another, and how long a version is not asked then."""

log: logging.Logger = logging.getLogger("legato.function")


class Failed(Exception):
    """Private: a version could not be made to do something, and trying again may not help."""


class Failures(Struct, array_like=True):
    """What is kept of one conversation.

    Attributes:
        count: How often it failed.
        at_ms, again_ms: When it did last, and when it may be tried again.
    """

    count: int = 0
    at_ms: int = 0
    again_ms: int = 0


_failures = msgspec.json.Decoder(Failures)


class Tries:
    """Counts in the store, since each try may be another process's. Belongs to one event loop.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: dict[int, set[str]] = {}  # who failed in a version since it did something
        self._down: dict[int, tuple[float, str]] = {}

    async def known(self, store: Store, build: int, key: str) -> Failures:
        """What has failed before.

        Raises:
            Unavailable: It is to wait for its next try.
            GivenUp: That was its last one.
            StoreError: The store cannot be used.
        """
        found = await store.get(SENT, _name(key))
        before = Failures() if found is None else _failures.decode(found)
        now_ms = self._clock.now_ms()
        if before.at_ms < now_ms - FORGET_MS:
            before = Failures()
        wait_s = (before.again_ms - now_ms) / 1000
        if 0 < wait_s <= PAUSES_S[-1]:  # longer ones were told by a clock that was wrong
            raise Unavailable(
                f"version {build} has failed, and is tried again later", int(wait_s) + 1
            )
        until, why = self._down.get(build, (0.0, ""))
        if self._clock.monotonic() < until:
            await self._counted(store, build, key, before, why)
        return before

    async def done(self, store: Store, build: int, key: str, before: Failures) -> None:
        """It has answered.

        Raises:
            StoreError: The store cannot be used.
        """
        self._failed.pop(build, None)
        self._down.pop(build, None)
        if before.count:
            await self._put(store, key, None)

    async def failed(
        self, store: Store, build: int, key: str, before: Failures, why: str
    ) -> NoReturn:
        """It has failed once more.

        Raises:
            Unavailable, GivenUp: Always.
        """
        failed = self._failed.setdefault(build, set())
        if len(failed) < DOWN_AFTER:
            failed.add(key)
        if len(failed) >= DOWN_AFTER:
            self._down[build] = (self._clock.monotonic() + DOWN_S, why)
        await self._counted(store, build, key, before, why)

    async def _counted(
        self, store: Store, build: int, key: str, before: Failures, why: str
    ) -> NoReturn:
        now_ms, count = self._clock.now_ms(), before.count + 1
        over = count >= MOST_TRIES
        again_ms = 0 if over else now_ms + PAUSES_S[count - 1] * 1000
        try:
            await self._put(store, key, None if over else Failures(count, now_ms, again_ms))
        except StoreError as error:
            raise Unavailable(f"{why} (which is not counted: {error})") from error
        if over:
            raise GivenUp(
                f"version {build}, in which it was begun, failed {count} times, the last time so: {why}. Deploy code that "
                "works, or let a version be live that can go on with it; then `legato dialogs retry`"
            )
        raise Unavailable(why, max(1, (again_ms - now_ms) // 1000))

    async def _put(self, store: Store, key: str, failures: Failures | None) -> None:
        value = None if failures is None else msgspec.json.encode(failures)
        now_ms = self._clock.now_ms()
        await store.commit(Commit(at_ms=now_ms, puts=((SENT, _name(key), value),)))


def _name(key: str) -> str:
    return f"handed|{key}"


__all__ = ["MOST_TRIES", "Failed", "Tries"]
