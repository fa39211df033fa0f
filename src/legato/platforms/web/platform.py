"""The Web platform: what visitors write becomes events, what bots say becomes entries of a page."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from legato.abc.clock import Clock
from legato.abc.http import HttpClient, HttpRequest
from legato.abc.platform import Capabilities, Limits, Parsed, Platform, Verdict
from legato.errors import Forged, Malformed, Unsupported
from legato.model.events import (
    Address,
    Attachment,
    Contact,
    Location,
    User,
)
from legato.model.messages import Message, Outgoing, Raw, Typing
from legato.model.records import Call
from legato.platforms._markup import html, markdown
from legato.platforms._own import call_of, pressed, wrote
from legato.platforms._text import clean
from legato.platforms.web.rooms import Entry, Room, Rooms

_HREF = re.compile(r'<a\s+href="((?:https?://|mailto:|tel:)[^"]*)">')
_PLAIN_TAGS = frozenset(("b", "i", "code", "pre", "a"))


class Said(Struct, omit_defaults=True):
    """One raw update.

    Attributes:
        id: Unique over all runs.
        user: The visitor.
        at_ms: When.
        text: What was typed; not used with `data`.
        data: Payload of the button that was pressed.
        message: The message the button stands under.
        phone: A contact that was shared.
        location: A place that was shared: latitude, longitude.
    """

    id: str
    user: str
    at_ms: int = 0
    text: str = ""
    data: str = ""
    message: str = ""
    phone: str = ""
    location: tuple[float, float] | None = None


_said = msgspec.json.Decoder(Said)


class Web(Platform):
    """Visitors of the web chat.

    Args:
        clock: Time.
        prefixes: What a command may begin with.
    """

    __slots__ = (
        "_clock",
        "_count",
        "_prefixes",
        "_rooms",
        "_started",
        "bot",
        "capabilities",
        "limits",
        "name",
        "secrets",
    )

    def __init__(self, clock: Clock, *, prefixes: tuple[str, ...] = ("/", "!")) -> None:
        self.name: str = "web"
        self.bot: str = "page"
        self.capabilities: Capabilities = Capabilities()
        self.limits: Limits = Limits()
        self.secrets: tuple[str, ...] = ()
        self._clock = clock
        self._prefixes = tuple(filter(None, prefixes))
        self._rooms = Rooms()
        self._started = clock.now_ms()
        self._count = 0

    def room(self, user: str) -> Room:
        """The chat of a visitor."""
        return self._rooms.of(user)

    def close(self) -> None:
        """Ends the streams of all pages. Idempotent."""
        self._rooms.close()

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._started}-{self._count}"

    # -- in -----------------------------------------------------------------------------------

    def writes(self, user: str, said: Said) -> tuple[str, bytes]:
        """A visitor wrote or pressed something: shows it on the visitor's pages.

        Args:
            user: The visitor.
            said: What; its id, user and time are set here.

        Returns:
            The message's id, and the raw update for the runtime.
        """
        said = replace(said, id=self._next_id(), user=user, at_ms=self._clock.now_ms())
        entry = entry_of(said)
        if entry is not None:
            self.room(user).show(entry)
        return said.id, update_of(said)

    def verify(self, request: HttpRequest) -> None:
        raise Forged("the web chat has no webhook: its requests carry a visitor's session")

    def parse(self, body: bytes) -> Parsed:
        try:
            said = _said.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Malformed(f"web update: {error}"[:500]) from error
        if not said.user:
            raise Malformed("web update: it has no user")
        who = User(said.user, "Guest")
        place = Address(self.name, self.bot, said.user, said.user)
        if said.data:
            return pressed(place, who, said.at_ms, data=said.data, message=said.message, id=said.id)
        return wrote(
            place, who, said.at_ms, said.text, said.id,
            prefixes=self._prefixes, attachments=_attachments(said, who),
        )  # fmt: skip

    # -- out ----------------------------------------------------------------------------------

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        if isinstance(out, Typing):
            return [Call("typing", idempotent=True)]
        if isinstance(out, Raw):
            raise Unsupported(f"the web chat has no method {out.method[:80]!r}")
        return [call_of(out, _params)]

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        return self.carry_out(self.room(place.chat), call, self._next_id)

    def carry_out(self, room: Room, call: Call, new_id: Callable[[], str]) -> Verdict:
        """Shows in a room what a call says.

        Args:
            room: The visitor's.
            call: As `render` made it.
            new_id: Gives the id of a new message.
        """
        params = call.params
        message = str(params.get("message", ""))
        if call.method == "say":
            message = new_id()
            self._show(room, Entry(message, reply_to=str(params.get("reply_to", ""))), params)
        elif call.method == "typing":
            room.tell(("typing", None))
        elif call.method == "delete":
            room.delete(message)
        elif message not in room.entries:
            return Verdict("refused", error="this message is not shown any more")
        elif call.method == "edit":
            before = room.entries[message]
            marks = ["edited", *(m for m in before.marks if m != "edited")]
            self._show(room, replace(before, marks=marks), params)
        else:
            room.show(_marked(room.entries[message], params))
        return Verdict("sent", message)

    @staticmethod
    def _show(room: Room, entry: Entry, params: dict[str, object]) -> None:
        media = msgspec.convert(params.get("media", {}), dict[str, object])
        room.files.pop(entry.id, None)
        path = str(media.pop("path", ""))
        if path:
            media["url"] = f"/web/media/{entry.id}"
        room.show(
            replace(
                entry,
                runs=msgspec.convert(params["runs"], list[list[object]]),
                buttons=msgspec.convert(params.get("buttons", []), list[list[dict[str, object]]]),
                media=media,
            )
        )
        if path:
            room.files[entry.id] = path


def entry_of(said: Said) -> Entry | None:
    """How the page shows what its visitor said; None for a button."""
    text = said.text or said.phone
    if said.location is not None:
        text = "{}, {}".format(*said.location)
    return Entry(said.id, mine=True, runs=[[clean(text), [], ""]]) if text else None


def update_of(said: Said) -> bytes:
    """The raw update for the runtime."""
    return msgspec.json.encode(replace(said, text=clean(said.text)))


def _attachments(said: Said, who: User) -> tuple[Attachment, ...]:
    found: list[Attachment] = []
    if said.phone:
        found.append(Contact(said.phone, who.name, who.id))
    if said.location is not None:
        found.append(Location(*said.location))
    return tuple(found)


def _marked(entry: Entry, params: dict[str, object]) -> Entry:
    """The entry with a reaction or a pin, or without."""
    kept = [m for m in entry.marks if m == "edited" or (m == "pinned") == ("emoji" in params)]
    new = str(params["emoji"]) if "emoji" in params else "pinned" if params["pinned"] else ""
    return replace(entry, marks=[*kept, new] if new else kept)


def _params(message: Message) -> dict[str, object]:
    """What a page needs of a message, as JSON builtins."""
    params: dict[str, object] = {"runs": _runs(clean(message.text), message.format)}
    media = message.media
    if media is not None:
        params["media"] = {
            "kind": media.kind,
            "name": clean(media.name or media.path or media.id),
            **({"url": media.url} if media.url.startswith(("http://", "https://")) else {}),
            **({"path": media.path} if media.path else {}),
        }
    if message.buttons and message.keyboard != "remove":
        reply = message.keyboard == "reply"
        params["buttons"] = [
            [
                {
                    "text": clean(b.text),
                    "data": clean(b.payload),
                    "url": b.url if b.url.startswith(("http://", "https://")) else "",
                    "request": b.request,
                    "say": reply,
                }
                for b in row
            ]
            for row in message.buttons
        ]
    return params


def _runs(text: str, format: str) -> list[list[object]]:
    """The text as the page builds it: nothing of it is ever read as HTML there."""
    if format == "markdown":
        runs = markdown(text)
    elif format == "html":
        runs = html(text)
    else:
        return [[text, [], ""]] if text else []
    found: list[list[object]] = []
    for part, tags in runs:
        links = [match[1] for opening, _ in tags if (match := _HREF.fullmatch(opening))]
        names = [name for _, name in tags if name in _PLAIN_TAGS]
        found.append([part, names, links[0].replace("&amp;", "&") if links else ""])
    return found
