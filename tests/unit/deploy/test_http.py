"""Webhooks over ASGI: what is answered, and when."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.abc import Store
from legato.app.runtime import Runtime
from legato.deploy.http import BODY_LIMIT, Asgi, Endpoint, Hosted, Message, asgi
from legato.errors import StoreUnavailable
from legato.model.records import Commit, Committed
from legato.platforms.telegram import Telegram
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.script import NoNetwork
from tests.unit.deploy.asgi_kit import Answer, request, scope_of

SECRET = "s3cret-of-the-webhook"
PROOF = {"X-Telegram-Bot-Api-Secret-Token": SECRET}


class Shaky(MemoryStore):
    """A store that may be out of reach, and tells what was committed when."""

    __slots__ = ("committed", "down")

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.committed = 0

    async def commit(self, commit: Commit) -> Committed:
        if self.down:
            raise StoreUnavailable("the disk is away")
        self.committed += 1
        return await super().commit(commit)


def talker() -> App:
    app = App("talker")

    @app.command("start")
    async def start(chat: Chat) -> None:
        await chat.say("one")

    return app


def update(number: int = 1, text: str = "/start") -> bytes:
    person = {"id": 5, "first_name": "Ann", "is_bot": False}
    message = {"message_id": number, "from": person, "chat": {"id": 5, "type": "private"}}
    return json.dumps(
        {"update_id": number, "message": message | {"text": text, "date": 1}}
    ).encode()


@asynccontextmanager
async def served(store: Store | None = None) -> AsyncIterator[tuple[Endpoint, Runtime]]:
    clock = FakeClock()
    runtime = Runtime(
        talker(),
        store=store or MemoryStore(),
        platforms=[Telegram("4200:token", secret=SECRET, clock=clock)],
        clock=clock,
        http=NoNetwork(),
    )
    await runtime.start(loops=False)
    try:
        yield Endpoint(runtime), runtime
    finally:
        await runtime.abandon()


async def post(app: Asgi, *pieces: bytes, **options: Any) -> Answer:
    options.setdefault("headers", PROOF)
    return await request(app, "POST", "/telegram", *pieces, **options)


async def test_an_update_is_answered_with_the_only_call_once_it_is_committed() -> None:
    store = Shaky()
    async with served(store) as (app, _):
        answer = await post(app, update())

        assert (answer.status, answer.done) == (200, True)
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body) == {"method": "sendMessage", "chat_id": 5, "text": "one"}
        assert store.committed == 1


async def test_a_repeated_update_is_answered_alike() -> None:
    async with served() as (app, _):
        first, second = await post(app, update()), await post(app, update())

        assert first.body == second.body


async def test_an_update_with_nothing_to_say_is_answered_with_nothing() -> None:
    async with served() as (app, _):
        answer = await post(app, update(text="hello"))

        assert (answer.status, answer.body, answer.done) == (200, b"", True)


@pytest.mark.parametrize("fails", [(), ("http.response.start",), ("http.response.body",)])
async def test_what_follows_may_be_sent_after_the_answer_was_written_or_failed(
    fails: tuple[str, ...],
) -> None:
    async with served() as (app, runtime):
        try:
            await post(app, update(), fails=fails)
        except OSError:
            assert fails
        assert "telegram:4200:5" not in runtime.relay._lanes.lanes  # held, it would be there


@pytest.mark.parametrize("headers", [{}, {"X-Telegram-Bot-Api-Secret-Token": "wrong"}])
async def test_a_forged_request_is_refused_before_it_is_read(headers: dict[str, str]) -> None:
    async with served() as (app, runtime):
        answer = await post(app, b"{", headers=headers)

        assert answer.status == 401
        assert runtime.stats["updates"] == 0


async def test_an_unreadable_update_is_kept_and_acknowledged() -> None:
    async with served() as (app, runtime):
        assert (await post(app, b"{")).status == 200
        assert runtime.stats["malformed"] == 1


async def test_a_body_in_pieces_is_put_together() -> None:
    async with served() as (app, runtime):
        whole = update()
        answer = await post(app, whole[:10], b"", whole[10:])

        assert answer.status == 200
        assert runtime.stats["malformed"] == 0


async def test_a_body_that_is_or_claims_to_be_too_long_is_not_read_to_its_end() -> None:
    async with served() as (app, _):
        many = [b"x" * 300_000] * 5
        answers = [
            await post(app, *many),
            await post(app, b"x" * (BODY_LIMIT + 1)),
            await post(app, b"{", headers=PROOF | {"content-length": str(BODY_LIMIT + 1)}),
            await post(app, b"{", headers=PROOF | {"content-length": "9" * 5000}),
        ]
        assert [a.status for a in answers] == [413] * 4
        assert answers[0].headers["connection"] == "close"
        assert (await post(app, b" " * (BODY_LIMIT - 2) + b"{}")).status == 200


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing() -> None:
    async with served() as (app, runtime):
        answer = await post(app, update(), cut=True)

        assert answer.status == 0
        assert runtime.stats["updates"] == 0


async def test_what_could_not_be_committed_is_asked_for_again() -> None:
    store = Shaky()
    async with served(store) as (app, _):
        store.down = True
        refused = await post(app, update())
        store.down = False
        answer = await post(app, update())

        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert json.loads(answer.body)["text"] == "one"


async def test_a_runtime_that_drains_asks_for_its_updates_again() -> None:
    async with served() as (app, runtime):
        await runtime.stop()
        refused = await post(app, update())

        assert (refused.status, refused.headers["retry-after"]) == (503, "2")


async def test_other_methods_paths_and_protocols_are_refused() -> None:
    async with served() as (app, _):
        other = await request(app, "GET", "/telegram")
        assert (other.status, other.headers["allow"]) == (405, "POST")
        assert (await request(app, "POST", "/nothing")).status == 404
        assert (await request(app, "GET", "/")).status == 404
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        await app(scope_of("GET", "/telegram", type="websocket"), receive, send)
        assert [message["type"] for message in sent] == ["websocket.close"]
        with pytest.raises(RuntimeError, match="no such thing is served"):
            await app(scope_of("GET", "/x", type="telepathy"), receive, send)


async def test_its_health_is_told() -> None:
    async with served() as (app, _):
        well = await request(app, "GET", "/healthz")
        app.draining = True
        ending = await request(app, "GET", "/healthz")

        assert (well.status, well.body) == (200, b"ok")
        assert (ending.status, ending.body) == (503, b"draining")


# -- app.asgi() ------------------------------------------------------------------------------------


class Server:
    """The lifespan of an ASGI server."""

    def __init__(self, app: Asgi) -> None:
        self.sent: list[Message] = []
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.ensure_future(app({"type": "lifespan"}, self._receive, self._send))

    async def _receive(self) -> Message:
        return {"type": await self._events.get()}

    async def _send(self, message: Message) -> None:
        await self._told.put(message)

    async def tells(self, event: str) -> Message:
        """Tells the application something; returns what it answers."""
        await self._events.put(event)
        return await self._told.get()

    async def ended(self) -> None:
        await self._task


async def test_an_app_starts_and_stops_with_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TELEGRAM_TOKEN", "4200:token")
    monkeypatch.setenv("TELEGRAM_SECRET", SECRET)
    app = talker().asgi(store="sqlite:///bot.db")
    server = Server(app)

    assert (await server.tells("lifespan.startup"))["type"] == "lifespan.startup.complete"
    assert (await post(app, update(text="hello"))).status == 200
    assert (await server.tells("lifespan.shutdown"))["type"] == "lifespan.shutdown.complete"
    await server.ended()


async def test_an_app_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "no token")
    server = Server(asgi(talker(), store="memory://"))

    message = await server.tells("lifespan.startup")
    assert message["type"] == "lifespan.startup.failed"
    assert message["message"].startswith("TELEGRAM_TOKEN: ")
    await server.ended()


async def test_an_app_without_a_token_says_so_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)
    server = Server(asgi(talker(), store="memory://"))

    message = await server.tells("lifespan.startup")
    assert message["type"] == "lifespan.startup.failed"
    assert "set TELEGRAM_TOKEN" in message["message"]
    await server.ended()


async def test_a_server_without_lifespan_starts_it_with_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "4200:token")
    monkeypatch.setenv("TELEGRAM_SECRET", SECRET)
    app = Hosted(talker(), {"store": "memory://"})
    answers = await asyncio.gather(*(post(app, update(n, "hello")) for n in range(1, 4)))

    assert [answer.status for answer in answers] == [200] * 3
    await app._stop()
