"""`legato run --reload`: a child runs the bot, and is replaced when the bot's files change.

Conversations go on where they were: the child is drained as at any other end.
"""

from __future__ import annotations

import os
import signal
import subprocess  # nosec B404
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

SUFFIXES = (".py", ".toml", ".po", ".mo")
"""A bot's store and other files change while it runs; these only when a person changes them."""
EVERY_S = 0.3
MOST_FILES = 10_000
PATIENCE_S = 15.0
"""Longer than a child takes to drain."""

Snapshot = dict[str, int]


def reload(arguments: Sequence[str], folder: Path) -> int:
    """Runs `legato <arguments>` again and again until it (or this process) is stopped.

    A child that cannot start (a syntax error) is started again at the next change; one that ended in
    peace ends this too.

    Args:
        arguments: Of the command line, without --reload.
        folder: Whose files count, with those of its subfolders.

    Returns:
        The exit code.
    """
    stop = threading.Event()
    command = [sys.executable, "-m", "legato.cli.main", *arguments]

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _supervise(command, folder, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _supervise(command: Sequence[str], folder: Path, stop: threading.Event) -> int:
    while True:
        seen = snapshot(folder)
        child = subprocess.Popen(command)  # nosec B603 # our own interpreter, no shell
        changed = _watch(child, folder, seen, stop)
        code = _end(child)
        if stop.is_set() or (code == 0 and not changed):
            return code
        if not changed:
            sys.stderr.write("legato: waiting for a change\n")
            while not stop.wait(EVERY_S):
                if snapshot(folder) != seen:
                    break
            else:
                return code
        sys.stderr.write("legato: files changed, starting anew\n")


def _watch(
    child: subprocess.Popen[bytes], folder: Path, seen: Snapshot, stop: threading.Event
) -> bool:
    """Whether files changed, once that, a signal or the child's end comes."""
    while child.poll() is None and not stop.wait(EVERY_S):
        if snapshot(folder) != seen:
            return True
    return False


def _end(child: subprocess.Popen[bytes]) -> int:
    """Lets the child drain. ctrl-C reached it already, and a second signal would not let it."""
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def snapshot(folder: Path) -> Snapshot:
    """The files that count, with their times: {path: mtime in ns}."""
    found: Snapshot = {}
    for path in _files(folder):
        try:
            found[path] = os.stat(path).st_mtime_ns  # noqa: PTH116 # of thousands of files
        except OSError:
            continue  # gone between the two looks
        if len(found) >= MOST_FILES:
            break
    return found


def _files(folder: Path) -> Iterator[str]:
    for top, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__")) and name not in ("node_modules", "site-packages")
        ]
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        yield from (f"{top}/{name}" for name in files if name.endswith(SUFFIXES))


__all__ = ["reload", "snapshot"]
