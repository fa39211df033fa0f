"""What a bot's author writes: decorators, options, injected values, /help, signals."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from legato import App, Chat, Router
from legato.errors import Misuse
from legato.testing.script import Bot

app = App("shop", idle=60)


class Database:
    made = 0

    def __init__(self) -> None:
        Database.made += 1

    def name(self) -> str:
        return "base"


app.provide(Database, Database)
extra = Router()


@app.command("start", help="Begin")
async def start(chat: Chat, base: Database) -> None:
    await chat.say(f"{base.name()} {chat.args}")


@extra.command("more")
async def more(chat: Chat) -> None:
    await chat.say(f"{await chat.wait_for('done', int)}")


@extra.message("^x(?P<n>.)$", scope="chat", idle=timedelta(minutes=2), version="7")
async def pattern(chat: Chat, n: str, base: Database) -> None:
    await chat.say(f"{n} {base.name()}")


app.include(extra)


async def test_parameters_are_injected_by_their_type(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start now")
    await ann.says("x7")
    bot.expect("base now", "7 base")
    assert Database.made > 0


async def test_help_lists_the_commands_and_cancel_is_there(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/help")
    bot.expect("/start - Begin\n/more\n/help\n/cancel")
    await ann.says("/cancel")
    bot.expect("Cancelled.")


async def test_a_signal_reaches_the_running_app(bot: Bot) -> None:
    ann = bot.user("Ann")
    with pytest.raises(Misuse, match="legato dialogs signal"):
        await bot.app.signal("test:bot:101:101:", "done", 7)
    await ann.says("/more")
    assert not await bot.app.signal("test:bot:102:102:", "done", 7)
    assert await bot.signal(ann, "done", 7)
    bot.expect("7")


def test_options_of_a_dialog_go_before_those_of_the_app() -> None:
    found = app.dialogs.get("pattern")
    assert found is not None
    assert (found.scope, found.idle_s, found.version) == ("chat", 120.0, "7")
    other = app.dialogs.get("more")
    assert other is not None
    assert (other.scope, other.idle_s, other.delivery) == ("user_in_chat", 60, "at_least_once")


def test_decorators_return_the_function_itself() -> None:
    async def plain(chat: Chat) -> None: ...

    other = App("other")
    assert other.command("a")(other.message("b")(other.dialog()(plain))) is plain


def test_own_help_and_cancel_go_before_the_built_in_ones() -> None:
    other = App("other", help=False)
    other.finish()
    assert other.triggers.all == []
    own = App("own")

    @own.command("help", "cancel")
    async def mine(chat: Chat) -> None: ...

    own.finish()
    own.finish()
    assert [t.dialog.name for t in own.triggers.all] == ["mine"]


def _wrong(add: Callable[[App], Any]) -> str:
    with pytest.raises(Misuse) as caught:
        add(App("other"))
    return str(caught.value)


def test_what_makes_no_sense_is_refused_with_the_cure() -> None:
    def sync(chat: Chat) -> None: ...

    async def no_chat() -> None: ...

    async def fine(chat: Chat) -> None: ...

    assert "without spaces" in _wrong(lambda a: a.command("two words"))
    assert "without spaces" in _wrong(lambda a: a.command())
    assert "async def name(chat)" in _wrong(lambda a: a.command("x")(sync))
    assert "async def name(chat)" in _wrong(lambda a: a.command("x")(no_chat))
    assert "async def name(chat)" in _wrong(lambda a: a.command("x")(print))
    assert "'user_in_chat', 'chat'" in _wrong(lambda a: a.command("x", scope="room")(fine))
    assert "'restart', 'hold'" in _wrong(lambda a: a.command("x", on_change="fly")(fine))
    assert "'at_most_once'" in _wrong(lambda a: a.command("x", delivery="never")(fine))
    assert "unknown option" in _wrong(lambda a: a.command("x", colour="red")(fine))
    assert "'scope'" not in _wrong(lambda a: App("x", scope="room"))


def test_two_dialogs_of_one_name_are_refused() -> None:
    other = App("other")

    @other.command("a", name="same")
    async def one(chat: Chat) -> None: ...

    with pytest.raises(Misuse, match=r"two dialogs are named 'same' .*name=\.\.\."):

        @other.command("b", name="same")
        async def two(chat: Chat) -> None: ...


async def test_an_app_that_has_run_can_be_included_and_brings_no_help_of_its_own() -> None:
    both = App("both")
    for name in ("one", "two"):
        part = App(name)
        part.command(name)(more)
        part.finish()
        both.include(part)
    both.finish()
    assert [t.commands[0] for t in both.triggers.all] == ["one", "two", "help", "cancel"]
    bot = Bot(both)
    await bot.user().says("/help")
    bot.expect("/one\n/two\n/help\n/cancel")
    await bot.close()
