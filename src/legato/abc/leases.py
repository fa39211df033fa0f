"""Leases: who of several processes does what only one should do, for a while."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping


class Leases(ABC):
    """Names that one holder has until a time. A store that several processes share is one, too.

    A lease makes work go to one place; it is no lock. A process that was stopped and wakes up may
    believe for a moment that it holds what another has taken: what must not happen twice is fenced
    by the store (`Commit.expect`).

    Times are measured by one clock, that of the server. A holder counts from before its call, so it
    stops no later than the lease ends. Implementations must pass
    `legato.testing.conformance.leases.LeasesConformance`.
    """

    __slots__ = ()

    @abstractmethod
    async def hold(self, holder: str, names: Collection[str], ttl_s: float) -> frozenset[str]:
        """Takes or renews, for `ttl_s` from now, those of `names` that are free, over, or
        `holder`'s own; returns which of them it has now. Others are left alone.

        Raises:
            StoreUnavailable: Nothing is known; what was held runs on to its end.
        """

    @abstractmethod
    async def release(self, holder: str, names: Collection[str]) -> None:
        """Gives up those of `names` that `holder` has. Idempotent.

        Raises:
            StoreUnavailable: They run on to their end.
        """

    @abstractmethod
    async def holders(self, prefix: str) -> Mapping[str, str]:
        """Who holds what, by name, for all names that begin with `prefix`; none that is over.

        Raises:
            StoreUnavailable: Nothing is known.
        """


__all__ = ["Leases"]
