"""A Postgres of a test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg.sql import SQL, Identifier

from tests.servers._process import demoted, folder, free_port, launch, program, wait

BINARIES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
)

FIXED: dict[str, str | int] = {
    "max_connections": 200,
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",  # in its folder: the system's outlives a server that is killed
}


class Postgres:
    """One server in a temporary folder; started by `with`, and at its end gone with its data.

    Attributes:
        port: On 127.0.0.1; the same after a restart.
        url: Of its database "postgres".
    """

    def __init__(self, **settings: str | int) -> None:
        """Makes the cluster.

        Args:
            settings: Of postgresql.conf.
        """
        self.port = free_port()
        self.folder = folder("postgres", "postgres")
        self.log = self.folder / "log"
        self._settings = FIXED | settings
        self._process: subprocess.Popen[bytes] | None = None
        _run(self.folder, "cp", "-a", str(_empty()), str(self.folder / "data"))

    @property
    def url(self) -> str:
        """For clients."""
        return self.database("postgres")

    def database(self, name: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://test@127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> str:
        """Makes a database; returns its address."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            # The other way, which newer ones prefer, is for large ones that others work in.
            copied = "STRATEGY file_copy" if connection.info.server_version >= 150_000 else ""
            connection.execute(SQL(f"CREATE DATABASE {{}} {copied}").format(Identifier(name)))
        return self.database(name)

    def drop(self, name: str) -> None:
        """Removes a database, whoever uses it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name))
            )

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts it, after a crash too, and waits until it takes connections."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
        } | self._settings
        pairs = [part for k, v in options.items() for part in ("-c", f"{k}={v}")]
        with self.log.open("ab") as log:
            # A direct child: one that was killed and not waited for blocks the next start.
            process = self._process = launch(
                [program("postgres", *BINARIES), "-D", str(self.folder / "data"), *pairs],
                log,
                cwd=self.folder,
                **demoted("postgres"),
            )
        ask = [program("pg_isready", *BINARIES), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait(
            lambda: subprocess.run(ask, check=False).returncode == 0,
            lambda: process.poll() is None,
            self.log,
            "Postgres",
        )

    def kill9(self) -> None:
        """SIGKILL for the server and each of its processes: they are sessions of their own."""
        process = self._process
        assert process is not None
        for pid in (process.pid, *_children(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Ends it in order; clients are cut off."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)

    def restart(self) -> None:
        """Ends it in order and starts it again."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill9()  # nobody needs its data any more
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def _empty() -> Path:
    """The data of a new cluster, to be copied: to make it takes half a second."""
    place = folder("initdb", "postgres")
    _run(
        place,
        *("initdb", "-D", str(place / "data"), "-U", "test", "-A", "trust"),
        *("--locale=C.UTF-8", "-E", "UTF8", "--no-sync"),
    )
    return place / "data"


def _run(place: Path, name: str, *arguments: str) -> None:
    done = subprocess.run(
        [program(name, *BINARIES), *arguments], stdin=subprocess.DEVNULL, cwd=place,
        capture_output=True, text=True, check=False, **demoted("postgres"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    found.append(int(path.name))
    return found
