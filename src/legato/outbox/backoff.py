"""How long to wait before the next try."""

from __future__ import annotations

_MASK = (1 << 64) - 1


class Backoff:
    """Doubling waits with a cap, half of each by chance, so that many callers spread out.

    The chance is a small generator of its own: importing `random` would cost a cold start, and
    a seed makes simulations repeatable.
    """

    __slots__ = ("_base_s", "_cap_s", "_state")

    def __init__(self, base_s: float, cap_s: float, seed: int) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._state = seed & _MASK

    def after(self, attempts: int) -> float:
        """Seconds to wait after `attempts` failed tries (at least 1): in
        [w/2, w) with w = min(cap, base * 2**(attempts - 1)).
        """
        whole = min(self._cap_s, self._base_s * 2.0 ** min(max(attempts, 1) - 1, 40))
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & _MASK
        return whole * (0.5 + (self._state >> 11) / 2**54)
