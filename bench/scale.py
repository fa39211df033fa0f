"""From one box to 100 million users: a plan on paper, and a simulation of its queues.

    python -m bench.scale                        all of it, as docs/scale.md shows it
    python -m bench.scale --users 3000000        the plan for other numbers
    python -m bench.scale --workers 12 --shards 256 --rate 4000

The plan multiplies what was measured of one update (COSTS) by a load. The simulation plays arrivals of
many chats through slots, shards and workers, and shows what a plan of averages hides: crowded shards, a chat
that talks faster than its commits, the death of a worker.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections.abc import Iterator, Sequence
from zlib import crc32

from msgspec import Struct

from legato.model.shards import SLOTS, check_shards

# -- the plan ---------------------------------------------------------------------------------------


class Costs(Struct, frozen=True):
    """What one update costs: all measured, see MEASURED.

    Attributes:
        nginx_us, gateway_us, broker_us, worker_us, postgres_us: CPU microseconds an update.
        wal_bytes, kept_bytes: Written to the database's log, and left in its tables for `inbox_days`.
        parked_bytes: A waiting conversation with ten records, with its indexes.
        inbox_days: How long update ids are remembered.
    """

    nginx_us: float
    gateway_us: float
    broker_us: float
    worker_us: float
    postgres_us: float
    wal_bytes: int
    kept_bytes: int
    parked_bytes: int
    inbox_days: int = 8


class Load(Struct, frozen=True):
    """How much is asked.

    Attributes:
        users: Who write on one day.
        messages: Each of them, a day.
        peak: The busiest minute, as a multiple of the average.
        parked: Waiting conversations, as a multiple of `users`.
    """

    users: int
    messages: float = 20
    peak: float = 5
    parked: float = 3

    @property
    def average_s(self) -> float:
        """Updates a second over a whole day."""
        return self.users * self.messages / 86_400

    @property
    def peak_s(self) -> float:
        """Updates a second in the busiest minute."""
        return self.average_s * self.peak


COSTS = Costs(
    nginx_us=23,
    gateway_us=127,
    broker_us=85,
    worker_us=264,
    postgres_us=160,
    wal_bytes=1_410,
    kept_bytes=139,
    parked_bytes=2_116,
)
_SERVERS, _CLUSTER = "`bench.servers`, 2026-11-29", "`make bench-cluster`, 2026-11-29"
_STORE = "`bench.store_postgres`, 2026-11-29: 8 at once, 109 a commit and 50 a load"
MEASURED = {
    "nginx_us": ("nginx, us of CPU", _SERVERS),
    "gateway_us": ("gateway, us of CPU", _CLUSTER),
    "broker_us": ("RabbitMQ, us of CPU", _SERVERS),
    "worker_us": ("worker, us of CPU, with the send", _CLUSTER),
    "postgres_us": ("Postgres, us of CPU", _STORE),
    "wal_bytes": ("Postgres, bytes of log", _SERVERS),
    "kept_bytes": ("Postgres, bytes of the remembered id, for 8 days", _SERVERS),
    "parked_bytes": ("Postgres, bytes of a waiting conversation with ten records", _SERVERS),
}
"""What each of COSTS is, how it was measured, and when; each time on two cores."""


def cost_table(costs: Costs = COSTS) -> list[str]:
    """What one update costs, as a table in Markdown."""
    rows = [f"| {what} | {getattr(costs, k):,} | {how} |" for k, (what, how) in MEASURED.items()]
    return ["| for one update | | measured by, on |", "|---|---:|---|", *rows]


FULL = 0.6
"""How busy a core may be at the peak: above that, queues grow faster than they drain."""
CORE_MONTH, GB_MONTH = 25.0, 0.1
"""Prices, for orientation."""
CELL_S = 15_000
"""Updates a second that one broker cluster with its database is given at most: a cell."""


class Plan(Struct, frozen=True):
    """What a load needs at its peak, in whole machines' cores and disks.

    Attributes:
        cells: Independent clusters: own queues, workers, database; a room lives in one of them.
        shards: Queues of each cell.
        gateways, workers, brokers, databases: Cores over all cells (brokers and databases once;
            replicas come on top).
        partitions: Hash partitions of each cell's conversation tables.
        wal_mb_s: Written to all databases' logs at the peak.
        disk_gb: Inbox and parked conversations over all cells.
    """

    cells: int
    shards: int
    gateways: int
    workers: int
    brokers: int
    databases: int
    partitions: int
    wal_mb_s: float
    disk_gb: float

    @property
    def cores(self) -> int:
        """All of them."""
        return self.gateways + self.workers + self.brokers + self.databases

    @property
    def month(self) -> float:
        """What a month of it costs, at the prices above."""
        return self.cores * CORE_MONTH + self.disk_gb * GB_MONTH


def plan(load: Load, costs: Costs = COSTS) -> Plan:
    """What a load needs."""
    rate = load.peak_s
    cells = max(1, math.ceil(rate / CELL_S))

    def cores(us: float) -> int:
        return math.ceil(rate * us / 1e6 / FULL)

    workers = cores(costs.worker_us)
    each = math.ceil(workers / cells)
    # Four shards a worker at least, so that a dead one's load is spread over several others.
    shards = min(SLOTS, max(64, 2 ** math.ceil(math.log2(each * 4))))
    parked = load.users * load.parked
    inbox = load.average_s * 86_400 * costs.inbox_days * costs.kept_bytes
    disk = (inbox + parked * costs.parked_bytes) / 1e9
    tables_gb = disk / cells
    partitions = 1 if tables_gb < 50 else min(SLOTS, 2 ** math.ceil(math.log2(tables_gb / 25)))
    return Plan(
        cells=cells,
        shards=shards,
        gateways=cores(costs.gateway_us + costs.nginx_us),
        workers=workers,
        brokers=cores(costs.broker_us),
        databases=cores(costs.postgres_us),
        partitions=partitions,
        wal_mb_s=rate * costs.wal_bytes / 1e6,
        disk_gb=disk,
    )


STEPS = (100_000, 1_000_000, 10_000_000, 100_000_000)


def plan_table(loads: Sequence[Load]) -> list[str]:
    """The plans of several loads, as a table in Markdown."""
    heads = (
        *("users a day", "updates/s, average / peak", "cells", "shards each", "gateway cores"),
        *(
            "worker cores",
            "broker cores",
            "database cores",
            "partitions",
            "log MB/s",
            "disk GB",
            "a month",
        ),
    )
    lines = [f"| {' | '.join(heads)} |", "|" + "---:|" * len(heads)]
    for load in loads:
        p = plan(load)
        lines.append(
            f"| {load.users:,} | {load.average_s:,.0f} / {load.peak_s:,.0f} | {p.cells} | {p.shards} "
            f"| {p.gateways} | {p.workers} | {p.brokers} | {p.databases} | {p.partitions} "
            f"| {p.wal_mb_s:,.1f} | {p.disk_gb:,.0f} | {p.month:,.0f} |"
        )
    return lines


# -- the simulation -----------------------------------------------------------------------------------


class Scene(Struct, frozen=True, kw_only=True):
    """What is simulated.

    Attributes:
        rate: Updates a second, Poisson.
        chats: Rooms that talk; how often follows Zipf's law with exponent `zipf`, 0 = all alike.
        shards, workers: Of the cluster; a worker has one core.
        worker_us: CPU of one update.
        commit_ms: How long a commit takes without using the worker's core.
        seconds: Simulated.
        dies_at: When one worker is killed, 0 = never.
        takeover_s: After how long others have its shards.
        seed: Of chance.
    """

    rate: float = 2_000
    chats: int = 50_000
    zipf: float = 0.0
    shards: int = 64
    workers: int = 4
    worker_us: float = COSTS.worker_us
    commit_ms: float = 4.0
    seconds: float = 10.0
    dies_at: float = 0.0
    takeover_s: float = 3.0
    seed: int = 1


class Result(Struct, frozen=True):
    """What came of it.

    Attributes:
        updates: How many there were.
        p50_ms, p99_ms, longest_ms: From arrival to commit.
        crowded: The fullest worker's load by the average one's.
        slowest_chat_s: Updates a second of the busiest chat.
    """

    updates: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    crowded: float
    slowest_chat_s: float


def simulate(scene: Scene) -> Result:
    """Plays one scene."""
    rng = random.Random(scene.seed)
    shards = check_shards(scene.shards)
    slots = [crc32(b"telegram:42:%d" % (10_000 + chat)) % SLOTS for chat in range(scene.chats)]
    owners = spread(shards, [f"worker {n}" for n in range(scene.workers)])
    heirs = spread(shards, [f"worker {n}" for n in range(1, scene.workers)] or ["worker 0"])
    free = {f"worker {n}": 0.0 for n in range(scene.workers)}
    load = dict.fromkeys(free, 0)
    lanes: dict[int, float] = {}
    counts: dict[int, int] = {}
    waits: list[float] = []
    cpu_s, commit_s = scene.worker_us / 1e6, scene.commit_ms / 1e3
    dead_until = scene.dies_at + scene.takeover_s
    for now, chat in _arrivals(scene, rng):
        shard = slots[chat] % shards
        worker, begin = owners[shard], now
        if scene.dies_at and now >= scene.dies_at and worker == "worker 0":
            worker, begin = heirs[shard], max(now, dead_until)
        start = max(begin, free[worker])
        free[worker] = start + cpu_s * rng.uniform(0.5, 1.5)
        done = max(free[worker], lanes.get(chat, 0.0)) + commit_s
        lanes[chat] = done
        load[worker] += 1
        counts[chat] = counts.get(chat, 0) + 1
        waits.append(done - now)
    waits.sort()
    return Result(
        updates=len(waits),
        p50_ms=waits[len(waits) // 2] * 1e3,
        p99_ms=waits[int(len(waits) * 0.99)] * 1e3,
        longest_ms=waits[-1] * 1e3,
        crowded=max(load.values()) * scene.workers / len(waits),
        slowest_chat_s=max(counts.values()) / scene.seconds,
    )


def spread(shards: int, workers: Sequence[str]) -> list[str]:
    """Who has which shard: rendezvous hashing under an even cap, as the workers do it themselves."""
    most = math.ceil(shards / len(workers))
    taken = dict.fromkeys(workers, 0)
    owners = [""] * shards
    wishes = [
        (-crc32(f"{worker}/{shard}".encode()), shard, worker)
        for shard in range(shards)
        for worker in workers
    ]
    heapq.heapify(wishes)
    while wishes:
        _, shard, worker = heapq.heappop(wishes)
        if not owners[shard] and taken[worker] < most:
            owners[shard] = worker
            taken[worker] += 1
    return owners


def _arrivals(scene: Scene, rng: random.Random) -> Iterator[tuple[float, int]]:
    weights = [1 / (rank + 1) ** scene.zipf for rank in range(scene.chats)]
    total, cumulative = 0.0, []
    for weight in weights:
        total += weight
        cumulative.append(total)
    now, chats = 0.0, range(scene.chats)
    while True:
        batch = rng.choices(chats, cum_weights=cumulative, k=1024)
        for chat in batch:
            now += rng.expovariate(scene.rate)
            if now >= scene.seconds:
                return
            yield now, chat


SCENES = {
    "4 workers": Scene(rate=9_000),
    "the same, 256 shards": Scene(rate=9_000, shards=256),
    "the same, nearly full": Scene(rate=13_500),
    "a few chats talk much more (Zipf 0.7)": Scene(rate=9_000, zipf=0.7),
    "one room with a seventh of all messages (Zipf 1.1)": Scene(rate=2_000, zipf=1.1, chats=5_000),
    "one of 4 workers is killed": Scene(rate=6_750, dies_at=4.0, seconds=15.0),
    "one of 16 workers is killed": Scene(rate=27_000, workers=16, dies_at=3.0),
}


def scene_table(scenes: dict[str, Scene]) -> list[str]:
    """Several scenes, as a table in Markdown."""
    lines = [
        "| scene | updates/s | cores busy | shards / workers | fullest worker | p50 ms | p99 ms | longest ms | busiest chat/s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, scene in scenes.items():
        got = simulate(scene)
        busy = scene.rate * scene.worker_us / 1e6 / scene.workers
        lines.append(
            f"| {name} | {scene.rate:,.0f} | {busy:.0%} | {scene.shards} / {scene.workers} | {got.crowded:.2f}x "
            f"| {got.p50_ms:,.1f} | {got.p99_ms:,.1f} | {got.longest_ms:,.0f} | {got.slowest_chat_s:,.0f} |"
        )
    return lines


# -- the command --------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, help="who write on one day")
    parser.add_argument("--messages", type=float, default=20, help="each, a day (20)")
    parser.add_argument(
        "--peak", type=float, default=5, help="the busiest minute by the average (5)"
    )
    for name, kind in (("rate", float), ("workers", int), ("shards", int), ("zipf", float)):
        parser.add_argument(f"--{name}", type=kind, help="of one scene to simulate")
    options = parser.parse_args(argv)
    own = {
        name: value
        for name in ("rate", "workers", "shards", "zipf")
        if (value := getattr(options, name)) is not None
    }
    if not own and not options.users:
        print("\n".join(cost_table()))
        print()
    if not own:
        users = [options.users] if options.users else STEPS
        print("\n".join(plan_table([Load(n, options.messages, options.peak) for n in users])))
        print()
    if own or not options.users:
        print("\n".join(scene_table({"yours": Scene(**own)} if own else SCENES)))


if __name__ == "__main__":
    main()
