"""What ends the process is found within a few deaths, and nothing else pays for it."""

import asyncio
from typing import Any

import pytest

from legato import App, Chat
from legato.app import operate
from legato.app.poison import Count, Trials
from legato.app.router import Router
from legato.errors import StoreUnavailable, Unavailable
from legato.model.events import MessageReceived
from legato.model.records import FAILED, RUNNING, Conversation
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from tests.unit.app.kit import message, place
from tests.unit.app.lives_kit import Lives, Mortal

GUILTY = Count(2, 2)


class Death(Exception):
    """Whatever is raised after it: nobody will hear of it."""


class Bot:
    """Kills whoever reads "boom", as long as it is not mended."""

    def __init__(self) -> None:
        self.mended = False
        self.step_s = 0.0
        self.app = App("boom", apology="", help=False)
        self.app.command("start")(self.start)
        self.app.command("nap")(self.nap)
        self.app.command("work")(self.work)
        self.app.command("boom")(self.boom)
        self.app.message(r"echo .*")(self.echo)
        self.lives = Lives(self.app)

    def reads(self, text: str) -> str:
        if "boom" in text and not self.mended:
            self.lives.dies()
            raise Death
        return text

    async def start(self, chat: Chat) -> None:
        await chat.say(f"Hello {self.reads(await chat.ask('Name?'))}")

    async def nap(self, chat: Chat) -> None:
        await chat.sleep(60)
        await chat.say(self.reads("awake boom"))

    async def slowly(self, text: str) -> str:
        await self.lives.clock.sleep(self.step_s)
        return self.reads(text)

    async def work(self, chat: Chat) -> None:
        await chat.say(await chat.run(self.slowly, chat.args))

    async def boom(self, chat: Chat) -> None:
        self.reads("boom")
        await chat.say("no boom")

    async def echo(self, chat: Chat) -> None:
        await chat.say(self.reads(chat.message.text))


def at(number: int) -> str:
    return f"test:bot:{number}:{number}:"


def says(text: str, number: int = 1) -> MessageReceived:
    return message(text, place(str(number), str(number)))


@pytest.fixture
def killer() -> Bot:
    return Bot()


# -- who is to blame -------------------------------------------------------------------------------


async def test_after_three_deaths_a_conversation_fails_and_keeps_the_message_for_its_retry(
    killer: Bot,
) -> None:
    lives = killer.lives
    await lives.settles(says("/start"))
    boom = says("boom")
    await lives.settles(boom)
    assert lives.deaths == 3
    (key,) = await lives.failed()
    shown = await operate.show(lives.kept, key)
    assert shown.state.error == "the process died 3 times while it worked on this"
    assert shown.mail == (boom,)
    killer.mended = True
    await operate.retry(lives.kept, key, lives.clock.now_ms())
    await lives.settles()
    assert lives.said == ["Name?", "Hello boom"]
    assert await lives.tries() == {}


async def test_a_dialog_that_dies_at_its_first_line_is_parked_before_it_and_can_be_retried(
    killer: Bot,
) -> None:
    lives = killer.lives
    await lives.settles(says("/boom"))
    assert lives.deaths == 3
    (key,) = await lives.failed()
    killer.mended = True
    await operate.retry(lives.kept, key, lives.clock.now_ms())
    await lives.settles()
    assert lives.said == ["no boom"]
    assert await lives.failed() == []


async def test_two_hundred_that_were_in_hand_at_the_same_time_have_their_answers(
    killer: Bot,
) -> None:
    lives = killer.lives
    letters = [says(f"echo {n}", n) for n in range(200)]
    await lives.settles(*letters[:70], says("/boom", 777), *letters[70:])
    assert lives.deaths == 3
    assert await lives.failed() == [at(777)]
    assert sorted(lives.said) == sorted(f"echo {n}" for n in range(200))
    assert await lives.tries() == {}


async def test_of_several_that_kill_each_is_found_and_nobody_else(killer: Bot) -> None:
    lives = killer.lives
    letters = [says(f"echo {'boom' if n % 10 == 5 else n}", n) for n in range(40)]
    await lives.settles(*letters)
    assert await lives.failed() == sorted(at(n) for n in range(40) if n % 10 == 5)
    assert len(lives.said) == 36
    assert lives.deaths <= 4 * 3


async def test_a_step_that_kills_is_found_by_its_interrupted_turn(killer: Bot) -> None:
    lives = killer.lives
    await lives.settles(says("/work boom"), *[says(f"echo {n}", n) for n in range(2, 9)])
    assert await lives.failed() == [at(1)]
    assert lives.deaths == 3
    assert len(lives.said) == 7


async def test_slow_steps_of_others_are_not_blamed(killer: Bot) -> None:
    lives = killer.lives
    killer.step_s = 5.0
    await lives.settles(*[says(f"/work {n}", n) for n in range(10)], says("/boom", 77))
    assert await lives.failed() == [at(77)]
    assert sorted(lives.said) == [str(n) for n in range(10)]
    assert lives.deaths <= 5


async def test_what_kills_slowly_is_found_a_few_deaths_later(killer: Bot) -> None:
    lives = killer.lives
    killer.step_s = 3.0
    await lives.settles(says("/work boom"), *[says(f"/work {n}", n) for n in range(2, 6)])
    assert await lives.failed() == [at(1)]
    assert sorted(lives.said) == ["2", "3", "4", "5"]
    assert lives.deaths <= 10


async def test_a_timer_that_kills_is_found(killer: Bot) -> None:
    lives = killer.lives
    await lives.settles(says("/nap"))
    lives.clock.advance(61)
    await lives.settles(*[says(f"echo {n}", n) for n in range(2, 5)])
    assert await lives.failed() == [at(1)]
    assert lives.deaths <= 3
    assert len(lives.said) == 3


async def test_a_pattern_that_kills_is_not_asked_where_the_message_belongs(
    killer: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives, match = killer.lives, Router.match

    def matched(router: Router, event: Any) -> Any:
        killer.reads(event.text)
        return match(router, event)

    monkeypatch.setattr(Router, "match", matched)
    boom = says("boom")
    await lives.settles(boom, *[says(f"echo {n}", n) for n in range(2, 5)])
    assert sorted(lives.said) == ["echo 2", "echo 3", "echo 4"]
    assert await lives.kept.get("dead-update", boom.id) is not None
    assert await lives.tries() == {}


# -- who is not ------------------------------------------------------------------------------------


class Court:
    """Trials by themselves."""

    def __init__(self, kept: MemoryStore | None = None) -> None:
        app = Bot().app
        app.finish()
        self.store = Mortal(kept or MemoryStore())
        self.clock = FakeClock()
        self.trials = Trials(self.store, self.clock, Router(app.triggers, app.dialogs))
        self.event = message("/start")
        self.log: list[str] = []

    async def count(self) -> bytes | None:
        return await self.store.get("sent", f"attempt|{self.event.id}")

    async def stays(self) -> None:
        self.log.append("in")
        await asyncio.Event().wait()

    async def rounds(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


async def test_what_is_no_suspect_costs_nothing() -> None:
    court = Court()

    async def work() -> str:
        return "done"

    assert await court.trials.event(court.event, work, suspect=False) == "done"
    assert court.store.commits == 0


async def test_who_is_let_go_of_has_survived_however_often() -> None:
    court = Court()
    for _ in range(5):
        task = asyncio.create_task(court.trials.event(court.event, court.stays))
        await court.rounds()
        assert await court.count() == b"[1,0]"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await court.count() is None
    assert court.log == ["in"] * 5


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Unavailable("contended")])
async def test_who_could_not_be_worked_on_has_survived(error: Exception) -> None:
    court = Court()

    async def work() -> None:
        raise error

    for _ in range(5):
        with pytest.raises(type(error)):
            await court.trials.event(court.event, work)
        assert await court.count() is None


async def test_a_store_that_stays_away_blames_nobody() -> None:
    court = Court()

    async def work() -> None:
        court.store.dead = True
        raise StoreUnavailable("away")

    async def done() -> str:
        return "done"

    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await court.trials.event(court.event, work)
        court.store.dead = False
        assert await court.count() == b"[1,0]"  # it could not be taken back
    assert await court.trials.event(court.event, done) == "done"
    assert await court.count() is None


async def test_a_store_that_is_away_for_a_moment_does_not_keep_it_from_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    court = Court()
    await court.trials._put(f"attempt|{court.event.id}", GUILTY)
    aside, blind = court.trials._aside.event, []

    async def away(event: Any, why: str, *, blindly: bool = False) -> bool:
        blind.append(blindly)
        if len(blind) == 1:
            raise StoreUnavailable("away")
        return await aside(event, why, blindly=blindly)

    monkeypatch.setattr(court.trials._aside, "event", away)
    with pytest.raises(StoreUnavailable):
        await court.trials.event(court.event, court.stays)
    await court.trials.event(court.event, court.stays)
    assert court.log == []
    assert blind == [False, False]
    assert await court.count() is None


async def test_what_was_dealt_with_before_the_death_is_not_put_aside(killer: Bot) -> None:
    lives = killer.lives
    start = says("/start")
    await lives.settles(start)
    trials = Court(lives.kept).trials
    await trials._put(f"attempt|{start.id}", GUILTY)
    await lives.settles(start)
    assert await lives.failed() == []
    assert await lives.tries() == {}


async def test_a_turn_that_moved_on_meanwhile_is_not_parked(killer: Bot) -> None:
    lives = killer.lives
    await lives.settles(says("/start"))
    (row,) = await lives.kept.find()
    trials = Court(lives.kept).trials
    seen = Conversation(
        row.key, row.dialog, "", row.epoch, row.head - 1, RUNNING, 0, b"", row.updated_ms
    )
    await trials._put(f"attempt|{row.key}|{row.epoch}|{seen.head}", GUILTY)

    async def work() -> None:
        """It finds nothing to do."""

    await trials.turn(seen, work)
    assert [r.status for r in await lives.kept.find()] == ["waiting"]
    assert await lives.kept.find(status=FAILED) == []


# -- side by side ----------------------------------------------------------------------------------


async def test_while_one_is_tried_alone_whatever_else_comes_waits_but_not_for_ever() -> None:
    court = Court()
    await court.trials._put(f"attempt|{court.event.id}", Count(1, 0))
    alone = asyncio.create_task(court.trials.event(court.event, court.stays))
    await court.rounds()
    assert await court.count() == b"[2,2]"
    other = asyncio.create_task(court.trials.event(message("x"), court.stays, suspect=False))
    await court.rounds()
    assert court.log == ["in"]
    court.clock.advance(1.0)
    await court.rounds()
    assert court.log == ["in", "in"]
    assert await court.count() == b"[2,0]"  # it has outlived its time
    for task in (alone, other):
        task.cancel()
    await asyncio.gather(alone, other, return_exceptions=True)


async def test_who_is_tried_alone_waits_for_what_was_begun_right_before() -> None:
    court = Court()
    await court.trials._put(f"attempt|{court.event.id}", Count(1, 0))
    door = asyncio.Event()

    async def fresh() -> None:
        court.log.append("fresh")
        await door.wait()

    first = asyncio.create_task(court.trials.event(message("x"), fresh, suspect=False))
    await court.rounds()
    alone = asyncio.create_task(court.trials.event(court.event, court.stays))
    await court.rounds()
    assert court.log == ["fresh"]
    assert await court.count() == b"[1,0]"  # it is not under way
    door.set()
    await first
    await court.rounds()
    assert court.log == ["fresh", "in"]
    assert await court.count() == b"[2,2]"
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)


async def test_a_death_beside_something_slow_counts_half() -> None:
    court = Court()
    await court.trials._put(f"attempt|{court.event.id}", Count(1, 0))
    slow = asyncio.create_task(court.trials.event(message("x"), court.stays, suspect=False))
    await court.rounds()
    alone = asyncio.create_task(court.trials.event(court.event, court.stays))
    await court.rounds()
    court.clock.advance(1.0)
    await court.rounds()
    assert court.log == ["in", "in"]
    assert await court.count() == b"[2,1]"
    for task in (alone, slow):
        task.cancel()
    await asyncio.gather(alone, slow, return_exceptions=True)
