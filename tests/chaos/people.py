"""The people of a chaos test: each talks in order and remembers what the bot must have said."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

from legato.testing.fake_telegram import FakeTelegram, FakeUser

BOT = '''
"""Adds what people say, one number a message, and says which one it was: nothing can be lost, doubled
or swapped unseen.
"""

from legato import App, Chat, Timeout

app = App("counter")


@app.command("start")
async def count(chat: Chat) -> None:
    total = await chat.ask("From which number?", int)
    while True:
        step = await chat.ask(f"It is {total}.", int)
        if not step:
            break
        total += step
    await chat.say(f"In all {total}.")


@app.command("nap")
async def nap(chat: Chat) -> None:
    try:
        await chat.ask("Shall I wait?", int, timeout=2)
    except Timeout:
        await chat.say("You went quiet.")
'''


LATE_S = 5.0
"""A disturbance may show only some seconds after it, when somebody takes over."""


class Person:
    """Somebody who counts with the bot, dialog after dialog, until it is over.

    A message is sent without waiting for the answer now and then: two quick ones must keep their order.

    Attributes:
        told: What the bot has to say, in order, without what it repeats.
        naps: How often it was left alone, to see its timer fire.
    """

    def __init__(self, user: FakeUser, seed: int) -> None:
        self.user = user
        self.random = random.Random(seed)
        self.told: list[str] = []
        self.naps = 0
        self.sent = 0

    async def talk(self, over: asyncio.Event, patience_s: float) -> None:
        """Talks until `over` is set, then to the end of the dialog."""
        while not over.is_set() or not self.told:
            if self.random.random() < 0.2:
                await self._nap(patience_s)
            else:
                await self._count(patience_s)

    async def _count(self, patience_s: float) -> None:
        await self._says(["/start"], ["From which number?"], patience_s)
        total = self.random.randrange(10**6)
        await self._says([str(total)], [f"It is {total}."], patience_s)
        for _ in range(self.random.randrange(1, 4)):
            texts, answers = [], []
            for _ in range(self.random.choice((1, 1, 2, 3))):
                step = self.random.randrange(1, 10**6)
                total += step
                texts.append(str(step))
                answers.append(f"It is {total}.")
            await self._says(texts, answers, patience_s)
        await self._says(["0"], [f"In all {total}."], patience_s)

    async def _nap(self, patience_s: float) -> None:
        await self._says(["/nap"], ["Shall I wait?", "You went quiet."], patience_s)
        self.naps += 1

    async def _says(self, texts: list[str], answers: list[str], patience_s: float) -> None:
        for text in texts:
            self.user.sends(text)
            self.sent += 1
        for expected in answers:
            before = self.told[-1] if self.told else ""
            answer = await self._gets(patience_s, expected)
            while answer == before:  # said again: it was on its way when somebody died
                answer = await self._gets(patience_s, expected)
            assert answer == expected, f"{self.user}: {answer!r} instead of {expected!r}"
            self.told.append(expected)

    async def _gets(self, patience_s: float, expected: str) -> str:
        try:
            return (await self.user.gets(timeout_s=patience_s)).text
        except (TimeoutError, AssertionError) as error:
            raise AssertionError(f"{self.user} waits in vain for {expected!r}: {error}") from error


def judge(telegram: FakeTelegram, people: list[Person], troubles: list[tuple[float, float]]) -> int:
    """Compares everything that was sent with what had to be said; returns how much was said twice.

    A text said twice in a row is a send whose outcome was unknown when something died: there must have
    been trouble between the two, or just before. Anything else that differs is an error.
    """
    said: dict[str, list[tuple[float, str]]] = {}
    for call in telegram.calls:
        if call.method == "sendMessage" and call.carried_out:
            line = (call.at, str(call.params["text"]))
            said.setdefault(str(call.params["chat_id"]), []).append(line)
    repeats = 0
    for person in people:
        log = said.get(str(person.user.chat.id), [])
        once = [text for n, (_, text) in enumerate(log) if n == 0 or log[n - 1][1] != text]
        assert once == person.told, f"{person.user}: lost, doubled or out of order"
        for (at, text), (again_at, again) in pairwise(log):
            if text == again:
                repeats += 1
                assert any(
                    start - LATE_S <= again_at and at <= end + LATE_S for start, end in troubles
                ), f"{person.user}: {text!r} was said twice, and nothing had died"
    return repeats
