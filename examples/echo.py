"""Says everything back, and shows a cat to whoever asks for one.

legato run examples/echo.py
"""

from pathlib import Path

from legato import App, Chat

app = App("echo")

CAT = Path(__file__).with_name("cat.png")


@app.message(r"(?i)^cats?$")
async def cat(chat: Chat) -> None:
    await chat.say("Meow!", photo=CAT)


@app.message()  # whatever nobody else took
async def echo(chat: Chat) -> None:
    message = chat.message
    if message.photo:
        await chat.say(message.text, photo=message.photo)
    elif message.file:
        await chat.say(message.text, file=message.file)
    elif message.text:
        await chat.say(message.text)
