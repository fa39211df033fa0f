"""Tries the web chat as a browser does: its page must be there and name its socket, and through that socket the
function must answer. So the API, its routes and permissions, the alias, the table and the role's right to write
to pages are known to work together.
"""

from __future__ import annotations

import asyncio
import html
import secrets
import time
from collections.abc import AsyncIterable

import msgspec

from legato.abc import HttpClient, HttpRequest, Store
from legato.deploy.aws import webhook
from legato.deploy.clock import SystemClock
from legato.deploy.connect import tls_context
from legato.deploy.function.websocket import record_of
from legato.errors import ConfigError, MissingExtra
from legato.model.records import Commit
from legato.platforms.web.visits import visitor

ANSWER_S = 15.0
"""For a connection and an answer; a function that works has been started by its page."""

_encode = msgspec.json.Encoder().encode
_news: msgspec.json.Decoder[dict[str, object]] = msgspec.json.Decoder(dict[str, object])


async def tried(store: Store, http: HttpClient, url: str, socket: str) -> webhook.Tried:
    """Loads the page and speaks through its socket, as a visitor who is forgotten afterwards.

    Raises:
        ConfigError: There is no such page, or nobody answers.
        StoreError: The visitor cannot be forgotten.
    """
    first_ms = await _page(http, url, socket)
    session = secrets.token_urlsafe(24)
    try:
        next_ms = await _until_answered(socket, session)
    finally:
        name = record_of(visitor(session) or "")
        await store.commit(Commit(at_ms=SystemClock().now_ms(), puts=((*name, None),)))
    return webhook.Tried("web", f"{url}/", first_ms, next_ms)


async def _page(http: HttpClient, url: str, socket: str) -> int:
    request = HttpRequest("GET", f"{url}/", {}, timeout_s=35)
    answer, ms = await webhook.until_open(http, request)
    if answer.status != 200 or html.escape(socket).encode() not in answer.body:
        raise ConfigError(
            f"{url}/ answers {answer.status} and is no page of the web chat that speaks through {socket}: does "
            "something else stand there? (`legato deploy aws logs` shows more)"
        )
    return ms


async def _until_answered(socket: str, session: str) -> int:
    """Milliseconds until the answer. A new API takes a moment until it is known everywhere."""
    pause_s, broken, why = webhook.PAUSE_S, 0, ""
    for _ in range(webhook.TRIES):
        started = time.monotonic()
        why, reached = await _said(socket, session)
        if not why:
            return round(1000 * (time.monotonic() - started))
        broken += reached
        if broken == webhook.BROKEN:
            break
        await asyncio.sleep(pause_s)
        pause_s = min(webhook.LONGEST_S, 2 * pause_s)
    raise ConfigError(
        f"the web chat's socket {socket}: {why} (`legato deploy aws logs` shows more)"
    )


async def _said(socket: str, session: str) -> tuple[str, bool]:
    """Asks for the whole chat: what went wrong, "" for nothing, and whether there was a connection."""
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException
    except ImportError as error:
        raise MissingExtra("trying the web chat", "deploy") from error
    tls = tls_context() if socket.startswith("wss:") else None
    reached = False
    try:
        async with asyncio.timeout(ANSWER_S), connect(socket, ssl=tls) as link:
            reached = True
            await link.send(_encode({"session": session, "seq": -1}).decode())
            why = await _answered(link)
    except TimeoutError:
        why = "the function writes nothing to its page" if reached else "no connection in time"
    except (OSError, WebSocketException, msgspec.MsgspecError) as error:
        why = f"{error}"[:300] or type(error).__name__
    return why, reached


async def _answered(link: AsyncIterable[str | bytes]) -> str:
    """Hears until the chat comes; what came instead, "" for nothing."""
    async for text in link:
        news = _news.decode(text)
        if "changes" in news:
            return ""
        if "message" in news:  # of the gateway: the function failed
            return f"the gateway says {news['message']!r:.200}"
    return "it was closed"


__all__ = ["tried"]
