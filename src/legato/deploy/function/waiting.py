"""Who waits for a process that is busy with an invocation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Waiting:
    """Requests that wait until this process has come to the end of an invocation: true while there are some."""

    def __init__(self) -> None:
        self._all: set[object] = set()  # of threads: to add one takes no lock

    def __bool__(self) -> bool:
        return bool(self._all)

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """One waits as long as this lasts."""
        this = object()
        self._all.add(this)
        try:
            yield
        finally:
            self._all.discard(this)


__all__ = ["Waiting"]
