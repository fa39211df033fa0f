"""Google Cloud Functions: `handler = app.google()`, served by functions-framework.

    a request       with --signature-type=http (the default)
    a CloudEvent    with --signature-type=cloudevent: @app.event("google.cloud.storage.object.v1.finalized")

Requests of one process are worked on one after another, whatever number of threads the framework has. For
many at a time there is Cloud Run with `app.asgi()`.

Read on 2026-11-28: https://cloud.google.com/functions/docs/writing/write-http-functions,
https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md, functions-framework 3.10
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from legato.abc import HttpRequest
from legato.app.nowhere import NAME
from legato.deploy.function.core import Function
from legato.model.events import Address, Happened

if TYPE_CHECKING:
    from legato.app.app import App

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
        with lock:
            if hasattr(request, "headers"):
                return function.run(_http(function, request, timeout_s))
            return function.run(_event(function, request, timeout_s))

    return handler


async def _http(function: Function, request: Any, budget_s: float) -> Any:
    headers = {str(name).lower(): str(value) for name, value in request.headers.items()}
    query = request.query_string.decode("latin-1")
    url = f"{request.path}?{query}" if query else request.path
    found = HttpRequest(request.method, url, headers, request.get_data())
    if request.method == "POST" and request.path == "/tick":
        return await function.touch(budget_s)
    response = await function.request(found, budget_s)
    return response.body, response.status, response.headers


async def _event(function: Function, event: Any, budget_s: float) -> None:
    kind, source = str(event["type"]), str(event["source"])
    name = f"{NAME}::google:{source}:{event['id']}"
    happened = Happened(
        id=name,
        place=Address(NAME, "", name),
        kind=kind,
        subject=str(event.get("subject") or source),
        data=event.data,
    )
    for error in await function.happened([happened], budget_s):
        if error is not None:
            raise error


__all__ = ["google"]
