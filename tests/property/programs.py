"""Dialogs as data: small programs that one async function carries out, and the people who meet them.

A program is JSON, so it travels in the command that starts it ("/run [...]") and another process can
replay it from the store alone.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import Struct

from legato import App, Cancelled, Chat, Handle, StepError, Timeout, TooManyAttempts
from legato.engine.changes import of_another_life
from legato.model.events import AnyEvent
from legato.model.records import Conversation, OutboxItem
from legato.testing.script import Bot

Program = list[Any]
"""Operations: lists of a name and arguments, some of which are programs."""

app = App("programs", idle=500)
KINDS: dict[str, Any] = {"int": int, "str": str, "bool": bool, "choice": ["red", "green"]}
Input = tuple[str, str | int]
"""What happens: ("says", "7"), ("advances", 10), ("crashes", 0) ..."""

_event = msgspec.json.Decoder(AnyEvent)
CAUGHT = (Timeout, TooManyAttempts, StepError, ValueError)


@app.command("run")
async def run(chat: Chat, program: Program | None = None, rounds: int = 2) -> None:
    machine = Machine(chat, rounds)
    try:
        await machine.block(json.loads(chat.args) if program is None else program)
    except Cancelled as error:
        await chat.say(f"cancelled ({error.reason}) {machine.seen}")
        raise
    await chat.say(f"end {machine.seen}")


@app.command("hint", anywhere=True)
async def hint(chat: Chat) -> None:
    await chat.say("a hint")


@app.command("note", anywhere=True)
async def note(chat: Chat) -> None:
    await chat.say(f"noted {await chat.ask('What?', timeout=20)}")


async def double(value: int) -> int:
    return value * 2


async def fail(text: str) -> None:
    raise ValueError(text)


class Machine:
    """Carries a program out. What it sees, it says at the end: so a wrong replay shows."""

    def __init__(self, chat: Chat, rounds: int) -> None:
        self.chat = chat
        self.rounds = rounds
        self.seen: list[object] = []
        self.handle: Handle | None = None

    async def block(self, program: Program) -> None:
        """One operation after another."""
        for name, *args in program:
            await getattr(self, f"do_{name}")(*args)

    async def branch(self, program: Program) -> int:
        """A branch of a fork; what it sees is seen by all."""
        await self.block(program)
        return len(self.seen)

    async def do_say(self, text: str) -> None:
        self.handle = await self.chat.say(text, buttons=["x"] if text == "b" else None)

    async def do_edit(self, text: str) -> None:
        if self.handle is not None:
            await self.handle.edit(text)

    async def do_delete(self) -> None:
        if self.handle is not None:
            await self.handle.delete()
            self.handle = None

    async def do_chance(self) -> None:
        chat = self.chat
        text = f"{chat.random.random()} {chat.uuid()} {chat.now().isoformat()}"
        self.seen.append(text)

    async def do_ask(self, kind: str, options: dict[str, Any]) -> None:
        self.seen.append(await self.chat.ask(f"{kind}?", KINDS[kind], **options))

    async def do_confirm(self) -> None:
        self.seen.append(await self.chat.confirm("Sure?"))

    async def do_receive(self, timeout: int) -> None:
        self.seen.append((await self.chat.receive(timeout=timeout)).text)

    async def do_signal(self, name: str) -> None:
        self.seen.append(await self.chat.wait_for(name, int, timeout=100))

    async def do_sleep(self, seconds: int) -> None:
        await self.chat.sleep(seconds)
        self.seen.append("slept")

    async def do_step(self, value: int) -> None:
        self.seen.append(await self.chat.run(double, value))

    async def do_fail(self) -> None:
        await self.chat.run(fail, "no")

    async def do_gather(self, *programs: Program) -> None:
        self.seen.append(await self.chat.gather(*map(self.branch, programs)))

    async def do_race(self, *programs: Program) -> None:
        self.seen.append(list(await self.chat.race(*map(self.branch, programs))))

    async def do_first(self, *programs: Program) -> None:
        self.seen.append(await self.chat.first(*map(self.branch, programs)))

    async def do_sub(self, program: Program) -> None:
        inner = Machine(self.chat, self.rounds)
        await inner.block(program)
        self.seen.append(inner.seen)

    async def do_within(self, seconds: int, program: Program) -> None:
        try:
            async with self.chat.timeout(seconds):
                await self.block(program)
        except Timeout:
            self.seen.append("too slow")

    async def do_try(self, program: Program) -> None:
        try:
            await self.block(program)
        except CAUGHT as error:
            self.seen.append(f"{type(error).__name__}: {error}")
        finally:
            self.seen.append("finally")

    async def do_goto(self, program: Program) -> None:
        if self.rounds:
            await self.chat.goto(run, program=program, rounds=self.rounds - 1)

    async def do_shield(self, program: Program) -> None:
        """Catches a cancellation and says goodbye, with a step."""
        try:
            await self.block(program)
        except Cancelled:
            self.seen.append(await self.chat.run(double, 21))
            raise


# -- inventing them --------------------------------------------------------------------------------

TEXTS = st.sampled_from(["a", "b"])
ASKING = st.fixed_dictionaries(
    {},
    optional={
        "retry": st.just("again!"),
        "attempts": st.integers(1, 3),
        "timeout": st.sampled_from([10, 30]),
        "remind_after": st.sampled_from([5, 20]),
        "key": TEXTS,
    },
)


def operation(name: str, *args: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """One operation with arguments."""
    return st.tuples(st.just(name), *args).map(list)


WAITS = st.one_of(
    operation("ask", st.sampled_from(sorted(KINDS)), ASKING),
    operation("ask", st.just("int"), ASKING),
    operation("confirm"),
    operation("receive", st.sampled_from([10, 30])),
    operation("signal", TEXTS),
    operation("sleep", st.sampled_from([1, 5, 20])),
)
SIMPLE = st.one_of(
    WAITS,
    operation("step", st.integers(0, 9)),
    operation("say", TEXTS),
    operation("edit", TEXTS),
    operation("delete"),
    operation("chance"),
    operation("fail"),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Operations that hold programs."""
    block = st.lists(inner, min_size=1, max_size=3)
    branch = st.tuples(WAITS, st.lists(inner, max_size=2)).map(lambda pair: [pair[0], *pair[1]])
    branches = st.lists(branch, min_size=2, max_size=3)
    forks = st.tuples(st.sampled_from(["gather", "gather", "race", "first"]), branches)
    return st.one_of(
        forks.map(lambda pair: [pair[0], *pair[1]]),
        forks.map(lambda pair: [pair[0], *pair[1]]),
        operation("sub", block),
        operation("within", st.sampled_from([5, 25]), block),
        operation("try", block),
        operation("goto", block),
        operation("shield", block),
    )


PROGRAMS = st.lists(st.recursive(SIMPLE, nested, max_leaves=8), min_size=1, max_size=5)

SAYS = st.tuples(st.just("says"), st.sampled_from(["7", "7", "12abc", "yes", "no", "red", "a"]))
INPUTS = st.lists(
    st.one_of(
        SAYS,
        SAYS,
        SAYS,
        st.tuples(st.just("presses"), st.integers(0, 5)),
        st.tuples(st.just("advances"), st.sampled_from([1, 5, 10, 25, 600])),
        st.tuples(st.just("signals"), TEXTS),
        st.tuples(st.just("signals"), TEXTS),
        st.tuples(st.just("repeats"), st.integers(1, 3)),
        st.tuples(st.just("does"), st.sampled_from(["/cancel", "/hint", "/note", "/run"])),
        st.tuples(st.just("crashes"), st.just(0)),
    ),
    min_size=1,
    max_size=10,
)


# -- playing them ----------------------------------------------------------------------------------


class Stored(Struct):
    """One conversation as it lies in the store, with its queue and its mail."""

    row: Conversation
    birth: bytes
    segments: list[bytes]
    outbox: list[OutboxItem]
    mail: list[str]


class Played(Struct):
    """A run: what was called and is shown, and the store after each input."""

    calls: list[bytes]
    shown: list[Any]
    stored: list[list[Stored]]
    crashes: int = 0


class Player:
    """Plays a program with one person's inputs in one mode."""

    def __init__(self, mode: str) -> None:
        self.bot = Bot(app, mode, strict=False)
        self.ann = self.bot.user("Ann")
        self.last: Any = None

    async def play(self, program: Program, inputs: list[Input]) -> Played:
        """The whole run."""
        bot, played = self.bot, Played([], [], [])
        start = f"/run {json.dumps(program)}"
        try:
            await self._says(start)
            played.stored.append(await self.stored())
            for what, value in inputs:
                bot.clock.advance(0.001)
                await self._input(what, start if value == "/run" else value)
                played.stored.append(await self.stored())
        finally:
            bot.abandon()
            await bot.close()
        played.calls = [msgspec.json.encode(call) for call in bot.platform.calls]
        played.shown = [(shown.id, shown.message) for shown in bot.platform.shown]
        played.crashes = bot.crashes
        return played

    async def _says(self, text: str) -> None:
        self.last = self.ann.message(text)
        await self.bot.send(self.last)

    async def _input(self, what: str, value: Any) -> None:
        bot = self.bot
        if what in ("says", "does"):
            await self._says(value)
        elif what == "advances":
            await bot.advance(seconds=value)
        elif what == "signals":
            if any("!" not in row.key for row in await bot.conversations()):
                await bot.signal(self.ann, value, 5)
        elif what == "repeats":
            for _ in range(value):
                await bot.send(self.last)
        elif what == "crashes":
            await bot.crash()
        else:
            buttons = [b for s in bot.platform.shown for row in s.message.buttons for b in row]
            if buttons:
                await self.ann.presses(buttons[value % len(buttons)].text)

    async def stored(self) -> list[Stored]:
        """Everything in the store, as it is."""
        store, found = self.bot._inner, []
        for row in await store.find():
            loaded = await store.load(row.key)
            assert loaded is not None
            found.append(
                Stored(
                    loaded.conversation,
                    loaded.birth,
                    loaded.segments,
                    await store.outbox(states=("queued", "dead", "unknown"), key=row.key),
                    [
                        mail.id
                        for mail in await store.mail(key=row.key)
                        if not of_another_life(_event.decode(mail.payload), loaded.conversation)
                    ],
                )
            )
        return found
