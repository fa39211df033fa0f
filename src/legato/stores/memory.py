"""A store in memory, for tests and for bots that may forget everything when they stop.

It is the model that the durable stores are compared with, so it is written to be read: one dict a
table, every method as its contract says it. Calls are kept encoded as the others keep them, or a
call that no durable store can hold would pass here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from legato.abc.store import Store
from legato.errors import Unsupported
from legato.model.records import (
    COMMITTED,
    CONFLICT,
    DUPLICATE,
    FAILED,
    HELD,
    SENT,
    Commit,
    Committed,
    Conversation,
    Loaded,
    Mail,
    OutboxItem,
    Settled,
)
from legato.model.shards import slot_of, slot_of_key
from legato.stores._codec import pack, unpack_call

NO_SQL = (
    "memory:// has no database that SQL of yours could run in: chat.tx() needs a store that has "
    "one, postgresql://... or sqlite:///bot.db"
)


class _Overtaken(Exception):
    """Private: undoes the app's transaction, since ours was refused."""


class _Waiting(Struct):
    """An event in the mailbox. `order` counts deposits."""

    order: int
    mail: Mail


class _Consumed(Struct):
    """A consumed update id. `order` is that of its mail, 0 if it never waited."""

    order: int
    reply: bytes
    at_ms: int


class _Kept(Struct):
    """A remembered value."""

    value: bytes
    at_ms: int


class MemoryStore(Store):
    """Holds everything in this process. `close` keeps it, so the same object can be opened again.

    Safe for any number of tasks of one event loop: no method awaits anything, but for `within`.

    Args:
        transaction: Begins a transaction of the app's own database, which is committed when it is
            left, and undone when it is left by an exception; what it gives is what
            `Commit.within` is given. None: `within` is Unsupported. It stands in for a store whose
            database is the app's, in tests: a death between its commit and ours parts the two.
    """

    __slots__ = (
        "_births",
        "_consumed",
        "_deposits",
        "_journals",
        "_kept",
        "_last_id",
        "_outbox",
        "_rows",
        "_transaction",
        "_waiting",
    )

    def __init__(
        self, transaction: Callable[[], AbstractAsyncContextManager[Any]] | None = None
    ) -> None:
        self._transaction = transaction
        self._rows: dict[str, Conversation] = {}
        self._births: dict[str, bytes] = {}
        self._journals: dict[str, dict[tuple[int, int], bytes]] = {}
        self._waiting: dict[str, _Waiting] = {}  # in the order of deposit, as dicts keep it
        self._consumed: dict[str, _Consumed] = {}
        self._deposits = 0
        self._outbox: dict[int, tuple[OutboxItem, bytes]] = {}
        self._last_id = 0
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def open(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Does nothing; what was stored stays until the object goes."""

    # -- writing ------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> Committed:
        """See Store.commit."""
        if commit.within is not None:
            return await self._commit_within(commit, commit.within)
        return self._refused(commit) or self._written(commit)

    async def _commit_within(
        self, commit: Commit, within: Callable[[Any], Awaitable[bytes]]
    ) -> Committed:
        if self._transaction is None:
            raise Unsupported(NO_SQL)
        refused = self._refused(commit)
        if refused is not None:
            return refused
        try:
            async with self._transaction() as sql:
                segment = await within(sql)
                refused = self._refused(commit)  # somebody was faster meanwhile
                if refused is not None:
                    raise _Overtaken
                return self._written(replace(commit, segment=segment))
        except _Overtaken:
            assert refused is not None
            return refused

    def _refused(self, commit: Commit) -> Committed | None:
        if commit.update_id and commit.update_id in self._consumed:
            return Committed(DUPLICATE, reply=self._consumed[commit.update_id].reply)
        if commit.key and not self._fence_holds(commit):
            return Committed(CONFLICT)
        return None

    def _written(self, commit: Commit) -> Committed:
        calls = [pack(item.call) for item in commit.outbox]  # may refuse, so before any write
        if commit.update_id:
            mail = self._waiting.pop(commit.update_id, None)
            order = mail.order if mail else 0
            self._consumed[commit.update_id] = _Consumed(order, commit.reply, commit.at_ms)
        if commit.key:
            self._write_conversation(commit)
        for deposit in commit.deposit:
            if deposit.id not in self._waiting and deposit.id not in self._consumed:
                self._deposits += 1
                self._waiting[deposit.id] = _Waiting(self._deposits, deposit)
        ids = tuple(
            self._queue(item, call, commit.at_ms)
            for item, call in zip(commit.outbox, calls, strict=True)
        )
        for space, name, value in commit.puts:
            if value is None:
                self._kept.pop((space, name), None)
            else:
                self._kept[space, name] = _Kept(value, commit.at_ms)
        if commit.purge_ms:
            self._purge(commit.purge_ms)
        return Committed(COMMITTED, ids)

    def _fence_holds(self, commit: Commit) -> bool:
        row = self._rows.get(commit.key)
        if (None if row is None else (row.epoch, row.head)) != commit.expect:
            return False
        return not commit.aside or commit.aside not in self._rows

    def _write_conversation(self, commit: Commit) -> None:
        key, row = commit.key, commit.row
        if commit.aside and key in self._rows:
            self._rows[commit.aside] = replace(self._rows.pop(key), key=commit.aside)
            self._births[commit.aside] = self._births.pop(key)
            self._journals[commit.aside] = self._journals.pop(key)
        if row is None:
            self._rows.pop(key, None)
            self._births.pop(key, None)
            self._journals.pop(key, None)
            return
        self._rows[key] = row
        if commit.birth or key not in self._births:
            self._births[key] = commit.birth
        journal = self._journals.setdefault(key, {})
        if commit.expect is not None and row.epoch != commit.expect[0]:
            journal.clear()
        if commit.segment:
            journal[row.epoch, row.head] = commit.segment

    def _queue(self, item: OutboxItem, call: bytes, at_ms: int) -> int:
        self._last_id += 1
        kept = replace(item, id=self._last_id, created_ms=item.created_ms or at_ms)
        self._outbox[self._last_id] = (kept, call)
        return self._last_id

    def _purge(self, before_ms: int) -> None:
        for name, consumed in list(self._consumed.items()):
            if consumed.at_ms < before_ms:
                del self._consumed[name]
        for (space, name), kept in list(self._kept.items()):
            if space == SENT and kept.at_ms < before_ms:
                del self._kept[space, name]

    async def settle(self, settled: Sequence[Settled]) -> None:
        """See Store.settle."""
        for fate in settled:
            if fate.id not in self._outbox:
                continue
            item, call = self._outbox[fate.id]
            if fate.state == SENT:
                del self._outbox[fate.id]
                if fate.message_id and fate.ref:
                    self._kept[SENT, f"{fate.key}|{fate.epoch}|{fate.ref}"] = _Kept(
                        fate.message_id.encode("utf-8", "surrogatepass"), item.created_ms
                    )
            else:
                changed = replace(
                    item,
                    state=fate.state,
                    attempts=fate.attempts,
                    not_before_ms=fate.not_before_ms,
                    error=fate.error,
                )
                self._outbox[fate.id] = (changed, call)

    # -- reading ------------------------------------------------------------------------------

    async def load(self, key: str) -> Loaded | None:
        """See Store.load."""
        row = self._rows.get(key)
        if row is None:
            return None
        journal = sorted(self._journals[key].items())
        segments = [data for (epoch, _), data in journal if epoch == row.epoch]
        return Loaded(row, self._births[key], segments)

    async def due(
        self, now_ms: int, limit: int, *, slots: Collection[int] | None = None
    ) -> list[Conversation]:
        """See Store.due."""
        rows = [
            row
            for row in self._rows.values()
            if 0 < row.wake_ms <= now_ms
            and row.status not in (FAILED, HELD)
            and _within(slots, row.key)
        ]
        rows.sort(key=lambda row: (row.wake_ms, row.key))
        return rows[:limit]

    async def outbox(
        self,
        *,
        states: Sequence[str],
        after: int = 0,
        limit: int = 1000,
        key: str = "",
        slots: Collection[int] | None = None,
    ) -> list[OutboxItem]:
        """See Store.outbox."""
        found = [
            replace(item, call=unpack_call(call))
            for number, (item, call) in self._outbox.items()
            if number > after
            and item.state in states
            and (not key or item.key == key)
            and (slots is None or slot_of(item.place) in slots)
        ]
        return found[:limit]

    async def mail(
        self,
        *,
        key: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Mail]:
        """See Store.mail. An `after` that is not known (any more) begins at the beginning."""
        seen = self._waiting.get(after) or self._consumed.get(after)
        last = seen.order if seen else 0
        waiting = [
            entry.mail
            for entry in self._waiting.values()
            if entry.order > last
            and (not key or entry.mail.key == key)
            and _within(slots, entry.mail.key)
        ]
        return waiting[:limit]

    async def find(
        self,
        *,
        status: str = "",
        dialog: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Conversation]:
        """See Store.find."""
        rows = [
            row
            for key, row in sorted(self._rows.items())
            if key > after
            and (not status or row.status == status)
            and (not dialog or row.dialog == dialog)
            and _within(slots, key)
        ]
        return rows[:limit]

    async def get(self, space: str, name: str) -> bytes | None:
        """See Store.get."""
        if space == "inbox":
            consumed = self._consumed.get(name)
            return None if consumed is None else consumed.reply
        kept = self._kept.get((space, name))
        return None if kept is None else kept.value


def _within(slots: Collection[int] | None, key: str) -> bool:
    return slots is None or slot_of_key(key) in slots
