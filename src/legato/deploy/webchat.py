"""Serves the web chat: its page, a visitor's messages in, a stream of what is shown out.

    GET  /               the page; gives the browser a session
    GET  /web/chat.js, /web/chat.css
    GET  /web/events     server-sent events: the history, then every change
    GET  /web/media/{id} a local file that the bot showed in this session
    POST /web/messages   {"text"}, {"phone"} or {"location"}
    POST /web/buttons    {"message", "data"}

A session is a cookie that scripts cannot read and other sites do not send. Posts must carry a header
that no form and no other origin can set; on a loopback address the Host must be one too, so that no page
of a stranger's name reaches a bot on this machine (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path

import msgspec

from legato.app.runtime import Runtime
from legato.deploy.http import (
    Disconnected,
    Receive,
    Scope,
    Send,
    TooLarge,
    answer,
    read_body,
)
from legato.errors import StoreError, Unavailable
from legato.platforms.web import Room, Web
from legato.platforms.web.platform import Said
from legato.platforms.web.visits import Posted, said, visitor

COOKIE = "legato_session"
PROOF = "x-legato-chat"
BODY_LIMIT = 64_000
FILE_LIMIT = 50_000_000
BEAT_S = 15.0
"""Between signs of life in a silent stream, so that no proxy takes it for dead."""

log: logging.Logger = logging.getLogger("legato.web")

_FOLDER = Path(__file__).parent.parent / "platforms" / "web"
_STATIC = {
    "/": ("page.html", b"text/html; charset=utf-8"),
    "/web/chat.js": ("chat.js", b"text/javascript; charset=utf-8"),
    "/web/chat.css": ("chat.css", b"text/css; charset=utf-8"),
}
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_SAFE = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self' data: http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_POLICY = (b"content-security-policy", _POLICY)
_FILE_POLICY = (b"content-security-policy", b"default-src 'none'; sandbox")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


_posted = msgspec.json.Decoder(Posted)
_encode = msgspec.json.Encoder().encode


class WebChat:
    """An ASGI application below an Endpoint.

    Args:
        runtime: Takes what visitors write.
        web: Holds what they see.
        name: Of the bot, for the page.
        host: Where the server listens.
    """

    def __init__(self, runtime: Runtime, web: Web, name: str, host: str) -> None:
        self._runtime = runtime
        self._web = web
        self._name = name
        self._local = host in _LOOPBACK
        self._files = {path: (_FOLDER / file).read_bytes() for path, (file, _) in _STATIC.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        path, method = scope["path"], scope["method"]
        posts = path in ("/web/messages", "/web/buttons")
        if not self._is_own(headers):
            await answer(send, 403, b"this chat is for its own page", (_TEXT,))
        elif method != ("POST" if posts else "GET"):
            allow = (b"allow", b"POST" if posts else b"GET")
            await answer(send, 405, b"wrong method", (_TEXT, allow))
        elif path in _STATIC:
            await self._page(path, headers, send)
        elif posts:
            await self._post(headers, scope, receive, send)
        elif path == "/web/events":
            await self._events(headers, receive, send)
        elif path.startswith("/web/media/"):
            await self._media(path.removeprefix("/web/media/"), headers, send)
        else:
            await answer(send, 404, b"not found", (_TEXT,))

    def _is_own(self, headers: dict[str, str]) -> bool:
        """Whether the request comes from our own page, or a person who opens it."""
        host = headers.get("host", "")
        name = host.rpartition(":")[0] or host
        if self._local and name.strip("[]") not in _LOOPBACK:
            return False
        origin = headers.get("origin", "")
        return not origin or origin.partition("://")[2] == host

    # -- pages --------------------------------------------------------------------------------

    async def _page(self, path: str, headers: dict[str, str], send: Send) -> None:
        extra: list[tuple[bytes, bytes]] = [(b"content-type", _STATIC[path][1]), *_SAFE]
        if path == "/":
            extra.append(_PAGE_POLICY)
            if _session(headers) is None:
                cookie = f"{COOKIE}={secrets.token_urlsafe(24)}; Path=/; HttpOnly; SameSite=Strict"
                extra.append((b"set-cookie", cookie.encode()))
        await answer(send, 200, self._files[path], tuple(extra))

    async def _media(self, message: str, headers: dict[str, str], send: Send) -> None:
        user = _session(headers)
        path = self._web.room(user).files.get(message) if user else None
        data = await asyncio.to_thread(_content, path) if path else None
        if data is None:
            await answer(send, 404, b"not found", (_TEXT,))
            return
        await answer(send, 200, data, (_kind_of(data), *_SAFE, _FILE_POLICY))

    # -- in -----------------------------------------------------------------------------------

    async def _post(
        self, headers: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        user = _session(headers)
        if user is None or PROOF not in headers:
            await answer(send, 403, b"open the page first", (_TEXT,))
            return
        try:
            wrote = _read(await read_body(scope, receive, BODY_LIMIT), scope["path"])
            await self._take(user, wrote)
        except TooLarge:
            close = (b"connection", b"close")
            await answer(send, 413, b"too long", (_TEXT, close))
        except Disconnected:
            return
        except (msgspec.MsgspecError, ValueError, RecursionError):
            await answer(send, 400, b"that is no message", (_TEXT,))
        except (Unavailable, StoreError) as error:
            log.warning("a message was not taken: %s", error)
            await answer(send, 503, b"try again", (_TEXT, (b"retry-after", b"1")))
        else:
            await answer(send, 204)

    async def _take(self, user: str, wrote: Said) -> None:
        """Shows a message, since the answer may come before this returns, and hands it over; one that
        was not taken is not shown any more.
        """
        message, body = self._web.writes(user, wrote)
        try:
            await self._runtime.receive(self._web, body)
        except BaseException:
            self._web.room(user).delete(message)
            raise

    # -- out ----------------------------------------------------------------------------------

    async def _events(self, headers: dict[str, str], receive: Receive, send: Send) -> None:
        user = _session(headers)
        if user is None:
            await answer(send, 403, b"open the page first", (_TEXT,))
            return
        stream = (b"content-type", b"text/event-stream; charset=utf-8")
        unbuffered = (b"x-accel-buffering", b"no")
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [stream, unbuffered, *_SAFE],
            }
        )
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await self._stream(self._web.room(user), gone, send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _stream(self, room: Room, gone: asyncio.Task[None], send: Send) -> None:
        """Writes the room's changes until the page leaves or the room closes."""
        page = room.open()
        head = b"retry: 1000\nevent: name\ndata: %b\n\n" % _encode(self._name)
        await send({"type": "http.response.body", "body": head, "more_body": True})
        change = asyncio.create_task(page.get())
        try:
            while True:
                await asyncio.wait(
                    {change, gone}, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if gone.done():
                    return
                body = b": alive\n\n"
                if change.done():
                    found = change.result()
                    if found is None:
                        return
                    body = b"event: %b\ndata: %b\n\n" % (found[0].encode(), _encode(found[1]))
                    change = asyncio.create_task(page.get())
                await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            room.leave(page)
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)


def _session(headers: dict[str, str]) -> str | None:
    """Who the visitor is, by the cookie."""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        user = visitor(value) if name == COOKIE else None
        if user is not None:
            return user
    return None


def _read(body: bytes, path: str) -> Said:
    """What a page posted.

    Raises:
        ValueError, msgspec.MsgspecError: It is no message.
    """
    return said(_posted.decode(body), pressed=path == "/web/buttons")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _content(path: str) -> bytes | None:
    try:
        file = Path(path)
        return file.read_bytes() if file.stat().st_size <= FILE_LIMIT else None
    except OSError:
        return None


def _kind_of(data: bytes) -> tuple[bytes, bytes]:
    """Pictures by their first bytes; everything else is only to be saved."""
    kinds = {
        b"\x89PNG": b"image/png",
        b"\xff\xd8\xff": b"image/jpeg",
        b"GIF8": b"image/gif",
        b"RIFF": b"image/webp",
    }
    kind = next((k for start, k in kinds.items() if data.startswith(start)), None)
    return (b"content-type", kind or b"application/octet-stream")


__all__ = ["WebChat"]
