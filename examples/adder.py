"""Adds two numbers; goes quiet after 20 seconds of silence.

legato run examples/adder.py
"""

from legato import App, Chat, Timeout

app = App("adder")


@app.command("start")  # /start, !start
async def add(chat: Chat) -> None:
    try:
        first = await chat.ask("First number?", int, retry="That is not a number.", timeout=20)
        second = await chat.ask("Second number?", int, retry="That is not a number.", timeout=20)
    except Timeout:
        await chat.say("You went quiet. /start to begin again.")
        return
    await chat.say(f"Sum: {first + second}")
