"""An nginx of a test's own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from types import TracebackType
from typing import Self

from tests.servers._process import folder, free_port, launch, program, wait

BINARIES = ("/usr/sbin",)


class Nginx:
    """One nginx in a temporary folder, with a configuration for its `http` block.

    Attributes:
        port: On 127.0.0.1; stands for {port} in the configuration, the folder for {folder}.
    """

    def __init__(self, http: str) -> None:
        self.port = free_port()
        self.folder = folder("nginx")
        self.log = self.folder / "error.log"
        self._file = self.folder / "nginx.conf"
        temporary = "".join(
            f"    {kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        inner = http.replace("{port}", str(self.port)).replace("{folder}", str(self.folder))
        self._file.write_text(
            f"daemon off; master_process off; pid {self.folder}/pid; error_log {self.log};\n"
            f"events {{}}\nhttp {{\n    access_log off;\n{temporary}{inner}\n}}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        with (self.folder / "out").open("ab") as log:
            process = self._process = launch(
                [program("nginx", *BINARIES), "-c", str(self._file), "-p", str(self.folder)],
                log,
            )
        wait(self._listens, lambda: process.poll() is None, self.folder / "out", "nginx")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

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
