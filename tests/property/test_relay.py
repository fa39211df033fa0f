"""Whatever the platform answers and wherever the process dies: order, delivery, no invention."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from legato.abc import Limits, Verdict
from legato.model.records import DEAD, SENDING, UNKNOWN, Call
from tests.unit.outbox.kit import World, item, simulate

CHATS = ("x", "y", "z")
VERDICTS = {
    "sent": Verdict("sent", message_id="m"),
    "down": Verdict("retry", error="down"),
    "slow": Verdict("retry", retry_after_s=7.0, code=429),
    "silent": Verdict("retry", retry_after_s=5.0, whole_bot=True, code=429),
    "lost": Verdict("unknown", error="cut off"),
    "refused": Verdict("refused", error="bad"),
}

SAFE = {"down", "slow", "silent"}
"""It certainly did not arrive."""
FINAL = {"sent", "refused"}

Plan = list[tuple[str, str, list[str], bool]]
"""Of each item: chat, delivery, the answers before the last "sent", whether it is a broadcast."""

plans = st.lists(
    st.tuples(
        st.sampled_from(CHATS),
        st.sampled_from(("at_least_once", "at_most_once")),
        st.lists(st.sampled_from(sorted(VERDICTS)), max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
crashes = st.lists(st.floats(0.0, 6.0), max_size=4)
outages = st.lists(st.floats(0.0, 20.0), max_size=3)
limits = st.sampled_from(
    (Limits(), Limits(private=(1, 1.0, 2)), Limits(bot=(2, 1.0, 1), bulk=(1, 3.0, 1)))
)


class Run(World):
    """A world whose process dies now and then, and which notes what the platform is asked."""

    def __init__(self, limits: Limits, plan: Plan) -> None:
        super().__init__(limits)
        self.bot.takes_s = 0.25
        self.bot.before = self.look
        self.plan = {f"{n}": one for n, one in enumerate(plan)}
        self.items = [
            item(name, chat, delivery=delivery, bulk=bulk, key=f"{chat}{bulk}")
            for name, (chat, delivery, _, bulk) in self.plan.items()
        ]
        self.wrong: list[str] = []
        self.busy: set[tuple[str, bool]] = set()
        for name, (_, _, verdicts, _) in self.plan.items():
            self.bot.answer(name, *(VERDICTS[v] for v in [*verdicts, "sent"]))

    async def look(self, call: Call) -> None:
        """Runs as a call arrives."""
        _, delivery, _, _ = self.plan[call.method]
        if delivery == "at_most_once" and (await self.fates())[call.method] != SENDING:
            self.wrong.append("sent without its mark")
        lane = (self.plan[call.method][0], call.bulk)
        if lane in self.busy:
            self.wrong.append("two at once in a lane")
        self.busy.add(lane)
        try:
            await asyncio.sleep(0.1)
        finally:
            self.busy.discard(lane)

    async def die(self) -> None:
        """A crash: tasks end where they are, and what only memory knew is gone."""
        self.relay._sender.settler._pending.clear()
        await self.relay.close()
        self.start()

    async def outage(self, at_s: float) -> None:
        """The store takes nothing for three seconds."""
        await asyncio.sleep(at_s)
        self.store.broken = True
        await asyncio.sleep(3.0)
        self.store.broken = False


async def live(run: Run, crashes: list[float], away: list[float]) -> None:
    said = await run.commit(*run.items)
    troubles = [asyncio.create_task(run.outage(at)) for at in away]
    run.relay.offer(said)
    for after in crashes:
        await asyncio.sleep(after)
        await run.die()
        await run.relay.recover()
    assert await run.relay.flush(100_000) == 0
    await asyncio.gather(*troubles)
    await run.relay.close()


@settings(max_examples=150, deadline=None)
@given(plans, crashes, outages, limits)
def test_each_item_is_delivered_in_order_or_accounted_for(
    plan: Plan, crashes: list[float], outages: list[float], limits: Limits
) -> None:
    async def scenario() -> None:
        run = Run(limits, plan)
        await live(run, crashes, outages)
        assert run.wrong == []
        fates = await run.fates()
        for name in run.plan:
            check(run, name, fates.get(name), crashed=bool(crashes))
        for chat in CHATS:
            for bulk in (False, True):
                check_order(run, chat, bulk=bulk, crashed=bool(crashes))

    simulate(scenario())


def check(run: Run, name: str, fate: str | None, *, crashed: bool) -> None:
    """The item has a fate, and it is one that its answers allow."""
    _, delivery, verdicts, _ = run.plan[name]
    tries = run.bot.methods().count(name)
    assert fate in (None, DEAD, UNKNOWN), "all is settled"
    if fate is None:
        assert tries >= 1, "nothing is forgotten without having been sent"
    elif fate == DEAD:
        assert "refused" in verdicts[:tries]
    else:
        assert delivery == "at_most_once"
        assert crashed or "lost" in verdicts[:tries]
    if delivery == "at_most_once":
        again = [verdict in SAFE for verdict in [*verdicts, "sent"][: max(tries - 1, 0)]]
        assert all(again), "what may have arrived is not sent again"
    elif not crashed:
        last = next((n for n, v in enumerate(verdicts) if v in FINAL), len(verdicts))
        assert tries == last + 1


def check_order(run: Run, chat: str, *, bulk: bool, crashed: bool) -> None:
    """First tries come in order of commit; without a crash, nothing comes again later."""
    mine = [n for n, (where, _, _, is_bulk) in run.plan.items() if (where, is_bulk) == (chat, bulk)]
    tried = [name for name in run.bot.methods() if name in mine]
    first = list(dict.fromkeys(tried))
    assert first == [name for name in mine if name in first]
    if not crashed:
        assert tried == sorted(tried, key=mine.index)
