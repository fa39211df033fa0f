"""Waits for what is in hand of chats that go to another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from legato.abc import Clock

T = TypeVar("T")


async def until_left(
    find: Callable[[], list[T]],
    stays: Callable[[T], bool],
    clock: Clock,
    *,
    deadline_s: float,
    look_s: float,
) -> bool:
    """Waits until nothing is found; False if `deadline_s` was not enough.

    Args:
        find: Looks at everything there is. Called only when all that it found last has left: many shards
            leave at once, and a slow one must not cost the others their time.
        stays: Whether one of what was found is still there.
        clock: Time.
        deadline_s: At most so long.
        look_s: How often `stays` is asked.
    """
    until = clock.monotonic() + deadline_s
    while found := find():
        while found:
            if clock.monotonic() >= until:
                return False
            await clock.sleep(look_s)
            found = [one for one in found if stays(one)]
    return True


__all__ = ["until_left"]
