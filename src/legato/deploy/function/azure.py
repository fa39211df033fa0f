"""Azure Functions: `app = bot.azure()` in function_app.py.

The worker's process and its event loop live on between invocations, so the bot is served as by any other
server: timers fire by themselves while an instance is there, and a timer trigger wakes one every minute.

Read on 2026-11-28: https://learn.microsoft.com/azure/azure-functions/functions-reference-python (ASGI)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from legato.deploy.http import asgi
from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.app.app import App

EVERY_MINUTE = "0 * * * * *"


def azure(app: App, **flags: str) -> Any:
    """An azure.functions.AsgiFunctionApp that serves the webhooks at /api/<platform>... as host.json says
    (an empty "routePrefix" makes that "/<platform>").

    Args:
        app: The bot.
        flags: Settings that go before the environment.

    Raises:
        ConfigError: The package azure-functions is not there.
    """
    try:
        import azure.functions as functions  # noqa: PLR0402  # it is a namespace package
    except ImportError as error:
        raise ConfigError(
            "app.azure() needs the package azure-functions: add it to requirements.txt"
        ) from error
    hosted = functions.AsgiFunctionApp(
        app=asgi(app, **flags), http_auth_level=functions.AuthLevel.ANONYMOUS
    )

    def tick(timer: functions.TimerRequest) -> None:  # type: ignore[name-defined, unused-ignore]
        """That an instance is there is all it takes."""

    hosted.timer_trigger(arg_name="timer", schedule=EVERY_MINUTE)(tick)
    return hosted


__all__ = ["azure"]
