"""`legato run --tunnel`, `--tunnel-by HOW`: a public address for a bot on a machine that has none.

Platforms send webhooks to public https addresses only, and some have nothing but webhooks. A tunnel is a
program of somebody else's that holds a connection to a server of theirs, which has an address and hands what
comes there to a port of ours. It is for development: whoever runs that server can read what comes.

    cloudflared            cloudflared tunnel --url http://127.0.0.1:8080
    ngrok                  ngrok http 127.0.0.1:8080
    ssh:nokey@localhost.run    any server that forwards port 80, as localhost.run and serveo.net do
    a command of your own  with {port} in it; the first https address that it prints is taken

Read on 2026-11-28: https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/do-more-with-tunnels/trycloudflare/,
https://ngrok.com/docs/agent/cli/, https://localhost.run/docs/
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess  # nosec B404
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from legato.errors import ConfigError

AUTO = "auto"
START_S = 30.0
END_S = 5.0
ADDRESS = re.compile(r"https://[a-zA-Z0-9][a-zA-Z0-9.-]*\.[a-z]{2,}(?::\d+)?")
NOT_OURS = re.compile(
    r"//(?:www\.|developers\.|dash\.|dashboard\.|api\.)|"
    r"//(?:admin\.)?(?:cloudflare\.com|ngrok\.com|localhost\.run|serveo\.net|github\.com)(?:$|:)"
)
"""Addresses that the programs print of themselves: terms, help, dashboards."""
INSTALLED = {
    "cloudflared": "cloudflared tunnel --no-autoupdate --url http://127.0.0.1:{port}",
    "ngrok": "ngrok http --log stdout --log-format logfmt 127.0.0.1:{port}",
}
"""Looked for in this order."""
SSH = (
    "ssh -T -o StrictHostKeyChecking=accept-new -o ExitOnForwardFailure=yes -o ServerAliveInterval=20 "
    "-R 80:127.0.0.1:{port} "
)

log: logging.Logger = logging.getLogger("legato.run")


def command_of(kind: str) -> str:
    """The command that opens a tunnel, with {port} in it.

    Args:
        kind: "auto", "cloudflared", "ngrok", "ssh:<user>@<host>" or a command.

    Raises:
        ConfigError: The program is not there, or it is none of these.
    """
    if kind == AUTO:
        for name, command in INSTALLED.items():
            if shutil.which(name):
                return command
        raise ConfigError(
            "--tunnel found no program that makes one: install cloudflared (no account needed) or ngrok, or "
            "say --tunnel-by ssh:nokey@localhost.run, or --tunnel-by with a command of your own"
        )
    if kind in INSTALLED:
        if not shutil.which(kind):
            raise ConfigError(f"--tunnel-by {kind}: this program is not installed, or not in PATH")
        return INSTALLED[kind]
    if kind.startswith("ssh:") and len(kind) > len("ssh:"):
        if not shutil.which("ssh"):
            raise ConfigError("--tunnel-by ssh:...: the program ssh is not installed")
        return SSH + shlex.quote(kind.removeprefix("ssh:"))
    if "{port}" in kind:
        return kind
    raise ConfigError(
        f"--tunnel-by {kind!r:.80}: say cloudflared, ngrok, ssh:<user>@<host>, or a command with {{port}} in it"
    )


@contextmanager
def tunnel(kind: str, port: int, *, start_s: float = START_S) -> Iterator[str]:
    """A tunnel to a port of 127.0.0.1 for the length of the block; gives its public address.

    Raises:
        ConfigError: There is none after `start_s`, with what the program said.
    """
    text = command_of(kind)
    try:
        command = shlex.split(text.replace("{port}", str(port)))
    except ValueError as error:
        raise ConfigError(f"--tunnel-by {kind!r:.80}: {error}") from error
    try:
        process = subprocess.Popen(  # nosec B603 # the developer's own command, without a shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # ctrl-C is for us: the webhook is taken back first
        )
    except OSError as error:
        raise ConfigError(f"--tunnel: {command[0]} cannot be started: {error.strerror}") from error
    reader = _Reader(process, command[0])
    try:
        yield reader.address(start_s)
    finally:
        reader.closing = True
        _end(process)
        reader.thread.join(END_S)
        if process.stdout is not None:
            process.stdout.close()


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the program with all that it has started: it may be a shell with the real one behind it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS says so of one that has just ended
            break
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


class _Reader:
    """Reads what the program says, as long as it runs: it would stand still at a full pipe."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process = process
        self._name = name
        self._found = threading.Event()
        self._address = ""
        self._said: list[str] = []
        self.closing: bool = False
        self.thread: threading.Thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said = [*self._said[-20:], line.rstrip()]
            if not self._address:
                self._address = address_in(line)
                if self._address:
                    self._found.set()
        if self._address and not self.closing:
            log.error("the tunnel %s is closed: start the bot again", self._address)
        self._found.set()

    def address(self, within_s: float) -> str:
        """The public address."""
        self._found.wait(within_s)
        if not self._address:
            said = "\n".join(self._said[-8:]) or "it said nothing"
            raise ConfigError(f"--tunnel: {self._name} gave no address:\n{said}")
        return self._address


def address_in(line: str) -> str:
    """The tunnel's address in a line of its program's output, "" if there is none."""
    for found in ADDRESS.findall(line):
        if not NOT_OURS.search(found):
            return str(found)
    return ""


__all__ = ["AUTO", "address_in", "command_of", "tunnel"]
