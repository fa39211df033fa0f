"""Live conversations kept in memory: optional and invisible, least recently used go first."""

from __future__ import annotations

from collections.abc import Callable

from legato.engine.versions import Live
from legato.model.records import WAITING, Conversation


class LiveCache:
    """Invariant: every entry waits, and its driver stands where its row says.

    Args:
        size: How many; 0 keeps none, so that every Turn is a replay.
    """

    __slots__ = ("_entries", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[str, Live] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Live | None:
        """The entry, which stays."""
        return self._entries.get(key)

    def take(self, key: str) -> Live | None:
        """The entry, which goes: whoever takes it puts it back with `keep`."""
        return self._entries.pop(key, None)

    def keep(self, live: Live) -> None:
        """Puts a conversation in, if it can go on from here, else lets it leave memory."""
        if live.driver.done is not None:
            return
        if live.conversation.status != WAITING or not self._size:
            live.driver.evict()
            return
        key = live.conversation.key
        if self._entries.get(key, live) is not live:
            self._entries.pop(key).driver.evict()
        self._entries[key] = live
        if len(self._entries) > self._size:
            self._entries.pop(next(iter(self._entries))).driver.evict()

    def refresh(self, key: str, row: Conversation | None) -> bool:
        """Drops the entry if its row is another than `row`, which is stored (None: there is none):
        an operator's tool or another process has written since. True if it did.
        """
        live = self._entries.get(key)
        if live is None or (row is not None and _fence(live.conversation) == _fence(row)):
            return False
        self._entries.pop(key).driver.evict()
        return True

    def drop(self, gone: Callable[[str], bool]) -> None:
        """Evicts the conversations whose key is `gone`; they go on where they are stored."""
        for key in [key for key in self._entries if gone(key)]:
            self._entries.pop(key).driver.evict()

    def clear(self) -> None:
        """Evicts all; the conversations go on where they are stored."""
        while self._entries:
            self._entries.popitem()[1].driver.evict()


def _fence(row: Conversation) -> tuple[int, int]:
    return row.epoch, row.head
