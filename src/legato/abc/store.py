"""The store: conversations, journals, mailbox, outbox, timers. Ten methods, one write a segment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from legato.model.records import Commit, Committed, Conversation, Loaded, Mail, OutboxItem, Settled


class Store(ABC):
    """Durable state. Policy (retries, routing, what a timer means) never enters a store.

    All methods may raise StoreUnavailable (try again later) and StoreCorrupt. A method that
    raises has written nothing. Implementations must pass
    `legato.testing.conformance.store.StoreConformance`.

    Where `slots` are given, only what belongs to one of them is returned: a conversation or a mail
    by its key, an outbox item by its place (`model.shards`). That is how the workers of a cluster
    share a store.
    """

    __slots__ = ()

    @property
    def mail_at_once(self) -> int:
        """So much mail one Commit may deposit: whoever has more makes several of it."""
        return 1000

    @abstractmethod
    async def open(self) -> None:
        """Connects, and creates or migrates the schema. Idempotent.

        Raises:
            StoreNewer: The schema is of a newer Legato.
            StoreBusy: A single-process store is held by another process.
            StoreCorrupt: It is no store, or damaged.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finishes pending writes and disconnects. Idempotent."""

    @abstractmethod
    async def load(self, key: str) -> Loaded | None:
        """The conversation under `key` with the journal of its current epoch; None if none."""

    @abstractmethod
    async def commit(self, commit: Commit) -> Committed:
        """Applies a Commit atomically and durably (it survives a power cut once this returns).

        Checks in this order: update_id consumed before -> DUPLICATE; fence (`expect`) does not
        hold -> CONFLICT; else everything is written. Commits that run concurrently may share one
        transaction; each still succeeds or fails alone.

        Raises:
            StoreFull: No space; nothing of this commit was written.
            StoreTooMuch: It is more than this store writes at once, and never will be less.
        """

    @abstractmethod
    async def settle(self, settled: Sequence[Settled]) -> None:
        """Writes the fate of outbox items, durably. Unknown ids are ignored. Idempotent.

        "sent" removes the row and, if `message_id` and `ref` are set, keeps the message id so
        that `get("sent", f"{key}|{epoch}|{ref}")` returns it.
        """

    @abstractmethod
    async def due(
        self, now_ms: int, limit: int, *, slots: Collection[int] | None = None
    ) -> list[Conversation]:
        """Conversations with 0 < wake_ms <= now_ms, earliest first, at most `limit`.

        Failed and held ones never come. Nothing is claimed: firing twice is harmless, since the
        fence lets only one Turn through.
        """

    @abstractmethod
    async def outbox(
        self,
        *,
        states: Sequence[str],
        after: int = 0,
        limit: int = 1000,
        key: str = "",
        slots: Collection[int] | None = None,
    ) -> list[OutboxItem]:
        """Items in one of `states` with id > `after` (and of conversation `key`, if given),
        by id, at most `limit`.
        """

    @abstractmethod
    async def mail(
        self,
        *,
        key: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Mail]:
        """Events waiting in the mailbox (of `key`, else of all), in the order they were
        deposited, at most `limit`; `after` is the id of the last one seen.
        """

    @abstractmethod
    async def find(
        self,
        *,
        status: str = "",
        dialog: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Conversation]:
        """Conversations by key order, filtered by status and dialog where given, after key
        `after`, at most `limit`.
        """

    @abstractmethod
    async def get(self, space: str, name: str) -> bytes | None:
        """A value remembered by `Commit.puts` or by `settle`; None if there is none.

        `get("inbox", update_id)` tells whether an update was consumed: the reply kept with it
        (b"" if none), or None if it was not (or still waits in the mailbox).
        """
