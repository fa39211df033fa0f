"""One of several processes does the work: the next one follows it, and never works beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from legato.abc import HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.deploy import election
from legato.deploy.election import Election, Term, TermHttp
from legato.errors import BadToken, Unavailable
from legato.testing.clock import FakeClock
from legato.testing.script import NoNetwork
from legato.testing.simulation import Simulation, simulation
from tests.unit.deploy.election_kit import SharedLeases, Way

SEEDS = range(20)
NAME = "listen:bot:telegram:1"


class Member:
    """One process that would work.

    Attributes:
        worked: Times at which it did a bit of work.
        frozen: It does nothing, as after SIGSTOP; its clock goes on.
    """

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.way = Way(world.leases)
        self.worked: list[float] = []
        self.ends = False
        self.error: Exception | None = None
        self.drains_s = 0.0
        self._world = world
        self._election = Election(self.way, world.sim.clock, name)
        self.task = asyncio.get_running_loop().create_task(self._election.serve(NAME, self._work))

    async def _work(self, term: Term) -> None:
        try:
            while not self.ends:
                if self.error is not None:
                    raise self.error
                if term.good:
                    self.worked.append(self._world.now)
                    self._world.work(self.name)
                await asyncio.sleep(0.05)
        finally:
            if self.drains_s and term.good:
                await asyncio.sleep(self.drains_s)
                self._world.work(self.name)

    def dies(self) -> None:
        """As by SIGKILL: its renewals end with it, and nothing is given up."""
        self.way.down = True
        self.task.cancel()

    async def stops(self) -> None:
        """As by SIGTERM."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class World:
    """Processes that share leases."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.leases = SharedLeases(sim.clock)
        self.log: list[tuple[float, str]] = []

    @property
    def now(self) -> float:
        return self.sim.clock.monotonic()

    def work(self, name: str) -> None:
        self.log.append((self.now, name))

    def members(self, names: Iterable[str] = "ab") -> list[Member]:
        return [Member(self, name) for name in names]

    def holder(self, members: Iterable[Member]) -> tuple[Member, list[Member]]:
        """(who works, the others)."""
        name = self.leases.holder(NAME)
        return next(m for m in members if m.name == name), [m for m in members if m.name != name]

    def turns(self) -> list[str]:
        """Who worked, in turn."""
        names = [name for _, name in self.log]
        return [n for i, n in enumerate(names) if not i or names[i - 1] != n]


def resumed_after(member: Member, since: float) -> float:
    """How long it took from `since` to its first work after that."""
    return next(at for at in member.worked if at >= since) - since


@pytest.mark.parametrize("seed", SEEDS)
def test_one_works_and_the_others_stand_by(seed: int) -> None:
    async def main(world: World) -> None:
        members = world.members("abc")
        await asyncio.sleep(60)
        assert len(world.turns()) == 1
        assert len(world.log) > 1000
        for member in members:
            await member.stops()

    with simulation(seed) as sim:
        sim.run(main(World(sim)))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_dies_is_followed_within_three_heartbeats(seed: int) -> None:
    async def main(world: World) -> None:
        members = world.members()
        await asyncio.sleep(5 + sim.random.random())
        old, (new,) = world.holder(members)
        old.dies()
        died = world.now
        await asyncio.sleep(4)
        assert resumed_after(new, died) <= 3.05
        assert world.turns() == [old.name, new.name]
        await new.stops()

    with simulation(seed) as sim:
        sim.run(main(World(sim)))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_stops_in_order_finishes_and_is_followed_at_once(seed: int) -> None:
    async def main(world: World) -> None:
        members = world.members()
        await asyncio.sleep(5 + sim.random.random())
        old, (new,) = world.holder(members)
        old.drains_s = 1.5
        await old.stops()
        stopped = world.now
        await asyncio.sleep(2)
        assert resumed_after(new, stopped) <= 0.55
        assert world.turns() == [old.name, new.name]  # what it finished came first
        await new.stops()

    with simulation(seed) as sim:
        sim.run(main(World(sim)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", ["down", "stuck"])
def test_who_cannot_renew_stops_before_the_next_one_begins(seed: int, fault: str) -> None:
    async def main(world: World) -> None:
        members = world.members()
        await asyncio.sleep(5 + sim.random.random())
        old, (new,) = world.holder(members)
        setattr(old.way, fault, True)
        await asyncio.sleep(10)
        assert world.turns() == [old.name, new.name]
        assert max(old.worked) < min(new.worked)
        setattr(old.way, fault, False)
        await asyncio.sleep(10)
        assert world.turns() == [old.name, new.name]
        for member in members:
            await member.stops()

    with simulation(seed) as sim:
        sim.run(main(World(sim)))


def test_a_heartbeat_that_fails_once_ends_nothing() -> None:
    async def main(world: World) -> None:
        members = world.members("a")
        await asyncio.sleep(5.5)
        members[0].way.down = True
        await asyncio.sleep(1.2)
        members[0].way.down = False
        await asyncio.sleep(5)
        gaps = [b - a for (a, _), (b, _) in zip(world.log, world.log[1:], strict=False)]
        assert max(gaps) < 0.1
        await members[0].stops()

    with simulation(1) as sim:
        sim.run(main(World(sim)))


def test_without_the_term_a_process_that_wakes_up_works_beside_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of the tests above: they can fail."""
    monkeypatch.setattr(Term, "good", True)
    monkeypatch.setattr(Term, "left_s", 1e6)

    async def main(world: World) -> None:
        members = world.members()
        await asyncio.sleep(5)
        old, _ = world.holder(members)
        old.way.stuck = True
        await asyncio.sleep(10)
        assert len(world.turns()) > 2
        for member in members:
            member.dies()

    with simulation(1) as sim:
        sim.run(main(World(sim)))


def test_work_that_cannot_be_done_here_is_left_to_another_process() -> None:
    async def main(world: World) -> None:
        members = world.members()
        await asyncio.sleep(5)
        old, (new,) = world.holder(members)
        old.error = Unavailable("the platform cannot be reached from here")
        await asyncio.sleep(5)
        assert world.turns() == [old.name, new.name]
        for member in members:
            await member.stops()

    with simulation(1) as sim:
        sim.run(main(World(sim)))


def test_work_that_has_ended_or_failed_for_good_ends_it_and_gives_the_name_up() -> None:
    async def main(world: World) -> None:
        a, b = world.members()
        await asyncio.sleep(5)
        old, (new,) = world.holder([a, b])
        old.error = BadToken("revoked")
        await asyncio.sleep(0.1)
        with pytest.raises(BadToken):
            await old.task
        await asyncio.sleep(1)
        new.ends = True
        await asyncio.sleep(0.1)
        await new.task
        assert world.leases.holder(NAME) == ""

    with simulation(1) as sim:
        sim.run(main(World(sim)))


def test_without_leases_the_name_is_ours_for_ever() -> None:
    async def main(sim: Simulation) -> None:
        worked: list[float] = []

        async def work(term: Term) -> None:
            await asyncio.sleep(10_000)
            worked.append(term.left_s)

        await Election(None, sim.clock, "a").serve(NAME, work)
        assert worked == [float("inf")]

    with simulation(1) as sim:
        sim.run(main(sim))


def test_a_release_that_hangs_is_not_waited_for() -> None:
    async def main(world: World) -> None:
        (only,) = world.members("a")
        await asyncio.sleep(5)
        only.way.stuck = True
        began = world.now
        await only.stops()
        assert world.now - began <= election.RELEASE_S + 0.1

    with simulation(1) as sim:
        sim.run(main(World(sim)))


class Slow(NoNetwork):
    """Answers when the term is over."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    async def send(self, request: HttpRequest) -> HttpResponse:
        self._clock.advance(5)
        return HttpResponse(409)


async def test_nothing_is_sent_or_heard_once_the_term_is_over() -> None:
    clock = FakeClock()
    http = TermHttp(Slow(clock), Term(clock, 5))
    request = HttpRequest("GET", "x")
    with pytest.raises(MaybeSent, match="another process"):
        await http.send(request)
    for call in (http.send(request), http.download(request, "", 1)):
        with pytest.raises(NotSent, match="another process"):
            await call
    await http.close()


def test_a_term_ends_by_either_clock() -> None:
    for clock in (FakeClock(), Suspended()):
        term = Term(clock, 5)
        clock.advance(4)
        assert (term.good, round(term.left_s)) == (True, 1)
        clock.advance(1)
        assert (term.good, term.left_s) == (False, 0.0)
    clock = FakeClock()
    term = Term(clock, 5)
    clock.jump(-3600)  # NTP
    clock.advance(5)
    assert not term.good


class Suspended(FakeClock):
    """Of a machine whose monotonic clock stands still while it sleeps."""

    def monotonic(self) -> float:
        return 1000.0
