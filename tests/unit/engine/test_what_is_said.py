"""What a dialog says, asks and calls, and what is refused at its line."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from legato import App, Button, ButtonPressed, Chat, Message, StepError, StepInterrupted, UserGone
from legato.abc import Verdict
from legato.engine.commands import event_tag_of
from legato.errors import Misuse, Unsupported
from legato.testing.platform import ScriptedPlatform
from tests.unit.app.kit import pressed, running

app = App("x")


def saying(**said: object) -> App:
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.say(**said)  # type: ignore[arg-type]

    return new


@pytest.mark.parametrize(
    ("buttons", "rows"),
    [
        (["a", "b"], [["a", "b"]]),
        (["a label that is long", "b"], [["a label that is long"], ["b"]]),
        ([["a", ("b", "B")], "c"], [["a", "b"], ["c"]]),
        ([Button("a", url="https://x"), ("b", "B")], [["a", "b"]]),
        ([], []),
    ],
)
async def test_buttons_are_laid_out_in_rows(bot, buttons, rows):
    await bot.replace_app(saying(text="Well?", buttons=buttons))
    await bot.user().says("/go")
    shown = bot.expect("Well?").buttons
    assert [[button.text for button in row] for row in shown] == rows


@pytest.mark.parametrize(
    ("said", "kind", "name"),
    [
        ({"photo": "cat.png"}, "photo", "cat.png"),
        ({"photo": Path("pets/cat.png")}, "photo", "cat.png"),
        ({"file": "a\\b.pdf", "text": "see"}, "document", "b.pdf"),
        ({"file": "https://x/y"}, "document", ""),
    ],
)
async def test_a_medium_comes_from_a_path_or_an_address(bot, said, kind, name):
    await bot.replace_app(saying(**said))
    await bot.user().says("/go")
    media = bot.unread[0].media
    assert media is not None
    assert (media.kind, media.name) == (kind, name)
    assert bool(media.url) == (name == "")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"text": 5}, "takes text, not int"),
        ({"text": " "}, "needs a text"),
        ({"text": "a", "keyboard": "none"}, "keyboard is"),
        ({"text": "a", "buttons": [5]}, "a button is"),
        ({"photo": "a", "file": "b"}, "one message carries one of them"),
        ({"photo": 5}, "a photo or file is a path"),
    ],
)
async def test_what_no_platform_can_send_is_refused_at_its_line(bot, said, reason):
    await bot.replace_app(saying(**said))
    await bot.user().says("/go")
    bot.expect("Sorry")
    assert reason in bot.expect_failure("Misuse")


@app.command("able")
async def able(chat: Chat) -> None:
    await chat.send_typing()
    shown = await chat.say("a")
    for work in (lambda: shown.edit("b"), lambda: chat.say(photo="cat.png")):
        try:
            await work()
        except Unsupported as error:
            await chat.say(str(error))


async def test_what_the_platform_cannot_do_is_unsupported_and_typing_is_not_missed(bot):
    bot.platform.capabilities = replace(
        bot.platform.capabilities, edit=False, photos=False, typing=False
    )
    await bot.user().says("/able")
    bot.expect("a", "test cannot edit messages", "shows no pictures or files")
    assert {call.method for call in bot.platform.calls} == {"send"}


async def test_the_typing_sign_is_shown(bot):
    await bot.user().says("/able")
    assert bot.platform.calls[0].method == "typing"


@app.command("asks")
async def asks(chat: Chat) -> None:
    first = await chat.ask(Message("A message?"), remind_after=5)
    second = await chat.ask(Message("Look:"), buttons=[Button("site", url="https://x"), ("a", "A")])
    third = await chat.ask(None, remind_after=5, key="silent")
    await chat.say(f"{first} {second} {third}")


async def test_a_question_may_be_a_whole_message_or_nothing(bot):
    ann = bot.user()
    await ann.says("/asks")
    await bot.advance(seconds=5)
    bot.expect("A message?", "A message?")
    await ann.says("x")
    assert [b.text for b in bot.expect("Look:").buttons[0]] == ["site", "a"]
    await ann.presses("a")
    await bot.advance(seconds=5)
    bot.expect_nothing()
    await ann.says("y")
    bot.expect("x A y")


async def test_an_option_that_there_is_not_is_refused(bot):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        options: Any = {"unknown": 1}
        await chat.ask("Well?", **options)

    await bot.replace_app(new)
    await bot.user().says("/go")
    bot.expect("Sorry")
    bot.expect_failure("has no option 'unknown'")


@app.button("start")
async def by_button(chat: Chat) -> None:
    try:
        await chat.say(chat.message.text)
    except Misuse as error:
        await chat.say(f"{error}, {type(chat.event).__name__}, {chat.locale!r}, {chat.args!r}")


async def test_a_dialog_knows_what_started_it():
    async with running(app) as world:
        await world.receive(pressed("start"))
        await world.rest()
        assert world.said == ["this dialog was started by a ButtonPressed, ButtonPressed, '', ''"]
    assert event_tag_of(ButtonPressed) == "button"


@app.command("log")
async def logs(chat: Chat) -> None:
    chat.log.warning("before %s", chat.uuid())
    await chat.ask("Well?")
    chat.log.warning("after %s", chat.random.random())


async def test_a_dialogs_logger_is_silent_in_a_replay(bot, caplog):
    caplog.set_level(logging.WARNING, "legato.dialog")
    ann = bot.user()
    await ann.says("/log")
    seen = [r.getMessage().split()[0] for r in caplog.records if r.name == "legato.dialog"]
    await ann.says("x")
    assert set(seen) <= {"before"}
    if bot.mode == "cold":
        texts = [r.getMessage().split()[0] for r in caplog.records if r.name == "legato.dialog"]
        assert texts == ["before", "after"]


@app.command("api")
async def api(chat: Chat) -> None:
    for number in range(4):
        try:
            answer = await chat.web.poke(number=number)
            await chat.say(answer["method"])
        except (UserGone, StepInterrupted, StepError) as error:
            await chat.say(f"{type(error).__name__}: {error}")


@pytest.mark.legato_modes("warm", "cold")
async def test_a_call_of_the_platforms_own_api_has_four_ends(bot):
    def answer(call, place):
        if call.method != "raw":
            return None
        end = ("sent", "refused", "unknown", "gone")[call.params["out"]["params"]["number"]]
        if end == "sent":
            return Verdict("sent", result={"method": "poke"})
        return Verdict(end, code=400, error="no")

    bot.platform = ScriptedPlatform(name="web")
    bot.platform.answer = answer
    await bot.user().says("/api")
    bot.expect("poke", "StepError: web 400: no", "StepInterrupted: poke: gave up", "UserGone")


async def test_a_step_may_have_its_options_and_fail_by_control_flow(bot):
    from legato import Cancelled, step

    new = App("new")

    @step(timeout=timedelta(minutes=1), key="named")
    def strange(raises: bool) -> object:
        if raises:
            raise Cancelled("nonsense")
        return object()

    @new.command("go")
    async def go(chat: Chat) -> None:
        for raises in (True, False):
            try:
                await strange(raises)
            except (RuntimeError, StepError) as error:
                await chat.say(str(error))

    await bot.replace_app(new)
    await bot.user().says("/go")
    bot.expect("named raised Cancelled outside a dialog", "the result of named")


async def test_a_received_file_is_saved_by_a_step(bot, tmp_path):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        message = await chat.receive()
        try:
            await chat.download(message.photo, str(tmp_path / "a"))
        except Unsupported as error:
            await chat.say(f"{type(error).__name__}")

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go")
    await ann.sends_photo()
    bot.expect("Unsupported")
