"""The HTTP side of `legato functions`.

    *    /{function}/...                                the function's URL (payload version 2.0)
    POST /2015-03-31/functions/{function}/invocations   Invoke, as at AWS; what SDKs call
    GET  /                                              which functions there are
    GET  /-/status, /-/meter, /-/logs/{function}        for whoever operates it
    GET  /healthz                                       200 while requests are taken

All but the function URLs and /healthz are for this machine only: whoever comes from elsewhere, or through
a proxy (it says so by X-Forwarded-For), or from a page in a browser (Origin; or a name in Host that somebody let
point here), is told that there is no such thing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64decode
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

from legato.deploy.http import (
    JSON,
    Disconnected,
    Receive,
    Scope,
    Send,
    TooLarge,
    answer,
    discard,
    read_body,
)
from legato.errors import ConfigError
from legato.functions.config import as_table
from legato.functions.events import HttpAnswer, HttpCall, url_answer, url_event
from legato.functions.host import Host
from legato.functions.meter import Price
from legato.functions.outcome import Outcome
from legato.functions.pool import Busy
from legato.functions.runtime_api import BODY_LIMIT

INVOKE = "/2015-03-31/functions/"
THROUGH_A_PROXY = {b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via", b"origin"}
HOP = (b"connection", b"transfer-encoding", b"keep-alive", b"upgrade")

log: logging.Logger = logging.getLogger("legato.functions")


class Front:
    """The ASGI application.

    Args:
        host: Runs the functions.
        price: What the meter reckons with.

    Attributes:
        draining: Set once the process is about to end: /healthz says so.
    """

    def __init__(self, host: Host, price: Price) -> None:
        self._host = host
        self._price = price
        self.draining: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no such thing is served: {scope['type']}")
        raw = scope.get("raw_path") or scope["path"].encode()
        path = raw.decode("latin-1")
        name, slash, rest = path[1:].partition("/")
        try:
            if path == "/healthz":
                status, text = (503, b"draining") if self.draining else (200, b"ok")
                await answer(send, status, text)
            elif unquote(name) in self._host.functions:
                await self._url(unquote(name), slash + rest or "/", scope, receive, send)
            elif not _is_local(scope):
                await _told(send, 404, {"message": "Not Found"})
            elif scope["method"] == "POST" and path.startswith(INVOKE):
                await self._invoke(path, scope, receive, send)
            else:
                await self._operator(path, scope["method"], send)
        except TooLarge:
            await discard(scope, receive)
            await _told(send, 413, {"message": "Request Too Long"})
        except Disconnected:
            return  # nobody is there to be answered
        except asyncio.CancelledError:
            if not self.draining:
                raise
            await _told(
                send, 503, {"Message": "Service Unavailable"}
            )  # it took longer than the end may

    # -- function URLs ------------------------------------------------------------------------

    async def _url(self, name: str, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(scope, receive, BODY_LIMIT)
        client = scope.get("client")
        call = HttpCall(
            method=scope["method"],
            path=path,
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=[pair for pair in scope["headers"] if pair[0] not in HOP],
            body=body,
            client=client[0] if client else "",
        )
        event = url_event(self._host.functions[name], call, datetime.now(UTC))
        try:
            made = _answered(name, await self._host.invoke(name, event))
        except Busy:
            made = _message(429, "Too Many Requests")
        except ConfigError as error:
            log.error("%s: %s", name, error)  # noqa: TRY400 # the line says it all
            made = _message(502, "Internal Server Error")
        await answer(send, made.status, made.body, made.headers)

    # -- Invoke -------------------------------------------------------------------------------

    async def _invoke(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        name, _, what = path.removeprefix(INVOKE).partition("/")
        name = _named(unquote(name))
        event = await read_body(scope, receive, BODY_LIMIT) or b"{}"
        if what != "invocations" or name not in self._host.functions:
            await _refused(send, 404, "ResourceNotFoundException", f"Function not found: {name}")
            return
        try:
            json.loads(event)
        except ValueError:
            await _refused(send, 400, "InvalidRequestContentException", "the event is no JSON")
            return
        headers = dict(scope["headers"])
        kind = headers.get(b"x-amz-invocation-type", b"RequestResponse")
        try:
            about = _client_context(headers.get(b"x-amz-client-context", b""))
        except ValueError:
            text = "Client context must be a valid Base64-encoded JSON object."
            await _refused(send, 400, "InvalidRequestContentException", text)
            return
        if kind == b"DryRun":
            await answer(send, 204)
        elif kind == b"Event":
            taken = self._host.send(name, event)
            await answer(send, 202 if taken else 429)
        else:
            await self._requested(name, event, about, send)

    async def _requested(self, name: str, event: bytes, about: str, send: Send) -> None:
        try:
            outcome = await self._host.invoke(name, event, about)
        except Busy:
            await _refused(send, 429, "TooManyRequestsException", "Rate Exceeded.")
            return
        except ConfigError as error:
            await _refused(send, 502, "InvalidRuntimeException", str(error))
            return
        streamed = (b"content-type", outcome.streamed.encode("latin-1", "replace"))
        headers = [
            streamed if outcome.streamed else JSON,
            (b"x-amz-executed-version", b"$LATEST"),
        ]
        if outcome.kind != "ok":
            headers.append((b"x-amz-function-error", b"Unhandled"))
        await answer(send, 200, outcome.body, tuple(headers))

    # -- whoever operates it ------------------------------------------------------------------

    async def _operator(self, path: str, method: str, send: Send) -> None:
        host = self._host
        found: object = None
        if path == "/":
            found = {"functions": [as_table(function) for function in host.functions.values()]}
        elif path == "/-/status":
            found = self.status()
        elif path == "/-/meter":
            found = host.meter.report(self._price)
        elif path.startswith("/-/logs/") and unquote(path[8:]) in host.pools:
            found = {"lines": list(host.pools[unquote(path[8:])].output.lines)}
        if found is None:
            await _told(send, 404, {"message": "Not Found"})
        elif method not in {"GET", "HEAD"}:
            await _told(send, 405, {"message": "GET only"})
        else:
            await _told(send, 200, found)

    def status(self) -> dict[str, Any]:
        """What runs."""
        host = self._host
        return {
            "limits": host.limits.kind,
            "zygotes": len(host.zygotes.pids()),
            "functions": {name: pool.states() for name, pool in host.pools.items()},
        }


def _named(text: str) -> str:
    """A function by what Invoke calls it: its name or its ARN, with or without account and version."""
    words = text.split(":")
    if len(words) > 2 and "function" in words[:-1]:
        words = words[words.index("function") + 1 :]
    return words[0]


def _client_context(value: bytes) -> str:
    """What a client says of itself, as JSON in a line; "" = nothing.

    Raises:
        ValueError: It is no JSON object.
    """
    if not value:
        return ""
    text = b64decode(value, validate=True)
    if not text.strip().startswith(b"{"):
        raise ValueError("no object")
    return json.dumps(json.loads(text))


def _answered(name: str, outcome: Outcome) -> HttpAnswer:
    """What a client is told of an invocation: nothing of why it failed."""
    if outcome.kind == "timeout":
        return _message(504, "Gateway Timeout")
    if outcome.kind == "ok":
        try:
            return url_answer(outcome.body, outcome.streamed)
        except (ValueError, AttributeError, TypeError) as error:
            log.warning("%s: what the handler returned is no response: %s", name, error)
    return _message(502, "Internal Server Error")


def _message(status: int, text: str) -> HttpAnswer:
    return HttpAnswer(status, json.dumps({"Message": text}).encode(), (JSON,))


async def _told(send: Send, status: int, value: object) -> None:
    await answer(send, status, json.dumps(value).encode(), (JSON,))


async def _refused(send: Send, status: int, kind: str, text: str) -> None:
    body = json.dumps({"Type": "User", "Message": text}).encode()
    await answer(send, status, body, (JSON, (b"x-amzn-errortype", kind.encode())))


def _is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, and nobody else's through it."""
    client = scope.get("client")
    if any(name in THROUGH_A_PROXY for name, _ in scope["headers"]):
        return False
    if scope.get("http_version") == "1.0":  # nginx, as it is without any setting
        return False
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return client is not None and all(map(_is_loopback, (client[0], *map(_name_of, hosts))))


def _name_of(host: str) -> str:
    """What a Host header says, without the port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


__all__ = ["Front"]
