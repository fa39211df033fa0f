"""The web chat on AWS: pages talk with the function through an API Gateway WebSocket API.

    $connect, $disconnect   nothing is known of who it is yet, nothing is kept: answered at once
    any other route         a frame of a page, {"session", "seq", "id", "text" | "data" | "phone" | "location"};
                            without an id it only says who is there, and up to where it has seen everything

    back to the page        {"seq", "changes": [["show", entry] ...]}, {"taken": id}, {"again": id, "after_s"},
                            {"refused": id, "why"}; a longer text in pieces {"of", "part", "more"}

Who a page speaks for is told by the secret of its session, in each frame; never by the connection, whose id
anybody may learn. What a visitor sees is kept in the store before it is pushed, together with the
connections that show it. So a push that gets lost, or finds the connection gone (410), loses nothing: the page
sees by the number `seq` that something is missing, and is given everything. A page repeats what it wrote
until that was taken; the id keeps it from being worked on twice. Whoever neither wrote nor was written to for
eight days is forgotten, with the ids of their messages, by the purge that goes by age.

API Gateway closes a connection after 10 silent minutes, and after 2 hours. A frame to a page has at most
128 KB, one from it 32 KB.

Read on 2026-11-29: https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html,
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
"""

from __future__ import annotations

import html
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from legato.abc import Clock, HttpClient, HttpRequest, HttpResponse, Store, Verdict
from legato.deploy.function.connections import api_of, post
from legato.errors import ConfigError, StoreError, StoreUnavailable, Unavailable
from legato.model.events import Address
from legato.model.messages import Outgoing
from legato.model.records import COMMITTED, SENT, Call, Commit
from legato.platforms.web import Room, Web
from legato.platforms.web.platform import Said, entry_of, update_of
from legato.platforms.web.rooms import Change, Entry
from legato.platforms.web.visits import Posted, said, visitor

if TYPE_CHECKING:
    from legato.app.runtime import Runtime
    from legato.deploy.function.core import Function

MOST_BYTES = 200_000
"""Of what one visitor sees; of more, the oldest is forgotten."""
MOST_LINKS = 5
TRIES = 20

log: logging.Logger = logging.getLogger("legato.web")

_FOLDER = Path(__file__).parent.parent.parent / "platforms" / "web"
_FILES = {
    "/web/chat.js": "text/javascript",
    "/web/chat.css": "text/css",
    "/web/socket.js": "text/javascript",
}
_SCRIPT = '<script src="/web/chat.js">'


class Frame(Posted):
    """What a page sends.

    Attributes:
        session: The secret of the visitor's session.
        seq: Number of the last change that the page has seen, -1 for none.
        id: Of a message, made by the page; "" = none is sent.
    """

    session: str = ""
    seq: int = -1
    id: str = ""


class Kept(Struct, omit_defaults=True):
    """What the store has of one visitor.

    Attributes:
        version: Counts writes: of two at the same time, one is refused.
        seq: Counts changes of what is seen. It begins at the time: a page may come back that has seen what
            was forgotten since, and must not take what is new for old.
        entries: What is seen, in order.
        links: Connections that show it, and where their API is; the newest is the last.
    """

    version: int = 0
    seq: int = 0
    entries: list[Entry] = []
    links: dict[str, str] = {}


_ID = re.compile(r"[\w-]{1,40}", re.ASCII)
_kept = msgspec.json.Decoder(Kept)
_frame = msgspec.json.Decoder(Frame)
_encode = msgspec.json.Encoder().encode


class SocketWeb(Web):
    """The web chat where no process holds a connection: everything is in the store.

    Args:
        clock: Time.
        socket: Address of the WebSocket, for the page.
        title: Of the page.
        prefixes: What a command may begin with.
    """

    __slots__ = ("_store", "socket", "title")

    def __init__(
        self, clock: Clock, socket: str, title: str, *, prefixes: tuple[str, ...] = ("/", "!")
    ) -> None:
        super().__init__(clock, prefixes=prefixes)
        self.socket: str = socket
        self.title: str = title
        self._store: Store | None = None

    async def load(self, store: Store) -> None:
        self._store = store

    # -- out ----------------------------------------------------------------------------------

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        """As for every web chat. A new message has its id before it is sent, so that sending it again
        shows it once; a file of this machine is only named, since the next one has it not.
        """
        calls = super().render(out, place)
        for call in calls:
            media = call.params.get("media")
            if isinstance(media, dict):
                media.pop("path", None)
            if call.method == "say":
                call.params["id"] = os.urandom(9).hex()
        return calls

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        def carry_out(room: Room) -> Verdict:
            return self.carry_out(room, call, lambda: str(call.params["id"]))

        try:
            verdict, kept, changes = await self.change(place.chat, carry_out)
            failed = await self.push(place.chat, kept, changes, http)
        except StoreError as error:
            return Verdict("retry", error=str(error))
        return verdict if verdict.outcome != "sent" else failed or verdict

    async def push(
        self, user: str, kept: Kept, changes: list[Change], http: HttpClient
    ) -> Verdict | None:
        """Tells all pages of a visitor; returns what went wrong with the newest one. Those that are gone
        are forgotten, and so are older ones that cannot be reached: they come back with their next frame.

        Raises:
            StoreError: The store cannot be written now.
        """
        if not changes:
            return None
        lasting = any(name != "typing" for name, _ in changes)
        news: dict[str, object] = {"changes": changes} | ({"seq": kept.seq} if lasting else {})
        failed: Verdict | None = None
        gone: set[str] = set()
        for connection, api in kept.links.items():
            verdict = await post(http, api, connection, news)
            newest = connection == next(reversed(kept.links))
            if verdict.outcome == "gone" or (verdict.outcome != "sent" and not newest):
                gone.add(connection)
            elif verdict.outcome != "sent":
                failed = verdict
        if gone:
            await self.change(user, lambda room: None, without=gone)
        return failed

    # -- the store ----------------------------------------------------------------------------

    async def change(
        self,
        user: str,
        act: Callable[[Room], Any],
        *,
        link: tuple[str, str] | None = None,
        without: set[str] | frozenset[str] = frozenset(),
    ) -> tuple[Any, Kept, list[Change]]:
        """Changes what a visitor sees, and keeps it.

        Args:
            user: The visitor.
            act: Does it; again, if another process was faster.
            link: A connection that shows it from now on, and its API.
            without: Connections that are gone.

        Returns:
            What `act` returned, what is kept now, and the changes.

        Raises:
            StoreError: Nothing was written.
        """
        assert self._store is not None
        for _ in range(TRIES):
            found = await self._store.get(*record_of(user))
            kept = _kept.decode(found) if found else Kept(seq=self._clock.now_ms())
            room = Room()
            room.entries = {entry.id: entry for entry in kept.entries}
            page = room.open()
            page.get_nowait()  # what was there before
            result = act(room)
            changes: list[Change] = []
            while not page.empty():
                news = page.get_nowait()
                if news is not None:
                    changes.append(news)
            links = {name: api for name, api in kept.links.items() if name not in without}
            if link is not None:
                links[link[0]] = link[1]
                links = dict([*links.items()][-MOST_LINKS:])
            lasting = any(name != "typing" for name, _ in changes)
            if not lasting and links == kept.links:
                return result, kept, changes
            fresh = Kept(
                kept.version + 1, kept.seq + lasting, _newest([*room.entries.values()]), links
            )
            commit = Commit(
                at_ms=self._clock.now_ms(),
                update_id=f"web:room:{user}:{fresh.version}",  # whoever is second finds it consumed
                puts=((*record_of(user), _encode(fresh)),),
            )
            if (await self._store.commit(commit)).result == COMMITTED:
                return result, fresh, changes
        raise StoreUnavailable("too many change the same chat at once")


def record_of(user: str) -> tuple[str, str]:
    """Where the store has what a visitor sees: among what is forgotten by its age."""
    return SENT, f"web|{user}"


def _newest(entries: list[Entry]) -> list[Entry]:
    """As many as may be kept; always the last one."""
    size = 0
    for index in range(len(entries) - 1, -1, -1):
        size += len(_encode(entries[index]))
        if size > MOST_BYTES:
            return entries[min(index + 1, len(entries) - 1) :]
    return entries


# -- frames of pages ----------------------------------------------------------------------------


async def handled(function: Function, event: dict[str, Any], budget_s: float) -> dict[str, Any]:
    """Answers one event of a WebSocket API.

    Raises:
        ConfigError: The bot has no web chat, or nobody may post to its pages.
        StoreError: The store cannot be used like this; the page comes again.
    """
    about = event["requestContext"]
    if about["eventType"] != "MESSAGE":
        return {"statusCode": 200}
    from legato.deploy.function.aws import read_body

    try:
        frame = _frame.decode(read_body(event))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {"statusCode": 400}
    user = visitor(frame.session)
    if user is None:
        return {"statusCode": 403}
    if frame.id and not _ID.fullmatch(frame.id):
        return {"statusCode": 400}
    link = str(about["connectionId"]), api_of(about)
    try:
        return {"statusCode": await _came(function, user, frame, link, budget_s)}
    except (Unavailable, StoreUnavailable) as error:
        log.warning("a page is to come again: %s", error)
        return {"statusCode": 503}


async def _came(
    function: Function, user: str, frame: Frame, link: tuple[str, str], budget_s: float
) -> int:
    async with function.invoked(budget_s) as runtime:
        web = function.platform("web")
        if not isinstance(web, SocketWeb):
            raise ConfigError(
                "a page of the web chat wrote, and LEGATO_WEB_SOCKET is not set: set it to the address of "
                "the WebSocket API (wss://...)"
            )
        if frame.id:
            return await _wrote(function, runtime, web, user, frame, link=link)
        kept = (await web.change(user, lambda room: None, link=link))[1]
        if kept.seq != frame.seq:
            news = {"seq": kept.seq, "changes": [("name", web.title), ("history", kept.entries)]}
            await post(runtime.http, link[1], link[0], news)
    return 200


async def _wrote(
    function: Function,
    runtime: Runtime,
    web: SocketWeb,
    user: str,
    frame: Frame,
    *,
    link: tuple[str, str],
) -> int:
    """A visitor wrote or pressed something: shows it, works on it, and says that it was taken."""
    name = frame.id
    try:
        wrote = said(frame, pressed=bool(frame.data))
    except ValueError as error:
        await post(runtime.http, link[1], link[0], {"refused": name, "why": str(error)})
        return 200
    wrote = msgspec.structs.replace(
        wrote, id=f"{user}.{name}", user=user, at_ms=function.clock.now_ms()
    )
    status = 200
    news: dict[str, object] = {"taken": name}
    try:
        _, kept, changes = await web.change(user, lambda room: _show(room, wrote), link=link)
        await web.push(user, kept, changes, runtime.http)
        await function.taken(runtime, web, update_of(wrote))
    except (Unavailable, StoreError) as error:
        log.warning("a message was not taken, its page repeats it: %s", error)
        wait_s = error.retry_after_s if isinstance(error, Unavailable) else 1
        status, news = 503, {"again": name, "after_s": max(1, wait_s)}
    await post(runtime.http, link[1], link[0], news)
    return status


def _show(room: Room, wrote: Said) -> None:
    entry = entry_of(wrote)
    if entry is not None and entry.id not in room.entries:
        room.show(entry)


# -- the page -----------------------------------------------------------------------------------


async def page(function: Function, request: HttpRequest, budget_s: float) -> HttpResponse | None:
    """The page of the web chat and its files; None if something else is asked for, or there is no such chat."""
    path = request.url.partition("?")[0]
    if path != "/" and path not in _FILES:
        return None
    try:
        async with function.invoked(budget_s):
            web = function.platform("web")
    except (Unavailable, StoreUnavailable) as error:
        from legato.deploy.function.answers import later

        return later(str(error), 1)
    if not isinstance(web, SocketWeb):
        return None
    headers = {
        "content-type": f"{_FILES.get(path, 'text/html')}; charset=utf-8",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    if path != "/":
        return HttpResponse(200, headers, (_FOLDER / path.rpartition("/")[2]).read_bytes())
    parts = urlsplit(web.socket)
    headers["content-security-policy"] = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src {parts.scheme}://{parts.netloc}; "
        "img-src 'self' data: http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    meta = f'<meta name="legato-socket" content="{html.escape(web.socket)}">\n'
    text = (_FOLDER / "page.html").read_text("utf-8").replace("</head>", f"{meta}</head>")
    text = text.replace(_SCRIPT, f'<script src="/web/socket.js"></script>\n{_SCRIPT}')
    text = text.replace('"/web/', '"web/')  # a gateway may serve us below a path of its own
    return HttpResponse(200, headers, text.encode())


__all__ = ["SocketWeb", "handled", "page", "record_of"]
