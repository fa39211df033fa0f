"""What goes wrong in the clouds, often and on purpose: `legato functions bots/ --chaos`.

| what | how |
|---|---|
| an event comes twice | it is run again, after or beside the first time |
| events overtake each other | one is held back for a moment |
| a machine dies in the middle | SIGKILL while the handler runs |
| a machine dies after the answer | SIGKILL in place of the freeze |
| clocks differ | a new process has one that is up to two minutes wrong (Python: time.time, time.time_ns) |
| connections die in the freeze | its TCP sockets are shut down while it stands still |

All is drawn from one seed, which is logged: with the same requests in the same order it happens again.
"""

from __future__ import annotations

import ctypes
import logging
import os
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from legato.functions.config import Function

if TYPE_CHECKING:
    from legato.functions.container import Container

PIDFD_GETFD = 438
"""The number of this system call, the same on every architecture."""

log: logging.Logger = logging.getLogger("legato.functions.chaos")


class Odds(Struct, frozen=True, kw_only=True):
    """How likely each is, from 0 to 1.

    Attributes:
        hold_s: So long, at most, an event is held back.
        skew_s: So much, at most, a clock is wrong.
        kill_within_s: A process dies that soon, or at half its timeout if that is sooner.
    """

    twice: float = 0.1
    late: float = 0.1
    killed: float = 0.05
    killed_after: float = 0.05
    skewed: float = 0.2
    cut: float = 0.3
    hold_s: float = 0.3
    skew_s: float = 120.0
    kill_within_s: float = 0.2


class Chaos:
    """Decides what happens.

    Args:
        seed: Of all chance.
        odds: How likely it is.

    Attributes:
        count: How often each has happened.
    """

    def __init__(self, seed: int, odds: Odds | None = None) -> None:
        self._random = random.Random(seed)  # nosec B311 # it protects nothing
        self._odds = odds or Odds()
        self.count: dict[str, int] = {}

    def _happens(self, what: str, odds: float) -> bool:
        if self._random.random() >= odds:
            return False
        self.count[what] = self.count.get(what, 0) + 1
        log.info("chaos: %s", what)
        return True

    def held_s(self) -> float:
        """How long an event is held back."""
        if not self._happens("late", self._odds.late):
            return 0.0
        return self._random.uniform(0.0, self._odds.hold_s)

    def twice(self) -> bool:
        """Whether an event comes twice."""
        return self._happens("twice", self._odds.twice)

    def kill_after_s(self, function: Function) -> float | None:
        """When its process is killed in the middle of an invocation."""
        if not self._happens("killed", self._odds.killed):
            return None
        return self._random.uniform(0.0, min(self._odds.kill_within_s, function.timeout_s / 2))

    def kills_after_response(self) -> bool:
        """Whether its process is killed once it has answered."""
        return self._happens("killed_after", self._odds.killed_after)

    def clock_s(self) -> float:
        """How much the clock of a new process is wrong."""
        if not self._happens("skewed", self._odds.skewed):
            return 0.0
        return self._random.uniform(-self._odds.skew_s, self._odds.skew_s)

    def before_thaw(self, container: Container) -> None:
        """Connections of a process that stands still may have died."""
        if self._happens("cut", self._odds.cut):
            cut_connections(container.pid, spare=container.api_port)


def cut_connections(pid: int, spare: int) -> int:
    """Shuts down the TCP connections of a process, as a router does that has forgotten them.

    Args:
        pid: Whose.
        spare: A connection to this port of 127.0.0.1 is left: the Runtime API's.

    Returns:
        How many there were; 0 where the kernel does not let us have them.
    """
    cut = 0
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return 0
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if str(entry.readlink()).startswith("socket:"):
                cut += _cut(pidfd, int(entry.name), spare)
    except OSError:
        return cut  # it has just ended
    finally:
        os.close(pidfd)
    return cut


def _cut(pidfd: int, descriptor: int, spare: int) -> bool:
    copy = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, pidfd, descriptor, 0)
    if copy < 0:
        return False
    with socket.socket(fileno=copy) as connection:
        if connection.family not in {socket.AF_INET, socket.AF_INET6}:
            return False
        try:
            if connection.getpeername()[:2] == ("127.0.0.1", spare):
                return False
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False  # not connected: it listens, or is closed already
    return True


__all__ = ["Chaos", "Odds", "cut_connections"]
