"""What others have left undelivered is sent by one process at a time: two that send what stands first would send all of it
twice. Broadcasts are the most of it: they go on from tick to tick.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from legato.deploy.function.invocation import CLAIM_MS, CLOSE_S
from legato.deploy.function.start import Enough, leftover, looked_through
from legato.errors import StoreError
from legato.model.shards import ALL_SLOTS
from legato.outbox.backlog import is_broadcast
from legato.outbox.caretaker import Caretaker, is_strange

if TYPE_CHECKING:
    from legato.abc import Clock, Store
    from legato.app.runtime import Runtime
    from legato.deploy.function.core import Function
    from legato.deploy.function.invocation import Invocation
    from legato.model.records import OutboxItem

MOST = 1000
"""Messages of broadcasts that one tick takes: more than it can send."""
RENEW_S = 30.0
"""The term is renewed when so much of it is left, or less: who dies in an invocation of many minutes is not waited for
until its end.
"""
SLICE_S = 2.0
"""Who sends broadcasts asks so often whether somebody waits for this process."""
LOOK_S = 20.0
"""And looks so often for what is due, and for what others have left meanwhile."""
GIVE_UP_S = 1.0
"""So long is waited for what is being sent, before others may care."""

log: logging.Logger = logging.getLogger("legato.function")


async def cares(store: Store, clock: Clock, invocation: Invocation) -> bool:
    """Whether this process is the caretaker, and stays it for a while. Who has lost that is it no more in its invocation.

    Raises:
        StoreError: The store cannot be used.
    """
    carer = invocation.carer = invocation.carer or Caretaker(store, clock)
    if invocation.care is None or (carer.holds and carer.left_s < RENEW_S):
        if not await carer.take(min(invocation.until_ms(), clock.now_ms() + CLAIM_MS)):
            return False
        invocation.care = carer
    return carer.holds


async def over(runtime: Runtime, invocation: Invocation, care: Caretaker) -> None:
    """An invocation ends: others may care, if nothing is being sent any more. If that fails, they may once its time is
    over.
    """
    try:
        async with asyncio.timeout(min(GIVE_UP_S, invocation.rest_s(CLOSE_S))):
            if await runtime.relay.emptied(ALL_SLOTS, GIVE_UP_S):
                await care.give_up()
    except (StoreError, TimeoutError) as error:
        log.debug("what is left waits for the end of an invocation: %s", error)


async def some_broadcasts(runtime: Runtime, invocation: Invocation) -> bool:
    """Goes on with broadcasts, unless somebody else does; returns whether there is something to send.

    Raises:
        StoreError: The store cannot be used.
    """
    if not await cares(runtime.store, runtime.clock, invocation):
        return False
    now_ms, count = runtime.clock.now_ms(), 0

    def only(item: OutboxItem) -> bool:
        nonlocal count
        if count == MOST:
            raise Enough
        wanted = is_broadcast(item) and is_strange(item, now_ms)
        # Those of a bot that is not set up any more stay where they are, and may be many.
        wanted = wanted and runtime.adapters(item.place) is not None
        count += wanted
        return wanted

    await looked_through(runtime, invocation, only, take=True)
    return count > 0


async def sent_on(function: Function, runtime: Runtime) -> int:
    """Sends broadcasts as long as there is time, unless somebody waits for this process; returns how many conversations
    were woken meanwhile.

    Raises:
        StoreError: The store cannot be used.
    """
    invocation, clock, relay = function.invocation, function.clock, runtime.relay
    looked, woken = clock.monotonic(), 0
    while relay.is_busy(invocation.left_s) and invocation.left_s and not function.waiting:
        await relay.flush(min(SLICE_S, invocation.left_s))
        if clock.monotonic() - looked > LOOK_S:
            looked = clock.monotonic()
            await leftover(runtime, clock, invocation)
            woken += await function.tick(runtime)
    return woken


__all__ = ["cares", "over", "sent_on", "some_broadcasts"]
