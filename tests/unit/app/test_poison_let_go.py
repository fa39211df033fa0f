"""Who is let go of has survived, also if it is let go of twice: a worker ends whose time to drain is over."""

import asyncio
from typing import Any

import pytest

from legato.app.poison import Count
from legato.errors import StoreUnavailable
from tests.unit.app.kit import message
from tests.unit.app.test_poison import GUILTY, Court


async def let_go_twice(court: Court, task: "asyncio.Task[Any]", later: int) -> None:
    """Cancels a try two times, the second after so many rounds of the loop, and closes the trials."""
    for _ in range(2):
        task.cancel()
        for _ in range(later):
            await asyncio.sleep(0)
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    await court.trials.close()


@pytest.mark.parametrize("later", range(8))
@pytest.mark.parametrize("before", [None, Count(1, 0)], ids=["first", "alone"])
async def test_a_try_that_is_cancelled_twice_is_taken_back(
    before: Count | None, later: int
) -> None:
    court = Court()
    if before is not None:
        await court.trials._put(f"attempt|{court.event.id}", before)
    known = await court.count()
    task = asyncio.create_task(court.trials.event(court.event, court.stays))
    await court.rounds()
    assert await court.count() not in (None, known)
    await let_go_twice(court, task, later)
    assert await court.count() == known
    other = asyncio.create_task(court.trials.event(message("x"), court.stays, suspect=False))
    await court.rounds()
    assert court.log == ["in", "in"]  # nobody is alone any more
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


@pytest.mark.parametrize("later", range(4))
async def test_so_is_one_that_is_cancelled_twice_while_it_is_put_aside(
    later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    court = Court()
    await court.trials._put(f"attempt|{court.event.id}", GUILTY)

    async def slow(event: Any, why: str, *, blindly: bool = False) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(court.trials._aside, "event", slow)
    known = await court.count()
    task = asyncio.create_task(court.trials.event(court.event, court.stays))
    await court.rounds()
    assert await court.count() != known
    await let_go_twice(court, task, later)
    assert await court.count() == known


async def test_a_store_that_is_away_holds_up_no_end() -> None:
    court = Court()
    task = asyncio.create_task(court.trials.event(court.event, court.stays))
    await court.rounds()
    court.store.dead = True
    await let_go_twice(court, task, 1)
    with pytest.raises(StoreUnavailable):
        await court.count()
