"""AWS Lambda: `handler = app.aws_lambda()`.

    function URL, HTTP API (payload 2.0)   requestContext.http; an answer with `cookies` beside `headers`
    REST API (payload 1.0), ALB            httpMethod; an answer with multiValueHeaders where the event has them
    WebSocket API                          requestContext.connectionId and eventType: the web chat (websocket.py)
    Records, detail-type                   @app.event: files, rows, messages, schedules (sources.py); letters and
                                           wakes of our own queues (queueing.py)
    GET /healthz                           200, for a load balancer that asks
    legato: turn                           called by number: what an older version hands over to this one (builds.py)
    anything else                          a touch: timers fire, deliveries that were left are made

The handler is no coroutine, since Lambda's Python runtime calls none; it runs one event loop that lives as
long as the process. Header names are compared in lower case, and a body in base64 is decoded before its
signature is checked.

Read on 2026-11-28: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html,
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html,
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from legato.abc import HttpRequest, HttpResponse
from legato.deploy.function.answers import answer as plain
from legato.deploy.function.core import Function

if TYPE_CHECKING:
    from legato.app.app import App

DEFAULT_S = 10.0
"""Time for an invocation whose context tells none."""

HANDOVER = "LEGATO_HANDOVER"
"""Is "on" where a version may call the others (builds.py)."""

Answer = dict[str, Any]


def aws_lambda(app: App, **flags: str) -> Callable[[Any, Any], Answer]:
    """A handler for AWS Lambda.

    It takes its settings from the environment: LEGATO_STORE (one that outlives the process),
    TELEGRAM_TOKEN, TELEGRAM_SECRET ... A bot that was set up by `legato run` on the same store needs no
    secret: the store has it.

    Args:
        app: The bot.
        flags: Settings that go before the environment, as in store="sqlite:////mnt/data/bot.db".
    """
    return Lambda(Function(app, flags))


class Lambda:
    """The handler."""

    def __init__(self, function: Function) -> None:
        self.function = function
        function.build = number_of(os.environ)

    def __call__(self, event: Any, context: Any = None) -> Answer:
        """Handles one invocation.

        Raises:
            ConfigError, StoreError: It cannot run like this.
        """
        own = self.function.build and _is_called(context, self.function.build)
        return self.function.run(self._handle(event, time_left_s(context), own=bool(own)))

    async def _handle(self, event: Any, budget_s: float, *, own: bool) -> Answer:
        request = read_request(event)
        if request is not None and request.method == "GET":
            if request.url.partition("?")[0].endswith("/healthz"):
                return answered(event, plain(200, "ok"))
            from legato.deploy.function import websocket

            page = await websocket.page(self.function, request, budget_s)
            if page is not None:
                return answered(event, page)
        if request is not None:
            return answered(event, await self.function.request(request, budget_s))
        if _is_socket(event):
            from legato.deploy.function import websocket

            return await websocket.handled(self.function, event, budget_s)
        if isinstance(event, dict) and ("Records" in event or "detail-type" in event):
            return await self._happened(event, budget_s)
        if own and isinstance(event, dict) and event.get("legato") == "turn":
            from legato.deploy.function import builds

            return await builds.taken(self.function, event, budget_s)
        return dict(await self.function.touch(budget_s))

    async def _happened(self, event: dict[str, Any], budget_s: float) -> Answer:
        """Records of another service. A batch is told which of them are to come again."""
        from legato.deploy.function import outside, sources

        found = sources.records(event)
        source = sources.source_of(found[0]) if found else ""
        ordered = source in sources.STREAMS
        if source == "aws:sqs":
            failures = await outside.messages(self.function, found, budget_s)
        else:
            read = sources.happened
            failures = await outside.happened(self.function, found, read, budget_s, ordered=ordered)
        failed = [
            record for record, error in zip(found, failures, strict=True) if error is not None
        ]
        if ordered or source == "aws:sqs":
            names = [sources.identifier(record) for record in (failed[:1] if ordered else failed)]
            return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}
        for error in failures:
            if error is not None:
                raise error  # the service invokes the function again
        return {"happened": len(found)}


def _is_socket(event: Any) -> bool:
    about = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(about, dict) and "connectionId" in about and "eventType" in about


def number_of(environ: Mapping[str, str]) -> int:
    """The number of this version of the function, if its versions are to know of each other; else 0."""
    version = environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
    return int(version) if environ.get(HANDOVER) == "on" and version.isdecimal() else 0


def _is_called(context: Any, number: int) -> bool:
    """Whether the function was called by this number of its version. Requests and events come by the alias."""
    name = str(getattr(context, "invoked_function_arn", ""))
    return name.rpartition(":")[2] == str(number)


def time_left_s(context: Any) -> float:
    """Seconds that the invocation has."""
    tell = getattr(context, "get_remaining_time_in_millis", None)
    return tell() / 1000 if tell is not None else DEFAULT_S


def read_request(event: Any) -> HttpRequest | None:
    """The HTTP request in an event, None if it holds none."""
    if not isinstance(event, dict):
        return None
    about = event.get("requestContext")
    http = about.get("http") if isinstance(about, dict) else None
    if isinstance(http, dict):
        method, path = http.get("method", ""), event.get("rawPath")
        query = str(event.get("rawQueryString") or "")
    elif isinstance(event.get("httpMethod"), str):
        method, path = event["httpMethod"], event.get("path")
        query = _query(event)
    else:
        return None
    path = str(path or "/")
    url = f"{path}?{query}" if query else path
    headers = headers_of(event)
    if event.get("cookies"):
        headers["cookie"] = "; ".join(map(str, event["cookies"]))
    return HttpRequest(str(method), url, headers, read_body(event))


def read_body(event: dict[str, Any]) -> bytes:
    """The bytes that were sent."""
    text = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return text.encode("utf-8", "surrogatepass")
    from binascii import a2b_base64

    try:
        return a2b_base64(text)
    except ValueError:
        return b""  # the platform finds that there is nothing in it


def headers_of(event: dict[str, Any]) -> dict[str, str]:
    """The headers of a request. Names in lower case; the last one of several counts, as for every server of ours."""
    single, several = event.get("headers") or {}, event.get("multiValueHeaders") or {}
    found = {str(name).lower(): str(value) for name, value in single.items()}
    return found | {
        str(name).lower(): str(values[-1]) for name, values in several.items() if values
    }


def _query(event: dict[str, Any]) -> str:
    """The query of payload 1.0. A load balancer gives it as it was sent, a gateway decoded."""
    single = event.get("queryStringParameters") or {}
    several = event.get("multiValueQueryStringParameters") or {k: [v] for k, v in single.items()}
    pairs = [(name, value) for name, values in several.items() for value in values]
    if not pairs:
        return ""
    from urllib.parse import quote

    safe = "%+" if "elb" in (event.get("requestContext") or {}) else ""
    return "&".join(f"{quote(str(k), safe=safe)}={quote(str(v), safe=safe)}" for k, v in pairs)


def answered(event: dict[str, Any], response: HttpResponse) -> Answer:
    """A response in the form that the sender of `event` wants."""
    found: Answer = {"statusCode": response.status}
    if not response.body and not response.headers and "httpMethod" not in event:
        return found
    if event.get("multiValueHeaders") is not None and "httpMethod" in event:
        found["multiValueHeaders"] = {name: [value] for name, value in response.headers.items()}
    else:
        found["headers"] = response.headers
    try:
        found["body"] = response.body.decode()
    except UnicodeDecodeError:
        from base64 import b64encode

        found |= {"body": b64encode(response.body).decode(), "isBase64Encoded": True}
    if "httpMethod" in event and "elb" in (event.get("requestContext") or {}):
        from http import HTTPStatus

        found["statusDescription"] = f"{response.status} {HTTPStatus(response.status).phrase}"
        found.setdefault("isBase64Encoded", False)
    return found


__all__ = [
    "Answer",
    "Lambda",
    "answered",
    "aws_lambda",
    "headers_of",
    "read_body",
    "read_request",
    "time_left_s",
]
