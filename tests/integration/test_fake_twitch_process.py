"""The fake Twitch as a process of its own, moved by requests."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

Do = Callable[..., Any]


@asynccontextmanager
async def process(*options: str) -> AsyncIterator[tuple[dict[str, Any], Do, Any]]:
    """What it printed, a function that moves it: (status, answer), and the process."""
    command = [sys.executable, "-X", "dev", "-m", "legato.testing.fake_twitch", *options]
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert running.stdin is not None
    assert running.stdout is not None
    try:
        ready = json.loads(await asyncio.wait_for(running.stdout.readline(), 20))
        async with aiohttp.ClientSession() as session:

            async def do(name: str, **fields: object) -> tuple[int, Any]:
                body = {"do": name} | fields
                async with session.post(ready["control"], json=body) as response:
                    return response.status, await response.json()

            yield ready, do, running
    finally:
        running.stdin.close()
        _, errors = await asyncio.wait_for(running.communicate(), 20)
        assert b"Warning" not in errors, errors.decode()
        assert running.returncode == 0, errors.decode()


async def test_a_bot_and_a_viewer_meet_in_another_process() -> None:
    async with process("--channels", "ronni,dallas") as (ready, do, _):
        environment = ready["environment"]
        assert environment["TWITCH_CHANNELS"] == "ronni,dallas"
        host, _, port = environment["TWITCH_IRC"].removeprefix("irc://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"PASS oauth:{ready['token']}\r\nNICK fakebot\r\nJOIN #dallas\r\n".encode())
        await reader.readuntil(b"366")
        status, answer = await do("says", viewer="Ann", text="!start", channel="dallas")
        assert (status, answer["ok"]) == (200, True)
        await reader.readuntil(b"PRIVMSG #dallas :!start\r\n")
        writer.write(b"PRIVMSG #dallas :@Ann First number?\r\nPING :x\r\n")
        await reader.readuntil(b"PONG")
        said = {"viewer": "Ann", "text": "2", "channel": "dallas", "reply_to": answer["result"]}
        assert (await do("says", **said))[0] == 200
        shown = ["Ann: !start", "FakeBot: @Ann First number?", "Ann: @Ann 2"]
        assert (await do("transcript", channel="dallas"))[1]["result"] == shown
        state = (await do("state"))[1]["result"]
        assert (state["joined"], state["violations"]) == (["dallas"], [])
        assert (await do("irc.drop"))[0] == 200
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_faults_are_asked_for_and_nonsense_is_refused() -> None:
    async with process() as (ready, do, _), aiohttp.ClientSession() as session:
        assert (await do("fails", status=503, path="/helix"))[0] == 200
        async with session.get(ready["environment"]["TWITCH_API"] + "/users") as response:
            assert response.status == 503
        assert (await do("gives", role="moderator", viewer="Ann"))[0] == 200
        assert (await do("drops"))[0] == 200
        assert (await do("bans", viewer="Ann", seconds=1000))[0] == 200
        refused = await do("says", viewer="Ann", text="hi")
        assert refused[0] == 400
        assert "banned" in refused[1]["error"]
        assert (await do("sees", viewer="Ann"))[1]["result"] == []
        assert (await do("dance"))[0] == 400
        assert (await do("eventsub.drop"))[1]["error"].startswith("AssertionError")


async def test_a_signal_ends_it_and_leaves_no_certificate_behind() -> None:
    async with process("--tls") as (ready, _, running):
        assert ready["environment"]["TWITCH_API"].startswith("https://")
        running.send_signal(signal.SIGTERM)
        await asyncio.wait_for(running.wait(), 20)
    authority = ready["environment"]["SSL_CERT_FILE"]
    assert not await asyncio.to_thread(Path(authority).exists)
