"""Dying on purpose: a store that kills the process model after a commit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from legato.abc import Store
from legato.model.records import (
    COMMITTED,
    Commit,
    Committed,
    Conversation,
    Loaded,
    Mail,
    OutboxItem,
    Settled,
)


class Crash(BaseException):
    """The process died here. What was committed is in the store; everything else is gone."""


class CrashingStore(Store):
    """Passes everything on to `inner`; after a commit that wrote a conversation it asks `die`,
    and raises Crash if told so. With `before` set, the same just before the write.
    """

    def __init__(
        self, inner: Store, die: Callable[[Commit], bool], *, before: bool = False
    ) -> None:
        self.inner = inner
        self.die = die
        self.before = before

    @property
    def mail_at_once(self) -> int:
        return self.inner.mail_at_once

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    async def load(self, key: str) -> Loaded | None:
        return await self.inner.load(key)

    async def commit(self, commit: Commit) -> Committed:
        if self.before and self.die(commit):
            raise Crash
        done = await self.inner.commit(commit)
        if not self.before and done.result == COMMITTED and self.die(commit):
            raise Crash
        return done

    async def settle(self, settled: Sequence[Settled]) -> None:
        await self.inner.settle(settled)

    async def due(
        self, now_ms: int, limit: int, *, slots: Collection[int] | None = None
    ) -> list[Conversation]:
        return await self.inner.due(now_ms, limit, slots=slots)

    async def outbox(
        self,
        *,
        states: Sequence[str],
        after: int = 0,
        limit: int = 1000,
        key: str = "",
        slots: Collection[int] | None = None,
    ) -> list[OutboxItem]:
        return await self.inner.outbox(
            states=states, after=after, limit=limit, key=key, slots=slots
        )

    async def mail(
        self,
        *,
        key: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Mail]:
        return await self.inner.mail(key=key, after=after, limit=limit, slots=slots)

    async def find(
        self,
        *,
        status: str = "",
        dialog: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Conversation]:
        return await self.inner.find(
            status=status, dialog=dialog, after=after, limit=limit, slots=slots
        )

    async def get(self, space: str, name: str) -> bytes | None:
        return await self.inner.get(space, name)
