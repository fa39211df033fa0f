"""What an operator does beside a running bot: on a store of their own, opened on the same file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from legato import App, Cancelled, Chat
from legato.abc import Store, Verdict
from legato.app import operate
from legato.model.records import (
    DEAD,
    FAILED,
    QUEUED,
    RUNNING,
    WAITING,
    Commit,
    OutboxItem,
    Settled,
)
from legato.stores.sqlite import SQLiteStore
from tests.unit.app.kit import World, message, place, running

KEY = "test:bot:1:1:"


class Desk:
    """A bot with a bug that can be mended, and a step that waits at a door."""

    def __init__(self) -> None:
        self.broken = True
        self.door = asyncio.Event()
        self.begun = asyncio.Event()
        self.steps = 0
        self.app = App("desk", apology="")
        for dialog in (self.ask, self.paid, self.slow, self.fail):
            self.app.command(dialog.__name__)(dialog)

    async def ask(self, chat: Chat) -> None:
        try:
            number = await chat.ask("Number?", int)
            if self.broken:
                raise RuntimeError("a bug")
            await chat.say(f"got {number}")
        except Cancelled as cancelled:
            await chat.say(f"goodbye ({cancelled.reason})")

    async def paid(self, chat: Chat) -> None:
        amount = await chat.wait_for("paid", int)
        await chat.say(f"paid {amount}")

    async def work(self) -> str:
        self.steps += 1
        self.begun.set()
        await self.door.wait()
        return "worked"

    async def slow(self, chat: Chat) -> None:
        try:
            await chat.say("working")
            await chat.say(await chat.run(self.work))
            await chat.ask("More?")
        except Cancelled:
            await chat.say("stopped")

    async def fail(self, chat: Chat) -> None:
        await chat.say("now")
        if self.broken:
            raise RuntimeError("at once")


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[tuple[Desk, World, Store]]:
    """The bot at work, and an operator's own store on its file."""
    desk = Desk()
    store = SQLiteStore(folder / "bot.db", shared=True)
    async with running(desk.app, SQLiteStore(folder / "bot.db")) as world:
        await store.open()
        try:
            yield desk, world, store
        finally:
            await store.close()


async def tick(world: World) -> None:
    await world.runtime.tick()
    await world.rest()


async def status(store: Store, key: str = KEY) -> str:
    loaded = await store.load(key)
    return loaded.conversation.status if loaded else "over"


async def test_a_failed_conversation_goes_on_after_the_bug_is_mended(tmp_path: Path) -> None:
    async with desk(tmp_path) as (bot, world, store):
        await world.says("/ask")
        await world.says("7")
        assert await status(store) == FAILED
        shown = await operate.show(store, KEY)
        assert "a bug" in shown.state.error
        assert [getattr(event, "text", "") for event in shown.mail] == ["7"]

        bot.broken = False
        assert await operate.retry(store, KEY, world.clock.now_ms()) == KEY
        await tick(world)

        assert world.said == ["Number?", "got 7"]
        assert await status(store) == "over"


async def test_one_that_failed_at_its_first_line_goes_on_too_and_says_nothing_twice(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as (bot, world, store):
        await world.says("/fail")
        bot.broken = False
        await operate.retry(store, KEY, world.clock.now_ms())
        await tick(world)

        assert world.said == ["now"]
        assert await status(store) == "over"


async def test_a_retry_of_what_is_still_broken_fails_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await world.says("/ask")
        await world.says("7")
        await operate.retry(store, KEY, world.clock.now_ms())
        await tick(world)

        shown = await operate.show(store, KEY)
        assert shown.conversation.status == FAILED
        assert "a bug" in shown.state.error
        assert len(shown.mail) == 1


async def test_the_next_start_goes_on_with_what_was_retried_while_no_bot_ran(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as (bot, world, store):
        await world.says("/ask")
        await world.says("7")
        bot.broken = False
        await operate.retry(store, KEY, world.clock.now_ms())
        await world.crash()
        await world.rest()

        assert world.said[-1] == "got 7"


async def test_one_that_was_parked_aside_moves_back_when_its_place_is_free(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as (bot, world, store):
        await world.says("/ask")
        await world.says("7")
        await world.says("/paid")
        parked = [row.key async for row in operate.conversations(store, status=FAILED)]
        assert parked[0].startswith(f"{KEY}!")

        bot.broken = False
        with pytest.raises(operate.Refused, match="another conversation runs in the place"):
            await operate.retry(store, parked[0], world.clock.now_ms())
        await operate.signal(store, KEY, "paid", 5, now_ms=world.clock.now_ms(), unique="1")
        await tick(world)
        assert await operate.retry(store, parked[0], world.clock.now_ms()) == KEY
        await tick(world)

        assert world.said == ["Number?", "paid 5", "got 7"]


async def test_only_parked_conversations_are_retried(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await world.says("/ask")
        for key, said in (
            (KEY, "is waiting: only failed and held"),
            ("test:bot:2:2:", "there is no conversation"),
            (f"{KEY}!5", "there is no conversation"),
        ):
            with pytest.raises(operate.Refused, match=said):
                await operate.retry(store, key, world.clock.now_ms())


async def test_a_waiting_conversation_is_cancelled_at_its_wait(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await world.says("/ask")
        event_id = await operate.cancel(store, KEY, world.clock.now_ms(), "1")
        assert not await operate.taken(store, event_id)
        await tick(world)

        assert await operate.taken(store, event_id)
        assert world.said == ["Number?", "goodbye (operator)"]
        assert await status(store) == "over"


async def test_a_failed_conversation_is_deleted(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await world.says("/ask")
        await world.says("7")
        assert await operate.cancel(store, KEY, world.clock.now_ms(), "1") == ""

        assert await status(store) == "over"
        with pytest.raises(operate.Refused):
            await operate.cancel(store, KEY, world.clock.now_ms(), "2")


async def test_a_cancellation_during_a_step_waits_for_its_end_and_runs_no_step_twice(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as (bot, world, store):
        work = asyncio.create_task(world.receive(message("/slow")))
        await bot.begun.wait()
        await operate.cancel(store, KEY, world.clock.now_ms(), "1")
        woken = asyncio.create_task(world.runtime.tick())
        await asyncio.sleep(0)
        bot.door.set()
        await work
        await woken
        await operate.wake(store, KEY, world.clock.now_ms())
        await tick(world)

        assert bot.steps == 1
        assert world.said[-1] == "stopped"


async def test_a_signal_lets_the_dialog_go_on_and_counts_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await world.says("/paid")
        for _ in range(2):
            await operate.signal(store, KEY, "paid", 5, now_ms=world.clock.now_ms(), unique="7")
            await tick(world)
            if await status(store) == "over":
                break
        assert world.said == ["paid 5"]
        with pytest.raises(operate.Refused):
            await operate.signal(store, KEY, "paid", 5, now_ms=1, unique="7")


async def test_an_early_signal_waits_in_the_mailbox(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await world.says("/ask")
        event_id = await operate.signal(
            store, KEY, "paid", 5, now_ms=world.clock.now_ms(), unique="7"
        )
        await tick(world)

        assert not await operate.taken(store, event_id)
        assert await status(store) == WAITING
        assert len((await operate.show(store, KEY)).mail) == 1


async def test_dead_deliveries_are_listed_and_sent_again_at_the_next_scan(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as (_, world, store):
        world.platform.answer = lambda call, place: _refused()
        await world.says("/ask")
        (item,) = [item async for item in operate.deliveries(store)]
        assert (item.state, item.error) == (DEAD, "no")
        assert (await operate.show(store, KEY)).outbox == (item,)

        world.platform.answer = lambda call, place: None
        assert await operate.redeliver(store, [item.id, item.id + 1]) == [item.id]
        assert await operate.redeliver(store, [item.id]) == []
        await world.runtime.rescan()
        await world.rest()

        assert world.said == ["Number?"]
        assert await queued(store) == []


async def queued(store: Store) -> list[OutboxItem]:
    return await store.outbox(states=(QUEUED, DEAD))


def _refused() -> Verdict:
    return Verdict("refused", error="no")


async def test_conversations_are_listed_by_pages_and_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "PAGE", 2)
    async with desk(tmp_path) as (_, world, store):
        for number in range(5):
            await world.says("/ask" if number % 2 else "/paid", place(str(number), str(number)))

        assert len([row async for row in operate.conversations(store)]) == 5
        assert len([row async for row in operate.conversations(store, dialog="paid")]) == 3
        assert [row async for row in operate.conversations(store, status=FAILED)] == []


async def test_a_check_replays_every_journal_and_changes_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await world.says("/ask")
        before = await store.find()
        same = [r.verdict async for r in operate.check(store, Desk().app, world.clock)]

        other = App("desk")

        @other.command("ask")
        async def ask(chat: Chat) -> None:
            await chat.ask("Text?", str)

        changed = [r async for r in operate.check(store, other, world.clock)]
        gone = [r.verdict async for r in operate.check(store, App("empty"), world.clock)]

        assert same == ["same"]
        assert [(r.verdict, r.key) for r in changed] == [("mismatch", KEY)]
        assert "int" in changed[0].detail
        assert gone == ["missing"]
        assert await store.find() == before


async def test_unknown_ids_are_no_harm(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await store.settle([Settled(99, QUEUED)])
        await operate.wake(store, KEY, world.clock.now_ms())

        assert await operate.redeliver(store, []) == []


async def test_a_retry_by_a_clock_that_is_ahead_does_not_close_the_conversation(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as (bot, world, store):
        await world.says("/ask")
        await world.says("5")
        bot.broken = False
        await operate.retry(store, KEY, world.clock.now_ms() + 3_600_000)
        await world.says("hello")  # it goes on now, and not in an hour
        assert world.said[-1] == "got 5"


async def test_a_turn_whose_process_has_time_left_is_not_given_to_others(tmp_path: Path) -> None:
    async with desk(tmp_path) as (_, world, store):
        await world.says("/paid")
        (row,) = await store.find()
        now_ms = world.clock.now_ms()
        until_ms = now_ms + 60_000
        at_work = replace(
            row, status=RUNNING, wake_ms=until_ms, updated_ms=now_ms, head=row.head + 1
        )
        await store.commit(Commit(at_ms=now_ms, key=KEY, expect=(row.epoch, row.head), row=at_work))
        await operate.signal(store, KEY, "paid", 5, now_ms=now_ms, unique="7")
        (row,) = await store.find()
        assert row.wake_ms == until_ms
