"""What the tests with a fake Twitch share."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import aiohttp

from legato.testing.fake_twitch import FakeTwitch
from tests.integration.npm_kit import installed

TMI = "tmi.js@1.8.5"
SCRIPT = Path(__file__).with_name("tmi_user.js")
SECRET = "a secret of tests"


def tls(twitch: FakeTwitch) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=twitch.ca_file) if twitch.ca_file else None


# -- IRC by hand ---------------------------------------------------------------------------------


class Lines:
    """A client of IRC that is a test: it says lines and awaits lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.seen: list[str] = []

    async def say(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self._writer.drain()

    async def read(self) -> str:
        async with asyncio.timeout(10):
            line = (await self._reader.readline()).decode().rstrip("\r\n")
        self.seen.append(line)
        return line

    async def until(self, part: str) -> str:
        """The next line in which `part` stands."""
        while part not in (line := await self.read()):
            assert line, f"the connection ended before {part!r}: {self.seen}"
        return line

    async def ends(self) -> None:
        """Waits for the end of the connection."""
        with suppress(ConnectionError):
            while await self.read():
                pass

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@asynccontextmanager
async def connected(
    twitch: FakeTwitch, *, caps: str = "twitch.tv/tags twitch.tv/commands", login: bool = True
) -> AsyncIterator[Lines]:
    """A connection, by default one on which the bot is logged in."""
    host, _, port = twitch.irc_address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls(twitch))
    lines = Lines(reader, writer)
    try:
        if caps:
            await lines.say(f"CAP REQ :{caps}")
        if login:
            await lines.say(f"PASS oauth:{twitch.token}", f"NICK {twitch.bot.login}")
            await lines.until(" 376 ")
        yield lines
    finally:
        await lines.close()


# -- HTTP ----------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[tuple[FakeTwitch, Any]]:
    """A fake, and a function that makes requests to it as the bot: (status, body)."""
    options.setdefault("second", 0.01)
    async with FakeTwitch(**options) as twitch, aiohttp.ClientSession() as session:

        async def call(
            method: str, path: str, *, token: str = "", body: Any = None, **params: Any
        ) -> tuple[int, Any]:
            headers = {"authorization": f"Bearer {token or twitch.token}"}
            headers["client-id"] = twitch.client_id
            async with session.request(
                method, twitch.api_url + path, params=params, json=body, headers=headers
            ) as response:
                text = await response.text()
                return response.status, json.loads(text) if text else None

        yield twitch, call


def chat(channel: str, user: str, transport: dict[str, str]) -> dict[str, object]:
    """The body that subscribes to a channel's messages."""
    return {
        "type": "channel.chat.message",
        "version": "1",
        "condition": {"broadcaster_user_id": channel, "user_id": user},
        "transport": transport,
    }


# -- tmi.js --------------------------------------------------------------------------------------


def tmi_path() -> Path:
    """Where tmi.js is."""
    return installed(TMI) / "node_modules" / "tmi.js"


class Tmi:
    """A user with tmi.js, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.seen: list[list[Any]] = []

    @classmethod
    async def start(cls, path: Path, twitch: FakeTwitch, **identity: str) -> Self:
        host, _, port = twitch.irc_ws_url.rstrip("/").rpartition("/")[2].partition(":")
        options = {
            "connection": {"server": host, "port": int(port), "secure": False},
            "identity": identity,
            "channels": [c.login for c in twitch.world.channels.values()],
        }
        options["connection"] |= {"reconnectInterval": 1000}  # type: ignore[operator]
        command = ["node", str(SCRIPT), str(path), json.dumps(options)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
        return cls(process)

    async def does(self, *what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        await self._process.stdin.drain()

    async def until(self, *begins: object) -> list[Any]:
        """The next thing that happens and begins so."""
        assert self._process.stdout is not None
        while True:
            async with asyncio.timeout(20):
                line = await self._process.stdout.readline()
            assert line, f"tmi.js ended before {begins}: {self.seen}"
            if not line.startswith(b'["'):
                continue  # its own log
            found: list[Any] = json.loads(line)
            self.seen.append(found)
            if found[: len(begins)] == list(begins):
                return found

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


@asynccontextmanager
async def tmi(path: Path, twitch: FakeTwitch, user: Any = None) -> AsyncIterator[Tmi]:
    """tmi.js, logged in as the bot or as a user."""
    account = user or twitch.bot
    token = twitch.auth.grant(account).access
    client = await Tmi.start(path, twitch, username=account.login, password=f"oauth:{token}")
    try:
        yield client
    finally:
        await client.close()
