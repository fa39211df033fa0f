"""Yandex Cloud Functions: `handler = app.yandex()`.

    a request           of an API gateway or of the function's own address; header names come in Title-Case
    a timer             @app.event("schedule:<payload>"); any timer also lets dialogs' timers fire
    Message Queue       @app.event("queue:<queue id>")
    Object Storage      @app.event("storage:ObjectCreate")
    a Telegram trigger  bare updates, without the webhook's secret: only with telegram_trigger="on"

The function's own address has no path of ours, so "?to=telegram" names the platform there; a bot on one
platform needs it not.

Read on 2026-11-28: https://yandex.cloud/en/docs/functions/concepts/function-invoke,
https://yandex.cloud/en/docs/functions/concepts/trigger/timer, npm @yandex-cloud/function-types 2.1.2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from legato.abc import HttpRequest, HttpResponse
from legato.app.nowhere import told
from legato.deploy.function.answers import later
from legato.deploy.function.aws import Answer, answered, headers_of, read_body, time_left_s
from legato.deploy.function.core import Function
from legato.errors import ConfigError, StoreUnavailable, Unavailable
from legato.model.events import Happened

if TYPE_CHECKING:
    from legato.app.app import App

TRIGGER = "telegram_trigger"
BARE = (
    "a bare update came, without the webhook's secret: anybody may have sent it. If the address has "
    "?integration=raw, take that away; if a Telegram trigger of yours invokes a function that is not public, "
    'write app.yandex(telegram_trigger="on")'
)


def yandex(app: App, **flags: str) -> Callable[[Any, Any], Answer]:
    """A handler for Yandex Cloud Functions.

    Args:
        app: The bot.
        flags: Settings that go before the environment; and telegram_trigger="on" takes bare updates as a
            Telegram trigger sends them. Whoever may invoke the function may then speak for anybody on
            Telegram: it must not be public.
    """
    trigger = flags.pop(TRIGGER, "off")
    if trigger not in ("on", "off"):
        raise ConfigError(f"{TRIGGER}={trigger!r}: write 'on' or 'off'")
    return Yandex(Function(app, flags), trigger=trigger == "on")


class Yandex:
    """The handler."""

    def __init__(self, function: Function, *, trigger: bool = False) -> None:
        self.function = function
        self._trigger = trigger

    def __call__(self, event: Any, context: Any = None) -> Answer:
        """Handles one invocation.

        Raises:
            ConfigError, StoreError: It cannot run like this.
        """
        return self.function.run(self._handle(event, time_left_s(context)))

    async def _handle(self, event: Any, budget_s: float) -> Answer:
        event = event if isinstance(event, dict) else {}
        if isinstance(event.get("httpMethod"), str):
            return answered(event, await requested(self.function, event, budget_s))
        if "update_id" in event:
            if not self._trigger:
                raise ConfigError(BARE)
            import json

            body = json.dumps(
                event
            ).encode()  # as it came: whatever characters somebody wrote are escaped
            await self.function.trusted("telegram", body, budget_s)
            return {"taken": 1}
        from legato.deploy.function import outside

        found = [one for one in event.get("messages") or () if isinstance(one, dict)]
        for error in await outside.happened(self.function, found, happened, budget_s):
            if error is not None:
                raise error  # the trigger invokes the function again
        return {"happened": len(found)}


async def requested(function: Function, event: dict[str, Any], budget_s: float) -> HttpResponse:
    """Answers the request in an event."""
    begun = function.clock.monotonic()
    try:
        platforms = await function.hosts(budget_s)
    except (Unavailable, StoreUnavailable) as error:
        return later(str(error), 1)
    left_s = budget_s - (function.clock.monotonic() - begun)
    return await function.request(_request(event, platforms), left_s)


def _request(event: dict[str, Any], platforms: list[str]) -> HttpRequest:
    """The request, at the platform's own path: a gateway may serve it below another one."""
    params = event.get("queryStringParameters") or {}
    url = str(event.get("url") or event.get("path") or "/")
    last = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    named = str(params.get("to") or (last if last in platforms else ""))
    if not named and len(platforms) == 1:
        named = platforms[0]
    body = read_body(event)
    return HttpRequest(event["httpMethod"], f"/{named}", headers_of(event), body)


def happened(message: dict[str, Any]) -> Happened:
    """One message of a trigger as an event."""
    about = message.get("event_metadata") or {}
    details = message.get("details") or {}
    what = str(about.get("event_type", "")).rpartition(".")[2]
    name = str(about.get("event_id") or "")
    if what == "TimerMessage":
        kind = subject = str(details.get("payload") or details.get("trigger_id") or "")
        kind = f"schedule:{kind}"
        name = name or f"{details.get('trigger_id', '')}:{about.get('created_at', '')}"
    elif what == "QueueMessage":
        inner = details.get("message") or {}
        subject = str(details.get("queue_id", "")).rpartition(":")[2]
        kind, name = f"queue:{subject}", str(inner.get("message_id") or name)
    else:
        kind = f"storage:{what}"
        subject = f"{details.get('bucket_id', '')}/{details.get('object_id', '')}"
        name = name or f"{subject}:{what}:{about.get('created_at', '')}"
    return told("yandex", f"{what}:{name}", kind, subject, details)


__all__ = ["Yandex", "happened", "requested", "yandex"]
