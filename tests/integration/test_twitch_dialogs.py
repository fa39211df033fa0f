"""What dialogs become in a chat room, and the same dialogs on two platforms at once."""

import asyncio
import re
from pathlib import Path

import pytest

from legato import App, Chat
from legato.abc import Store
from legato.deploy.loader import load_app
from legato.model.records import COMMITTED, Commit, Committed
from legato.stores.sqlite import SQLiteStore
from legato.testing.crash import CrashingStore
from legato.testing.fake_telegram import FakeTelegram
from legato.testing.fake_twitch import FakeTwitch
from legato.testing.fake_twitch.people import FakeChannel
from tests.integration.twitch_bot import TRANSPORTS, connected, free_port, running, until

EXAMPLES = Path(__file__).parents[2] / "examples"
EVERY = pytest.mark.parametrize("transport", TRANSPORTS)

app = App("room", apology="")


@app.command("order")
async def order(chat: Chat) -> None:
    size = await chat.choose("Which size?", ["Small", "Large"])
    if await chat.confirm(f"{size}, sure?"):
        placed = await chat.say("Wait")
        await placed.edit(f"**{size}** it is", format="markdown")
        await chat.say("Here", photo="https://example.org/pizza.jpg")


@app.command("mods", only="moderators")
async def mods(chat: Chat) -> None:
    await chat.say("yes, boss")


@app.command("oops")
async def oops(chat: Chat) -> None:
    said = await chat.say("oops")
    await chat.say("I did not say that")
    await said.delete()


@EVERY
async def test_buttons_edits_and_pictures_become_text(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            ann.says("!order")
            await ann.gets("Which size? 1) Small 2) Large")
            ann.says("2")
            asked = await ann.gets()
            assert re.fullmatch(r"Large, sure\? 1\) \w+ 2\) \w+", asked.plain)
            ann.says("1")
            for text in ("Wait", "* Large it is", "Here https://example.org/pizza.jpg"):
                await ann.gets(text)
        assert twitch.violations == []


@EVERY
async def test_roles_come_with_every_transport(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann, owner = twitch.viewer("Ann"), twitch.broadcaster(room)
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            ann.says("!mods")
            owner.says("!mods")
            assert (await room.gets()).text == "@ronni yes, boss"
            room.gives("moderator", ann)
            ann.says("!mods")
            assert (await room.gets()).text == "@ann yes, boss"


@EVERY
async def test_a_message_of_ours_is_deleted_where_that_is_allowed(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        room.gives("moderator", twitch.bot)
        scopes = (*twitch.auth.tokens[twitch.token].scopes, "moderator:manage:chat_messages")
        twitch._token = twitch.auth.grant(twitch.bot, scopes)
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            twitch.viewer("Ann").says("!oops")
            await until(lambda: room.texts == ["@ann I did not say that"])


@EVERY
async def test_a_room_plays_the_quiz(transport: str) -> None:
    quiz = load_app(str(EXAMPLES / "quiz.py"))
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann, bob, owner = twitch.viewer("Ann"), twitch.viewer("Bob"), twitch.broadcaster(room)
        async with running(quiz, twitch, transport):
            await connected(twitch, transport)
            ann.says("!quiz")
            owner.says("!quiz")
            assert (await room.gets()).text.startswith("Question 1 of 3")
            ann.says("Vilnius")
            bob.says("Riga")
            right = await room.gets()
            assert right.text == "@Bob Riga! @bob was first."
            assert right.reply_to is not None
            await room.gets()
            ann.says("four")
            await room.gets()
            await room.gets()
            ann.says("jupiter")
            await room.gets()
            assert (await room.gets()).text == "The end. @ann: 2, @bob: 1"
        assert twitch.violations == []


# -- the same dialogs everywhere -----------------------------------------------------------------

TALK = ("!start", "two", "2", "3")
SUM = ["First number?", "That is not a number.", "Second number?", "Sum: 5"]


async def test_one_process_serves_both_platforms() -> None:
    adder = load_app(str(EXAMPLES / "adder.py"))
    async with FakeTwitch(second=0.01) as twitch, FakeTelegram() as telegram:
        twitch.channel("Ronni")
        viewer, person = twitch.viewer("Ann"), telegram.user("Ann")
        async with running(
            adder, twitch, TELEGRAM_TOKEN=telegram.token, TELEGRAM_API=telegram.api
        ) as bot:
            await connected(twitch, "irc")
            for text, answer in zip(TALK, SUM, strict=True):
                viewer.says(text)
                person.sends(text)
                await viewer.gets(answer)
                assert (await person.gets()).text == answer
            assert bot.failures == []


@pytest.fixture
def greeter() -> App:
    """The adder and the greeter, as they stand in the examples."""
    both = App("both")
    for name in ("adder", "hello"):
        both.include(load_app(str(EXAMPLES / f"{name}.py")))
    return both


STORY = list(zip((*TALK, "!hello"), (*SUM, "hello Viktor!"), strict=True))


def said(room: FakeChannel) -> list[str]:
    return [message.plain for message in room.messages if message.user is room.world.bot]


@EVERY
@pytest.mark.parametrize("cache", ["2000", "0"])
async def test_dialogs_are_the_same_warm_and_cold(
    transport: str, cache: str, greeter: App, tmp_path: Path
) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        viktor = twitch.viewer("Viktor")
        store = SQLiteStore(str(tmp_path / "bot.db"))
        async with running(greeter, twitch, transport, store=store, LEGATO_CACHE=cache):
            await connected(twitch, transport)
            for text, answer in STORY:
                viktor.says(text)
                await viktor.gets(answer)
        assert said(room) == [answer for _, answer in STORY]
        assert twitch.violations == []


class Dying(CrashingStore):
    """The process stands still for ever once it has committed something of a conversation."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner, lambda commit: False)
        self.dead = asyncio.Event()

    async def commit(self, commit: Commit) -> Committed:
        done = await self.inner.commit(commit)
        if done.result == COMMITTED and (commit.key or commit.outbox):
            self.dead.set()
            await asyncio.get_running_loop().create_future()
        return done


@EVERY
async def test_dialogs_are_the_same_with_a_crash_after_every_commit(
    transport: str, greeter: App, tmp_path: Path
) -> None:
    path, port = str(tmp_path / "bot.db"), free_port()
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        viktor = twitch.viewer("Viktor")
        before = ""
        for text, answer in STORY:
            store = Dying(SQLiteStore(path))
            async with running(greeter, twitch, transport, store=store, crash=True, port=port):
                await connected(twitch, transport)
                if before:
                    await viktor.gets(before)
                viktor.says(text)
                await store.dead.wait()
            before = answer
        async with running(greeter, twitch, transport, store=SQLiteStore(path), port=port):
            await viktor.gets(before)
        assert said(room) == [answer for _, answer in STORY]
        assert twitch.violations == []
