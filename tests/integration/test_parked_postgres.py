"""Conversations parked in Postgres: however many there are, a worker reads and holds no more."""

import asyncio
import gc
import random
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import msgspec
import pytest

from legato import App, Chat, Timeout
from legato.abc import Verdict
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.share import WHOLE, Part, Share
from legato.model.events import Address, MessageReceived, User
from legato.model.records import QUEUED, RUNNING, SENDING, WAITING
from legato.model.shards import SLOTS
from legato.stores.postgres import PostgresStore
from legato.testing.clock import START_MS, FakeClock
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork
from tests.integration.parked_kit import Copy, Reading, Seed, Watched, multiply, seed

FEW, MANY = 2_000, 20_000
STEP_MS = 500
FIRST = 1_000_000_001
IDLE_S = 3600
APART_MS = 10
SLACK = 10
"""Pages that a statement may read more from ten times as many rows: a tree may grow by a level."""

app = App("adder")


@app.command("start")
async def add(chat: Chat) -> None:
    try:
        first = await chat.ask("First?", int, timeout=timedelta(seconds=IDLE_S))
        second = await chat.ask("Second?", int)
        await chat.say(f"Sum: {first + second}")
    except Timeout:
        await chat.say("Too late.")


class Quiet(ScriptedPlatform):
    """Remembers what it was told to say to whom, and when."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.heard: list[tuple[int, str, int]] = []

    async def send(self, call, place, http):
        text = call.params["out"]["message"]["text"]
        self.heard.append((int(place.chat), text, self.clock.now_ms()))
        return Verdict("sent", message_id="1")


class Worker:
    """A Runtime on the database, its platform and its clock."""

    def __init__(self, url: str, clock: FakeClock, *, share: Share = WHOLE, **hooks) -> None:
        self.clock = clock
        self.platform = Quiet(clock)
        self.runtime = Runtime(
            app,
            store=PostgresStore(url, **hooks),
            platforms=[self.platform],
            clock=clock,
            http=NoNetwork(),
            settings=RuntimeSettings(cache=100),
            share=share,
        )

    async def says(self, chat: int, step: int, text: str) -> None:
        """Somebody says something, and all that is said to them arrives."""
        person = str(chat)
        event = MessageReceived(
            id=f"test:bot:{person}-{step}",
            place=Address("test", "bot", person, person),
            user=User(person, "Ann"),
            text=text,
            command=text.removeprefix("/") if text.startswith("/") else "",
            private=True,
        )
        await self.runtime.receive(self.platform, msgspec.json.encode(event))
        assert await self.runtime.relay.flush(60) == 0

    async def waits_until(self, at_ms: int) -> int:
        """Lets the time come, and all that is due; returns how many timers that woke."""
        self.clock.advance((at_ms - self.clock.now_ms()) / 1000)
        woken = await self.runtime.tick()
        assert await self.runtime.relay.flush(60) == 0
        return woken


@asynccontextmanager
async def working(url: str, clock: FakeClock, **hooks) -> AsyncIterator[Worker]:
    worker = Worker(url, clock, **hooks)
    await worker.runtime.start(loops=False)
    try:
        yield worker
    finally:
        await worker.runtime.stop()


async def parked(url: str) -> Seed:
    """Parks one conversation, whose copies are all the others."""
    async with working(url, FakeClock()) as worker:
        await worker.says(FIRST, 0, "/start")
    return await seed(url, Copy(FIRST, START_MS, START_MS + IDLE_S * 1000))


def copies(count: int, after: int = 0) -> Iterator[Copy]:
    """Those who began after the seed and after `after` others, one after another."""
    for number in range(after + 1, after + count + 1):
        at_ms = START_MS + number * APART_MS
        yield Copy(FIRST + number, at_ms, at_ms + IDLE_S * 1000)


# -- what is read -----------------------------------------------------------------------------------


async def readings(worker: Worker, watched: Watched, chat: int, timer: int) -> dict[str, Reading]:
    """What each of the worker's statements reads.

    Args:
        chat: Who answers.
        timer: The earliest that has not fired.
    """
    store = worker.runtime.store
    key = f"test:bot:{chat}:{chat}:"
    soon_ms = START_MS + IDLE_S * 1000
    half = range(0, SLOTS, 2)
    open_ = (QUEUED, SENDING)
    found: dict[str, Reading] = {}
    for near in range(chat + 1, chat + 17):  # what a connection, or a part of a table, does once
        await worker.says(near, 1, "2")
    await watched.look()
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "load": lambda: store.load(key),
        "load what is not there": lambda: store.load(f"{key}^"),
        "nothing due": lambda: store.due(soon_ms - 1, 500),
        "due": lambda: store.due(soon_ms + 5000, 100),
        "due in half of the slots": lambda: store.due(soon_ms + 5000, 100, slots=half),
        "outbox": lambda: store.outbox(states=open_),
        "outbox of half of the slots": lambda: store.outbox(states=open_, slots=half),
        "mail": lambda: store.mail(slots=half),
        "mail of one": lambda: store.mail(key=key),
        "running in half of the slots": lambda: store.find(status=RUNNING, slots=half),
        "a page of half of the slots": lambda: store.find(status=WAITING, slots=half, limit=100),
        "a page from the middle": lambda: store.find(after=key, limit=100),
        "a consumed id": lambda: store.get("inbox", f"test:bot:{chat}-0"),
        "resume": lambda: worker.says(chat, 1, "2"),
        "a tick": worker.runtime.tick,
        "a timer": lambda: worker.waits_until(soon_ms + timer * APART_MS),
        "rescan": worker.runtime.rescan,
        "purge": worker.runtime.purge,
    }
    for name, work in works.items():
        await work()
        found[name] = await watched.look()
    return found


@pytest.mark.parametrize("partitions", [0, 4])
async def test_every_statement_uses_an_index_and_reads_no_more_where_more_is_parked(
    postgres_url, partitions
):
    url = f"{postgres_url}?partitions={partitions}"
    one = await parked(url)
    watched = Watched()
    async with working(url, FakeClock(), _connect=watched.connect) as worker:
        await multiply(url, one, copies(FEW))
        await worker.waits_until(START_MS + IDLE_S * 1000)  # the seed's, and the first of its kind
        few = await readings(worker, watched, FIRST + 700, 1)
        await multiply(url, one, copies(MANY - FEW, FEW))
        many = await readings(worker, watched, FIRST + MANY // 2, 2)
    for name in few:
        assert not few[name].scanned | many[name].scanned, name
        assert many[name].statements == few[name].statements, name
        assert 0 < many[name].buffers <= few[name].buffers + SLACK, name
    # Read once, however many there are. Written twice: its Turn,
    # and that its message was sent.
    assert many["resume"].statements == {"load": 1, "write": 2}
    assert many["a timer"].statements == {"conversation": 1, "load": 1, "inbox": 1, "write": 2}
    assert many["load"].buffers <= 8 + 2 * partitions


async def test_any_of_them_goes_on_where_it_was(postgres_url):
    await multiply(postgres_url, await parked(postgres_url), copies(MANY))
    chats = random.Random(7).sample(range(FIRST, FIRST + MANY + 1), 50)
    async with working(postgres_url, FakeClock()) as worker:
        for step, text in ((1, "2"), (2, "3")):
            for chat in chats:
                await worker.says(chat, step, text)
        heard = Counter((chat, text) for chat, text, _ in worker.platform.heard)
        assert heard == Counter((chat, text) for chat in chats for text in ("Second?", "Sum: 5"))
        store = worker.runtime.store
        assert await store.load(f"test:bot:{chats[0]}:{chats[0]}:") is None
        await worker.says(chats[0], 0, "/start")  # repeated: consumed when it was parked
        assert len(worker.platform.heard) == 100


# -- timers -----------------------------------------------------------------------------------------


def halves(clock: FakeClock) -> tuple[Share, Share]:
    """Two workers' shares, which last."""
    parts = Part(clock), Part(clock)
    for number, part in enumerate(parts):
        part.gain(range(number, SLOTS, 2))
        part.last(10 * IDLE_S, clock.monotonic(), clock.now_ms())
    return parts


@pytest.mark.parametrize(
    ("shares", "timers"),
    [
        pytest.param(halves, 2_000, id="each has half of the slots"),
        pytest.param(lambda clock: (WHOLE, WHOLE), 500, id="each takes all for its own"),
    ],
)
async def test_two_workers_fire_every_timer_once_and_none_early(postgres_url, shares, timers):
    await multiply(postgres_url, await parked(postgres_url), copies(timers))
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(working(postgres_url, clock, share=share))
            for share in shares(clock)
        ]
        first_ms = START_MS + IDLE_S * 1000
        for at_ms in range(first_ms - 1, first_ms + timers * APART_MS + STEP_MS, STEP_MS):
            await asyncio.gather(*(worker.waits_until(at_ms) for worker in workers))
    heard = [said for worker in workers for said in worker.platform.heard]
    assert sorted(chat for chat, _, _ in heard) == list(range(FIRST, FIRST + timers + 1))
    assert {text for _, text, _ in heard} == {"Too late."}
    late = [at_ms - first_ms - (chat - FIRST) * APART_MS for chat, _, at_ms in heard]
    assert min(late) >= 0
    assert max(late) < STEP_MS
    if shares is halves:
        assert all(worker.platform.heard for worker in workers)


# -- memory -----------------------------------------------------------------------------------------


async def most_held(url: str) -> int:
    """Bytes that a worker held at most while it started, and looked after all that is parked."""
    gc.collect()
    tracemalloc.start()
    try:
        async with working(url, FakeClock()) as worker:
            runtime = worker.runtime
            for work in (runtime.resume, runtime.tick, runtime.rescan, runtime.purge):
                await work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_what_is_parked_takes_no_memory_of_a_worker(postgres_url):
    one = await parked(postgres_url)
    await multiply(postgres_url, one, copies(FEW))
    await most_held(postgres_url)  # what is loaded once
    few = await most_held(postgres_url)
    await multiply(postgres_url, one, copies(MANY - FEW, FEW))
    many = await most_held(postgres_url)
    assert many < few + 5 * (MANY - FEW), f"{few} bytes with {FEW}, {many} with {MANY}"
