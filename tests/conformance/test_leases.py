"""The leases that tests and simulations use keep the contract of leases."""

from legato.abc import Leases
from legato.testing.clock import FakeClock
from legato.testing.conformance.leases import LeasesConformance
from legato.testing.leases import MemoryLeases, SharedStore


class TestMemoryLeases(LeasesConformance):
    async def make_leases(self) -> Leases:
        self.clock = FakeClock()
        return MemoryLeases(self.clock)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)


class TestSharedStore(LeasesConformance):
    async def make_leases(self) -> Leases:
        self.clock = FakeClock()
        return SharedStore(self.clock)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
