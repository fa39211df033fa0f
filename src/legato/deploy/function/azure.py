"""Azure Functions: `app = bot.azure()` in function_app.py.

The service runs as many instances as it likes and stops them when it likes, so everything of a Turn is done
before the answer, as in other functions (frozen.py), and requests of one worker are worked on one after
another. A timer trigger lets timers fire every minute.

Read on 2026-11-28: https://learn.microsoft.com/azure/azure-functions/functions-reference-python (ASGI)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from legato.deploy.function.frozen import Frozen
from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.app.app import App

EVERY_MINUTE = "0 * * * * *"
LIMIT_S = 60.0


def azure(app: App, *, timeout_s: float = LIMIT_S, **flags: str) -> Any:
    """An azure.functions.AsgiFunctionApp that serves the webhooks at "/api/<platform>" (an empty
    "routePrefix" in host.json makes that "/<platform>").

    Args:
        app: The bot.
        timeout_s: How long a request may take. Whoever calls waits no longer than 230 s, whatever
            "functionTimeout" says.
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
    frozen = Frozen(app, timeout_s, flags)
    hosted = functions.AsgiFunctionApp(app=frozen, http_auth_level=functions.AuthLevel.ANONYMOUS)

    async def tick(timer: Any) -> None:
        """Lets timers fire."""
        await frozen.tick()

    # The service's worker reads these, and would not find a name of ours in a text.
    tick.__annotations__ = {"timer": functions.TimerRequest}
    hosted.timer_trigger(arg_name="timer", schedule=EVERY_MINUTE)(tick)
    return hosted


__all__ = ["azure"]
