"""Several processes of one function over one store, killed at any moment, and a crowd that talks to them all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import httpx
import pytest

from legato.testing._http import Request, Response, Server
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.function_hosts_kit import Amazon, Frozen, Host, Yandex
from tests.integration.run_kit import SECRET, TOKEN, adder, environment

PEOPLE, CONTAINERS = 5, 3
SCRIPT = (
    ("/start", "First number?"),
    ("two", "That is not a number."),
    ("2", "Second number?"),
    ("3", "Sum: 5"),
)


class Service:
    """A function service: a free container for each request, some of which die in the middle."""

    def __init__(self, hosts: list[Host], seed: int, kills: float) -> None:
        self.free: asyncio.Queue[Host] = asyncio.Queue()
        for host in hosts:
            self.free.put_nowait(host)
        self.random = Random(seed)
        self.kills = kills
        self.killed = 0
        self.statuses: list[int] = []

    async def __call__(self, request: Request) -> Response:
        host = await self.free.get()
        try:
            if self.random.random() < self.kills:
                return await self._dying(host, request)
            status, headers, body = await host.ask(
                request.method, request.target, request.headers, request.body
            )
            self.statuses.append(status)
            kind = {name.lower(): value for name, value in headers.items()}.get("content-type", "")
            return Response(status, body, kind)
        finally:
            self.free.put_nowait(host)

    async def _dying(self, host: Host, request: Request) -> Response:
        """What it was asked may be done, half done or not begun; the answer is lost."""
        asked = asyncio.create_task(
            host.ask(request.method, request.target, request.headers, request.body)
        )
        await asyncio.sleep(self.random.random() * 0.02)
        await host.kill()
        await asyncio.wait({asked})
        asked.exception()
        self.killed += 1
        await host.start()
        return Response(502)


@asynccontextmanager
async def service(
    kind: type[Host], telegram: FakeTelegram, folder: Path, kills: float
) -> AsyncIterator[Service]:
    adder(folder)
    env = environment(telegram, LEGATO_STORE=f"sqlite:///{folder / 'legato.db'}")
    hosts = [kind(folder, env) for _ in range(CONTAINERS)]
    async with AsyncExitStack() as stack:
        for host in hosts:
            stack.push_async_callback(host.close)
            await host.start()
        found = Service(hosts, 7, kills)
        front = Server(found)
        url = f"http://127.0.0.1:{await front.open()}/telegram"
        stack.push_async_callback(front.close)
        async with httpx.AsyncClient(verify=False) as client:
            hook = {"url": url, "secret_token": SECRET}
            set_hook = f"{telegram.api}/bot{telegram.token}/setWebhook"
            assert (await client.post(set_hook, json=hook)).status_code == 200
        yield found


@pytest.mark.parametrize(("kind", "kills"), [(Yandex, 0.3), (Frozen, 0.2), (Amazon, 0)])
async def test_everybody_in_a_crowd_has_their_own_talk(
    tmp_path: Path, kind: type[Host], kills: float
) -> None:
    async with FakeTelegram(token=TOKEN, second=0.01) as telegram:
        people = [telegram.user(f"P{number}") for number in range(PEOPLE)]
        async with service(kind, telegram, tmp_path, kills) as found:

            async def talks(number: int) -> None:
                for said, answer in SCRIPT:
                    people[number].sends(said)
                    await people[number].gets(answer, timeout_s=90)

            await asyncio.gather(*(talks(number) for number in range(PEOPLE)))
        assert [person.sees for person in people] == [[answer for _, answer in SCRIPT]] * PEOPLE
        assert len(found.statuses) >= PEOPLE * len(SCRIPT)
        assert (found.killed > 0) is (kills > 0)
