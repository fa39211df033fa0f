"""A RabbitMQ of a test's own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from base64 import b64encode
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers._process import folder, free_port, launch, program, wait

BINARIES = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin")
"""Before the PATH: the script in /usr/sbin changes the user."""
PLUGINS = "usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins"
OURS = ("rabbitmq_management", "rabbitmq_prelaunch", "rabbitmq_web_dispatch")
"""What is not there is not searched for each module that the broker loads: it starts a fifth sooner."""


class Rabbit:
    """One broker in a temporary folder with its own epmd; started by `with`, and at its end gone.

    Attributes:
        port: Of AMQP, on 127.0.0.1; the same after a restart. The three after it are its, too.
        url: For clients.
    """

    def __init__(self, configuration: str = "", *, memory: str = "1GB") -> None:
        """Makes its folder.

        Args:
            configuration: Lines to add to rabbitmq.conf.
            memory: At which publishers are blocked.
        """
        self.port = free_port(beside=3)
        self.folder = folder("rabbit")
        self.log = self.folder / "out"
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._blocked = False
        for name in ("home", "mnesia", "log", "gen", "plugins"):
            (self.folder / name).mkdir()
        for path in Path("/").glob(f"{PLUGINS}/*"):
            if not path.name.startswith("rabbitmq_") or path.name.startswith(OURS):
                (self.folder / "plugins" / path.name).symlink_to(path)
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self.port + 3}\n"
            "disk_free_limit.absolute = 50MB\n"
            f"vm_memory_high_watermark.absolute = {memory}\n{configuration}"
        )

    @property
    def url(self) -> str:
        """For clients: the vhost "/"."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def vhost(self, name: str) -> str:
        """Makes a vhost; returns its address."""
        self.api("PUT", f"vhosts/{name}")
        self.api(
            "PUT", f"permissions/{name}/guest", {"configure": ".*", "write": ".*", "read": ".*"}
        )
        return f"{self.url}{name}"

    def drop(self, name: str) -> None:
        """Removes a vhost with all that is in it."""
        self.api("DELETE", f"vhosts/{name}")

    def api(self, method: str, path: str, body: object = None) -> Any:
        """One request to the management API; its JSON, None if it answers nothing."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port + 3}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "authorization": "Basic " + b64encode(b"guest:guest").decode(),
                "content-type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def ctl(self, *arguments: str, given: str = "") -> str:
        """Runs rabbitmqctl, with a standard input; returns what it wrote."""
        done = subprocess.run(
            [program("rabbitmqctl", *BINARIES), *arguments], env=self._environment(),
            input=given, capture_output=True, text=True, check=False, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def block(self) -> None:
        """Raises the memory alarm: publishers are blocked, consumers go on."""
        self._blocked = True
        self.ctl("set_vm_memory_high_watermark", "absolute", "1MB")

    def unblock(self) -> None:
        """Ends the alarm."""
        self.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
        self._blocked = False

    def mend(self) -> None:
        """Makes good what a test did to it."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        elif self._blocked:
            self.unblock()

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts it, after a crash too, and waits until it takes connections."""
        self._blocked = False
        if self._epmd is None or self._epmd.poll() is not None:
            self._epmd = launch(
                [program("epmd"), "-port", str(self.port + 1), "-address", "127.0.0.1"],
                subprocess.DEVNULL,
            )
        with self.log.open("ab") as log:
            process = self._process = launch(
                [program("rabbitmq-server", *BINARIES)],
                log,
                cwd=self.folder,
                env=self._environment(),
            )
        wait(self._answers, lambda: process.poll() is None, self.log, "RabbitMQ")
        wait(self._manages, lambda: process.poll() is None, self.log, "RabbitMQ's management")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"AMQP\0\0\x09\x01")
                return bool(probe.recv(8))
        except OSError:
            return False

    def _manages(self) -> bool:
        try:
            self.api("GET", "overview")
        except OSError:
            return False
        return True

    def _knows_its_queues(self) -> bool:
        """Whether each quorum queue's folder is in the list of them on the disk.

        The list is saved half a second after it changed (`auto_save` of Ra's directory, RabbitMQ 3.10). A
        broker killed before that forgets who a queue's members are: it never has a leader again, and takes
        and gives nothing. That is the broker's, and not what our tests are about.
        """
        for names in self.folder.glob("mnesia/*/quorum/*/names.dets"):
            known = names.read_bytes()
            folders = [path.parent.name.encode() for path in names.parent.glob("*/config")]
            if not all(folder in known for folder in folders):
                return False
        return True

    def _environment(self) -> dict[str, str]:
        here, port = self.folder, self.port
        found = any((here / "plugins").iterdir())
        return ({"RABBITMQ_PLUGINS_DIR": f"{here}/plugins"} if found else {}) | {
            "PATH": "/usr/sbin:/usr/bin:/bin:/opt/homebrew/bin:/usr/local/bin",
            "LANG": "C.UTF-8",
            "HOME": f"{here}/home",
            "ERL_EPMD_PORT": str(port + 1),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": f"test{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(port + 2),
            "RABBITMQ_MNESIA_BASE": f"{here}/mnesia",
            "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_LOGS": f"{here}/log/rabbit.log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{here}/advanced",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{here}/gen",
            "RABBITMQ_PID_FILE": f"{here}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def kill9(self) -> None:
        """SIGKILL for the broker and what it started, once it has written down which queues it has."""
        process = self._process
        if process is not None and process.poll() is None:
            wait(self._knows_its_queues, lambda: True, self.log, "RabbitMQ's list of queues")
        self._kill()

    def _kill(self) -> None:
        process = self._process
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Ends it in order."""
        process = self._process
        if process is not None and process.poll() is None:
            os.kill(int((self.folder / "pid").read_text()), signal.SIGTERM)
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
            self._kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
