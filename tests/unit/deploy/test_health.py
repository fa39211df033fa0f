"""Whether a process says rightly that it can do its work."""

import asyncio

from legato.deploy.health import FRESH_S, Health
from legato.errors import StoreUnavailable
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock


class Asked:
    """A check that counts how often it is made."""

    def __init__(self) -> None:
        self.times = 0
        self.result: bool | Exception = True

    async def __call__(self) -> bool:
        self.times += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def ready(health: Health) -> float:
    (sample,) = health.samples()
    assert sample.labels == ("worker",)
    assert isinstance(sample.value, int)
    return sample.value


async def test_a_process_is_ready_once_all_its_checks_pass() -> None:
    health = Health("worker", FakeClock())
    check = Asked()
    health.add("queue", check)

    assert ready(health) == 0, "nobody has asked yet"
    assert await health.failing() == []
    assert ready(health) == 1


async def test_what_is_missing_is_named_and_what_is_raised_is_not_shown() -> None:
    health = Health("worker", FakeClock())
    health.add("store", Asked())
    health.add("queue", broken := Asked())
    broken.result = StoreUnavailable("postgresql://user:password@host is away")

    assert await health.failing() == ["queue"]
    assert ready(health) == 0


async def test_however_many_ask_the_store_is_asked_once_a_second() -> None:
    clock = FakeClock()
    health = Health("worker", clock)
    health.add("store", check := Asked())

    await asyncio.gather(*(health.failing() for _ in range(50)))
    assert check.times == 1
    clock.advance(FRESH_S)
    check.result = False

    assert await health.failing() == ["store"]
    assert check.times == 2


async def test_a_check_that_hangs_has_failed(monkeypatch) -> None:
    monkeypatch.setattr("legato.deploy.health.PATIENCE_S", 0.05)
    health = Health("worker", FakeClock())
    health.add("store", asyncio.Event().wait)

    assert await health.failing() == ["store"]


async def test_a_process_that_is_about_to_end_is_not_ready() -> None:
    health = Health("worker", FakeClock())
    health.add("store", Asked())
    await health.failing()

    health.draining = True

    assert await health.failing() == ["draining"]
    assert ready(health) == 0


async def test_a_store_is_asked_with_a_small_read() -> None:
    class Away(MemoryStore):
        async def get(self, space: str, name: str) -> bytes | None:
            raise StoreUnavailable("away")

    for store, failing in ((MemoryStore(), []), (Away(), ["store"])):
        health = Health("worker", FakeClock())
        health.add_store(store)
        assert await health.failing() == failing
