"""`legato queue`, on a broker and a store in memory."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from legato.abc import Queue, Store
from legato.abc.queue import Letter
from legato.cli import moving, queue
from legato.cli.main import main
from legato.cli.moving import Move
from legato.deploy.clock import SystemClock
from legato.deploy.topology import DECLARE, DRAIN, END, ROUTE, STEADY, Layout, Topology
from legato.errors import Unavailable
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.testing.leases import SharedStore
from legato.testing.simulation import simulation
from tests.unit.deploy.moving_kit import Died, Workers

SETTINGS = ("LEGATO_STORE", "LEGATO_QUEUE", "LEGATO_SHARDS")


class Cluster:
    """What the commands find at their addresses."""

    def __init__(self) -> None:
        self.store = SharedStore(SystemClock())
        self.broker = MemoryBroker()
        self.asked: list[tuple[str, ...]] = []

    def make_store(self, url: str, *, shared: bool, create: bool) -> Store:
        self.asked.append((url, "create" if create else ""))
        return self.store

    def make_queue(self, url: str, app: str) -> Queue:
        self.asked.append((url, app))
        return MemoryQueue(self.broker, app)

    def layout(self) -> Layout | None:
        topology = Topology(self.store, MemoryQueue(self.broker), "desk", SystemClock())
        return asyncio.run(topology.layout())

    def at(self, layout: Layout) -> None:
        """A move came so far."""

        async def write() -> None:
            topology = Topology(self.store, MemoryQueue(self.broker), "desk", SystemClock())
            assert await topology._write(layout)

        asyncio.run(write())


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LEGATO_STORE", "postgresql://store")
    monkeypatch.setenv("LEGATO_QUEUE", "amqp://user:canary@broker")
    monkeypatch.setattr(queue, "make_store", found.make_store)
    monkeypatch.setattr(queue, "make_queue", found.make_queue)
    return found


class Cli:
    """Runs commands for the app "desk"; keeps what the last one complained of."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.err = ""

    def __call__(self, *argv: str, code: int = 0, app: str = "desk") -> str:
        found = main(["queue", *argv, *(["--app", app] if app else [])])
        captured = self.capsys.readouterr()
        self.err = captured.err
        assert found == code, captured
        assert "canary" not in captured.out + captured.err
        return captured.out

    def json(self, *argv: str, code: int = 0) -> Any:
        return json.loads(self(*argv, "--json", code=code))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


# -- what it works on ------------------------------------------------------------------------------


def test_the_app_is_that_of_the_bot_in_this_folder(cluster: Cluster, cli: Cli) -> None:
    assert cli("status", app="", code=2) == ""
    assert "--bot bot.py" in cli.err

    Path("bot.py").write_text("from legato import App\napp = App('desk')\n")
    cli("declare", app="")
    assert cluster.asked == [
        ("postgresql://store", "create"),
        ("amqp://user:canary@broker", "desk"),
    ]


@pytest.mark.parametrize("missing", ["LEGATO_STORE", "LEGATO_QUEUE"])
def test_what_is_not_set_is_named(
    missing: str, cli: Cli, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for name in SETTINGS:
        monkeypatch.setenv(name, "")
    if missing == "LEGATO_STORE":
        monkeypatch.setenv("LEGATO_QUEUE", "amqp://broker")

    assert cli("status", code=2) == ""
    assert missing in cli.err
    assert cli.err.count("\n") == 1


# -- declare ---------------------------------------------------------------------------------------


def test_declare_makes_the_queues_once(cluster: Cluster, cli: Cli) -> None:
    assert cli("declare", "--shards", "4") == "all queues are there: 4 of generation 1\n"
    assert cli.json("declare") == {"generation": 1, "shards": 4, "phase": STEADY, "old": None}

    assert cli("declare", "--shards", "8", code=1) == ""
    assert "there are 4 queues: `legato queue resize --to 8` changes that" in cli.err


@pytest.mark.parametrize("argv", [("declare", "--shards", "3"), ("resize", "--to", "3")])
def test_a_number_that_cannot_be_is_refused(
    argv: tuple[str, ...], cluster: Cluster, cli: Cli
) -> None:
    cli(*argv, code=2)
    assert argv[1] in cli.err
    assert "power of two" in cli.err
    assert cluster.asked == []


def test_a_broker_that_is_away_is_one_line(cluster: Cluster, cli: Cli) -> None:
    cluster.broker.stop()
    assert cli("declare", code=1) == ""
    assert cli.err.count("\n") == 1
    assert "error" in cli.json("declare", code=1)


# -- status ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [("status",), ("resize", "--to", "4")])
def test_before_the_first_queues_the_cure_is_told(
    argv: tuple[str, ...], cluster: Cluster, cli: Cli
) -> None:
    assert cli(*argv, code=1) == ""
    assert "`legato queue declare`" in cli.err
    assert cluster.layout() is None


def test_status_shows_each_queue_and_who_works(cluster: Cluster, cli: Cli) -> None:
    cli("declare", "--shards", "2")

    async def prepare() -> None:
        publisher = MemoryQueue(cluster.broker, "desk")
        await publisher.open()
        await publisher.publish([Letter("a", 1, b""), Letter("b", 3, b"")])
        await publisher.close()
        await cluster.store.hold("host:17:abcd", ["worker:desk:host:17:abcd"], 60)
        await cluster.store.hold("other:1:ef", ["worker:other:other:1:ef"], 60)

    asyncio.run(prepare())

    text = cli("status")
    assert "queues    2 of generation 1\n" in text
    assert "workers   host:17\n" in text
    assert "letters   2 waiting\n" in text
    rows = [line.split(maxsplit=3) for line in text.splitlines()[-2:]]
    assert [row[1:] for row in rows] == [
        ["0", "0", "nobody consumes it"],
        ["2", "0", "nobody consumes it"],
    ]
    found = cli.json("status")
    assert (found["app"], found["workers"], found["error"]) == ("desk", ["host:17"], None)
    assert [q["letters"] for q in found["queues"]] == [0, 2]


def test_status_shows_a_move_under_way(cluster: Cluster, cli: Cli) -> None:
    cli("declare", "--shards", "2")
    cluster.at(
        Layout(version=3, generation=2, shards=4, phase=DRAIN, old=(1, 2), drained=(1,)),
    )

    text = cli("status")
    assert (
        "4 of generation 2, in place of 2 of generation 1 (phase drain, 1 of 2 drained)\n" in text
    )
    notes = {(q["generation"], q["shard"]): q["note"] for q in cli.json("status")["queues"]}
    waits = "waits until the old ones are drained"
    assert notes == {
        (1, 0): "nobody consumes it",
        (1, 1): "drained",
        (2, 0): waits,
        (2, 1): "nobody consumes it",
        (2, 2): waits,
        (2, 3): "nobody consumes it",
    }


def test_status_shows_what_the_store_knows_while_the_broker_is_away(
    cluster: Cluster, cli: Cli
) -> None:
    cli("declare", "--shards", "2")
    cluster.broker.stop()

    assert "2 of generation 1" in cli("status", code=1)
    assert cli.err.count("\n") == 1
    assert cli.json("status", code=1)["error"]


# -- resize ----------------------------------------------------------------------------------------


def test_a_size_that_it_has_already_is_no_move(cluster: Cluster, cli: Cli) -> None:
    cli("declare", "--shards", "2")
    assert cli("resize", "--to", "2") == "nothing to do: 2 of generation 1\n"


class Scene:
    """A move in virtual time.

    Attributes:
        at, then: What happens when this phase is told of; None for its process's death.
        names: Of the workers that live.
    """

    def __init__(self, sim: Any) -> None:
        self.sim = sim
        self.broker = MemoryBroker()
        self.queue = MemoryQueue(self.broker)
        self.store = SharedStore(sim.clock)
        self.topology = Topology(self.store, self.queue, "bot", sim.clock, shards=2)
        self.lines: list[str] = []
        self.facts: list[dict[str, Any]] = []
        self.at = ""
        self.then: Callable[[], None] | None = None
        self.names: list[str] = []
        self.workers = Workers(self.queue, self.topology, sim.clock)
        self.move = Move(self.topology, self.queue, sim.clock, self._alive, self._tell)

    async def _alive(self) -> list[str]:
        return self.names

    def _tell(self, text: str, facts: dict[str, object]) -> None:
        self.lines.append(text)
        self.facts.append(facts)
        if facts.get("phase") == self.at:
            self.at = ""
            if self.then is None:
                raise Died
            self.then()

    async def begin(self) -> None:
        await self.queue.open()
        await self.topology.ensure()
        await self.queue.publish([Letter(str(n), 0, b"0") for n in range(3)])


@pytest.fixture
def scene() -> Iterator[Scene]:
    with simulation(1) as sim:
        yield Scene(sim)


def test_a_move_tells_each_step_and_what_it_waits_for(scene: Scene) -> None:
    async def story() -> None:
        await scene.begin()
        moving_on = asyncio.create_task(scene.move.run(4))
        await scene.sim.clock.sleep(20)
        assert not moving_on.done()
        scene.names = ["host:1"]
        task = asyncio.create_task(scene.workers.run())
        await moving_on
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    scene.sim.run(story())
    steps = [line for line in scene.lines if not line.startswith("waiting")]
    assert list(dict.fromkeys(line.split()[1] for line in steps)) == [
        "making", "routing", "putting", "workers", "the", "in",
    ]  # fmt: skip
    waits = [line for line in scene.lines if line.startswith("waiting")]
    assert waits[0] == (
        "waiting: 2 old queues are not drained, 5 letters wait in them; "
        "no worker runs: start `legato worker`"
    )
    assert len(waits) >= 2
    assert steps[-1].endswith("s: 4 of generation 2")


def test_a_move_tells_who_has_not_left_the_old_queues(scene: Scene) -> None:
    async def story() -> None:
        await scene.begin()
        moving_on = asyncio.create_task(scene.move.run(1))
        consumers = [await scene.queue.consume(1, shard, lambda d: d.ack()) for shard in (0, 1)]
        await scene.sim.clock.sleep(10)
        for shard in (0, 1):
            await scene.topology.drained(1, shard)
        await scene.sim.clock.sleep(15)
        assert [line for line in scene.lines if "2 consumers have not left" in line], scene.lines
        for consumer in consumers:
            await consumer.close()
        await moving_on

    scene.sim.run(story())


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        (DECLARE, "nothing waits"),
        (ROUTE, "call it soon"),
        (END, "call it soon"),
        (DRAIN, "by them"),
    ],
)
def test_a_move_that_is_left_can_be_taken_up_again(scene: Scene, phase: str, text: str) -> None:
    async def story() -> None:
        await scene.begin()
        assert scene.move.left_alone() == "stopped; no move was under way"
        scene.at = phase
        with pytest.raises(Died):
            await scene.move.run(4)
        assert text in scene.move.left_alone()
        assert "--to 4` goes on" in scene.move.left_alone()
        task = asyncio.create_task(scene.workers.run())
        await scene.move.run(4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert scene.workers.read == {0: 1}

    scene.sim.run(story())


def test_a_broker_that_goes_is_waited_for(scene: Scene) -> None:
    async def story() -> None:
        await scene.begin()
        task = asyncio.create_task(scene.workers.run())

        scene.at, scene.then = END, scene.broker.stop
        moving_on = asyncio.create_task(scene.move.run(4))
        await scene.sim.clock.sleep(15)
        assert any("trying again" in line for line in scene.lines)
        scene.broker.start()
        await moving_on
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    scene.sim.run(story())


def test_a_broker_that_stays_away_is_given_up(scene: Scene) -> None:
    async def story() -> None:
        await scene.begin()
        scene.broker.stop()
        with pytest.raises(Unavailable):
            await scene.move.run(4)
        assert len(scene.lines) >= moving.TRIES - 1
        scene.broker.start()

    scene.sim.run(story())
