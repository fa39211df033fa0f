"""A Turn that takes long: its update is acknowledged early, lies in the mailbox, and is never lost."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from legato import App, Chat
from legato.abc import Store
from legato.app.runtime import RuntimeSettings
from legato.errors import StoreUnavailable, Unavailable
from legato.model.records import Commit, Committed, Settled
from legato.stores.memory import MemoryStore
from tests.unit.app.kit import World, message, running

SOON = RuntimeSettings(ack_after_s=0.01)


class Desk:
    """A bot whose first step waits until the test opens the door."""

    def __init__(self) -> None:
        self.door = asyncio.Event()
        self.begun: list[str] = []
        self.app = App("desk")
        self.app.command("go")(self.go)
        self.app.command("quick")(self.quick)

    async def work(self, what: str) -> str:
        self.begun.append(what)
        await self.door.wait()
        return f"did {what}"

    async def go(self, chat: Chat) -> None:
        await chat.say("working")
        await chat.say(await chat.run(self.work, "it"))
        first = await chat.ask("First?")
        second = await chat.ask("Second?")
        await chat.say(f"{first} {second}")

    async def quick(self, chat: Chat) -> None:
        await chat.say(await chat.ask("Well?"))


async def letters(world: World) -> list[str]:
    """What lies in the mailbox."""
    return [mail.id for mail in await world.store.mail()]


async def test_a_slow_step_is_acknowledged_early_and_ends_all_the_same() -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        await world.receive(message("/go"))
        assert desk.begun == ["it"]
        assert world.said == ["working"]
        assert await letters(world) == []  # its first segment has consumed it
        desk.door.set()
        await world.rest()
        assert world.said == ["working", "did it", "First?"]


async def test_what_comes_meanwhile_is_kept_and_answers_the_next_questions_in_order() -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        await world.receive(message("/go"))
        first, second = message("a"), message("b")
        await world.receive(first)
        await world.receive(second)
        assert await letters(world) == [first.id, second.id]
        desk.door.set()
        await world.rest()
        assert world.said == ["working", "did it", "First?", "Second?", "a b"]
        assert await letters(world) == []


async def test_the_mail_is_applied_after_a_crash() -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        await world.receive(message("/go"))
        await world.receive(message("a"))
        await world.receive(message("b"))
        desk.door.set()
        await world.crash()
        await world.rest()
        assert desk.begun == ["it", "it"]
        assert world.said == ["working", "did it", "First?", "Second?", "a b"]
        assert await letters(world) == []


@pytest.mark.parametrize("crash", [False, True])
async def test_a_command_in_the_mailbox_is_a_command_and_no_answer(crash: bool) -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        await world.receive(message("/go"))
        await world.receive(message("a"))
        await world.receive(message("/quick"))
        await world.receive(message("b"))
        desk.door.set()
        if crash:
            await world.crash()
        await world.rest()
        assert world.said == ["working", "did it", "First?", "Second?", "Well?", "b"]
        assert await letters(world) == []


async def test_mail_that_nobody_wants_answers_no_later_question() -> None:
    desk = Desk()

    async def short(chat: Chat) -> None:
        await chat.run(desk.work, "it")
        await chat.say("bye")

    desk.app.command("short")(short)
    async with running(desk.app, settings=SOON) as world:
        await world.receive(message("/short"))
        await world.receive(message("are you there?"))
        desk.door.set()
        await world.rest()
        assert await letters(world) == []
        await world.says("/quick")
        await world.crash()
        await world.rest()
        assert world.said == ["bye", "Well?"]


async def test_an_update_repeated_while_its_turn_runs_is_applied_once() -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        go, answer = message("/go"), message("a")
        for _ in range(3):
            await world.receive(go)
            await world.receive(answer)
        desk.door.set()
        await world.rest()
        assert desk.begun == ["it"]
        assert world.said == ["working", "did it", "First?", "Second?"]
        assert world.runtime.stats["duplicates"] == 4


async def test_a_request_that_was_answered_early_gets_its_messages_by_the_relay() -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        assert await world.receive(message("/go"), may_reply=True) is None
        assert await world.receive(message("a"), may_reply=True) is None
        desk.door.set()
        await world.rest()
        assert world.said == ["working", "did it", "First?", "Second?"]


class Moody(MemoryStore):
    """A store that is out of reach for so many of the coming writes."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = 0

    def _moody(self) -> None:
        if self.refuses:
            self.refuses -= 1
            raise StoreUnavailable("out of reach")

    async def commit(self, commit: Commit) -> Committed:
        self._moody()
        return await super().commit(commit)

    async def settle(self, settled: Sequence[Settled]) -> None:
        self._moody()
        await super().settle(settled)


async def test_an_update_that_was_not_stored_is_not_acknowledged() -> None:
    desk, store = Desk(), Moody()
    async with running(desk.app, store) as world:
        go = message("/quick")
        store.refuses = 1
        with pytest.raises(Unavailable):
            await world.receive(go)
        await world.receive(go)
        await world.rest()
        assert world.said == ["Well?"]


async def test_a_turn_acknowledged_early_survives_a_store_that_is_out_of_reach() -> None:
    desk, store = Desk(), Moody()
    async with running(desk.app, store, SOON) as world:
        await world.receive(message("/go"))
        await world.receive(message("a"))
        store.refuses = 3
        desk.door.set()
        while world.runtime.busy:
            await asyncio.sleep(0)
            world.clock.advance(1)
        await world.rest()
        assert world.said == ["working", "did it", "First?", "Second?"]
        assert await letters(world) == []


async def test_nothing_is_taken_while_the_process_drains() -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        await world.receive(message("/go"))
        stopping = asyncio.create_task(world.runtime.stop(60))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as caught:
            await world.receive(message("a"))
        assert caught.value.retry_after_s > 0
        desk.door.set()
        assert await stopping == 0
        assert world.said == ["working", "did it", "First?"]
        assert await world.runtime.stop() == 0


async def test_what_does_not_end_before_the_deadline_goes_on_in_the_next_process() -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        await world.receive(message("/go"))
        await world.receive(message("a"))
        await world.runtime.stop(0.0)
        assert world.said == ["working"]
        desk.door.set()
        world.runtime = world.process()
        await world.runtime.start(loops=False)
        await world.runtime.resume()
        await world.rest()
        assert world.said == ["working", "did it", "First?", "Second?"]


def test_the_kit_is_a_store() -> None:
    assert issubclass(Moody, Store)
    assert msgspec.structs.asdict(SOON)["ack_after_s"] < 1
