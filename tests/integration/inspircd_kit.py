"""Debian's InspIRCd: a real IRC server with TLS, which knows nothing of Twitch."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest

from legato.platforms.twitch.sockets import Endpoint
from legato.testing.fake_twitch.tls import _make
from tests.integration.twitch_kit import Lines

MODULES = "ssl_gnutls websocket sha1 cap ircv3_ctctags ircv3_msgid ircv3_servertime ircv3_batch"
CONFIG = """
<server name="irc.test" description="of the tests" network="test" id="1AA">
<admin name="nobody" nick="nobody" email="nobody@example.org">
<bind address="127.0.0.1" port="{port}" type="clients" sslprofile="ours">
<bind address="127.0.0.1" port="{socket_port}" type="clients" sslprofile="ours" hook="websocket">
{modules}
<sslprofile name="ours" provider="gnutls" certfile="{folder}/server.pem" keyfile="{folder}/server.pem"
    hash="sha256">
<websocket defaultmode="text">
<wsorigin allow="*">
<channels users="500" opers="500">
<connect name="main" allow="*" {password} timeout="30" pingfreq="{ping_s}" fakelag="no" threshold="10000"
    commandrate="1000000" hardsendq="10M" softsendq="1M" recvq="1M" localmax="1000" globalmax="1000"
    resolvehostnames="no" useident="no">
<path configdir="{folder}" datadir="{folder}" logdir="{folder}" runtimedir="{folder}" moddir="{moddir}">
<pid file="{folder}/irc.pid">
<files motd="">
<log method="file" type="*" level="default" target="{folder}/irc.log">
"""


def program() -> str:
    """Where InspIRCd is; installed if that can be done."""
    found = shutil.which("inspircd", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None and shutil.which("apt-get") is not None and os.geteuid() == 0:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", "inspircd"]):
            subprocess.run([*apt, *command], env=environment, capture_output=True, check=False)
        found = shutil.which("inspircd", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        if "CI" in os.environ:
            pytest.fail("Debian's package inspircd cannot be installed")
        pytest.skip("needs Debian's package inspircd")
    return found


class InspIrcd:
    """The server. It can be killed and started again on the same ports.

    Args:
        folder: Its own.
        host: The name that its certificate is for, "" for this machine's.
        password: What a client must give, "" for nothing.
        ping_s: Seconds after which it asks whether a client lives; after as many more it is put out. Such
            a server lets nobody in who has not answered a first PING.
    """

    def __init__(
        self, folder: Path, *, host: str = "", password: str = "", ping_s: int = 120
    ) -> None:
        self.ca_file = str(folder / "ca.pem")
        self._config = folder / "irc.conf"
        self._process: asyncio.subprocess.Process | None = None
        self.port, socket_port = _free_ports(2)
        self.endpoint = Endpoint("127.0.0.1", self.port)
        self.url = f"wss://127.0.0.1:{socket_port}/"
        _make(folder / "ca.pem", folder / "server.pem", host)
        modules = [*MODULES.split(), *(["conn_waitpong"] if ping_s else [])]
        self._config.write_text(
            CONFIG.format(
                port=self.port,
                socket_port=socket_port,
                folder=folder,
                moddir="/usr/lib/inspircd/modules",
                modules="".join(f'<module name="{name}">' for name in modules),
                ping_s=ping_s or 120,
                password=f'password="{password}"' if password else "",
            )
        )

    async def start(self) -> None:
        """Starts it; returns once it listens."""
        self._process = await asyncio.create_subprocess_exec(
            program(),
            "--nofork",
            "--runasroot",
            "--config",
            str(self._config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        stdout, said = self._process.stdout, b""
        assert stdout is not None
        async with asyncio.timeout(20):
            while b"is now running" not in said:
                more = await stdout.read(4096)
                assert more, f"InspIRCd does not start: {said.decode()}"
                said += more

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    @asynccontextmanager
    async def person(self, nick: str, *channels: str) -> AsyncIterator["Person"]:
        """Somebody in these channels, with tags if the server knows them."""
        context = ssl.create_default_context(cafile=self.ca_file)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        person = Person(reader, writer)
        try:
            await person.say("CAP REQ :message-tags", f"NICK {nick}", f"USER {nick} 8 * :{nick}")
            await person.until(" ACK ")
            await person.say("CAP END")
            await person.until(" 376 ")
            for channel in channels:
                await person.say(f"JOIN #{channel}")
                await person.until(f" 366 {nick} #{channel} ")
            yield person
        finally:
            await person.close()


class Person(Lines):
    """Answers PING, and waits for texts."""

    async def read(self) -> str:
        while True:
            line = await super().read()
            if not line.startswith("PING"):
                return line
            await self.say(f"PONG{line[4:]}")

    async def meets(self, nick: str, channel: str) -> None:
        """Waits until somebody is in the channel."""
        await self.say(f"NAMES #{channel}")
        while True:
            line = await self.read()
            assert line, self.seen
            here = (
                f" #{channel} :" in line
                and nick in line.rpartition(":")[2].replace("@", "").split()
            )
            if here or (line.startswith(f":{nick}!") and f"JOIN :#{channel}" in line):
                return

    async def hears(self, part: str) -> str:
        """The text of the next message of somebody else, which holds `part`."""
        line = await self.until("PRIVMSG ")
        text = line.partition("PRIVMSG ")[2].partition(" :")[2]
        assert part in text, f"{part!r} is not in {text!r}: {self.seen[-20:]}"
        return text


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
