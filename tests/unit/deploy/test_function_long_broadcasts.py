"""A broadcast that takes longer to be queued than an invocation has: it goes on in the next ones, and nobody is missed or told
twice.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.app import broadcast
from legato.deploy.function import caring
from legato.errors import Misuse, Unavailable
from legato.model.events import Address
from legato.model.records import RUNNING, Commit, Committed
from legato.outbox.relay import Relay
from legato.stores.sqlite import SQLiteStore
from legato.testing.clock import FakeClock
from tests.unit.deploy.function_kit import TOKEN, Service, on_telegram

TICK = {"legato": "tick"}
BOT = TOKEN.partition(":")[0]
PEOPLE = 37


class Death(BaseException):
    """The process dies."""


class Writes:
    """What each commit of the store takes, and which is the last one of its process.

    Attributes:
        takes_s: So long.
        left: Commits until it dies; 0 = it lives.
        after: It dies after that commit, and not before it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
        self.takes_s = 0.0
        self.left = 0
        self.after = True
        commit = SQLiteStore.commit

        async def mortal(store: SQLiteStore, asked: Commit) -> Committed:
            last = self.left == 1
            self.left = max(0, self.left - 1)
            if last and not self.after:
                raise Death
            done = await commit(store, asked)
            clock.advance(self.takes_s)
            if last:
                raise Death
            return done

        monkeypatch.setattr(SQLiteStore, "commit", mortal)


class News:
    """A bot that tells everybody something.

    Attributes:
        people: Whom it tells, in the order of the next call.
        counted: What the calls have returned.
    """

    def __init__(self) -> None:
        self.people = [Address("telegram", BOT, str(n), str(n)) for n in range(2001, 2001 + PEOPLE)]
        self.counted: list[int] = []
        self.app = app = App("news")

        @app.command("publish")
        async def publish(chat: Chat) -> None:
            count = await chat.run(self.told, id=str(chat.uuid()))
            await chat.say(f"Told {count} people.")

    async def told(self, id: str) -> int:
        self.people.reverse()  # a database gives them in any order
        self.counted.append(await self.app.broadcast(iter(self.people), "News!", id=id))
        return self.counted[-1]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Writes:
    for name, value in {"PAGE": 5, "LIST": 10, "LISTS": 2}.items():
        monkeypatch.setattr(broadcast, name, value)
    # It is about who is queued: nothing of it is sent.
    offer = Relay.offer
    monkeypatch.setattr(
        Relay, "offer", lambda relay, items: offer(relay, [i for i in items if not i.call.bulk])
    )

    async def none(*parts: object) -> bool:
        return False

    monkeypatch.setattr(caring, "some_broadcasts", none)
    return Writes(monkeypatch, clock)


@pytest.fixture
def news() -> News:
    return News()


@pytest.fixture
def service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, news: News, clock: FakeClock
) -> Iterator[Service]:
    with on_telegram(tmp_path, monkeypatch) as telegram:
        service = Service(telegram, news.app, clock)
        yield service
        service.process.close()


def queued(service: Service) -> Counter[str]:
    async def look() -> Counter[str]:
        async with service.process.invoked(8, quiet=True) as runtime:
            items = await runtime.store.outbox(states=("queued",))
            return Counter(item.place.chat for item in items if item.call.bulk)

    return service.process.run(look())


def everybody(news: News) -> Counter[str]:
    return Counter(place.chat for place in news.people)


def answers(service: Service) -> list[str]:
    return [text for text in service.telegram.chat(1001).texts if text.startswith("Told")]


def row(service: Service) -> Any:
    async def look() -> Any:
        async with service.process.invoked(8, quiet=True) as runtime:
            return await runtime.store.find()

    return service.process.run(look())


def test_it_goes_on_in_the_next_invocations_until_all_are_queued(
    service: Service, news: News, writes: Writes
) -> None:
    writes.takes_s = 1.0
    service.invoke(service.update("/publish"))
    assert 0 < len(queued(service)) < PEOPLE
    (found,) = row(service)
    assert found.status == RUNNING
    for _ in range(20):
        service.restart()
        service.invoke(TICK)
        if answers(service):
            break
    assert queued(service) == everybody(news)
    assert answers(service) == [f"Told {PEOPLE} people."]
    assert news.counted == [PEOPLE]


def test_it_goes_on_however_many_invocations_it_takes(
    service: Service, news: News, writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To stop in time is no failure: it is not one of the five tries that a step has."""
    monkeypatch.setattr(broadcast, "PAGE", 1)
    writes.takes_s = 1.0
    service.invoke(service.update("/publish"))
    for _ in range(60):
        service.invoke(TICK)
    assert queued(service) == everybody(news)
    assert answers(service) == [f"Told {PEOPLE} people."]


def test_several_that_a_step_makes_at_once_go_on_as_one_does(
    service: Service, news: News, writes: Writes
) -> None:
    """Whatever their step has put around them."""

    async def told(id: str) -> int:
        async with asyncio.TaskGroup() as group:
            both = [
                group.create_task(news.app.broadcast(news.people, "News!", id=f"{id}{n}"))
                for n in range(2)
            ]
        return sum(task.result() for task in both)

    news.told = told  # type: ignore[method-assign]
    writes.takes_s = 1.0
    service.invoke(service.update("/publish"))
    for _ in range(20):
        service.invoke(TICK)
    assert queued(service) == everybody(news) + everybody(news)
    assert answers(service) == [f"Told {2 * PEOPLE} people."]


@pytest.mark.parametrize("after", [True, False])
def test_a_process_that_dies_at_any_commit_loses_and_doubles_nobody(
    service: Service, news: News, writes: Writes, clock: FakeClock, after: bool
) -> None:
    writes.after = after
    for number in range(1, 100):
        before, said = queued(service), len(answers(service))
        writes.left = number
        try:
            service.invoke(service.update("/publish"))
        except Death:
            service.crash()
        survived, writes.left = writes.left > 0, 0
        for _ in range(3):
            clock.advance(15)
            service.invoke(TICK)
        if number > 2 or survived:  # before that the update itself is not consumed
            assert queued(service) - before == everybody(news), number
            assert answers(service)[said:] == [f"Told {PEOPLE} people."]
        if survived:
            break
    assert number > 10


def test_two_processes_at_the_same_broadcast_queue_everybody_once(
    service: Service, news: News, writes: Writes
) -> None:
    async def both() -> None:
        async with service.process.invoked(8, quiet=True):
            calls = [news.told("n1") for _ in range(2)]
            await asyncio.gather(*calls)

    service.process.run(both())
    assert queued(service) == everybody(news)
    assert sum(news.counted) == PEOPLE


def test_outside_of_a_step_it_says_how_far_it_is_and_goes_on_when_it_is_called_again(
    service: Service, news: News, writes: Writes
) -> None:
    async def call() -> None:
        async with service.process.invoked(8, quiet=True):
            await news.told("n1")

    writes.takes_s = 1.0
    with pytest.raises(Unavailable, match=r"'n1'\): 15 of 37 people are queued.*call it again"):
        service.process.run(call())
    service.process.run(call())
    assert queued(service) == everybody(news)
    assert news.counted == [PEOPLE - 15]
    service.process.run(call())
    assert news.counted == [PEOPLE - 15, 0]
    assert queued(service) == everybody(news)


def test_what_an_older_version_has_begun_is_gone_on_with(
    service: Service, news: News, writes: Writes
) -> None:
    """It kept no count, only the ids of its pages."""

    async def call() -> None:
        async with service.process.invoked(8, quiet=True):
            await news.told("n1")

    async def begun() -> None:
        async with service.process.invoked(8, quiet=True) as runtime:
            for number in (0, 5, 10, 15):
                commit = Commit(at_ms=runtime.clock.now_ms(), update_id=f"broadcast:n1:{number}")
                await runtime.store.commit(commit)

    service.process.run(begun())
    service.process.run(call())
    assert sorted(queued(service)) == sorted(str(place.chat) for place in news.people[20:])
    assert news.counted == [PEOPLE - 20]


def test_whom_it_was_for_is_forgotten_after_a_week(
    service: Service, news: News, writes: Writes
) -> None:
    async def call() -> None:
        async with service.process.invoked(8, quiet=True):
            await news.told("n1")

    async def forgotten() -> None:
        async with service.process.invoked(8, quiet=True) as runtime:
            kept = broadcast._kept.decode(await runtime.store.get("sent", "broadcast|n1") or b"")
            puts = tuple([("sent", f"{kept.lists}{n}", None) for n in range(0, kept.total, 10)])
            await runtime.store.commit(Commit(at_ms=runtime.clock.now_ms(), puts=puts))

    writes.takes_s = 1.0
    with pytest.raises(Unavailable):
        service.process.run(call())
    service.process.run(forgotten())
    with pytest.raises(Misuse, match="15 of 37 people were queued"):
        service.process.run(call())
