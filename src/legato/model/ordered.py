"""A set that keeps the order in which its members came.

The order of a plain set of tasks depends on where they lie in memory. Who cancels or wakes them in that order
does it in another one at each run, and a simulation of the same seed would not go the same way again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ordered(Generic[T]):
    """Members in their order."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[T, None] = {}

    def add(self, member: T) -> None:
        """Puts a new member at the end."""
        self._members[member] = None

    def discard(self, member: T) -> None:
        """Takes a member away, if it is one."""
        self._members.pop(member, None)

    def __iter__(self) -> Iterator[T]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members


__all__ = ["Ordered"]
