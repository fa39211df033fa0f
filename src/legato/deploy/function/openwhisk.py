"""Apache OpenWhisk: `main = app.openwhisk()`, and Selectel's functions, which are OpenWhisk behind a runtime of their own.

    a web action       .../<action>/telegram, "?to=telegram", or anything if the bot is on one platform; made
                       with `--web raw`: else only the fields of the body are left of it, and no signature
                       of it can be checked. Parameters in capitals that are bound to it are settings
    a trigger's rule   an alarm's, say: it lets dialogs' timers fire
    named arguments    Selectel's: the fields of the body and of the query, and neither headers nor a path.
                       Telegram's secret comes in the webhook's address, "?secret=..."

Read on 2026-11-29: https://github.com/apache/openwhisk/blob/master/docs/webactions.md with WebActions.scala,
https://github.com/apache/openwhisk/blob/master/docs/actions-actionloop.md,
https://kb.selectel.ru/docs/selectel-cloud-platform/serverless/code/code_format/,
https://github.com/selectel/cloud-telegram-bot
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from legato.abc import HttpRequest
from legato.deploy.function.aws import Answer, answered
from legato.deploy.function.core import Function
from legato.deploy.function.yandex import requested
from legato.deploy.signature import REPLY

if TYPE_CHECKING:
    from legato.app.app import App

LIMIT_S = 60.0
"""The service's own limit, unless another one was set."""
DEADLINE = "__OW_DEADLINE"
"""Milliseconds since 1970; set anew for each activation."""
OWN = "__ow_"
TEXT = ("text/", "application/x-www-form-urlencoded")
"""Bodies of these types come as they are, JSON and all that is binary in base64."""
RESERVED = {500: 502, 503: 502}
"""Selectel keeps these for itself: they would say that the service is ill."""


def openwhisk(app: App, *, timeout_s: float = LIMIT_S, **flags: str) -> Callable[..., Answer]:
    """An action for OpenWhisk.

    Args:
        app: The bot.
        timeout_s: How long an activation may take, where the service does not tell.
        flags: Settings that go before the environment.
    """
    return OpenWhisk(Function(app, flags), timeout_s)


class OpenWhisk:
    """The action."""

    def __init__(self, function: Function, timeout_s: float = LIMIT_S) -> None:
        self.function = function
        self._timeout_s = timeout_s

    def __call__(self, args: Any = None, context: Any = None, /, **named: Any) -> Answer:
        """Handles one activation.

        Raises:
            ConfigError, StoreError: It cannot run like this.
        """
        if args is None and named:
            return self.function.run(self._named(named))
        args = args if isinstance(args, dict) else {}
        requests = f"{OWN}method" in args  # none can be without it
        if not requests or f"{OWN}query" in args:  # else anybody may give us parameters
            _set(args)
        return self.function.run(self._handle(args))

    async def _handle(self, args: dict[str, Any]) -> Answer:
        if f"{OWN}method" not in args:
            return dict(await self.function.touch(self._left_s()))
        response = await requested(self.function, _event(args), self._left_s())
        return answered({}, response)

    async def _named(self, named: dict[str, Any]) -> Answer:
        # Whatever their names are: anybody may have sent them, so none is a setting.
        if f"{OWN}method" in named:
            found = await self._handle(named)
        elif "update_id" in named:
            # Whether a call in the answer would arrive is not documented; one that does not is lost.
            secret = str(named.pop("secret", ""))
            headers = {"x-telegram-bot-api-secret-token": secret, REPLY: "none"}
            request = HttpRequest("POST", "/telegram", headers, _json(named))
            found = answered({}, await self.function.request(request, self._left_s()))
        else:
            return await self._handle(named)
        status = found.pop("statusCode")
        return {"status_code": RESERVED.get(status, status), **found}

    def _left_s(self) -> float:
        told = os.environ.get(DEADLINE, "")
        if not told.isdecimal():
            return self._timeout_s
        return max(0.0, (int(told) - self.function.clock.now_ms()) / 1000)


def _set(args: dict[str, Any]) -> None:
    """Parameters that are bound to the action."""
    for name, value in args.items():
        if name.isupper() and isinstance(value, str):
            os.environ.setdefault(name, value)


def _event(args: dict[str, Any]) -> dict[str, Any]:
    """The request in the form that Yandex gives it."""
    from urllib.parse import parse_qsl

    headers = args.get(f"{OWN}headers") or {}
    query = args.get(f"{OWN}query")
    event = {
        "httpMethod": str(args[f"{OWN}method"]).upper(),
        "url": str(args.get(f"{OWN}path") or "/"),
        "headers": headers,
        "queryStringParameters": args if query is None else dict(parse_qsl(str(query))),
    }
    body = args.get(f"{OWN}body")
    if body is None:  # no raw one: its fields stand among ours
        fields = {name: value for name, value in args.items() if not name.startswith(OWN)}
        return event | {"body": _json(fields).decode()}
    kind = str(headers.get("content-type") or "")
    encoded = not kind.startswith(TEXT) and _is_base64(str(body))
    return event | {"body": body, "isBase64Encoded": encoded}


def _json(value: object) -> bytes:
    """As it came: whatever characters somebody wrote are escaped."""
    import json

    return json.dumps(value).encode()


def _is_base64(text: str) -> bool:
    from binascii import a2b_base64

    try:
        a2b_base64(text.encode(), strict_mode=True)
    except ValueError:  # characters of no alphabet, or none of ours
        return False
    return True


__all__ = ["OpenWhisk", "openwhisk"]
