"""A bot as a cloud function: invocations in, answers out, and nothing left to run in between."""

import base64
import json
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.app.settings import load_settings
from legato.deploy.function import core
from legato.deploy.function.invocation import Invocation
from legato.deploy.function.start import fleeting
from legato.errors import ConfigError, StoreUnavailable
from legato.model.records import Commit
from legato.testing.clock import FakeClock
from tests.unit.deploy.function_kit import (
    PROOF,
    SECRET,
    TOKEN,
    Jumping,
    Service,
    on_telegram,
    request,
)


def app() -> App:
    app = App("bot", apology="")

    @app.command("add")
    async def add(chat: Chat) -> None:
        first = await chat.ask("First?", int)
        await chat.say(f"Sum: {first + await chat.ask('Second?', int, timeout=1000)}")

    @app.command("count")
    async def count(chat: Chat) -> None:
        for word in ("one", "two", "three"):
            await chat.say(word)

    @app.command("soon")
    async def soon(chat: Chat) -> None:
        await chat.sleep(60)
        await chat.say("now")

    return app


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with on_telegram(tmp_path, monkeypatch) as telegram:
        service = Service(telegram, app())
        yield service
        service.process.close()


def test_a_conversation_runs_over_cold_and_warm_invocations_without_an_http_call(
    service: Service,
) -> None:
    assert service.says("/add") == "First?"
    service.restart()
    assert service.says("2") == "Second?"
    assert service.says("x") == "Please answer with a whole number, for example 12."
    service.restart()
    assert service.says("40") == "Sum: 42"

    assert service.telegram.calls == []


def test_all_but_the_last_message_are_delivered_before_it_answers(service: Service) -> None:
    assert service.says("/count") == "three"

    assert [call.params["text"] for call in service.telegram.calls] == ["one", "two"]


def test_a_repeated_update_gets_the_same_answer_from_any_process(service: Service) -> None:
    event = service.update("/add")
    first = service.invoke(event)
    again = service.invoke(event)
    service.restart()

    assert first == again == service.invoke(event)


def test_an_update_whose_earlier_messages_did_not_get_out_is_asked_for_again(
    service: Service,
) -> None:
    service.clock = clock = Jumping()
    service.restart()
    event = service.update("/count")
    fault = service.telegram.fails(500, method="sendMessage", times=-1)
    refused = service.invoke(event, left_ms=700)
    assert refused["statusCode"] == 503
    assert refused["headers"]["retry-after"] == "1"

    service.crash()
    fault.end()
    assert service.invoke(event)["statusCode"] == 503  # the other one may be alive
    clock.later_s += 3
    answer = service.invoke(event)
    assert json.loads(answer["body"])["text"] == "three"
    assert service.telegram.chat(1001).texts == ["one", "two"]


def test_timers_fire_at_any_touch(service: Service) -> None:
    clock = FakeClock()
    service.process.clock = clock
    service.process.invocation = Invocation(clock)
    service.says("/soon")
    assert service.invoke({"source": "aws.events"}) == {"woken": 0, "left": 0}
    clock.advance(61)

    assert service.invoke({"source": "aws.events"}) == {"woken": 1, "left": 0}
    assert [call.params["text"] for call in service.telegram.calls] == ["now"]
    assert service.invoke("anything")["woken"] == 0


def test_a_body_may_come_in_base64_and_headers_in_any_case(service: Service) -> None:
    event = service.update("/add")
    event["body"] = base64.b64encode(event["body"].encode()).decode()
    event["isBase64Encoded"] = True
    event["headers"] = {name.upper(): value for name, value in PROOF.items()}

    assert json.loads(service.invoke(event)["body"])["text"] == "First?"
    assert service.invoke(event | {"body": "!"})["statusCode"] == 200  # unreadable: kept as dead


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (request("POST", "/telegram", "{}", {}), 401),
        (request("POST", "/telegram", "{}", {"x-telegram-bot-api-secret-token": "x"}), 401),
        (request("GET", "/telegram"), 405),
        (request("POST", "/", "{}"), 404),
        (request("POST", "/telegram", "x" * 1_000_001), 413),
        (request("POST", "/telegram", "{}", rawQueryString="a=b"), 200),
        (request("POST", "/telegram", "\ud800"), 200),
    ],
)
def test_what_is_no_update_is_refused(service: Service, event: dict[str, Any], status: int) -> None:
    assert service.invoke(event)["statusCode"] == status


def test_the_webhooks_secret_may_come_from_the_store(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TELEGRAM_SECRET")
    assert service.invoke(service.update("/add"))["statusCode"] == 401
    put = ("setting", "telegram:4200:secret", SECRET.encode())
    loop, runtime = service.process._loop, service.process._runtime
    assert loop is not None
    assert runtime is not None
    loop.run_until_complete(runtime.store.commit(Commit(at_ms=1, puts=(put,))))
    service.restart()

    assert service.says("/add") == "First?"


def test_a_function_without_a_token_says_so_instead_of_finding_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = service.update("/add")
    monkeypatch.delenv("TELEGRAM_TOKEN")
    monkeypatch.delenv("TELEGRAM_SECRET")
    with pytest.raises(ConfigError, match="set TELEGRAM_TOKEN"):
        service.invoke(update)


def test_what_is_set_wrong_is_told_without_the_way_to_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "no-token-at-all")
    caplog.set_level("DEBUG", core.log.name)

    with pytest.raises(ConfigError) as raised:
        service.invoke(service.update("/add"))

    lines = "".join(traceback.format_exception(raised.value)).splitlines()
    assert "TELEGRAM_TOKEN: that is no Telegram token; it looks like" in lines[-1]
    shown = [Path(line.split('"')[1]).name for line in lines if line.lstrip().startswith("File")]
    assert shown == ["test_function.py", "function_kit.py", "aws.py", "core.py"]
    assert "in make" in caplog.text, "whoever looks for a mistake of ours finds it"


def test_a_function_without_a_store_and_a_place_for_one_says_what_to_set(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    update = service.update("/add")
    (tmp_path / "task" / "legato.db").mkdir(parents=True)  # no file can be there
    monkeypatch.chdir(tmp_path / "task")
    with pytest.raises(ConfigError, match=r"LEGATO_STORE is not set.*write dynamodb://table"):
        service.invoke(update)


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (("", ""), "LEGATO_STORE is not set, so the store is a file on this process's own disk"),
        (("sqlite:///bot.db", ""), "LEGATO_STORE=sqlite:///bot.db is a file on this process's own"),
        (("memory://", ""), "LEGATO_STORE=memory:// forgets all conversations"),
        (("memory://", "on"), "LEGATO_STORE=memory:// forgets all conversations"),
        (("sqlite:///bot.db", "on"), ""),
        (("", "on"), ""),
    ],
)
def test_a_store_that_does_not_outlive_the_process_is_told_once_with_the_cure(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    store: tuple[str, str],
    said: str,
) -> None:
    """`legato functions` says that all processes are on one machine."""
    monkeypatch.setenv("LEGATO_STORE", store[0])
    monkeypatch.setenv("LEGATO_FUNCTIONS", store[1])
    service.says("/add")
    service.says("2")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == bool(said)
    if said:
        assert said in told[0]
        assert "set LEGATO_STORE=dynamodb://table?region=eu-central-1 or postgresql://" in told[0]


@pytest.mark.parametrize("address", ["postgresql://u@h/d", "postgres://u@h/d", "dynamodb://t"])
def test_a_store_that_all_processes_reach_is_no_reason_to_warn(address: str) -> None:
    assert fleeting(load_settings(environ={"LEGATO_STORE": address}), {}) == ""


def test_a_store_that_fails_asks_for_the_update_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.says("/add") == "First?"
    runtime = service.process._runtime
    assert runtime is not None

    async def refuse(commit: object) -> None:
        raise StoreUnavailable("the disk is away")

    monkeypatch.setattr(type(runtime.store), "commit", lambda self, commit: refuse(commit))

    assert service.invoke(service.update("2"))["statusCode"] == 503


def test_a_first_update_imports_little_beyond_the_core(tmp_path: Path) -> None:
    program = """
import asyncio, json, sqlite3, msgspec, sys
before = set(sys.modules)
from legato import App
app = App("cold")
@app.command("start")
async def start(chat):
    await chat.ask("Well?")
handler = app.aws_lambda()
print(handler(json.load(sys.stdin), None)["statusCode"])
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""
    person = {"id": 5, "is_bot": False, "first_name": "Ann"}
    message = {"message_id": 1, "from": person, "chat": {"id": 5, "type": "private"}, "date": 1}
    body = json.dumps({"update_id": 1, "message": message | {"text": "/start"}})
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(request("POST", "/telegram", body)),
        cwd=tmp_path,
        env={"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_SECRET": SECRET},
        capture_output=True,
        text=True,
        check=True,
    )

    status, modules = run.stdout.splitlines()
    assert status == "200"
    assert set(modules.split()) <= {"legato", "zlib", "gc"}  # the last is built in


def test_old_update_ids_are_forgotten_by_touches(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged = []
    service.invoke({})
    runtime = service.process._runtime
    assert runtime is not None

    async def purge() -> None:
        purged.append(1)

    monkeypatch.setattr(runtime, "purge", purge)
    service.invoke({})
    assert purged == []
    monkeypatch.setattr(core, "PURGE_EVERY_MS", -1)
    service.invoke({})
    assert purged == [1]
