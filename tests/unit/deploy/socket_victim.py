"""A process of a function that dies after so many writes and requests: python -m tests.unit.deploy.socket_victim N EVENT."""

import json
import os
import sys
from typing import Any

from legato import App, Chat
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.transport import Transport
from legato.stores.sqlite import SQLiteStore
from tests.unit.deploy.function_kit import Context
from tests.unit.deploy.socket_kit import SOCKET

DEAD = 9
_left = [0]


def greeter() -> App:
    app = App("greeter")

    @app.command("start")
    async def start(chat: Chat) -> None:
        await chat.say("Welcome.")
        name = await chat.ask("Your name?")
        await chat.say(f"Hello, {name}!")

    return app


def mortal(kind: type, name: str) -> None:
    """Lets the process die once a call of this was carried out."""
    method = getattr(kind, name)

    async def call(self: Any, *args: Any) -> Any:
        found = await method(self, *args)
        _left[0] -= 1
        if _left[0] == 0:
            os._exit(DEAD)
        return found

    setattr(kind, name, call)


if __name__ == "__main__":
    _left[0] = int(sys.argv[1])
    for kind, name in ((SQLiteStore, "commit"), (SQLiteStore, "settle"), (Transport, "send")):
        mortal(kind, name)
    function = Function(greeter(), {"web_socket": SOCKET})
    Lambda(function)(json.loads(sys.argv[2]), Context())
    function.close()
