"""A Redis of a test's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from types import TracebackType
from typing import Self

from tests.servers._process import folder, free_port, launch, program, wait


class Redis:
    """One server in a temporary folder; each write is on its disk before it is answered.

    Attributes:
        port: On 127.0.0.1; the same after a restart.
        url: Of its database 0.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = folder("redis")
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it, after a crash too, and waits until it answers."""
        options = {
            "port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "",
            "appendonly": "yes", "appendfsync": "always",
        }  # fmt: skip
        words = [part for k, v in options.items() for part in (f"--{k}", str(v))]
        with self.log.open("ab") as log:
            process = self._process = launch(
                [program("redis-server"), *words], log, cwd=self.folder
            )
        wait(self._answers, lambda: process.poll() is None, self.log, "Redis")

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def ask(self, *words: str) -> bytes:
        """One command; the answer as it is on the wire."""
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
            connection.sendall(f"*{len(words)}\r\n{parts}".encode())
            return connection.recv(65536)

    def kill9(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)

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
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
