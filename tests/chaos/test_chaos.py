"""Everything dies, again and again, under load: nobody's conversation notices.

One seed of half a minute in CI; LEGATO_SOAK=20 makes it twenty seeds of two minutes each.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, cluster
from tests.chaos.disturb import KINDS, Trouble
from tests.chaos.people import Person, judge
from tests.servers import Rabbit

SOAK = int(os.environ.get("LEGATO_SOAK", "1"))
SECONDS = 40.0 if SOAK == 1 else 120.0
SHORT_S = 6.0
"""Each kind once: what is broken shows at the first."""
PEOPLE = 16
PATIENCE_S = 90.0
Started = Callable[..., AbstractAsyncContextManager[Cluster]]


async def talk_through(
    one: Cluster, trouble: Trouble, seconds: float, *kinds: str, patience_s: float = PATIENCE_S
) -> list[Person]:
    """People talk while the cluster is disturbed, and to the end of their dialogs afterwards."""
    people = [Person(one.telegram.user(f"P{n}"), n) for n in range(PEOPLE)]
    one.telegram.updates.repeats = 1  # every update comes twice
    over = asyncio.Event()
    talks = [asyncio.create_task(person.talk(over, patience_s)) for person in people]
    raging = asyncio.create_task(trouble.rage(seconds, kinds))
    try:
        await asyncio.wait([raging, *talks], return_when=asyncio.FIRST_COMPLETED)
        failed = [talk for talk in talks if talk.done()]
        if not failed:
            await raging
        over.set()
        await asyncio.gather(*(failed or talks))
        one.check()
    except AssertionError as error:
        logs = "\n".join(f"== {part.name}\n{part.tail()}" for part in one.parts)
        raise AssertionError(f"{error}\nafter {trouble.counts}\n{logs}") from error
    finally:
        for task in (raging, *talks):
            task.cancel()
        await asyncio.gather(raging, *talks, return_exceptions=True)
    return people


@pytest.fixture
def started(tmp_path: Path, own_rabbit: Rabbit, rabbit_url: str) -> Started:
    """Starts a cluster, with what is sabotaged in it."""
    return partial(cluster, tmp_path, own_rabbit, rabbit_url)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(SOAK))
async def test_whatever_dies_every_conversation_goes_on(started: Started, seed):
    async with started() as one:
        trouble = Trouble(one, seed)
        people = await talk_through(one, trouble, SECONDS)
        judge(one.telegram, people, trouble.times)
        assert set(trouble.counts) == set(KINDS) or SOAK == 1
        assert sum(person.sent for person in people) > PEOPLE


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("sabotage", "kinds", "finding"),
    [
        ("answer-early", ("kill gateway", "kill rabbit"), "waits in vain"),
        ("no-dedupe", ("slow",), "instead of|doubled"),
    ],
)
async def test_the_trial_finds_out_what_is_broken(started: Started, sabotage, kinds, finding):
    async with started(sabotage) as one:
        with pytest.raises(AssertionError, match=finding):
            await trial(one, kinds)


async def trial(one: Cluster, kinds: tuple[str, ...]) -> None:
    trouble = Trouble(one, 1)
    people = await talk_through(one, trouble, SHORT_S, *kinds, patience_s=30.0)
    judge(one.telegram, people, trouble.times)
