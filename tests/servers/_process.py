"""What private servers share: free ports, programs, users, folders that go away."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BOOT_S = 90.0
"""How long a server may take to start on a busy machine."""


def free_port(beside: int = 0) -> int:
    """A port that nobody listens on now, with `beside` free ones right after it."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port + beside < 65536 and all(_free(port + n) for n in range(beside + 1)):
            return port
    raise AssertionError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def program(name: str, *patterns: str) -> str:
    """The path of a server's program: on the PATH, or by patterns, the newest version last.

    Missing is a failure in CI; on a developer's machine the test is left out.
    """
    found = shutil.which(name) or next(iter(sorted(_found(name, patterns), reverse=True)), None)
    if found is not None:
        return found
    cure = f"{name} is not installed: `sh .ci/servers` installs the servers of the tests on Debian"
    if os.environ.get("CI") or os.getuid() == 0:
        pytest.fail(cure)
    pytest.skip(cure)


def _found(name: str, patterns: tuple[str, ...]) -> list[str]:
    return [str(path) for pattern in patterns for path in Path("/").glob(f"{pattern[1:]}/{name}")]


def demoted(user: str) -> dict[str, Any]:
    """How subprocess starts a program that refuses to run as root: as `user`, if we are root."""
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def folder(name: str, user: str = "") -> Path:
    """A new folder, outside of pytest's own, whose parents only root may enter."""
    path = Path(tempfile.mkdtemp(prefix=f"legato-{name}-"))
    if user and os.getuid() == 0:
        shutil.chown(path, user)
    return path


def wait(ready: Callable[[], bool], alive: Callable[[], bool], log: Path, name: str) -> None:
    """Returns once a server is ready; tells the end of its log if it is not."""
    deadline = time.monotonic() + BOOT_S
    while not ready():
        if not alive() or time.monotonic() > deadline:
            text = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise AssertionError(f"{name} did not start:\n{text}")
        time.sleep(0.05)
