"""Greets people. Until it is mended, some names end its process, and one raises an error."""

import os

from legato import App, Chat

app = App("greeter", apology="Sorry!", help=False)
MENDED = "MENDED" in os.environ


@app.command("start")
async def greet(chat: Chat) -> None:
    name = await chat.ask("Name?")
    if name == "exit" and not MENDED:
        os._exit(3)
    while name == "hang" and not MENDED:
        pass
    if name == "error" and not MENDED:
        raise MemoryError
    await chat.say(f"Hello {name}")
