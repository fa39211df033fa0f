"""What a function is invoked with besides updates: what happened outside of any chat, and messages of SQS.

Each record stands for itself: what fails keeps no other from being tried, but for those behind it where the source
promises an order. What the store, or the time, has no room for comes again. A bug outside of any dialog (in a
pattern, a middleware) comes again, too, but not for ever: the last of its tries puts the record aside, where
`legato dialogs` shows it. So does the first one with what cannot be read, as it never gets better.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from legato.app.letters import DEAD_BYTES
from legato.app.poison import SPACE
from legato.app.settings import Settings
from legato.deploy.function.invocation import CutOff, NoTime
from legato.errors import StoreError, StoreTooMuch, StoreUnavailable, Unavailable
from legato.model.records import Commit

if TYPE_CHECKING:
    from legato.app.runtime import Runtime
    from legato.deploy.function.core import Function
    from legato.model.events import AnyEvent, Happened

BUG_TRIES = 3
"""What fails so often for a bug outside of any dialog is put aside."""

T = TypeVar("T")
Failures = list[Exception | None]

log: logging.Logger = logging.getLogger("legato.function")


async def happened(
    function: Function,
    records: Sequence[T],
    read: Callable[[T], Happened],
    budget_s: float,
    *,
    ordered: bool = False,
) -> Failures:
    """Lets dialogs start by what happened outside of any chat; returns why each record must come again, None if it
    need not.

    Args:
        function: Works on them.
        records: As they came.
        read: Makes an event of one.
        budget_s: Seconds for all.
        ordered: What follows one that failed is not tried.

    Raises:
        ConfigError, Unavailable, StoreError: All must come again.
    """
    async with function.invoked(budget_s) as runtime:
        failures: Failures = []
        for record in records:
            failed = ordered and any(failures)
            failures.append(
                Unavailable("one before it failed")
                if failed
                else await tried(function, runtime, record, read)
            )
        if all(
            _is_schedule(record, read) for record in records
        ):  # it may be the only tick there is
            await function.ticked(runtime)
        else:
            await function.tick(runtime)
            await function.delivered(runtime, "")
        return failures


def _is_schedule(record: T, read: Callable[[T], Happened]) -> bool:
    try:
        return read(record).kind.startswith("schedule:")
    except Exception:  # noqa: BLE001 # it was kept as dead
        return False


async def messages(
    function: Function, records: Sequence[dict[str, Any]], budget_s: float
) -> Failures:
    """Works on messages of SQS: letters and wakes of our own queues, and what others have sent; returns why each must
    come again, None if it need not.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    from legato.deploy.function import queueing, sources

    # Until it is done: the time may be over at any moment.
    failures: Failures = [NoTime() for _ in records]
    try:
        async with function.invoked(
            budget_s, last=lambda queues: queues.again(records, failures)
        ) as runtime:
            queues = function.queues or queueing.Queues(
                Settings(), runtime.http, function.clock, function.invocation
            )
            await queues.worked(
                runtime,
                records,
                failures,
                lambda record: tried(function, runtime, record, sources.happened),
            )
            try:
                await function.tick(runtime)
            except StoreError as error:  # no reason for what is done to come again
                log.warning("timers fire with the next tick: %s", error)
            await function.delivered(runtime, "")
    except (CutOff, StoreUnavailable) as error:
        log.warning("messages come again: %s", error)
    return failures


async def tried(
    function: Function, runtime: Runtime, record: T, read: Callable[[T], Happened]
) -> Exception | None:
    """Lets one record start its dialogs; returns why it must come again."""
    try:
        event = read(record)
    except Exception:
        log.exception("a record cannot be read, and is kept as dead")
        text = _text(record)
        return await buried(runtime, f"record:{sha256(text).hexdigest()[:32]}", text)
    try:
        async with asyncio.timeout(function.invocation.left_s):
            await runtime.handle(event)
    except StoreTooMuch:
        log.exception(
            "%s (%s) is more than the store takes, and is kept as dead", event.kind, event.id
        )
        return await buried(runtime, event.id, _text(record))
    except (StoreError, Unavailable, TimeoutError) as error:
        log.warning("%s (%s) comes again: %s", event.kind, event.id, str(error) or "no time left")
        return error
    except Exception as error:
        log.exception("%s (%s) failed, outside of any dialog", event.kind, event.id)
        return await failed(runtime, event, error)
    return None


async def failed(runtime: Runtime, event: AnyEvent, error: Exception) -> Exception | None:
    """An event failed for a bug outside of any dialog: the last of its tries puts it aside. Returns why it must come
    again.
    """
    name = f"bug|{event.id}"
    store, lane = runtime.store, runtime.router.lane(event)
    try:
        tries = int(await store.get(SPACE, name) or 0) + 1
        if tries < BUG_TRIES:
            await _put(runtime, SPACE, name, str(tries).encode())
            return error
        await runtime.lanes.run(lane, lambda: runtime.trials.refuse(event, error))
        await _put(runtime, SPACE, name, None)
    except (StoreError, Unavailable) as failure:
        return failure
    except Exception:
        log.exception("%s cannot even be put aside: what it says is kept as dead", event.id)
        return await buried(runtime, event.id, repr(event).encode("utf-8", "replace"))
    return None


async def buried(runtime: Runtime, name: str, body: bytes) -> Exception | None:
    """Keeps what cannot be read for the operator."""
    try:
        await _put(runtime, "dead-update", name, body[:DEAD_BYTES])
    except StoreError as error:
        return error
    return None


async def _put(runtime: Runtime, space: str, name: str, value: bytes | None) -> None:
    now_ms = runtime.clock.now_ms()
    await runtime.store.commit(Commit(at_ms=now_ms, puts=((space, name, value),)))


def _text(record: object) -> bytes:
    try:
        return msgspec.json.encode(record)
    except Exception:  # noqa: BLE001 # it may be anything
        return repr(record).encode("utf-8", "replace")


__all__ = ["BUG_TRIES", "Failures", "buried", "failed", "happened", "messages", "tried"]
