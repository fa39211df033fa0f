"""What a letter costs the processes that send and take it, in CPU time beside aio-pika's: `make bench` has
the microseconds.
"""

from bench.queue import Cost, beside

COUNT = 1500
ROUNDS = 3
TIMES = 3.0
"""So many times cheaper at least; measured were 8 to 17."""


def cheapest(costs: list[Cost]) -> Cost:
    """Whatever disturbs a run makes it dearer, never cheaper."""
    return Cost(min(cost.publish for cost in costs), min(cost.consume for cost in costs))


async def test_a_letter_costs_a_third_of_what_aio_pika_takes_at_most(rabbit_url):
    found = await beside(rabbit_url, COUNT, ROUNDS)
    ours, theirs = cheapest(found["legato"]), cheapest(found["aio-pika"])
    assert ours.publish * TIMES <= theirs.publish, (ours, theirs)
    assert ours.consume * TIMES <= theirs.consume, (ours, theirs)
