"""Ends what a killed test run left. Reads lines, `process <pid>` and `folder <path>`, until its parent is
gone: its standard input ends then. Needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path


def processes() -> dict[int, tuple[int, int, str]]:
    """Of each: its parent, its session, and when it began."""
    found = {}
    with contextlib.suppress(FileNotFoundError):  # not Linux
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    fields = (path / "stat").read_text().rpartition(")")[2].split()
                    found[int(path.name)] = (int(fields[1]), int(fields[3]), fields[19])
    return found


def family(pid: int, known: dict[int, tuple[int, int, str]]) -> set[int]:
    """The process, those of its session, and all their children."""
    members = {pid} | {one for one, (_, session, _) in known.items() if session == pid}
    while more := {one for one, (parent, _, _) in known.items() if parent in members} - members:
        members |= more
    return members


def main() -> None:
    """Until the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent's end counts, not what ended it
    begun: dict[int, str] = {}
    folders = []
    for line in sys.stdin:
        kind, _, value = line.rstrip("\n").partition(" ")
        if kind == "folder":
            folders.append(value)
        else:
            begun[int(value)] = processes().get(int(value), (0, 0, ""))[2]
    for pid, since in begun.items():
        known = processes()
        # Another process may have the number by now.
        if pid in known and known[pid][2] == since:
            for member in family(pid, known):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(member, signal.SIGKILL)
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main()
