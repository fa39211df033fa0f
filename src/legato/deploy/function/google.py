"""Google Cloud Functions: `handler = app.google()`, served by functions-framework.

    a request       with --signature-type=http (the default)
    a CloudEvent    with --signature-type=cloudevent: @app.event("google.cloud.storage.object.v1.finalized")

Requests of one process are worked on one after another, whatever number of threads the framework has. For
many at a time there is Cloud Run with `app.asgi()`.

Read on 2026-11-28: https://cloud.google.com/functions/docs/writing/write-http-functions,
https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md, functions-framework 3.10
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from legato.abc import HttpRequest
from legato.app.nowhere import told
from legato.deploy.function.answers import later
from legato.deploy.function.core import Function
from legato.errors import StoreError, Unavailable

if TYPE_CHECKING:
    from legato.app.app import App
    from legato.model.events import Happened

LIMIT_S = 60.0
"""The service's own limit, unless another one was set; it tells none."""


def google(app: App, *, timeout_s: float = LIMIT_S, **flags: str) -> Callable[[Any], Any]:
    """A handler for functions-framework, of either signature.

    Args:
        app: The bot.
        timeout_s: How long an invocation may take, as the function is deployed.
        flags: Settings that go before the environment.
    """
    function, lock = Function(app, flags), Lock()

    def handler(request: Any) -> Any:
        """The framework takes nothing but a plain function."""
        http = hasattr(request, "headers")
        arrived = time.monotonic()
        with function.waiting.one_more():
            alone = lock.acquire(timeout=timeout_s * 3 / 4)
        if not alone:
            if http:
                response = later("others came first, and took its time", 1)
                return response.body, response.status, response.headers
            raise Unavailable("others came first, and took its time")
        try:
            work = _http if http else _event
            left_s = timeout_s - (time.monotonic() - arrived)
            return function.run(work(function, request, left_s))
        finally:
            lock.release()

    handler.function = function  # type: ignore[attr-defined]  # a test may end it
    return handler


async def _http(function: Function, request: Any, budget_s: float) -> Any:
    headers = {str(name).lower(): str(value) for name, value in request.headers.items()}
    query = request.query_string.decode("latin-1")
    url = f"{request.path}?{query}" if query else request.path
    found = HttpRequest(request.method, url, headers, request.get_data())
    if request.method == "POST" and request.path == "/tick":
        try:
            return await function.touch(budget_s)
        except (Unavailable, StoreError) as error:
            response = later(str(error), 1)
            return response.body, response.status, response.headers
    response = await function.request(found, budget_s)
    return response.body, response.status, response.headers


async def _event(function: Function, event: Any, budget_s: float) -> None:
    from legato.deploy.function import outside

    for error in await outside.happened(function, [event], _read, budget_s):
        if error is not None:
            raise error


def _read(event: Any) -> Happened:
    kind, source = str(event["type"]), str(event["source"])
    name, subject = f"{source}:{event['id']}", str(event.get("subject") or source)
    return told("google", name, kind, subject, _plain(event.data))


def _plain(data: Any) -> Any:
    """Data that are no JSON as text, in base64 if they are none: it must come back from the store as it went."""
    if not isinstance(data, bytes):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        from base64 import b64encode

        return b64encode(data).decode()


__all__ = ["google"]
