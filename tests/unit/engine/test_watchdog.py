"""A step that hangs is given up: its conversation goes on, and no other one notices."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta

import pytest

from legato import App, Chat, Timeout, step
from legato.app.runtime import RuntimeSettings
from legato.engine import watchdog
from legato.engine.watchdog import Threads, Watchdog
from tests.unit.app.kit import place, running

app = App("slow", step_timeout=timedelta(seconds=0.05))
release = threading.Event()
"""Lets threads that hang come to their end."""


@pytest.fixture(autouse=True)
def _release(monkeypatch):
    monkeypatch.setattr(watchdog, "GRACE_S", 0.02)
    release.clear()
    yield
    release.set()


async def until(true: Callable[[], bool]) -> None:
    """Returns once it is."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)


async def hangs(how: str) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if how == "stubborn":
            await asyncio.to_thread(release.wait, 60)
        raise


def blocks(how: str) -> str:
    assert release.wait(60)
    return how


@app.command("go")
async def go(chat: Chat) -> None:
    how = chat.args
    try:
        await chat.run(blocks if how == "thread" else hangs, how)
    except Timeout:
        raise AssertionError("that is for people who do not answer") from None
    except TimeoutError as error:
        await chat.say(str(error))
    await chat.say("Next?")


@app.command("parks")
async def parks(chat: Chat) -> None:
    await chat.run(hangs, "")


@app.command("quick")
async def quick(chat: Chat) -> None:
    await chat.say(await chat.run(str, 7, timeout=60))


@pytest.mark.parametrize("how", ["cancelled", "stubborn", "thread"])
async def test_a_hanging_step_frees_its_lane_and_others_never_notice(how, caplog):
    caplog.set_level(logging.ERROR)
    async with running(app) as world:
        await world.says(f"/go {how}")
        name = "blocks" if how == "thread" else "hangs"
        assert world.said[0].startswith(f"step '{name}' took longer than 0.05 s and was given up")
        assert "LEGATO_STEP_TIMEOUT" in world.said[0]
        assert world.said[1:] == ["Next?"]
        await world.says("/quick", place("2", "2"))
        assert world.said[2:] == ["7"]
        dog = world.runtime.services.watchdog
        assert (dog.late, dog.stuck) == (1, how != "cancelled")
        assert f"step {name} was given up after 0.05 s" in caplog.text
        release.set()
        await until(lambda: not dog.stuck)


async def test_a_hundred_hanging_threads_stand_in_nobodys_way():
    async with running(app) as world:
        chats = [world.says("/go thread", place(f"{n}", f"{n}")) for n in range(100)]
        await asyncio.gather(*chats, world.says("/quick", place("x", "x")))
        assert world.said.count("Next?") == 100
        assert "7" in world.said
        assert world.runtime.services.watchdog.stuck == 100


async def test_uncaught_it_parks_the_conversation():
    async with running(app) as world:
        await world.says("/parks")
        assert world.said == [app.apology]
        (row,) = await world.store.find(status="failed")
        assert b"step 'hangs' took longer than" in row.state


async def test_a_step_with_a_limit_of_its_own_has_that():
    new = App("new")

    @step(timeout=0.01, retries=1)
    async def short() -> None:
        await asyncio.Event().wait()

    async def quick() -> str:
        await asyncio.sleep(0.01)
        return "done"

    @new.command("go")
    async def go(chat: Chat) -> None:
        try:
            await short()
        except TimeoutError as error:
            await chat.say(str(error)[:36])
        await chat.say(await chat.run(quick, timeout=0))

    async with running(new, settings=RuntimeSettings(step_timeout_s=0.001)) as world:
        going = asyncio.create_task(world.says("/go"))
        await until(lambda: world.clock.next_s() is not None)  # the pause between two tries
        world.clock.advance(1)
        await going
        assert world.said == ["step 'short' took longer than 0.01 s", "done"]


async def test_the_default_is_ten_minutes_and_settings_go_before_the_app():
    assert App("x").step_timeout_s == 600
    for setting, limit in [(None, 0.05), (0.0, None), (7.5, 7.5)]:
        async with running(app, settings=RuntimeSettings(step_timeout_s=setting)) as world:
            assert world.runtime.services.watchdog.limit(None) == limit


async def test_a_lost_branch_is_cancelled_and_its_late_error_is_nobodys():
    new = App("new")

    async def fails_late() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("too late") from None

    async def wins() -> str:
        return "won"

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.say(await chat.first(chat.run(fails_late), chat.run(wins)))

    async with running(new) as world:
        await world.says("/go")
        assert world.said == ["won"]
        dog = world.runtime.services.watchdog
        await until(lambda: not dog.stuck)
        assert dog.late == 0


async def test_what_a_plain_function_gives_back_is_awaited_if_it_is_a_coroutine():
    dog = Watchdog()

    async def later() -> int:
        return 5

    assert await dog.run("later", later, None, thread=True) == 5
    dog.close()


async def test_threads_are_used_again_and_end_with_the_runtime():
    threads = Threads()
    names = {await threads.run(threading.get_ident) for _ in range(20)}
    assert len(names) == 1
    (thread,) = [t for t in threading.enumerate() if t.ident in names]
    with pytest.raises(RuntimeError, match="StopIteration: 7"):
        await threads.run(stops)
    slow = asyncio.create_task(threads.run(lambda: release.wait(60)))
    await asyncio.sleep(0)
    threads.close()
    release.set()
    assert await slow
    thread.join(60)
    assert not thread.is_alive()


def stops() -> None:
    raise StopIteration(7)


async def test_no_more_idle_threads_are_kept_than_are_needed(monkeypatch):
    monkeypatch.setattr(watchdog, "MOST_IDLE", 1)
    threads = Threads()
    both = threading.Barrier(2)
    idents = await asyncio.gather(
        *(threads.run(lambda: (both.wait(60), threading.get_ident())[1]) for _ in range(2))
    )
    alive = [t for t in threading.enumerate() if t.ident in idents]
    assert len(threads._idle) == 1
    threads.close()
    for thread in alive:
        thread.join(60)


def test_a_thread_whose_loop_is_gone_ends():
    started: list[threading.Thread] = []

    async def main() -> None:
        task = asyncio.create_task(Threads().run(hold))
        await until(lambda: bool(started))
        task.cancel()

    def hold() -> None:
        started.append(threading.current_thread())
        release.wait(60)

    asyncio.run(main())
    release.set()
    started[0].join(60)
    assert not started[0].is_alive()


async def test_a_step_outside_of_any_dialog_has_only_its_own_limit():
    @step(timeout=0.01)
    def sits() -> None:
        release.wait(60)

    @step
    async def plain() -> int:
        return 3

    with pytest.raises(TimeoutError, match="step 'sits'"):
        await sits()
    assert await plain() == 3


@pytest.mark.parametrize("thread", [True, False])
async def test_what_a_failed_step_held_is_free_again_without_the_collector(thread):
    class Held(Exception):
        pass

    def fails() -> None:
        raise Held

    dog = Watchdog()
    gc.disable()
    try:
        try:
            await dog.run("fails", fails, None, thread=thread)
        except Held as error:
            left = weakref.ref(error)
        await until(lambda: left() is None)
    finally:
        gc.enable()
        dog.close()
