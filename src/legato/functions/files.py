"""How many files and connections the runtime may have open: with as few as a shell gives, a thousand clients would
leave none for a process to be started.
"""

from __future__ import annotations

import resource

MOST = 1_048_576
"""Where the system sets no limit."""
CLIENTS = 4096
OURS, EACH = 64, 8
"""Files of the runtime itself, and of each process of a function."""


def raised() -> int:
    """Takes as many as the system lets us have; how many those are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def clients(files: int, processes: int) -> int:
    """How many connections that leaves."""
    return max(OURS, min(CLIENTS, files - OURS - EACH * processes))


__all__ = ["clients", "raised"]
