"""Steps that nobody waits for any more are cancelled, and come to their end before anything else happens."""

from __future__ import annotations

import asyncio
import threading

import pytest

from legato import App, Chat
from legato.engine import watchdog
from legato.model.records import COMMITTED, CONFLICT, RUNNING, Commit, Committed
from legato.stores.memory import MemoryStore
from tests.unit.app.kit import running

ROUNDS = 20
"""Of the loop that putting things back takes."""


class Steps:
    """What steps did, in order, and how many were at it at the same time."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.under_way = 0
        self.most = 0

    async def holds(self) -> None:
        """Holds something until it is cancelled, and puts it back then, which takes a while."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            self.done.append("put back")
            self.under_way -= 1

    async def wins(self) -> str:
        return "won"

    async def goes_on(self) -> None:
        self.done.append("next")


@pytest.fixture
def steps() -> Steps:
    return Steps()


def racing(steps: Steps) -> App:
    app = App("racing")

    @app.command("go")
    async def go(chat: Chat) -> None:
        await chat.first(chat.run(steps.holds), chat.run(steps.wins))
        await chat.run(steps.goes_on)
        await chat.say("done")

    return app


async def test_a_step_that_lost_a_race_has_put_things_back_before_the_dialog_goes_on(
    steps: Steps,
) -> None:
    async with running(racing(steps)) as world:
        await world.says("/go")
        assert steps.done == ["put back", "next"]
        assert world.said == ["done"]
        assert world.runtime.services.watchdog.stuck == 0


class Overtaken(MemoryStore):
    """Another process is faster once, at the first result of a step."""

    lost = False

    async def commit(self, commit: Commit) -> Committed:
        result = commit.segment and not commit.update_id
        if result and commit.row and commit.row.status == RUNNING and not self.lost:
            self.lost = True
            return Committed(CONFLICT)
        done = await super().commit(commit)
        assert done.result == COMMITTED
        return done


async def test_a_step_is_not_begun_again_before_its_cancelled_try_is_over(steps: Steps) -> None:
    app = App("both")

    @app.command("go")
    async def go(chat: Chat) -> None:
        await chat.ask("Ready?")
        await chat.first(chat.run(steps.holds), chat.run(steps.wins))
        await chat.say("done")

    async with running(app, Overtaken()) as world:
        await world.says("/go")
        await world.says("yes")
        assert world.said == ["Ready?", "done"]
        assert steps.done == ["put back"] * 2
        assert steps.most == 1


async def test_a_step_that_does_not_end_holds_nobody_up_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "GRACE_S", 0.01)
    steps, release = Steps(), asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                steps.done.append("no")

    steps.holds = stubborn  # type: ignore[method-assign]
    async with running(racing(steps)) as world:
        await world.says("/go")
        assert world.said == ["done"]
        assert steps.done == ["no", "next"]
        assert world.runtime.services.watchdog.stuck == 1
        release.set()


async def test_a_function_in_a_thread_is_not_waited_for(steps: Steps) -> None:
    release, app = threading.Event(), App("thread")

    @app.command("go")
    async def go(chat: Chat) -> None:
        await chat.first(chat.run(release.wait, 60), chat.run(steps.wins))
        await chat.say("done")

    async with running(app) as world:
        await world.says("/go")
        assert world.said == ["done"]
        assert world.runtime.services.watchdog.stuck == 1
        release.set()


async def test_a_turn_that_is_cut_off_itself_waits_for_nothing(steps: Steps) -> None:
    app = App("cut")

    @app.command("go")
    async def go(chat: Chat) -> None:
        await chat.run(steps.holds)

    async with running(app) as world:
        turn = asyncio.create_task(world.says("/go"))
        while not steps.under_way:  # noqa: ASYNC110  # the step tells nobody
            await asyncio.sleep(0)
        await world.runtime.abandon()
        turn.cancel()
        await asyncio.wait({turn})
        for _ in range(2 * ROUNDS):
            await asyncio.sleep(0)
        assert steps.done == ["put back"]
