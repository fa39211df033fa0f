"""A ministack of a test's own: DynamoDB as it is spoken over HTTP, in memory.

It pins libraries that we do not, so it lives in an environment of its own, which all runs of this machine
share. That one holds botocore, too: the judge of our signatures.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.servers._process import folder, free_port, kept, launch, wait

PACKAGES = ("ministack==1.5.33", "botocore==1.43.106")
WHO = {
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "secret",  # nosec - of nobody
    "AWS_SESSION_TOKEN": "token",
}
"""Credentials for it: any do."""


def ministack_python() -> str:
    """The interpreter of the environment, which is made if there is none."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    name = hashlib.sha256(" ".join((*PACKAGES, version, sys.prefix)).encode()).hexdigest()[:12]
    home = kept("ministack")
    place = home / name
    python, ready = place / "bin" / "python", place / ".ready"
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers of the run wait for the first
        if not ready.exists():
            shutil.rmtree(place, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(place))
            _install(str(python))
            ready.touch()
    return str(python)


def _install(python: str) -> None:
    uv = Path(sys.prefix) / "bin" / "uv"  # some times faster, but it does not read pip's settings
    if uv.exists():
        command = [str(uv), "pip", "install", "-q", "--python", python, *PACKAGES]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
    _run(python, "-m", "pip", "install", "-q", "--no-compile", "--no-input", *PACKAGES)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"`{' '.join(command)}` failed:\n{done.stdout[-800:]}{done.stderr[-800:]}")


class Ministack:
    """One server; what is in it ends with it.

    Args:
        services: Which ones, "" for all. With Lambda it runs functions' code, as this user.

    Attributes:
        port: On 127.0.0.1.
        endpoint: For clients.
    """

    def __init__(self, services: str = "dynamodb") -> None:
        self.services = services
        self.port = free_port()
        self.folder = folder("ministack")
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """For clients."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, table: str, port: int = 0, more: str = "&create=1") -> str:
        """The address of a store in it, or behind a proxy at `port`."""
        endpoint = f"http://127.0.0.1:{port or self.port}"
        return f"dynamodb://{table}?region=eu-central-1&endpoint={endpoint}{more}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = {
            "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "SERVICES": self.services,
            "AWS_ENDPOINT_URL": self.endpoint,
            "LOG_LEVEL": "WARNING", "HOME": str(self.folder), "TMPDIR": str(self.folder),
        }  # fmt: skip
        command = [ministack_python(), "-c", "from ministack.app import main; main()"]
        with self.log.open("ab") as log:
            process = self._process = launch(
                command, log, cwd=self.folder, env=os.environ | settings
            )
        wait(self._answers, lambda: process.poll() is None, self.log, "ministack")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """Of its process, whose children are those of functions."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

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
