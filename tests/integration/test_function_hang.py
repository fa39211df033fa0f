"""A network that swallows all that a function sends to its store: the function answers before its time is over, and goes on
when the network is back.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from legato.abc import HttpRequest
from legato.deploy.function.core import Function
from legato.deploy.loader import load_app
from legato.errors import Unavailable
from legato.testing.fake_telegram import FakeTelegram
from tests.faults.proxy import Proxy
from tests.integration.test_dynamodb_function import ADDER, SECRET, TOKEN, event
from tests.servers import Postgres
from tests.servers.ministack import Ministack

SHORT_S, LONG_S = 0.9, 30.0
GUARD_S = 30.0
"""The store itself would wait for longer."""


class Bot:
    """A function on a store that is reached through a proxy."""

    def __init__(self, telegram: FakeTelegram, proxy: Proxy) -> None:
        self.proxy = proxy
        self._api = telegram.api
        self._app = load_app(str(ADDER))
        self.function = self.cold()
        self._number = 0

    def cold(self) -> Function:
        return Function(self._app, {"telegram_api": self._api})

    async def restart(self) -> None:
        await self.function.stopped()
        self.function = self.cold()

    async def says(self, text: str, budget_s: float = LONG_S, *, again: bool = False) -> str:
        """What rides in the answer; "503" if it is to come again."""
        self._number += not again
        asked = event(text, self._number, 1001)
        request = HttpRequest("POST", "/telegram", asked["headers"], asked["body"].encode())
        async with asyncio.timeout(GUARD_S):
            answer = await self.function.request(request, budget_s)
        if answer.status == 503:
            assert answer.headers["retry-after"] == "1"
            return "503"
        return str(json.loads(answer.body)["text"])

    def lets_through(self, pieces: int) -> None:
        """From the next piece but so many on, nothing gets through."""
        self.proxy.hole_after = pieces

    def is_back(self) -> None:
        assert self.proxy.hole, "the fault never came"
        self.proxy.hole = False


class Server:
    """A database: at which port, and its address as seen through another one."""

    def __init__(self, port: int, address: Callable[[int], str]) -> None:
        self.port = port
        self.address = address


@pytest.fixture(params=["postgres", "pgbouncer", "dynamodb"])
def server(request: pytest.FixtureRequest) -> Server:
    """Its store would wait for a minute."""
    if request.param == "dynamodb":
        url = request.getfixturevalue("dynamodb_url")
        here: Ministack | Postgres = request.getfixturevalue("shared_ministack")
        more = "&timeout=60"
    else:
        url = request.getfixturevalue("postgres_url")
        here = request.getfixturevalue("shared_postgres")
        more = "?timeout=60&pool=2" + ("&pgbouncer=1" if request.param == "pgbouncer" else "")
    return Server(
        here.port, lambda port: url.replace(f"127.0.0.1:{here.port}", f"127.0.0.1:{port}") + more
    )


@asynccontextmanager
async def running(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Bot]:
    """A bot that has run before: the tables are there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_SECRET", SECRET)
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        telegram.user("Ann", started=True)
        async with Proxy("127.0.0.1", server.port) as proxy:
            monkeypatch.setenv("LEGATO_STORE", server.address(proxy.port))
            bot = Bot(telegram, proxy)
            assert await bot.says("/start") == "First number?"
            yield bot
            proxy.hole = False
            await bot.function.stopped()
            await until(lambda: proxy.open_now == 0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not holds():  # noqa: ASYNC110 # it is only seen from outside
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("pieces", [0, 2, 5, 9])
async def test_a_cold_function_answers_wherever_the_network_ends(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pieces: int
) -> None:
    """At the connection, at its first questions, at what others have left."""
    async with running(server, monkeypatch, tmp_path) as bot:
        await bot.restart()
        bot.lets_through(pieces)
        assert await bot.says("2", SHORT_S) == "503"
        assert await bot.says("2", SHORT_S, again=True) == "503"
        bot.is_back()
        assert await bot.says("2", again=True) == "Second number?"


async def test_a_warm_function_answers_and_begins_anew_when_the_network_is_back(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(server, monkeypatch, tmp_path) as bot:
        bot.lets_through(1)
        assert await bot.says("2", SHORT_S) == "503"
        assert await bot.says("2", SHORT_S, again=True) == "503"
        bot.is_back()
        assert await bot.says("2", again=True) == "Second number?"
        assert await bot.says("3") == "Sum: 5"
    assert "was still running" not in caplog.text  # drivers have tasks of their own


async def test_a_tick_ends_and_tells_that_the_store_is_silent(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with running(server, monkeypatch, tmp_path) as bot:
        bot.lets_through(0)
        async with asyncio.timeout(GUARD_S):
            with pytest.raises(Unavailable, match="within the invocation"):
                await bot.function.touch(SHORT_S)
        bot.is_back()
        assert await bot.function.touch(LONG_S) == {"woken": 0, "left": 0}
