"""The adder on Legato, for the peers' benchmark (see bench/README.md).

    PORT=28480 API=http://127.0.0.1:28481 TOKEN=42:TEST DATA=/tmp/empty python legato_bot.py serve
    ... python legato_bot.py once < update.json

`serve` is `legato run`, and answers POST /webhook as well. The load's requests carry no secret, which
Telegram's always do: it is added here, so that checking it is in the price. REPLY=webhook lets the
answer ride in the response. `once` is one invocation of a cloud function.
"""

from __future__ import annotations

import os
import sys

from legato import App, Chat

app = App("bench")


@app.command("start")
async def add(chat: Chat) -> None:
    """The dialog."""
    first = await chat.ask("First number?", int)
    second = await chat.ask("Second number?", int)
    await chat.say(str(first + second))


SECRET = "bench"


def serve() -> int:
    """`legato run` on PORT, with the database in DATA."""
    from pathlib import Path

    from legato.app.settings import Settings
    from legato.deploy import run
    from legato.deploy.http import Endpoint, Receive, Scope, Send

    class Webhook(Endpoint):
        """Takes a request to /webhook for one of Telegram's."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/webhook":
                scope["path"] = "/telegram"
                scope["headers"].append((b"x-telegram-bot-api-secret-token", SECRET.encode()))
            await super().__call__(scope, receive, send)

    run.Endpoint = Webhook  # type: ignore[attr-defined]
    port = int(os.environ["PORT"])
    settings = Settings(
        listen=("127.0.0.1", port),
        public_url=f"http://127.0.0.1:{port}",
        telegram_token=os.environ["TOKEN"],
        telegram_api=os.environ["API"],
        telegram_secret=SECRET,
        webhook_reply=os.environ.get("REPLY") == "webhook",
    )
    return run.run(app, settings, run.Options(folder=Path(os.environ["DATA"]), console=False))


def once() -> int:
    """One update from stdin through `app.aws_lambda()`."""
    os.environ |= {
        "TELEGRAM_TOKEN": os.environ["TOKEN"],
        "TELEGRAM_API": os.environ["API"],
        "TELEGRAM_SECRET": SECRET,
        "LEGATO_STORE": f"sqlite:///{os.environ['DATA']}/once.db",
        "LEGATO_WEBHOOK_REPLY": "on" if os.environ.get("REPLY") == "webhook" else "off",
    }
    event = {
        "version": "2.0",
        "rawPath": "/telegram",
        "headers": {"x-telegram-bot-api-secret-token": SECRET},
        "requestContext": {"http": {"method": "POST", "path": "/telegram"}},
        "body": sys.stdin.read(),
        "isBase64Encoded": False,
    }
    answer = app.aws_lambda()(event, None)
    sys.stdout.write(answer.get("body") or "")
    return 0 if answer["statusCode"] == 200 else 1


if __name__ == "__main__":
    sys.exit(serve() if sys.argv[1:] == ["serve"] else once())
