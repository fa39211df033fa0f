"""Groups that became supergroups: Telegram gives them a new id. Pure.

Here they keep the old one, so that dialogs that wait there go on: what comes from the new id is taken to
come from the old one, and what is sent to the old one goes to the new one. Both the old group and the new
one tell of it in a message, and Telegram refuses calls to the old id with the new one.
"""

from __future__ import annotations

import msgspec


class Moves:
    """The groups that have moved, as far as is known.

    Attributes:
        news: Whether something was learned since `kept` was last asked.
    """

    __slots__ = ("_new", "_old", "news")

    def __init__(self) -> None:
        self._new: dict[str, str] = {}
        self._old: dict[str, str] = {}
        self.news: bool = False

    def learn(self, old: str, new: str) -> None:
        """A group has a new id."""
        old = self.old(old)
        if old != new and self._new.get(old) != new:
            self._old[new] = old
            self._new[old] = new
            self.news = True

    def old(self, chat: str) -> str:
        """The id that a chat had at first: the one that it has here."""
        return self._old.get(chat, chat)

    def readdressed(self, params: dict[str, object]) -> dict[str, object]:
        """A call's parameters with the ids that chats have now."""
        if not self._new:
            return params
        changed = {
            name: int(new)
            for name in ("chat_id", "from_chat_id")
            if name in params and (new := self._new.get(str(params[name]))) is not None
        }
        return params | changed if changed else params

    def kept(self) -> bytes:
        """All of them, for the store."""
        self.news = False
        return msgspec.json.encode(self._new)

    def take(self, kept: bytes) -> None:
        """What another process's `kept` gave."""
        news = self.news
        for old, new in msgspec.json.decode(kept, type=dict[str, str]).items():
            self._old.setdefault(new, old)
            self._new.setdefault(old, new)
        self.news = news


__all__ = ["Moves"]
