"""How long the process may go on working: for ever as a server, until a deadline as a cloud function."""

from __future__ import annotations

from legato.errors import DeveloperError, Unavailable

MOST_TRIES = 5
"""A step that was begun so often and never came to its end is not begun again."""


class Paused(Unavailable):
    """A Turn stopped before its next step, since there is no time left for it. All that it has done is
    written; whoever wakes the conversation goes on with it.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} goes on in the next invocation", retry_after_s=1)


class OutOfTime(DeveloperError):
    """A step needs more time than the process has: its conversation is parked."""

    def __init__(self, steps: str, tries: int) -> None:
        super().__init__(
            f"{steps} was begun {tries} times and never came to its end: the invocation of the function ended "
            "before it, each time. Give the function more time (its timeout), make the step shorter, or give "
            "it a limit, chat.run(..., timeout=...), which the dialog sees as an error; then retry"
        )


class Term:
    """A process that lives on. Shells with a deadline have one of their own."""

    __slots__ = ()

    def may_begin(self) -> bool:
        """Whether a step may still be started."""
        return True

    def until_ms(self) -> int:
        """When a Turn that is under way now can be taken for interrupted, by the clock of the store's
        timers: then they wake its conversation. 0 = never: the process finishes it at its next start.
        """
        return 0

    def sends_until_ms(self) -> int:
        """Until when what is committed now is this process's to send, and nobody else's. 0 = it has no deadline."""
        return 0

    def alarm(self, key: str, wake_ms: int) -> None:
        """A conversation waits, and is to be woken at this time at the latest."""

    async def taken_up(self, key: str) -> None:
        """Called before an interrupted Turn of another process is gone on with. What that one had said and not
        delivered is queued here when it returns: it goes before what is said now. A process that lives on has taken
        it over when it started.

        Raises:
            StoreError: The store cannot be read.
        """


FOREVER = Term()

__all__ = ["FOREVER", "MOST_TRIES", "OutOfTime", "Paused", "Term"]
