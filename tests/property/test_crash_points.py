"""A process dies before and after every write and every send of one long conversation: nothing is lost,
nothing is applied twice, the order stays, and a message is repeated only if it was sent and not yet marked.

LEGATO_SOAK=20 tries twenty times as many pairs of deaths.
"""

import asyncio
import functools
import os
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from msgspec import Struct

from tests.property import crash_script
from tests.property.crash_terms import Liar
from tests.property.crash_world import World

SOAK = int(os.environ.get("LEGATO_SOAK", "1"))
CHUNKS = 4
WAYS: dict[str, dict[str, Any]] = {
    "cold": {},
    "warm": {"cache": 100},
    "webhook": {"webhook": "reply"},
    "function": {"webhook": "last"},
    "early": {"ack_after_s": 0.0},
    "early warm": {"ack_after_s": 0.0, "cache": 100},
}


class Outcome(Struct):
    """What a run left: store and app's tables at its end, everything shown, the effects of steps."""

    world: World
    left: tuple[Any, ...]
    effects: list[tuple[str, str]]


def run(fatal: Sequence[int] = (), **options: Any) -> Outcome:
    """Plays the script with processes that die at these points."""
    return asyncio.run(_run(fatal, options))


async def _run(fatal: Sequence[int], options: dict[str, Any]) -> Outcome:
    crash_script.effects.clear()
    world = World(crash_script.app, fatal, **options)
    try:
        await crash_script.play(world)
    finally:
        await world.close()
    rows = [(row.key, row.dialog, row.status) for row in await world.store.find()]
    mail = [letter.id for letter in await world.store.mail()]
    outbox = await world.store.outbox(states=("queued", "sending", "unknown", "dead"))
    left = (rows, mail, len(outbox), world.sold)
    return Outcome(world, left, list(crash_script.effects))


@functools.cache
def clean(way: str) -> Outcome:
    """The same without any death."""
    return run(**WAYS[way])


def wrong(way: str, found: Outcome) -> list[str]:
    """What is not as in a life without deaths."""
    expected = clean(way)
    bad = [] if found.left == expected.left else [f"left {found.left}"]
    bad += differences(expected.world.log, found.world)
    bad += crash_script.misdone(expected.effects, found.effects)
    return [f"{way}, died at {found.world.died}: {one}" for one in bad]


def differences(expected: list[str], world: World) -> list[str]:
    """Something lost, out of order, or repeated without the excuse that nobody knew it was sent."""
    spare, position = world.excused.copy(), 0
    for what in world.log:
        if position < len(expected) and what == expected[position]:
            position += 1
        elif spare[what] > 0:
            spare[what] -= 1
        else:
            return [f"{what!r} after {expected[:position][-1:]}"]
    return [] if position == len(expected) else [f"{expected[position]!r} is lost"]


def repeated(n: int, found: Outcome) -> list[str]:
    """Whether, at a death there, anything but what was sent and not marked was sent again."""
    expected, again = clean("cold").world, sum(found.world.excused.values())
    name = expected.points[n]
    bad = again == 0 if name in ("sent", "settle") else name == "settled" and again > 0
    bad |= len(found.world.log) != len(expected.log) + again
    return [f"died at {n} {name}: {again} sent again, {len(found.world.log)} in all"] * bad


# -- the contract ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("way", WAYS)
def test_a_death_at_any_point(way: str, chunk: int) -> None:
    points = range(len(clean(way).world.points))
    assert len(points) > 150
    bad = []
    for n in points[chunk::CHUNKS]:
        found = run([n], **WAYS[way])
        bad += wrong(way, found)
        if way == "cold":
            bad += repeated(n, found)
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("way", WAYS)
def test_deaths_one_after_another(way: str) -> None:
    chance = Random(way)
    points = len(clean(way).world.points)
    bad = []
    for _ in range(25 * SOAK):
        fatal = [chance.randrange(points)]
        fatal += [fatal[-1] + chance.randrange(1, 12), fatal[-1] + chance.randrange(12, 40)]
        bad += wrong(way, run(fatal, **WAYS[way]))
    assert not bad, "\n".join(bad)


def test_every_update_twice_and_a_death_at_any_point() -> None:
    points = range(len(run(repeat=2).world.points))
    bad = [one for n in points[::3] for one in wrong("cold", run([n], repeat=2))]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("way", ["cold", "warm"])
def test_a_process_that_freezes_at_any_point_and_wakes_up_later_changes_nothing(way: str) -> None:
    expected = clean(way)
    for n in range(0, len(expected.world.points), 2):
        found = run([n], freezes=True, **WAYS[way])
        firsts = list(dict.fromkeys(found.world.log))
        assert found.left == expected.left, found.world.died
        assert firsts == list(dict.fromkeys(expected.world.log)), found.world.died
        assert not crash_script.misdone(expected.effects, found.effects), found.world.died


# -- and it can fail -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "liar",
    [Liar(dedupe=True), Liar(settle=True), Liar(apart=True)],
    ids=["dedupe", "settle", "apart"],
)
def test_a_store_that_does_not_keep_its_promise_is_caught(liar: Liar) -> None:
    points = range(len(clean("cold").world.points))
    assert any(wrong("cold", run([n], liar=liar)) for n in points)


def test_a_store_without_a_fence_is_caught() -> None:
    expected = clean("cold")
    for n in range(len(expected.world.points)):
        found = run([n], freezes=True, liar=Liar(fence=True))
        if found.left != expected.left or crash_script.misdone(expected.effects, found.effects):
            return
    raise AssertionError("a frozen process that wakes up did no harm without the fence")
