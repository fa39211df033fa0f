"""Greets whoever greets: !hello (or /hello) answers with the sender's name.

legato run examples/hello.py
"""

from legato import App, Chat

app = App("hello")


@app.command("hello", help="Say hello")
async def hello(chat: Chat) -> None:
    await chat.say(f"hello {chat.user.name}!")
