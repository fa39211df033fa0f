"""What the tests with a fake Telegram share."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Self

import aiohttp

from legato.abc import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.testing._http import Request, Response, Server
from legato.testing.fake_telegram import FakeTelegram

Calling = Callable[..., Any]


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[tuple[FakeTelegram, Calling]]:
    """A fake, and a function that calls its methods with JSON: (status, body)."""
    async with FakeTelegram(second=0.01, **options) as telegram, aiohttp.ClientSession() as session:

        async def call(method: str, **params: object) -> tuple[int, Any]:
            url = f"{telegram.api}/bot{telegram.token}/{method}"
            async with session.post(url, json=params) as response:
                return response.status, await response.json()

        yield telegram, call


class Hook:
    """A bot's web server: keeps requests, answers them from a list, then with 200."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.gate: asyncio.Event | None = None
        self.most = self._now = 0
        self._arrived = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        self._arrived.set()
        self._now += 1
        self.most = max(self.most, self._now)
        answer = self.answers.pop(0) if self.answers else Response(200)
        if self.gate is not None:
            await self.gate.wait()
        self._now -= 1
        return answer

    async def got(self, count: int) -> None:
        """Waits until so many requests arrived."""
        while len(self.requests) < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), 10)

    @property
    def texts(self) -> list[str]:
        return [json.loads(request.body)["message"]["text"] for request in self.requests]


@asynccontextmanager
async def hooked(hook: Hook, **params: object) -> AsyncIterator[tuple[FakeTelegram, Calling]]:
    server = Server(hook)
    url = f"http://127.0.0.1:{await server.open()}/telegram"
    try:
        async with opened() as (telegram, call):
            await call("setWebhook", url=url, **params)
            yield telegram, call
    finally:
        await server.close()


class AiohttpClient(HttpClient):
    """On aiohttp, independent of the client that Legato ships."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def send(self, request: HttpRequest) -> HttpResponse:
        with ExitStack() as stack:
            data: aiohttp.FormData | bytes = request.body
            if request.files:
                data = aiohttp.FormData(request.fields, quote_fields=False)
                for field, path, name in request.files:
                    file = stack.enter_context(open(path, "rb"))  # noqa: ASYNC230, PTH123
                    data.add_field(field, file, filename=name)
            try:
                async with self._session.request(
                    request.method,
                    request.url,
                    data=data,
                    headers=request.headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(request.timeout_s),
                ) as response:
                    body = await response.read()
                    return HttpResponse(response.status, dict(response.headers), body)
            except aiohttp.ClientConnectorError:
                raise NotSent("connection refused") from None
            except (aiohttp.ClientError, TimeoutError) as error:
                raise MaybeSent(type(error).__name__) from None

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        response = await self.send(request)
        if response.status != 200 or len(response.body) > limit:
            raise ValueError(response.status)
        with open(path, "wb") as file:  # noqa: ASYNC230, PTH123
            return file.write(response.body)

    async def close(self) -> None:
        await self._session.close()
