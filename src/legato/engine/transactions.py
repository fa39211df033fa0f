"""`chat.tx`: a function of the app that runs inside the very transaction that journals its result.

So there is no moment at which one of the two is written and the other is not, and nothing is to be done
about it after a crash. Contrast engine/steps.py, where what is done and what is journaled are two things.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from legato.abc import Clock, Store
from legato.engine import journal
from legato.engine.commands import Tx
from legato.errors import Misuse, StepError, StoreError
from legato.model.records import Commit, Committed, Record
from legato.model.values import to_stored

MOST_TRIES = 6
FIRST_PAUSE_S = 0.02
"""Doubled after each try."""
AGAIN = frozenset(("40001", "40P01"))
"""SQLSTATEs of what another transaction is to blame for: serialization_failure, deadlock_detected."""

Within = Callable[[Any], Awaitable[bytes]]


class InTransaction(Exception):
    """Private: carries what the app's function raised (or a store that cannot run it) past those who
    handle the store's own failures. Nothing was written.
    """

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException = error
        super().__init__()


async def commit_within(store: Store, commit: Commit) -> Committed:
    """Commits what has a `within`.

    Raises:
        InTransaction: It raised, or the store has no such thing.
        StoreError: The store could not do it.
    """
    try:
        return await store.commit(commit)
    except StoreError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise InTransaction(StepError("CancelledError", "raised in a transaction")) from error
    except Exception as error:
        raise InTransaction(error) from error


class Transaction:
    """One `chat.tx` on its way.

    Args:
        tx: The operation.
        before: Records of the same segment that come before its own.
        result: Makes its record of a stored value.
        limit_s: Limit of one run in seconds, None = none.
    """

    def __init__(
        self,
        tx: Tx,
        before: Sequence[Record],
        result: Callable[[object], Record],
        limit_s: float | None,
    ) -> None:
        self._tx = tx
        self._before = before
        self._result = result
        self._limit_s = limit_s
        self._record: Record | None = None  # of the last run

    async def run(self, commit: Callable[..., Awaitable[None]], clock: Clock) -> Record:
        """Commits by `commit(within=...)`; returns the record that was committed.

        What another transaction is to blame for is tried again.

        Raises:
            InTransaction: It failed, and nothing was written.
            Exception: What `commit` raises else.
        """
        tries = 0
        while True:
            try:
                await commit(within=self._within)
            except InTransaction as failed:
                tries += 1
                if getattr(failed.error, "sqlstate", "") not in AGAIN or tries == MOST_TRIES:
                    raise
            else:
                assert self._record is not None
                return self._record
            await clock.sleep(FIRST_PAUSE_S * 2 ** (tries - 1))

    async def _within(self, sql: Any) -> bytes:
        """What runs in the transaction: gives the segment with its result."""
        tx = self._tx
        work = tx.fn(sql, *tx.args, **tx.kwargs)
        if not hasattr(work, "__await__"):
            raise Misuse(
                f"chat.tx({tx.name}): it must be `async def {tx.name}(sql, ...)`, whose first "
                "parameter is the transaction"
            )
        # A store that runs it between two statements of its own (SQLite) has no task, nor anything to
        # wait for.
        if asyncio.current_task() is None:
            result = await work
        else:
            result = await self._in_time(work)
        self._record = self._result(to_stored(result, where=f"the result of {tx.name}"))
        return journal.segment([*self._before, self._record])

    async def _in_time(self, work: Awaitable[Any]) -> Any:
        name, limit_s = self._tx.name, self._limit_s
        deadline = asyncio.timeout(limit_s)
        try:
            async with deadline:
                return await work
        except TimeoutError:
            if limit_s is None or not deadline.expired():
                raise  # its own
            raise TimeoutError(
                f"transaction {name!r} took longer than {limit_s:g} s and was undone: it holds "
                "locks, so keep it short; chat.tx(..., timeout=...) sets another limit"
            ) from None
