"""Sending limits as token buckets, each kept as one number.

A bucket of `burst` tokens that refills at `messages / per_s` is held as the time at which it will
be full again (the generic cell rate algorithm): a token may be taken when that time is at most
`slack_s` away. So an idle chat's bucket is a time that has passed, and can be forgotten.
All times are seconds of the monotonic clock.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from legato.abc import Limits

T = TypeVar("T")

TICK_S = 1e-6
"""A token that comes within this time is there, since sums of floats never quite meet. Alarms ring
at most half of it early, so what they wake does find its token."""


class Pace:
    """A limit (messages, per seconds, burst) in the form the buckets need."""

    __slots__ = ("interval_s", "slack_s")

    def __init__(self, limit: tuple[float, float, int]) -> None:
        messages, per_s, burst = limit
        self.interval_s: float = per_s / messages
        self.slack_s: float = self.interval_s * (max(burst, 1) - 1)


FREE = Pace((1.0, 0.0, 1))
"""No limit: a token is always there, unless the chat or bot is blocked."""


class Chats:
    """The buckets of all chats of one bot. Memory is bounded by the chats that are not idle."""

    __slots__ = ("_full_at", "_sweep_size")

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}
        self._sweep_size = 1024

    def __len__(self) -> int:
        return len(self._full_at)

    def ready_at(self, chat: str, pace: Pace) -> float:
        """When the next token of this chat can be taken; a time that has passed means: now."""
        full_at = self._full_at.get(chat)
        return 0.0 if full_at is None else full_at - pace.slack_s

    def take(self, chat: str, pace: Pace, now: float) -> None:
        """Takes one token; the caller has made sure by `ready_at` that it is there."""
        if pace is FREE:
            return
        full_at = self._full_at.get(chat, 0.0)
        self._keep(chat, (max(now, full_at)) + pace.interval_s, now)

    def block(self, chat: str, until: float, pace: Pace, now: float) -> None:
        """Lets nothing through to this chat before `until`."""
        full_at = max(self._full_at.get(chat, 0.0), until + pace.slack_s)
        self._keep(chat, full_at, now)

    def _keep(self, chat: str, full_at: float, now: float) -> None:
        self._full_at[chat] = full_at
        if len(self._full_at) >= self._sweep_size:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        self._full_at = {chat: at for chat, at in self._full_at.items() if at > now}
        # doubling keeps the cost of sweeping constant per token taken
        self._sweep_size = max(1024, 2 * len(self._full_at))


class Gate(Generic[T]):
    """One bucket that many lanes share, and the lanes waiting for its tokens, first come first
    served.
    """

    __slots__ = ("_full_at", "armed", "blocked_until", "mark", "pace", "waiting")

    def __init__(self, limit: tuple[float, float, int] | None, mark: int) -> None:
        self.mark: int = mark
        """The bit by which a lane shows that it holds a token of this gate."""
        self.pace: Pace = Pace(limit) if limit else FREE
        self.blocked_until: float = 0.0
        self.waiting: deque[T] = deque()
        self.armed: bool = False
        """Whether an alarm is set that will call `release`."""
        self._full_at = 0.0

    def ready_at(self) -> float:
        """When the next token can be taken; a time that has passed means: now."""
        return max(self.blocked_until, self._full_at - self.pace.slack_s)

    def take(self, now: float) -> bool:
        """Takes a token if there is one now."""
        if now + TICK_S < self.ready_at():
            return False
        self._full_at = max(self._full_at, now) + self.pace.interval_s
        return True

    def release(self, now: float) -> list[T]:
        """Takes tokens for those who waited longest, as many as there are now."""
        out = []
        while self.waiting and self.take(now):
            out.append(self.waiting.popleft())
        return out


class BotLimits(Generic[T]):
    """All limits of one bot.

    Attributes:
        private, group: The pace per chat.
        bulk: The gate that broadcasts must pass as well.
        every: The gate that everything must pass.
        none: Nothing is limited and nothing was ever blocked: the short way.
    """

    __slots__ = ("bulk", "chats", "every", "group", "none", "private")

    def __init__(self, limits: Limits) -> None:
        self.private: Pace = Pace(limits.private) if limits.private else FREE
        self.group: Pace = Pace(limits.group) if limits.group else FREE
        self.chats: Chats = Chats()
        self.bulk: Gate[T] = Gate(limits.bulk, 1)
        self.every: Gate[T] = Gate(limits.bot, 2)
        self.none: bool = limits == Limits()

    def block(self, until: float) -> None:
        """Lets nothing of this bot through before `until`."""
        self.none = False
        for gate in (self.bulk, self.every):
            gate.blocked_until = max(gate.blocked_until, until)

    def block_chat(self, chat: str, until: float, pace: Pace, now: float) -> None:
        """Lets nothing to this chat through before `until`."""
        self.none = False
        self.chats.block(chat, until, pace, now)
