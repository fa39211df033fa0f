"""The adder, unchanged, says the same as a function of any host as it does in a process of its own."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from legato.testing._http import Request, Response, Server
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.function_hosts_kit import CLOCK, HOSTS, Amazon, Host
from tests.integration.function_pools_kit import Offline, OpenWhisk, Pool, Process
from tests.integration.run_kit import SECRET, TOKEN, adder, environment
from tests.servers.ministack import WHO

SCRIPT = (
    ("/start", "First number?"),
    ("two", "That is not a number."),
    ("2", "Second number?"),
    ("3", "Sum: 5"),
    ("/start", "First number?"),
)
BEGAN = int(time.time())
QUIET = "You went quiet. /start to begin again."
TRANSCRIPT = [*(answer for _, answer in SCRIPT), QUIET]


def prepared(folder: Path, telegram: FakeTelegram, store: str = "") -> dict[str, str]:
    """The bot in its folder, and an environment in which its clock can be moved."""
    adder(folder)
    (folder / "sitecustomize.py").write_text(CLOCK)
    later(folder, 0)
    env = environment(telegram, CLOCK=str(folder / "clock"), PYTHONPATH=str(folder))
    return env | WHO | {"LEGATO_STORE": store or f"sqlite:///{folder / 'legato.db'}"}


def later(folder: Path, seconds: int) -> None:
    """It is so many seconds later than the beginning, at once: no process reads half of it."""
    (folder / "clock.new").write_text(str(BEGAN + seconds))
    (folder / "clock.new").replace(folder / "clock")


async def plays(
    telegram: FakeTelegram,
    folder: Path,
    between: Callable[[], Awaitable[None]],
    tick: Callable[[], Awaitable[None]],
) -> list[str]:
    """Ann talks to the bot and goes quiet; returns what she sees."""
    ann = telegram.user("Ann")
    for said, answer in SCRIPT:
        ann.sends(said)
        await ann.gets(answer, timeout_s=60)
        await between()
    later(folder, 19)
    await tick()
    await between()
    assert ann.sees[-1] == SCRIPT[-1][1]
    later(folder, 21)
    await tick()
    await ann.gets(QUIET, timeout_s=60)
    await tick()
    return ann.sees


@asynccontextmanager
async def fronted(telegram: FakeTelegram, host: Host) -> AsyncIterator[list[int]]:
    """Telegram's webhooks go to the host; what they were answered with is noted."""
    statuses: list[int] = []

    async def handle(request: Request) -> Response:
        status, headers, body = await host.ask(
            request.method, request.target, request.headers, request.body
        )
        statuses.append(status)
        kind = {name.lower(): value for name, value in headers.items()}.get("content-type", "")
        return Response(status, body, kind)

    front = Server(handle)
    try:
        host.front = f"http://127.0.0.1:{await front.open()}"
        async with aiohttp.ClientSession() as session:
            hook = {"url": f"{host.front}/telegram", "secret_token": SECRET}
            set_hook = f"{telegram.api}/bot{telegram.token}/setWebhook"
            async with session.post(set_hook, json=hook) as response:
                assert response.status == 200
        yield statuses
    finally:
        await front.close()


async def hosted(kind: type[Host], folder: Path, *, kills: bool, store: str) -> None:
    """Plays the script in a host, and compares."""
    async with FakeTelegram(token=TOKEN) as telegram:
        host = kind(folder, prepared(folder, telegram, store))
        host.dies = kills

        async def between() -> None:
            if kills:
                await host.kill()
                await host.start()

        try:
            async with fronted(telegram, host) as statuses:
                await host.start()
                seen = await plays(telegram, folder, between, host.tick)
            assert seen == TRANSCRIPT, host.log
            assert set(statuses) == {200}
            # All but the timer's rode in answers: no call of its own was made for them.
            sent = [c.params["text"] for c in telegram.called("sendMessage") if c.via == "http"]
            assert sent == [QUIET]
            assert host.starts == (1 + len(SCRIPT) + 1 if kills else 1)
        finally:
            await host.close()
        assert "Traceback" not in host.log, host.log


# Who serves the adder, where its state is, and what its processes live through: "warm" is one process from the
# first message to the end of the silence, "kills" is a `kill -9` between every two messages. In each cell the
# same is said: /start, an answer that is no number, two that are, /start, and twenty seconds of silence.
# What is left out is left out for time: serverless-offline takes some seconds to start.
CELLS = """
                                          sqlite       postgres     dynamodb
process    legato run                     warm kills   warm kills   warm kills
amazon     awslambdaric under AWS's RIE   warm kills   warm kills   warm kills
azure      azure-functions                warm kills   warm kills   warm kills
frozen     uvicorn, as in Cloud Run       warm kills   warm kills   warm kills
google     functions-framework            warm kills   warm kills   warm kills
offline    serverless-offline             warm              kills        kills
openwhisk  ActionLoop's protocol          warm kills   warm kills   warm kills
pool       legato functions               warm kills   warm kills   warm kills
yandex     called as Yandex calls it      warm kills   warm kills   warm kills
"""
ALL_HOSTS = HOSTS | {"process": Process, "offline": Offline, "openwhisk": OpenWhisk, "pool": Pool}


def cells() -> list[tuple[str, str, str]]:
    """Host, store and life, of each cell."""
    head, *rows = CELLS.strip("\n").splitlines()
    stores = [(head.index(store), store) for store in head.split()]
    ends = [*(at for at, _ in stores[1:]), None]
    return [
        (row.split()[0], store, life)
        for row in rows
        for (at, store), end in zip(stores, ends, strict=True)
        for life in row[at:end].split()
    ]


@pytest.fixture
def store_url(request: pytest.FixtureRequest, store: str, tmp_path: Path) -> str:
    """An empty store of this kind."""
    if store == "sqlite":
        return f"sqlite:///{tmp_path / 'legato.db'}"
    url: str = request.getfixturevalue(f"{store}_url")
    return f"{url}?pool=1" if store == "postgres" else url


@pytest.mark.parametrize(("name", "store", "life"), cells())
async def test_the_adder_says_the_same(
    tmp_path: Path, name: str, store: str, life: str, store_url: str
) -> None:
    await hosted(ALL_HOSTS[name], tmp_path, kills=life == "kills", store=store_url)


async def test_amazons_runtime_hears_of_settings_that_are_missing(tmp_path: Path) -> None:
    async with FakeTelegram(token=TOKEN) as telegram:
        env = prepared(tmp_path, telegram)
        del env["TELEGRAM_TOKEN"], env["TELEGRAM_SECRET"]
        host = Amazon(tmp_path, env)
        try:
            await host.start()
            answer = await host.invoke({"legato": "tick"})
            assert answer["errorType"] == "ConfigError"
            assert "set TELEGRAM_TOKEN" in answer["errorMessage"]
        finally:
            await host.close()


STUCK = """
import os, time
from legato import App, Chat

app = App("stuck")

@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say(f"{await chat.run(work)} tries")

async def work() -> int:
    with open("tries", "a") as file:
        file.write("x")
    tries = os.path.getsize("tries")
    if tries == 1:
        time.sleep(60)  # nothing of ours can run meanwhile
    return tries
"""


async def test_what_amazon_kills_in_the_middle_of_a_step_is_finished_by_a_later_tick(
    tmp_path: Path,
) -> None:
    async with FakeTelegram(token=TOKEN) as telegram:
        env = prepared(tmp_path, telegram)
        (tmp_path / "adder.py").write_text(STUCK)
        host = Amazon(tmp_path, env)
        host.env["AWS_LAMBDA_FUNCTION_TIMEOUT"] = "2"
        ann = telegram.user("Ann")
        ann.sends("/start")
        (update,) = telegram.updates.pending.values()
        proof = {"x-telegram-bot-api-secret-token": SECRET}
        try:
            await host.start()
            with pytest.raises(AssertionError, match="timed out after 2"):
                await host.ask("POST", "/telegram", proof, update.body)
            status, _, _ = await host.ask("POST", "/telegram", proof, update.body)
            assert status == 503  # Telegram repeats it, but the step may still run somewhere
            await host.tick()
            assert ann.sees == []
            later(tmp_path, 10)
            await host.tick()
            assert ann.sees == ["2 tries"]
        finally:
            await host.close()
