"""What the relay itself costs: CPU microseconds per item from offer to settled.

The store and the HTTP side do nothing, so what is measured is the relay and asyncio.

    python bench/relay.py            # prints us per item for three shapes of load
"""

import asyncio
import time

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
from legato.model.events import Address
from legato.model.messages import Outgoing
from legato.model.records import Call, OutboxItem
from legato.outbox.relay import Relay
from legato.stores.memory import MemoryStore

SENT = Verdict("sent", message_id="1")


class Quick(Platform):
    """Takes everything at once; with `suspends`, only after a turn of the loop, as HTTP does."""

    name = "bench"
    bot = "1"
    capabilities = Capabilities()
    secrets = ()

    def __init__(self, limits: Limits, suspends: bool) -> None:
        self.limits = limits
        self.suspends = suspends

    def verify(self, request: HttpRequest) -> None: ...

    def parse(self, body: bytes) -> Parsed:
        return Parsed()

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        return []

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        if self.suspends:
            await asyncio.sleep(0)
        return SENT


class NoStore(MemoryStore):
    """Forgets what it is told."""

    async def settle(self, settled: object) -> None: ...


class NoHttp(HttpClient):
    async def send(self, request: HttpRequest) -> HttpResponse:
        raise AssertionError

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError

    async def close(self) -> None: ...


class RealClock(Clock):
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def on_gone(item: OutboxItem, verdict: Verdict) -> None: ...


async def measure(limits: Limits, items: int, at_once: int, suspends: bool) -> float:
    """CPU us per item when `at_once` chats get one item each, again and again."""
    relay = Relay(
        NoStore(),
        {("bench", "1"): Quick(limits, suspends)},
        NoHttp(),
        RealClock(),
        on_gone=on_gone,
    )
    places = [Address("bench", "1", f"{n}", user=f"{n}") for n in range(items)]
    call = Call("sendMessage", {"chat_id": 1, "text": "hello"})
    made = [
        OutboxItem(n + 1, p.lane, p, f"key{n}", 1, "", call, created_ms=1)
        for n, p in enumerate(places)
    ]
    started = time.process_time()
    for at in range(0, items, at_once):
        relay.offer(made[at : at + at_once])
        while relay.left:  # noqa: ASYNC110 - waiting by an event would be measured as well
            await asyncio.sleep(0)
    cost = time.process_time() - started
    assert relay.stats.sent == items
    await relay.close()
    return cost / items * 1e6


def main() -> None:
    telegram = Limits(private=(1, 1, 5), group=(20, 60, 5), bulk=(30, 1, 30))
    for label, limits, at_once, suspends in (
        ("one item, nothing else going on", Limits(), 1, False),
        ("one item, limits checked", telegram, 1, False),
        ("one item, the send suspends once", telegram, 1, True),
        ("32 chats at once, the send suspends once", telegram, 32, True),
    ):
        best = min(asyncio.run(measure(limits, 50_000, at_once, suspends)) for _ in range(3))
        print(f"{best:6.1f} us  {label}")


if __name__ == "__main__":
    main()
