"""What private servers share: ports, programs, users, folders that go away, and an end for all of it."""

from __future__ import annotations

import atexit
import fcntl
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

BOOT_S = 90.0
"""How long a server may take to start on a busy machine."""
FIRST_PORT, BLOCK = 10_000, 8
DISK = "LEGATO_TESTS_DISK"
MEMORY = Path("/dev/shm")  # a folder with a name of its own is made in it
ROOM = 4 << 30


def in_memory() -> None:
    """Takes memory for temporary files, if there is room and nobody said otherwise.

    Tests make and remove so many (a database alone has 300) that a disk's file system takes ten times as
    long for it.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return
    found = os.statvfs(MEMORY)
    if found.f_bavail * found.f_frsize < ROOM or found.f_flag & os.ST_NOEXEC:
        return
    os.environ[DISK] = tempfile.gettempdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def free_port(beside: int = 0) -> int:
    """A port that nobody else gets as long as this process lives, with `beside` more right after it.

    It is below those that the system gives to outgoing connections: a client that tries again and again
    while its server is down could otherwise get that very port, and talk to itself.
    """
    assert beside < BLOCK
    blocks = range(FIRST_PORT, _first_ephemeral() - BLOCK, BLOCK)
    for _ in range(1000):
        port = secrets.choice(blocks)
        if _claim(port) and all(_free(port + n) for n in range(beside + 1)):
            return port
    raise AssertionError("no free ports")


def _first_ephemeral() -> int:
    try:
        first = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    except OSError:
        return 32768
    return int(first) if int(first) > FIRST_PORT + 100 * BLOCK else 65536


def _claim(port: int) -> bool:
    """Takes a lock that ends with this process; other processes of the run look for the same."""
    lock = os.open(kept("ports") / str(port), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def program(name: str, *patterns: str) -> str:
    """The path of a server's program: the newest version by patterns of folders, or on the PATH.

    Missing is a failure where `make test` could have installed it, and in CI; elsewhere the test is
    left out.
    """
    found = next(_found(name, patterns), None) or shutil.which(name)
    if found is not None:
        return found
    cure = f"{name} is not installed: `sh .ci/servers`, as root, installs what tests need on Debian"
    if os.environ.get("CI") or shutil.which("apt-get"):
        pytest.fail(cure)
    pytest.skip(cure)


def _found(name: str, patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        paths = [path / name for path in Path("/").glob(pattern[1:]) if (path / name).is_file()]
        yield from map(str, sorted(paths, key=_version, reverse=True))


def _version(path: Path) -> list[int]:
    return [int(part) for part in path.parts if part.isdecimal()]


def demoted(user: str) -> dict[str, Any]:
    """How subprocess starts a program that refuses to run as root: as `user`, if we are root."""
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def folder(name: str, user: str = "") -> Path:
    """A new folder, outside of pytest's own, whose parents only root may enter."""
    path = Path(tempfile.mkdtemp(prefix=f"legato-{name}-"))
    _reaper.tell(f"folder {path}")
    if user and os.getuid() == 0:
        shutil.chown(path, user)
    return path


def kept(name: str) -> Path:
    """A folder that stays for other runs: on disk, wherever they have their temporary files."""
    place = Path(os.environ.get(DISK, tempfile.gettempdir())) / f"legato-{name}-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def started(pid: int) -> None:
    """Sees to it that a process ends with this one, however this one ends."""
    _reaper.tell(f"process {pid}")


def launch(command: list[str], log: IO[bytes] | int, **options: Any) -> subprocess.Popen[bytes]:
    """Starts a server, in a session of its own: ctrl-C is for the tests, which end it then."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options
    )
    started(process.pid)
    return process


def wait(ready: Callable[[], bool], alive: Callable[[], bool], log: Path, name: str) -> None:
    """Returns once a server is ready; tells the end of its log if it is not."""
    deadline = time.monotonic() + BOOT_S
    while not ready():
        if not alive() or time.monotonic() > deadline:
            text = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise AssertionError(f"{name} did not start:\n{text}")
        time.sleep(0.05)


class _Reaper:
    """Another process, which learns what there is and ends it when we are gone: by SIGKILL, too."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def tell(self, line: str) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(Path(__file__).with_name("_reaper.py"))],
                    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0,
                    cwd="/", start_new_session=True,
                )  # fmt: skip
                atexit.register(self._end)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{line}\n".encode())

    def _end(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


_reaper = _Reaper()
