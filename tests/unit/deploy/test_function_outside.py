"""What happened outside of any chat and fails: nothing else is kept from being tried, and nothing comes again for ever."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from legato import App, Chat, Happened
from legato.app.dispatch import Dispatcher
from legato.app.poison import Trials
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.function.google import google
from legato.deploy.function.outside import BUG_TRIES
from legato.deploy.function.yandex import Yandex
from legato.errors import StoreUnavailable
from legato.model.records import FAILED
from legato.stores.sqlite import SQLiteStore
from tests.unit.deploy.function_kit import TOKEN, Context

seen: list[str] = []


class Bug(Exception):
    """A bug outside of any dialog."""


def row(name: str) -> dict[str, Any]:
    """A change of a table, in a stream."""
    return {
        "eventSource": "aws:dynamodb",
        "eventName": "INSERT",
        "eventID": name,
        "eventSourceARN": "arn:aws:dynamodb:eu-west-1:1:table/orders/stream/2026",
        "dynamodb": {"SequenceNumber": f"n-{name}"},
    }


def file(name: str) -> dict[str, Any]:
    """A file in a bucket."""
    told = {"bucket": {"name": "box"}, "object": {"key": name, "sequencer": name}}
    return {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": told}


def order(name: str) -> dict[str, Any]:
    """A message of a queue that is the bot's own."""
    arn = "arn:aws:sqs:eu-west-1:1:orders"
    return {"eventSource": "aws:sqs", "messageId": name, "body": name, "eventSourceARN": arn}


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of what fails."""
    bad: set[str] = set()
    once = Dispatcher._once

    async def broken(dispatcher: Dispatcher, event: Any, *given: Any, **more: Any) -> Any:
        if any(name in event.id for name in bad):
            raise Bug(event.id)
        return await once(dispatcher, event, *given, **more)

    monkeypatch.setattr(Dispatcher, "_once", broken)
    return bad


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    seen.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_SECRET", "secret")
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    app = App("bot")

    @app.event("*")
    async def note(chat: Chat) -> None:
        assert isinstance(chat.event, Happened)
        await chat.run(seen.append, chat.event.id.rpartition(":")[2])

    function = Function(app, {})
    yield function
    function.close()


def invoke(function: Function, *records: Any) -> Any:
    return Lambda(function)({"Records": list(records)}, Context())


def statuses(function: Function) -> list[str]:
    runtime = function._runtime
    assert runtime is not None
    return [found.status for found in function.run(runtime.store.find())]


def dead(function: Function, name: str) -> bytes | None:
    runtime = function._runtime
    assert runtime is not None
    return function.run(runtime.store.get("dead-update", name))


def test_a_bug_stops_a_stream_at_its_record_and_not_for_ever(
    function: Function, bug: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    bug.add("bad")
    batch = [row("one"), row("bad"), row("three")]
    for _ in range(BUG_TRIES - 1):
        assert invoke(function, *batch) == {"batchItemFailures": [{"itemIdentifier": "n-bad"}]}
        assert seen == ["one"]
    assert invoke(function, *batch) == {"batchItemFailures": []}
    assert seen == ["one", "three"]
    assert statuses(function) == [FAILED]
    assert "Bug: " in caplog.text
    assert "put aside" in caplog.text


def test_tries_are_counted_over_all_processes(function: Function, bug: set[str]) -> None:
    bug.add("bad")
    for _ in range(BUG_TRIES - 1):
        assert invoke(function, row("bad"))["batchItemFailures"]
        function.close()
    assert invoke(function, row("bad")) == {"batchItemFailures": []}
    assert statuses(function) == [FAILED]


def test_what_comes_but_once_is_tried_beside_a_bug_and_the_service_comes_again(
    function: Function, bug: set[str]
) -> None:
    """S3 and EventBridge invoke three times in all: what fails at the last is put aside, not lost."""
    bug.add("bad")
    for _ in range(BUG_TRIES - 1):
        with pytest.raises(Bug):
            invoke(function, file("one"), file("bad"), file("three"))
        assert seen == ["one", "three"]
    assert invoke(function, file("one"), file("bad"), file("three")) == {"happened": 3}
    assert seen == ["one", "three"]
    assert statuses(function) == [FAILED]


def test_a_message_of_another_queue_is_put_aside_by_the_same_rule(
    function: Function, bug: set[str]
) -> None:
    bug.add("bad")
    for _ in range(BUG_TRIES - 1):
        answer = invoke(function, order("one"), order("bad"))
        assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert invoke(function, order("bad")) == {"batchItemFailures": []}
    assert (seen, statuses(function)) == (["one"], [FAILED])


def test_what_failed_and_goes_well_then_is_not_put_aside(function: Function, bug: set[str]) -> None:
    bug.add("bad")
    invoke(function, row("bad"))
    bug.clear()
    assert invoke(function, row("bad")) == {"batchItemFailures": []}
    assert (seen, statuses(function)) == (["bad"], [])


def test_a_store_that_is_away_is_no_reason_to_put_anything_aside(
    function: Function, bug: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*given: object, **more: object) -> None:
        raise StoreUnavailable("away")

    again = {"batchItemFailures": [{"itemIdentifier": "n-bad"}]}
    invoke(function, row("first"))
    for name, bad in (("load", False), ("get", True), ("commit", True)):
        bug.update({"bad"} if bad else set())
        with monkeypatch.context() as patch:
            patch.setattr(SQLiteStore, name, away)
            for _ in range(BUG_TRIES + 1):
                assert invoke(function, row("bad")) == again
    assert statuses(function) == []


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        ({"eventSource": "aws:dynamodb", "eventSourceARN": "x", "dynamodb": "no"}, "stream"),
        ({"eventSource": "aws:s3", "s3": ["no"]}, "async"),
        ({"EventSource": "aws:sns", "Sns": 7}, "async"),
    ],
)
def test_what_cannot_be_read_is_kept_as_dead_and_does_not_come_again(
    function: Function,
    record: dict[str, Any],
    answer: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = row("one") if answer == "stream" else file("one")
    expected: dict[str, Any] = {"batchItemFailures": []} if answer == "stream" else {"happened": 2}
    assert invoke(function, record, good) == expected
    assert seen == ["one"]
    assert "a record cannot be read" in caplog.text
    runtime = function._runtime
    assert runtime is not None
    kept = function.run(runtime.store.get("dead-update", name_of(record)))
    assert kept is not None
    assert json.loads(kept) == record


def name_of(record: dict[str, Any]) -> str:
    return f"record:{sha256(msgspec.json.encode(record)).hexdigest()[:32]}"


def test_what_cannot_even_be_put_aside_is_kept_as_dead(
    function: Function, bug: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*given: object) -> None:
        raise Bug

    bug.add("bad")
    monkeypatch.setattr(Trials, "refuse", broken)
    for _ in range(BUG_TRIES - 1):
        invoke(function, row("bad"))
    assert invoke(function, row("bad")) == {"batchItemFailures": []}
    assert b"bad" in (dead(function, "event::dynamodb:orders:bad") or b"")


def test_other_hosts_follow_the_same_rule(function: Function, bug: set[str]) -> None:
    bug.add("bad")
    about = {"event_type": "yandex.cloud.events.messagequeue.QueueMessage", "event_id": "1"}
    messages = [
        {"event_metadata": about, "details": {"queue_id": "q", "message": {"message_id": name}}}
        for name in ("bad", "two")
    ]
    handler = Yandex(function)
    for _ in range(BUG_TRIES - 1):
        with pytest.raises(Bug):
            handler({"messages": messages}, Context())
    assert handler({"messages": messages}, Context()) == {"happened": 2}
    assert (seen, statuses(function)) == (["two"], [FAILED])


class Strange:
    """A CloudEvent without its parts."""

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __repr__(self) -> str:
        return "a strange event"


def test_what_is_not_even_json_is_kept_as_it_looks(function: Function) -> None:
    handler: Any = google(function._app)
    handler(Strange())
    runtime = handler.function._runtime
    kept = handler.function.run(
        runtime.store.get("dead-update", f"record:{sha256(b'a strange event').hexdigest()[:32]}")
    )
    handler.function.close()
    assert kept == b"a strange event"
