"""What all Leases must do. A subclass of ten lines runs all of it on other ones.

class TestMyLeases(LeasesConformance):
    async def make_leases(self) -> Leases:
        return MyLeases(...)         # with nothing held, ready for use
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from legato.abc.leases import Leases
from legato.testing.conformance._samples import run

LONG_S = 3600.0
SHORT_S = 0.05
PATIENCE_S = 60.0

Test = Callable[[Any, Leases], Awaitable[None]]


def on_leases(test: Test) -> Callable[[Any], None]:
    """Makes a plain method of a coroutine method `test(self, leases)`."""

    async def with_leases(suite: LeasesConformance) -> None:
        leases = await suite.make_leases()
        try:
            await test(suite, leases)
        finally:
            await suite.end(leases)

    def method(suite: Any) -> None:
        run(with_leases(suite))

    method.__name__ = getattr(test, "__name__", "test")
    method.__qualname__ = getattr(test, "__qualname__", "test")
    method.__doc__ = test.__doc__
    return method


class LeasesConformance:
    """Every sentence of `legato.abc.leases`, as a test."""

    async def make_leases(self) -> Leases:
        """Leases of which none is held."""
        raise AssertionError("the subclass must say which leases are meant")

    async def end(self, leases: Leases) -> None:
        """Frees what `make_leases` took."""

    async def pass_time(self, seconds: float) -> None:
        """Lets time pass, as the leases measure it."""
        await asyncio.sleep(seconds)

    @on_leases
    async def test_a_free_name_goes_to_who_asks_first(self, leases: Leases) -> None:
        """And a second one gets what is left of what it asks for."""
        assert await leases.hold("ann", ["a", "b"], LONG_S) == {"a", "b"}
        assert await leases.hold("bob", ["b", "c", "a"], LONG_S) == {"c"}
        assert await leases.hold("bob", ["a"], LONG_S) == frozenset()
        assert await leases.holders("") == {"a": "ann", "b": "ann", "c": "bob"}

    @on_leases
    async def test_a_holder_renews_what_it_has(self, leases: Leases) -> None:
        """As often as it likes; a name asked for twice is one."""
        for _ in range(3):
            assert await leases.hold("ann", ["a", "a"], LONG_S) == {"a"}
        assert await leases.hold("ann", ["a", "b"], LONG_S) == {"a", "b"}
        assert await leases.hold("bob", ["a", "b"], LONG_S) == frozenset()

    @on_leases
    async def test_nothing_asked_for_is_nothing_held(self, leases: Leases) -> None:
        """No name is no error."""
        assert await leases.hold("ann", [], LONG_S) == frozenset()
        await leases.release("ann", [])
        assert await leases.holders("") == {}

    @on_leases
    async def test_a_lease_that_is_over_may_be_taken(self, leases: Leases) -> None:
        """Then its former holder does not get it back."""
        assert await leases.hold("ann", ["a"], SHORT_S) == {"a"}
        await self._taken(leases, "bob", "a")
        assert await leases.hold("ann", ["a"], LONG_S) == frozenset()
        assert await leases.holders("a") == {"a": "bob"}

    @on_leases
    async def test_a_lease_that_is_over_is_nobodys(self, leases: Leases) -> None:
        """It is not listed, and its former holder may have it again if nobody came."""
        assert await leases.hold("ann", ["a"], SHORT_S) == {"a"}
        async with asyncio.timeout(PATIENCE_S):
            while await leases.holders("a"):
                await self.pass_time(SHORT_S)
        assert await leases.hold("ann", ["a"], LONG_S) == {"a"}
        assert await leases.hold("bob", ["a"], LONG_S) == frozenset()

    @on_leases
    async def test_a_renewal_counts_from_now(self, leases: Leases) -> None:
        """A short one may be made long, and a long one short."""
        assert await leases.hold("ann", ["a", "b"], SHORT_S) == {"a", "b"}
        assert await leases.hold("ann", ["a"], LONG_S) == {"a"}
        await self._taken(leases, "bob", "b")
        assert await leases.hold("bob", ["a"], LONG_S) == frozenset()
        assert await leases.hold("ann", ["a"], SHORT_S) == {"a"}
        await self._taken(leases, "bob", "a")

    @on_leases
    async def test_a_name_that_is_given_up_is_free_at_once(self, leases: Leases) -> None:
        """Others are not touched, nor is what somebody else holds; twice is as once."""
        await leases.hold("ann", ["a", "b"], LONG_S)
        await leases.hold("bob", ["c"], LONG_S)
        for _ in range(2):
            await leases.release("ann", ["a", "c", "unknown"])
            assert await leases.holders("") == {"b": "ann", "c": "bob"}
        assert await leases.hold("bob", ["a", "b"], LONG_S) == {"a"}

    @on_leases
    async def test_holders_are_listed_by_prefix(self, leases: Leases) -> None:
        """Every name that begins so, whatever comes after."""
        names = ["shard:x:1", "shard:x:10", "shard:y:1", "shard:x", "worker:x:%_"]
        await leases.hold("ann", names, LONG_S)
        assert sorted(await leases.holders("shard:x:")) == ["shard:x:1", "shard:x:10"]
        assert sorted(await leases.holders("worker:x:%")) == ["worker:x:%_"]
        assert await leases.holders("shard:%") == {}
        assert len(await leases.holders("")) == 5

    @on_leases
    async def test_of_many_who_ask_at_once_each_name_goes_to_one(self, leases: Leases) -> None:
        """Whatever the order in which they name them."""
        names = [f"{number}" for number in range(8)]

        async def ask(number: int) -> frozenset[str]:
            return await leases.hold(
                f"holder {number}", names[number % 8 :] + names[: number % 8], 99
            )

        got = await asyncio.gather(*map(ask, range(16)))
        assert sorted(name for some in got for name in some) == names
        listed = await leases.holders("")
        for number, some in enumerate(got):
            assert {listed[name] for name in some} <= {f"holder {number}"}

    @on_leases
    async def test_names_and_holders_are_any_text(self, leases: Leases) -> None:
        """Long ones, empty ones, and those that databases stumble over."""
        odd = ["", " ", "ß'\"\\", "\U0001f600" * 50, "a\nb"]
        assert await leases.hold("h'older\\", odd, LONG_S) == set(odd)
        assert await leases.holders("") == dict.fromkeys(odd, "h'older\\")

    async def _taken(self, leases: Leases, holder: str, name: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await leases.hold(holder, [name], LONG_S):
                await self.pass_time(SHORT_S)
