"""A whole cluster in virtual time: many seeds, and for each fault that is put in a seed that shows it.

LEGATO_SOAK=n runs n times as many seeds. `python -m tests.property.cluster_run 17` shows what happens in
seed 17, and what is logged, in virtual time; the same seed gives the same run in any process.
"""

import logging
import os

import pytest

from legato.testing.simulation import simulation
from tests.property.cluster_run import AFTERWARDS, PEOPLE, Run, app, run
from tests.property.cluster_trouble import KINDS, Trouble
from tests.property.cluster_world import World

SOAK = int(os.environ.get("LEGATO_SOAK", "1"))
SEEDS = 120 * SOAK
CHUNKS = 6
MOST_SEEDS = 60
"""Of which one at least must show what was spoilt."""


@pytest.fixture(autouse=True)
def quiet():
    """All that goes wrong is logged, which is more work than the rest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(120 * SOAK)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_goes_wrong_everybody_sees_the_right_words_in_order(chunk):
    for seed in range(chunk, SEEDS, CHUNKS):
        assert run(seed).wrong == [], f"seed {seed}"


def test_a_cluster_without_trouble_says_everything_once():
    for seed in range(3):
        with simulation(seed) as sim:
            world = World(sim, app)
            calm = Run(world, Trouble(world, kinds=()))
            sim.run(calm.play(1.0))
        assert calm.wrong == []
        assert sorted(set(world.said)) == sorted(world.said)
        assert len({what.partition(":")[0] for what in world.said}) == PEOPLE + AFTERWARDS


def test_the_same_seed_gives_the_same_run():
    for seed in range(3):
        assert run(seed).world.log == run(seed).world.log


@pytest.mark.parametrize("part", ["fence", "may_send", "confirms", "drains", "commits_first"])
def test_a_cluster_that_lacks_one_of_its_guards_is_caught(part):
    changes: dict[str, object] = {part: False}
    kinds: tuple[str, ...] = KINDS
    if part == "drains":  # letters must be left behind in old queues, which few troubles do
        kinds, changes["prefetch"] = ("resize", "freeze", "store_outage"), 1
    assert any(run(seed, kinds, **changes).wrong for seed in range(MOST_SEEDS))
