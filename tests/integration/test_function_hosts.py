"""The same bot in the software of hosts: Google's framework, Azure's library, a plain ASGI server."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from legato import App, Chat
from legato.deploy.function.frozen import Frozen
from legato.deploy.function.invocation import Invocation
from legato.errors import ConfigError
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import BODY, PROOF, SECRET, bot, on_telegram, seen

left: list[asyncio.Task[None]] = []
made: list[Any] = []
begun, gate = threading.Event(), threading.Event()


def app() -> App:
    app = bot()

    @app.command("block")
    async def block(chat: Chat) -> None:
        await chat.run(blocking)
        await chat.say("unblocked")

    @app.command("soon")
    async def soon(chat: Chat) -> None:
        await chat.sleep(0.01)
        await chat.say("now")

    @app.command("stray")
    async def stray(chat: Chat) -> None:
        await chat.run(careless)
        await chat.say("done")

    return app


async def blocking() -> None:
    begun.set()
    assert gate.wait(20)  # the whole loop stands still


async def careless() -> None:
    left.append(asyncio.create_task(forever()))
    await asyncio.sleep(0)


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def telegram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTelegram]:
    left.clear()
    begun.clear()
    gate.clear()
    with on_telegram(tmp_path, monkeypatch) as telegram:
        yield telegram
        while made:
            made.pop().function.close()


def sent(telegram: FakeTelegram) -> list[str]:
    return [str(call.params["text"]) for call in telegram.called("sendMessage")]


def asking(text: str, number: int, person: int = 1001) -> bytes:
    update = json.loads(BODY)
    update["message"]["from"]["id"] = update["message"]["chat"]["id"] = person
    update["update_id"] = update["message"]["message_id"] = number
    update["message"]["text"] = text
    return json.dumps(update).encode()


# -- Google ---------------------------------------------------------------------------------------

GOOGLE = """
from tests.integration.test_function_hosts import app, made
handler = app().google()
made.append(handler)
"""


@pytest.fixture
def google(tmp_path: Path, telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TELEGRAM_API", telegram.api)
    source = tmp_path / "main.py"
    source.write_text(GOOGLE)
    framework = pytest.importorskip("functions_framework")

    def create(kind: str) -> Any:
        return framework.create_app("handler", str(source), kind).test_client()

    return create


def test_googles_framework_serves_requests(google: Any, telegram: FakeTelegram) -> None:
    client = google("http")
    good = client.post("/telegram?a=b", data=BODY, headers=PROOF)
    assert (good.status_code, good.json["text"]) == (200, "Hello")
    assert good.content_type == "application/json"
    assert client.post("/telegram", data=BODY).status_code == 401
    assert client.post("/elsewhere", data=BODY, headers=PROOF).status_code == 404
    assert client.get("/telegram", headers=PROOF).status_code == 405
    assert client.post("/tick").json == {"woken": 0, "left": 0}
    assert sent(telegram) == []


def test_googles_framework_hands_over_cloud_events_of_both_kinds(google: Any) -> None:
    cloudevents = pytest.importorskip("cloudevents.http")
    from cloudevents.conversion import to_binary, to_structured

    client = google("cloudevent")
    kind = "google.cloud.storage.object.v1.finalized"
    about = {"type": kind, "source": "//storage/box", "subject": "objects/cat.png", "id": "1"}
    event = cloudevents.CloudEvent(about, {"size": 7})
    for convert in (to_binary, to_structured, to_binary):
        headers, body = convert(event)
        assert client.post("/", data=body, headers=headers).status_code == 200
    assert [(e.kind, e.subject, e.data) for e in seen] == [(kind, "objects/cat.png", {"size": 7})]
    for number, data in enumerate((b"plain words", b"\xff\x00"), 2):
        headers = {f"ce-{name}": value for name, value in (about | {"id": str(number)}).items()}
        headers |= {"ce-specversion": "1.0", "content-type": "application/octet-stream"}
        assert client.post("/", data=data, headers=headers).status_code == 200
    assert [e.data for e in seen[1:]] == ["plain words", "/wA="]


def test_a_request_that_waits_too_long_for_another_one_is_asked_for_again(
    telegram: FakeTelegram,
) -> None:
    werkzeug = pytest.importorskip("werkzeug.wrappers")
    handler = app().google(timeout_s=1.0, telegram_api=telegram.api)
    made.append(handler)

    def asked(text: str, number: int) -> Any:
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/telegram", "wsgi.url_scheme": "https"}
        environ["HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN"] = SECRET
        content = asking(text, number, person=1000 + number)
        wsgi = {"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": str(len(content))}
        return handler(werkzeug.Request(environ | wsgi))

    first = threading.Thread(target=asked, args=("/block", 1))
    first.start()
    assert begun.wait(20)
    _, status, headers = asked("/start", 2)
    assert (status, headers["retry-after"]) == (503, "1")
    gate.set()
    first.join(20)
    body, status, _ = asked("/start", 2)
    assert (status, json.loads(body)["text"]) == (200, "Hello")


# -- Azure ----------------------------------------------------------------------------------------


async def test_azures_library_serves_requests_and_wakes_timers(telegram: FakeTelegram) -> None:
    azure = pytest.importorskip("azure.functions")
    hosted = app().azure(telegram_api=telegram.api)
    functions = {one.get_function_name(): one for one in hosted.get_functions()}
    assert set(functions) == {"http_app_func", "tick"}
    timer = json.loads(functions["tick"].get_function_json())["bindings"][0]
    assert (timer["type"], timer["schedule"], timer["name"]) == (
        "timerTrigger",
        "0 * * * * *",
        "timer",
    )
    serve, tick = (functions[name].get_user_function() for name in ("http_app_func", "tick"))

    async def post(path: str, body: bytes, headers: dict[str, str]) -> Any:
        request = azure.HttpRequest("POST", f"https://f.test{path}", headers=headers, body=body)
        return await serve(request, None)

    good = await post("/api/telegram", BODY, PROOF)
    assert (good.status_code, json.loads(good.get_body())["text"]) == (200, "Hello")
    assert (await post("/api/telegram", BODY, {})).status_code == 401
    assert (await post("/api/elsewhere", BODY, PROOF)).status_code == 404
    await post("/api/telegram", asking("/soon", 2), PROOF)
    await asyncio.sleep(0.02)
    await tick(None)
    assert sent(telegram) == ["now"]
    await hosted.middleware.notify_shutdown()
    hosted.startup_task_done = (
        False  # else it does so again, in a loop of its own, when it is freed
    )


def test_without_azures_library_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "azure.functions", None)
    with pytest.raises(ConfigError, match=r"requirements\.txt"):
        app().azure()


# -- a server that freezes us between requests -------------------------------------------------------


@asynccontextmanager
async def served(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, lifespan="on"))
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110  # it has no event of its own
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        await task


async def test_a_frozen_server_does_everything_before_it_answers(telegram: FakeTelegram) -> None:
    async with served(app().asgi(frozen=True, telegram_api=telegram.api)) as client:
        good = await client.post("/telegram?a=b", content=BODY, headers=PROOF)
        assert (good.status_code, good.json()["text"]) == (200, "Hello")
        assert (await client.post("/telegram", content=BODY)).status_code == 401
        assert (await client.post("/elsewhere", content=BODY, headers=PROOF)).status_code == 404
        assert (await client.get("/telegram", headers=PROOF)).status_code == 405
        big = await client.post("/telegram", content=b"x" * 1_000_001, headers=PROOF)
        assert big.status_code == 413
        assert (await client.get("/healthz")).text == "ok"
        await client.post("/telegram", content=asking("/soon", 2), headers=PROOF)
        await asyncio.sleep(0.02)
        assert (await client.post("/tick")).text.endswith(" left=0")
        assert sent(telegram) == ["now"]


async def test_many_requests_at_once_are_worked_on_one_after_another(
    telegram: FakeTelegram,
) -> None:
    async with served(app().asgi(frozen=True, telegram_api=telegram.api)) as client:
        posts = [
            client.post("/telegram", content=asking("/start", n), headers=PROOF) for n in range(20)
        ]
        answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["text"] for answer in answers] == ["Hello"] * 20


async def test_a_request_that_has_waited_too_long_is_asked_for_again(
    telegram: FakeTelegram,
) -> None:
    frozen = app().asgi(frozen=True, timeout_s=20, telegram_api=telegram.api)
    clock = frozen.function.clock = FakeClock()
    frozen.function.invocation = Invocation(clock)
    async with served(frozen) as client:
        answers = []
        for seconds in (14, 16):
            async with frozen._alone():
                post = asyncio.create_task(
                    client.post("/telegram", content=asking("/start", seconds), headers=PROOF)
                )
                await frozen_waits(frozen)
                clock.advance(seconds)
            answers.append((await post).status_code)
    assert answers == [200, 503]


async def test_a_tick_that_has_waited_has_less_time_or_comes_again(telegram: FakeTelegram) -> None:
    frozen = app().asgi(frozen=True, timeout_s=20, telegram_api=telegram.api)
    clock = frozen.function.clock = FakeClock()
    frozen.function.invocation = Invocation(clock)
    answers, ends = [], []
    async with served(frozen) as client:
        for seconds in (14, 16):
            async with frozen._alone():
                post = asyncio.create_task(client.post("/tick"))
                await frozen_waits(frozen)
                clock.advance(seconds)
            answers.append((await post).status_code)
            ends.append(frozen.function.invocation.until - clock.monotonic())
    assert answers == [200, 503]
    assert ends[0] <= 6


async def test_a_tick_without_a_store_is_asked_for_again(telegram: FakeTelegram) -> None:
    nowhere = "sqlite:////proc/nowhere/legato.db"
    async with served(app().asgi(frozen=True, telegram_api=telegram.api, store=nowhere)) as client:
        assert (await client.post("/tick")).status_code == 503


async def frozen_waits(frozen: Frozen) -> None:
    async with asyncio.timeout(20):
        while not frozen._alone()._waiters:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_bots_own_tasks_are_cancelled_and_the_servers_are_not(
    telegram: FakeTelegram, caplog: pytest.LogCaptureFixture
) -> None:
    mine = asyncio.create_task(asyncio.sleep(3600))  # somebody else's, in the same loop
    async with served(app().asgi(frozen=True, telegram_api=telegram.api)) as client:
        for number in (1, 2):
            body = asking("/stray", number)
            assert (await client.post("/telegram", content=body, headers=PROOF)).status_code == 200
        assert sent(telegram) == ["done"] * 2
    assert not mine.done()
    mine.cancel()
    await asyncio.wait({mine})
    assert len(left) == 2
    assert all(task.cancelled() for task in left)
    assert "forever was still running when the invocation ended" in caplog.text


async def test_a_websocket_is_closed(telegram: FakeTelegram) -> None:
    sent_back: list[Any] = []

    async def send(message: Any) -> None:
        sent_back.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await Frozen(app(), 10, {"telegram_api": telegram.api})({"type": "websocket"}, receive, send)
    assert sent_back == [{"type": "websocket.close", "code": 1000}]


async def test_a_server_is_answered_where_settings_are_wrong_and_the_log_says_which(
    telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LEGATO_CACHE", "many")
    async with served(app().asgi(frozen=True, telegram_api=telegram.api)) as client:
        for path in ("/telegram", "/tick"):
            found = await client.post(path, content=BODY, headers=PROOF)
            assert (found.status_code, b"log says why" in found.content) == (500, True)
        monkeypatch.delenv("LEGATO_CACHE")
        assert (await client.post("/tick")).status_code == 200
    cures = [one for one in caplog.records if "LEGATO_CACHE='many': write" in one.getMessage()]
    assert [(one.levelname, one.exc_info) for one in cures] == [("ERROR", None)] * 2
