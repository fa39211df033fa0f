"""The adder without time-outs: a room may be so full that a question has to wait for its turn."""

from legato import App, Chat

app = App("adder")


@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask("First number?", int)
    second = await chat.ask("Second number?", int)
    await chat.say(f"Sum: {first + second}")
