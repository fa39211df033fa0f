"""The probe of the web chat: a page without a socket that answers is found out before people are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

import pytest

from legato.deploy.aws import webchat, webhook
from legato.deploy.function.websocket import record_of
from legato.deploy.transport import Transport
from legato.errors import ConfigError
from legato.model.records import Commit
from legato.platforms.web.visits import visitor
from legato.stores.memory import MemoryStore
from legato.testing._http import Request, Response, Server, Upgrade
from legato.testing.fake_twitch.websocket import WebSocket, handshake

HISTORY = json.dumps({"seq": 5, "changes": [["name", "shop"], ["history", []]]})
FAILED = json.dumps({"message": "Internal server error", "connectionId": "L0SM9cOFvHcCIhw="})


class Api:
    """A function's address and a WebSocket API, at one port.

    Attributes:
        answers: What pages are told for their next frames; None = nothing.
        refusals: Statuses of the next handshakes.
        page: What is at the address; "{}" in it is where the socket is.
    """

    def __init__(self) -> None:
        self.answers: list[str | None] = [HISTORY]
        self.refusals: list[int] = []
        self.page = '<meta name="legato-socket" content="{}">'
        self.socket = ""
        self.sessions: list[str] = []

    def __call__(self, request: Request) -> Response | Upgrade:
        if "upgrade" not in request.headers:
            return Response(200, self.page.format(escape(self.socket)).encode())
        if self.refusals:
            return Response(self.refusals.pop(0), b"Forbidden")
        return handshake(request, _Link(self))


class _Link(WebSocket):
    def __init__(self, api: Api) -> None:
        super().__init__()
        self._api = api

    def received(self, text: str) -> None:
        self._api.sessions.append(json.loads(text)["session"])
        answer = self._api.answers.pop(0) if len(self._api.answers) > 1 else self._api.answers[0]
        if answer is not None:
            self.send(answer)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSE_S", 0.0)
    monkeypatch.setattr(webhook, "LONGEST_S", 0.0)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Api, str, Transport]]:
    """What answers, its address, and a client."""
    api, http = Api(), Transport()
    server = Server(api)
    try:
        port = await server.open()
        api.socket = f"ws://127.0.0.1:{port}/live?a=1&b=2"
        yield api, f"http://127.0.0.1:{port}", http
    finally:
        await http.close()
        await server.close()


async def test_a_web_chat_whose_socket_answers_is_good() -> None:
    async with served() as (api, url, http):
        api.refusals = [403, 500]  # the API is not known everywhere yet
        api.answers = [FAILED, HISTORY]
        store = MemoryStore()

        found = await webchat.tried(store, http, url, api.socket)

        assert (found.platform, found.url) == ("web", f"{url}/")
        assert len(set(api.sessions)) == 1
        assert len(api.sessions) == 2


async def test_the_visitor_of_the_probe_is_forgotten() -> None:
    store = MemoryStore()
    async with served() as (api, url, http):
        session = "s" * 32
        name = record_of(visitor(session) or "")
        await store.commit(Commit(at_ms=1, puts=((*name, b"seen"),)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("legato.deploy.aws.webchat.secrets.token_urlsafe", lambda _: session)
            await webchat.tried(store, http, url, api.socket)

    assert await store.get(*name) is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (FAILED, "the gateway says 'Internal server error'"),
        ("[]", "Expected `object`, got `array`"),
    ],
)
async def test_a_socket_through_which_nobody_answers_is_found_out(answer: str, told: str) -> None:
    async with served() as (api, url, http):
        api.answers = [answer]

        with pytest.raises(ConfigError, match=f"(?s){told}.*legato deploy aws logs"):
            await webchat.tried(MemoryStore(), http, url, api.socket)

        assert len(api.sessions) == webhook.BROKEN


async def test_a_function_that_may_not_write_to_its_pages_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webchat, "ANSWER_S", 1.0)
    monkeypatch.setattr(webhook, "BROKEN", 1)
    async with served() as (api, url, http):
        api.answers = [None]

        with pytest.raises(ConfigError, match="the function writes nothing to its page"):
            await webchat.tried(MemoryStore(), http, url, api.socket)


async def test_a_socket_that_refuses_everybody_is_found_out() -> None:
    async with served() as (api, url, http):
        api.refusals = [403] * webhook.TRIES

        with pytest.raises(ConfigError, match="HTTP 403"):
            await webchat.tried(MemoryStore(), http, url, api.socket)


async def test_a_page_of_something_else_is_found_out() -> None:
    async with served() as (api, url, http):
        api.page = "It works!"

        with pytest.raises(ConfigError, match="no page of the web chat that speaks through ws://"):
            await webchat.tried(MemoryStore(), http, url, api.socket)

        assert api.sessions == []
