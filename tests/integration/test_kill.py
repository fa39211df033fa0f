"""kill -9, again and again, under load: no update lost, none applied twice, every sum right.

A bot on SQLite in a process of its own, people who add numbers without a pause, updates that come
twice, and SIGKILL at random moments. More kills: LEGATO_SOAK=10.
"""

import asyncio
import os
import random
import signal
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.run_kit import environment
from tests.servers.nursery import python

SOAK = int(os.environ.get("LEGATO_SOAK", "1"))
PEOPLE = 8
PATIENCE_S = 200.0
SCRIPT = Path(__file__).with_name("kill_bot.py")


BOT = """
from legato import App, Chat

app = App("adder")


@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask("First number?", int)
    second = await chat.ask("Second number?", int)
    await chat.say(f"Sum: {first + second}")
"""
"""The adder, with all the time in the world: how long a life takes depends on the machine."""


class Trial:
    """One bot that dies and is started again, while people talk with it."""

    def __init__(self, telegram: FakeTelegram, bot: Path, env: dict[str, str], seed: int) -> None:
        self.telegram = telegram
        self.bot = bot
        self.env = env
        self.random = random.Random(seed)
        self.kills: list[float] = []
        self.over = False
        self.sums: dict[str, list[int]] = {}

    async def live(self, kills: int, *sabotage: str) -> None:
        """Runs the bot, kills it, and so on; the last one lives until everybody is content."""
        people = [self.telegram.user(f"P{n}") for n in range(PEOPLE)]
        talks = [asyncio.create_task(self.talk(person)) for person in people]
        try:
            for _ in range(kills):
                await self.run(self.random.uniform(0.02, 0.25), *sabotage)
                if any(task.done() for task in talks):
                    break  # somebody found something wrong
            self.over = True
            content = asyncio.gather(*talks)
            await self.run(content, *sabotage)
            await content
        finally:
            for task in talks:
                task.cancel()
            await asyncio.gather(*talks, return_exceptions=True)

    async def run(self, until: float | asyncio.Future[list[None]], *sabotage: str) -> None:
        """One life of the bot, ended by SIGKILL `until` seconds after its first poll or webhook."""
        asked = len(self.telegram.calls)
        words = (str(SCRIPT), str(self.bot), *sabotage)
        process = await python(*words, env=self.env, out=asyncio.subprocess.DEVNULL)
        try:
            while len(self.telegram.calls) == asked and process.returncode is None:  # noqa: ASYNC110  # it may end
                await asyncio.sleep(0.005)
            if isinstance(until, float):
                await asyncio.sleep(until)
            else:
                await asyncio.wait([until])
        finally:
            assert process.returncode is None, "the bot ended by itself"
            process.send_signal(signal.SIGKILL)
            await process.wait()
            self.kills.append(asyncio.get_running_loop().time())

    async def talk(self, person: FakeUser) -> None:
        """Adds numbers, dialog after dialog, until it is over."""
        rng = random.Random(person.chat.id)
        sums = self.sums.setdefault(str(person.chat.id), [])
        before = ""  # what was said last, of this sum or the one before
        while not self.over or not sums:
            first, second = rng.randrange(10**6), rng.randrange(10**6)
            for text, expected in (
                ("/start", "First number?"),
                (str(first), "Second number?"),
                (str(second), f"Sum: {first + second}"),
            ):
                person.sends(text)
                answer = await person.gets(timeout_s=PATIENCE_S)
                while answer.text == before:  # said again: it was on its way when the bot died
                    answer = await person.gets(timeout_s=PATIENCE_S)
                assert answer.text == expected, (text, answer.text)
                before = expected
            sums.append(first + second)

    def judge(self) -> None:
        """What the whole log must show."""
        for chat, sums in self.sums.items():
            said = [
                (call.at, str(call.params["text"]))
                for call in self.telegram.calls
                if call.method == "sendMessage" and str(call.params["chat_id"]) == chat
                if call.carried_out
            ]
            told = [
                text
                for index, (_, text) in enumerate(said)
                if index == 0 or said[index - 1][1] != text
            ]
            expected = [t for s in sums for t in ("First number?", "Second number?", f"Sum: {s}")]
            assert told == expected, "lost, doubled or out of order"
            for (at, text), (again_at, again) in pairwise(said):
                if text == again:
                    assert any(at <= kill <= again_at for kill in self.kills), (
                        f"{text!r} was said twice without a kill in between"
                    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _trial(folder: Path, seed: int, kills: int, *sabotage: str, webhook: bool) -> Trial:
    async with FakeTelegram(second=0.02) as telegram:
        telegram.updates.repeats = 1 if webhook else 0
        env = environment(telegram)
        if webhook:
            port = _free_port()
            env |= {"LEGATO_LISTEN": f"127.0.0.1:{port}"}
            env |= {"LEGATO_PUBLIC_URL": f"http://127.0.0.1:{port}"}
        (folder / "adder.py").write_text(BOT)
        trial = Trial(telegram, folder / "adder.py", env, seed)
        doubling = asyncio.create_task(_repeat_polls(telegram))
        try:
            await trial.live(kills, *sabotage)
        finally:
            doubling.cancel()
        trial.judge()
        return trial


async def _repeat_polls(telegram: FakeTelegram) -> None:
    """Every now and then a poll brings what was confirmed already."""
    while True:
        await asyncio.sleep(0.05)
        telegram.updates.repeat_polls += 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SOAK))
@pytest.mark.parametrize("webhook", [False, True], ids=["polling", "webhook"])
async def test_no_kill_loses_or_doubles_anything(tmp_path, seed, webhook):
    trial = await _trial(tmp_path, seed, 26, webhook=webhook)
    assert len(trial.kills) >= 26
    assert all(trial.sums.values())


@pytest.mark.timeout(120)
async def test_the_trial_finds_out_when_updates_are_not_remembered(tmp_path):
    with pytest.raises(AssertionError):
        await _trial(tmp_path, 1, 6, "no-dedupe", webhook=True)
