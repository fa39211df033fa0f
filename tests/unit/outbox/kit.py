"""A virtual loop, a scripted bot and a few makers for the relay's tests."""

import asyncio
import functools
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Self

from msgspec.structs import replace

from legato.abc import (
    Capabilities,
    Clock,
    HttpClient,
    HttpRequest,
    HttpResponse,
    Limits,
    Parsed,
    Platform,
    Verdict,
)
from legato.errors import StoreUnavailable
from legato.model.events import Address
from legato.model.messages import Outgoing
from legato.model.records import Call, Commit, Committed, OutboxItem, Settled
from legato.outbox.relay import Relay, RelaySettings
from legato.stores.memory import MemoryStore

START_MS = 1_750_000_000_000
SENT = Verdict("sent")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer as soon as nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 1000.0

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        me: Any = self
        while me._scheduled and me._scheduled[0]._cancelled:
            heapq.heappop(me._scheduled)._scheduled = False
            me._timer_cancelled_count = max(0, me._timer_cancelled_count - 1)
        if not me._ready and not me._stopping:
            assert me._scheduled, "everybody waits for something that will never come"
            self._virtual = max(self._virtual, me._scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]


def simulate(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` in virtual time; fails if it leaves a task behind."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_alone(work))


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Makes a coroutine test run in virtual time."""

    @functools.wraps(test)
    def run() -> None:
        simulate(test())

    return run


async def _alone(work: Coroutine[Any, Any, None]) -> None:
    await work
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"


class LoopClock(Clock):
    """The loop's time."""

    def now_ms(self) -> int:
        return START_MS + int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class NoHttp(HttpClient):
    """The bot below needs none."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        raise AssertionError(request)

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError(request)

    async def close(self) -> None:
        pass


class Scripted(Platform):
    """A bot that notes each try as (time, chat, method) and answers as `answers[method]` says:
    one verdict after another, the last one for ever; "sent" if there is none.
    """

    name = "test"
    bot = "1"
    capabilities = Capabilities()
    secrets = ("s3cret",)

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.tries: list[tuple[float, str, str]] = []
        self.calls: list[Call] = []
        self.answers: dict[str, deque[Verdict | Exception]] = {}
        self.takes_s = 0.0
        self.running = 0
        self.most_running = 0
        self.before: Callable[[Call], Awaitable[None]] | None = None
        self.takes: dict[str, float] = {}

    def answer(self, method: str, *verdicts: Verdict | Exception) -> None:
        self.answers[method] = deque(verdicts)

    def methods(self) -> list[str]:
        return [method for _, _, method in self.tries]

    def verify(self, request: HttpRequest) -> None:
        pass

    def parse(self, body: bytes) -> Parsed:
        return Parsed()

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        return []

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        self.tries.append((asyncio.get_running_loop().time(), place.chat, call.method))
        self.calls.append(call)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.before is not None:
                await self.before(call)
            takes_s = self.takes.get(call.method, self.takes_s)
            if takes_s:
                await asyncio.sleep(takes_s)
        finally:
            self.running -= 1
        script = self.answers.get(call.method)
        if not script:
            return SENT
        verdict = script.popleft() if len(script) > 1 else script[0]
        if isinstance(verdict, Exception):
            raise verdict
        return verdict


class Faulty(MemoryStore):
    """A store that fails while `broken`, and notes each batch of settlements."""

    __slots__ = ("batches", "broken", "reading", "slow_s")

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.slow_s = 0.0
        self.batches: list[list[Settled]] = []
        self.reading: Callable[[], Awaitable[None]] | None = None
        """Runs once, after the next page of the outbox was read and before it is returned."""

    async def settle(self, settled: Sequence[Settled]) -> None:
        self.batches.append(list(settled))
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        self._check()
        await super().settle(settled)

    async def outbox(self, **asked: Any) -> list[OutboxItem]:
        found = await super().outbox(**asked)
        reading, self.reading = self.reading, None
        if reading is not None:
            await reading()
        return found

    async def get(self, space: str, name: str) -> bytes | None:
        self._check()
        return await super().get(space, name)

    async def commit(self, commit: Commit) -> Committed:
        self._check()
        return await super().commit(commit)

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("the disk is away")


def place(chat: str = "c") -> Address:
    return Address("test", "1", chat, user=chat)


ELSEWHERE = Address("other", "9", "c")
"""A place of a bot that is not set up."""


def item(method: str, chat: str = "c", **fields: Any) -> OutboxItem:
    """An item to commit; keyword arguments of Call go to its call."""
    call = Call(method, **{n: fields.pop(n) for n in list(fields) if n in Call.__struct_fields__})
    where = fields.pop("place", place(chat))
    values: dict[str, Any] = {
        "key": f"key-{chat}",
        "epoch": 1,
        "ref": "",
        "created_ms": START_MS + 1_000_000,
    }
    return OutboxItem(id=0, lane=where.lane, place=where, call=call, **(values | fields))


class World:
    """A store, a bot and a relay that delivers from the one to the other."""

    def __init__(
        self, limits: Limits | None = None, *, clock: Clock | None = None, **settings: Any
    ) -> None:
        self.store = Faulty()
        self.bot = Scripted(limits)
        self.clock = clock or LoopClock()
        self.settings = RelaySettings(**settings)
        self.gone: list[str] = []
        self.when_gone: Callable[[OutboxItem], Awaitable[None]] | None = None
        self.relay = self.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.relay.close()

    def start(self) -> Relay:
        """A new relay on the same store, as after a restart."""
        self.relay = Relay(
            self.store,
            {("test", "1"): self.bot},
            NoHttp(),
            self.clock,
            on_gone=self.on_gone,
            settings=self.settings,
        )
        return self.relay

    async def on_gone(self, item: OutboxItem, verdict: Verdict) -> None:
        self.gone.append(item.key)
        if self.when_gone is not None:
            await self.when_gone(item)

    async def commit(self, *items: OutboxItem) -> list[OutboxItem]:
        """Commits without offering."""
        done = await self.store.commit(Commit(at_ms=self.clock.now_ms(), outbox=items))
        return [replace(one, id=number) for one, number in zip(items, done.ids, strict=True)]

    async def say(self, *items: OutboxItem) -> list[OutboxItem]:
        """Commits and offers."""
        committed = await self.commit(*items)
        self.relay.offer(committed)
        return committed

    async def rows(self, *states: str) -> list[OutboxItem]:
        return await self.store.outbox(states=states or ("queued", "sending", "unknown", "dead"))

    async def fates(self) -> dict[str, str]:
        """State of what is still in the store, by method."""
        return {row.call.method: row.state for row in await self.rows()}
