"""Broadcasts go on from tick to tick, in one process at a time: two that send what stands first would send all of
it twice. Whoever goes on with them says so in the store, until it is done or its invocation is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from legato.deploy.function.invocation import CLOSE_S
from legato.deploy.function.start import Enough, strange, taken_over
from legato.errors import StoreError
from legato.model.records import COMMITTED, Commit
from legato.outbox.backlog import is_broadcast

if TYPE_CHECKING:
    from legato.abc import Clock
    from legato.app.runtime import Runtime
    from legato.deploy.function.invocation import Invocation
    from legato.model.records import OutboxItem

MOST = 500
"""Messages of broadcasts that one tick takes: more than it can send."""
NAME = ("function", "broadcasts")

log: logging.Logger = logging.getLogger("legato.function")


class Held(Struct):
    """What the store has of it.

    Attributes:
        number: How often it was taken: of two at the same time, one is refused.
        until_ms: When it is free again.
    """

    number: int = 0
    until_ms: int = 0


_held = msgspec.json.Decoder(Held)


@asynccontextmanager
async def gone_on_with(
    runtime: Runtime, clock: Clock, invocation: Invocation
) -> AsyncIterator[None]:
    """Goes on with broadcasts, unless somebody else does.

    Raises:
        StoreError: The store cannot be used.
    """
    number = await _taken(runtime, clock, invocation)
    if not number:
        yield
        return
    await _some(runtime, clock, invocation)
    yield
    try:  # if it fails, it is free once the invocation would have been over
        async with asyncio.timeout(invocation.rest_s(CLOSE_S)):
            await _put(runtime, clock, Held(number, 0))
    except (StoreError, TimeoutError) as error:
        log.debug("broadcasts wait for the end of an invocation: %s", error)


async def _taken(runtime: Runtime, clock: Clock, invocation: Invocation) -> int:
    """The number under which they are ours now, 0 if they are not."""
    found = await runtime.store.get(*NAME)
    held = _held.decode(found) if found else Held()
    if held.until_ms > clock.now_ms():
        return 0
    number = held.number + 1
    until = Held(number, invocation.until_ms())
    return number if await _put(runtime, clock, until, f"function:broadcasts:{number}") else 0


async def _put(runtime: Runtime, clock: Clock, held: Held, update_id: str = "") -> bool:
    put = (*NAME, msgspec.json.encode(held))
    commit = Commit(at_ms=clock.now_ms(), update_id=update_id, puts=(put,))
    return (await runtime.store.commit(commit)).result == COMMITTED


async def _some(runtime: Runtime, clock: Clock, invocation: Invocation) -> None:
    old, count = strange(clock), 0

    def only(item: OutboxItem) -> bool:
        nonlocal count
        if count == MOST:
            raise Enough
        wanted = is_broadcast(item) and old(item)
        count += wanted
        return wanted

    await taken_over(runtime, invocation, only)


__all__ = ["gone_on_with"]
