"""What is counted while a bot works: plain numbers, written by an event loop, read by a scrape.

No metrics library: a histogram here costs a tenth of one that must also serve threads.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextvars import Context
from typing import Any

from msgspec import Struct

from legato.abc import Clock, Verdict
from legato.abc.observer import Observer
from legato.deploy.clock import SystemClock
from legato.errors import StoreError
from legato.model.records import OutboxItem

SECONDS: tuple[float, ...] = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
)  # fmt: skip
OPERATIONS = ("commit", "due", "find", "get", "load", "mail", "outbox", "settle")
"""Of a store. A counter that first appears as 1 has not grown, to Prometheus: each begins at 0."""
RECORDS: tuple[float, ...] = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Spread:
    """A histogram.

    Args:
        bounds: Upper bounds of its buckets, growing; what is above the last has a bucket of its own.

    Attributes:
        counts: Values by bucket.
        total: Their sum.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds: tuple[float, ...] = bounds
        self.counts: list[int] = [0] * (len(bounds) + 1)
        self.total: float = 0.0

    def add(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Sample(Struct, frozen=True):
    """One line of a scrape.

    Attributes:
        name: Of the metric, as in the catalogue.
        value: A number, or a Spread for a histogram.
        labels: Values of its labels, in the catalogue's order.
    """

    name: str
    value: float | Spread
    labels: tuple[str, ...] = ()


class Measures(Observer):
    """Counts what an observer is told.

    Args:
        clock: Time.
    """

    __slots__ = (
        "_monotonic",
        "_now_ms",
        "limited",
        "publish",
        "publish_errors",
        "published",
        "queue_wait",
        "relay_wait",
        "replays",
        "send",
        "sends",
        "store",
        "store_errors",
        "timers",
        "turn",
        "turns",
        "webhook",
        "webhooks",
    )

    def __init__(self, clock: Clock) -> None:
        # Read four times an update: the loop's clock itself, where no test owns the time.
        self._monotonic = time.monotonic if isinstance(clock, SystemClock) else clock.monotonic
        self._now_ms = clock.now_ms
        self.turns: dict[tuple[str, str], int] = defaultdict(int)
        self.turn: dict[str, Spread] = defaultdict(Spread)
        self.queue_wait: Spread = Spread()
        self.replays: Spread = Spread(RECORDS)
        self.timers: Spread = Spread()
        self.store: dict[str, Spread] = defaultdict(Spread)
        self.store_errors: dict[str, int] = dict.fromkeys(OPERATIONS, 0)
        self.publish: Spread = Spread()
        self.published: int = 0
        self.publish_errors: int = 0
        self.relay_wait: Spread = Spread()
        self.send: dict[str, Spread] = defaultdict(Spread)
        self.sends: dict[tuple[str, str], int] = defaultdict(int)
        self.limited: dict[str, int] = defaultdict(int)
        self.webhooks: dict[tuple[str, str], int] = defaultdict(int)
        self.webhook: dict[str, Spread] = defaultdict(Spread)

    # -- told ----------------------------------------------------------------------------------

    def begin_update(self, update_id: str, *, trace: str = "", at_ms: int = 0) -> Any:
        if at_ms:  # by another machine's clock, which may be a little ahead
            self.queue_wait.add(max(0, self._now_ms() - at_ms) / 1000)

    def begin_turn(self, key: str, dialog: str, context: Context) -> Any:
        return self._monotonic()

    def end_turn(self, began: Any, dialog: str, outcome: str) -> None:
        self.turns[dialog, outcome] += 1
        self.turn[dialog].add(self._monotonic() - began)

    def replayed(self, records: int) -> None:
        self.replays.add(records)

    def woken(self, late_ms: int) -> None:
        self.timers.add(late_ms / 1000)

    def begin_send(self, item: OutboxItem) -> Any:
        if item.id and not item.attempts:
            self.relay_wait.add(max(0, self._now_ms() - item.created_ms) / 1000)
        return self._monotonic()

    def end_send(self, began: Any, item: OutboxItem, verdict: Verdict) -> None:
        platform = item.place.platform
        self.sends[platform, verdict.outcome] += 1
        self.send[platform].add(self._monotonic() - began)
        if verdict.retry_after_s:
            self.limited[platform] += 1

    def begin_store(self, operation: str) -> Any:
        return self._monotonic()

    def end_store(self, began: Any, operation: str, error: BaseException | None) -> None:
        self.store[operation].add(self._monotonic() - began)
        if isinstance(error, StoreError):
            self.store_errors[operation] += 1

    def begin_publish(self, letters: int) -> Any:
        return self._monotonic()

    def end_publish(self, began: Any, letters: int, error: BaseException | None) -> None:
        if error is None:
            self.published += letters
        else:
            self.publish_errors += 1
        self.publish.add(self._monotonic() - began)

    def answered(self, platform: str, status: int, took_s: float) -> None:
        """A webhook request has its answer; status 0: the client went away before."""
        self.webhooks[platform, str(status)] += 1
        self.webhook[platform].add(took_s)

    # -- read ----------------------------------------------------------------------------------

    def samples(self) -> Iterator[Sample]:
        """What was counted so far."""
        yield Sample("legato_queue_wait_seconds", self.queue_wait)
        yield Sample("legato_replayed_records", self.replays)
        yield Sample("legato_timer_late_seconds", self.timers)
        yield Sample("legato_publish_seconds", self.publish)
        yield Sample("legato_published_letters_total", self.published)
        yield Sample("legato_publish_errors_total", self.publish_errors)
        yield Sample("legato_relay_wait_seconds", self.relay_wait)
        pairs = (
            ("legato_turns_total", self.turns),
            ("legato_sends_total", self.sends),
            ("legato_webhooks_total", self.webhooks),
        )
        for name, by_pair in pairs:
            for labels, count in by_pair.items():
                yield Sample(name, count, labels)
        spreads = (
            ("legato_webhook_seconds", self.webhook),
            ("legato_turn_seconds", self.turn),
            ("legato_store_seconds", self.store),
            ("legato_send_seconds", self.send),
        )
        for name, by_label in spreads:
            for label, spread in by_label.items():
                yield Sample(name, spread, (label,))
        counts = (
            ("legato_store_errors_total", self.store_errors),
            ("legato_rate_limited_total", self.limited),
        )
        for name, by_count in counts:
            for label, count in by_count.items():
                yield Sample(name, count, (label,))


__all__ = ["RECORDS", "SECONDS", "Measures", "Sample", "Spread"]
