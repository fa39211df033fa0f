"""A Telegram in virtual time, and listeners that hold its connection, die and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from legato import App, Chat
from legato.abc import Delivery, HttpClient, HttpRequest, HttpResponse, Letter, MaybeSent, Queue
from legato.app.router import Router
from legato.deploy.carrying import Carrier, ToQueue
from legato.deploy.election import Election
from legato.deploy.listener import Listener
from legato.model.events import MessageReceived
from legato.platforms.telegram import Telegram
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.stores.memory import MemoryStore
from legato.testing.simulation import Simulation
from tests.unit.deploy.election_kit import SharedLeases, Way

POLL_S = 30.0


def router() -> Router:
    app = App("bot")

    @app.command("go")
    async def go(chat: Chat) -> None: ...

    app.finish()
    return Router(app.triggers, app.dialogs)


class SimTelegram:
    """Keeps updates until a poll asks for later ones; one poll at a time, the older one is ended.

    Attributes:
        sent: Texts by user, in order.
        conflicts: Polls that another one ended: two processes polled.
        acked: Pressed buttons that were acknowledged.
    """

    def __init__(self) -> None:
        self.pending: dict[int, bytes] = {}
        self.sent: dict[int, list[str]] = {}
        self.conflicts = 0
        self.acked = 0
        self._next = 100
        self._poll: asyncio.Future[bool] | None = None

    def says(self, user: int, text: str) -> None:
        """Somebody writes."""
        self._next += 1
        self.sent.setdefault(user, []).append(text)
        person = {"id": user, "is_bot": False, "first_name": "U"}
        message = {"message_id": self._next, "date": 1, "from": person, "text": text}
        message |= {"chat": {"id": user, "type": "private"}}
        self.pending[self._next] = msgspec.json.encode(
            {"update_id": self._next, "message": message}
        )
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(True)

    async def answer(self, method: str, params: dict[str, Any]) -> HttpResponse:
        """Carries out a call."""
        if method != "getUpdates":
            self.acked += method == "answerCallbackQuery"
            return ok({"id": 1, "is_bot": True, "first_name": "B", "username": "b_bot"})
        if self._poll is not None and not self._poll.done():
            self.conflicts += 1
            self._poll.set_result(False)
        for update_id in [one for one in self.pending if one < int(params.get("offset", 0))]:
            del self.pending[update_id]
        if not self.pending:
            self._poll = poll = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(POLL_S):
                    if not await poll:
                        return HttpResponse(
                            409, {}, b'{"ok":false,"description":"Conflict: other"}'
                        )
            except TimeoutError:
                pass
            finally:
                poll.cancel()
        return ok([msgspec.Raw(body) for body in list(self.pending.values())[:100]])


def ok(result: object) -> HttpResponse:
    return HttpResponse(200, {}, msgspec.json.encode({"ok": True, "result": result}))


class Net(HttpClient):
    """The way of one process to Telegram. What it asks for and does not live to read is lost."""

    def __init__(self, telegram: SimTelegram, sim: Simulation) -> None:
        self._telegram = telegram
        self._sim = sim

    async def send(self, request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(self._sim.random.random() * 0.05)
        params = msgspec.json.decode(request.body)
        answer = await self._telegram.answer(request.url.rpartition("/")[2], params)
        await asyncio.sleep(self._sim.random.random() * 0.05)
        if self._sim.random.random() < 0.02:
            raise MaybeSent("the connection broke")
        return answer

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        """There is nothing to be closed."""


class Instance:
    """One process of `legato listen`.

    Args:
        world: Where it runs.
        name: Its holder's name.
        elected: False: it takes no lease at all.
        carrier: Makes another one than the queue.
    """

    def __init__(
        self,
        world: World,
        name: str,
        *,
        elected: bool = True,
        carrier: Callable[[Queue], Carrier] | None = None,
    ) -> None:
        sim = world.sim
        self.way = Way(world.leases)
        self.queue = MemoryQueue(world.broker)
        net = Net(world.telegram, sim)
        self.bot = Telegram("1:a", api="http://t", clock=sim.clock)
        made = carrier or (lambda queue: ToQueue(queue, router(), net, sim.clock))
        self.carrier = made(self.queue)
        self.errors: list[BaseException] = []
        self.listener = Listener(
            "bot",
            [self.bot],
            Election(self.way if elected else None, sim.clock, name),
            carrier=self.carrier,
            store=MemoryStore(),
            http=net,
            public_url="",
            failed=self.errors.append,
        )

    async def starts(self) -> None:
        await self.carrier.open()
        self.listener.start()

    async def dies(self) -> None:
        """As by SIGKILL: nothing is given up, published or confirmed any more."""
        self.way.down = True
        self.queue.die()
        await self.stops()

    async def stops(self) -> None:
        await self.listener.close()
        await self.carrier.close()


class World:
    """Telegram, a broker and leases; what comes out of the queue.

    Attributes:
        letters: In the order in which they came out, with repetitions.
    """

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.telegram = SimTelegram()
        self.broker = MemoryBroker()
        self.leases = SharedLeases(sim.clock)
        self.letters: list[Letter] = []

    async def opens(self) -> None:
        """Declares the queue, and reads it."""
        queue = MemoryQueue(self.broker)
        await queue.open()
        await queue.declare(1, 4)
        for shard in range(4):
            await queue.consume(1, shard, self._take)

    def _take(self, delivery: Delivery) -> None:
        self.letters.append(delivery.letter)
        delivery.ack()

    def got(self) -> dict[int, list[str]]:
        """Texts by user: each update once, when it came first."""
        found: dict[int, list[str]] = {}
        seen: set[str] = set()
        for letter in self.letters:
            if letter.id not in seen:
                seen.add(letter.id)
                event = msgspec.json.decode(letter.body, type=MessageReceived)
                found.setdefault(int(event.place.user), []).append(event.text)
        return found

    async def until_letters(self, count: int) -> None:
        """Returns once so many came out of the queue."""
        for _ in range(100_000):
            if len(self.letters) >= count:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"{len(self.letters)} letters came")

    async def all_taken(self) -> None:
        """Returns once Telegram has nothing left."""
        for _ in range(10_000):
            if not self.telegram.pending:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("updates are left at Telegram")
