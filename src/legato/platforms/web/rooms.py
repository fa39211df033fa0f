"""What each visitor sees, and the pages that show it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from msgspec import Struct

MOST_ROOMS = 1000
MOST_SHOWN = 300
MOST_WAITING = 500
"""Changes a page may be behind; a slower one is cut off, and gets everything when it comes back."""


class Entry(Struct, omit_defaults=True):
    """One message as the page shows it.

    Attributes:
        id: Of the message.
        mine: Whether the visitor wrote it.
        runs: The text: [text, names of the tags around it, address of a link or ""] each.
        buttons: Rows of {"text", "data", "url", "request", "say"}.
        media: {"kind", "url", "name"}, {} for none.
        marks: What else is to be told: "edited", "pinned", a reaction.
        reply_to: The message it answers, "" for none.
    """

    id: str
    mine: bool = False
    runs: list[list[object]] = []
    buttons: list[list[dict[str, object]]] = []
    media: dict[str, object] = {}
    marks: list[str] = []
    reply_to: str = ""


Change = tuple[str, object]
"""("history", all entries), ("show", an entry), ("delete", an id) or ("typing", None)."""


class Room:
    """One visitor's chat. Belongs to one event loop.

    Attributes:
        entries: By message id, in the order they are shown.
        files: Local paths of media, by message id.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.files: dict[str, str] = {}
        self._pages: set[asyncio.Queue[Change | None]] = set()

    @property
    def watched(self) -> bool:
        """Whether a page shows it."""
        return bool(self._pages)

    def open(self) -> asyncio.Queue[Change | None]:
        """A page comes: its queue begins with the whole history; None in it is the end."""
        page: asyncio.Queue[Change | None] = asyncio.Queue(MOST_WAITING + 2)
        page.put_nowait(("history", list(self.entries.values())))
        self._pages.add(page)
        return page

    def leave(self, page: asyncio.Queue[Change | None]) -> None:
        """A page goes. Idempotent."""
        self._pages.discard(page)

    def close(self) -> None:
        """Ends the streams of all pages."""
        for page in list(self._pages):
            self._pages.discard(page)
            page.put_nowait(None)

    def show(self, entry: Entry) -> None:
        """A message is new, or looks different from now on."""
        self.entries[entry.id] = entry
        while len(self.entries) > MOST_SHOWN:
            oldest = next(iter(self.entries))
            del self.entries[oldest]
            self.files.pop(oldest, None)
        self.tell(("show", entry))

    def delete(self, message: str) -> None:
        """A message is gone. Idempotent."""
        self.entries.pop(message, None)
        self.files.pop(message, None)
        self.tell(("delete", message))

    def tell(self, change: Change) -> None:
        """Passes a change on to all pages."""
        for page in list(self._pages):
            if page.qsize() >= MOST_WAITING:
                self._pages.discard(page)
                page.put_nowait(None)
            else:
                page.put_nowait(change)


class Rooms:
    """All visitors. The longest unused ones that no page shows are forgotten."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[str, Room] = OrderedDict()

    def of(self, user: str) -> Room:
        """The chat of a visitor."""
        room = self._rooms.get(user)
        if room is None:
            room = self._rooms[user] = Room()
            self._forget()
        self._rooms.move_to_end(user)
        return room

    def _forget(self) -> None:
        for user in list(self._rooms):
            if len(self._rooms) <= MOST_ROOMS:
                return
            if not self._rooms[user].watched and user != next(reversed(self._rooms)):
                del self._rooms[user]

    def close(self) -> None:
        """Ends all streams."""
        for room in self._rooms.values():
            room.close()
