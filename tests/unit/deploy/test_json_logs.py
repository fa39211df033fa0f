"""Log lines for machines: each is one JSON object that says what it is about."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from legato import App, Chat
from legato.abc import Verdict
from legato.abc.observer import Scoping
from legato.app.runtime import RuntimeSettings
from legato.deploy.logs import JsonLines, set_up_logs
from legato.model.shards import slot_of_key
from tests.unit.app.kit import place, running

TOKEN = "4200:canary-of-the-token"
KEY = "test:bot:1:1:"
app = App("x", apology="")


@app.command("buy")
async def buy(chat: Chat) -> None:
    what = await chat.ask("What?")
    chat.log.info("asked")
    logging.getLogger("shop").info("a logger of the bot's own")
    await chat.run(_pay)
    await chat.say(f"Bought {what}")


async def _pay() -> None:
    logging.getLogger("shop").warning("paid by %s", TOKEN)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    form = JsonLines({"role": "worker"}, shards=64)
    undo = set_up_logs(lambda: [TOKEN], stream=stream, form=form)
    yield stream
    undo()
    assert "canary" not in stream.getvalue()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_logger_and_message(stream: io.StringIO) -> None:
    record = logging.makeLogRecord({"created": 1_800_000_000.25, "levelno": logging.WARNING})
    record.name, record.levelname, record.msg, record.args = "x", "WARNING", "%s left", (3,)
    logging.getLogger().handle(record)

    assert lines(stream) == [
        {
            "time": "2027-01-15T08:00:00.250Z",
            "level": "WARNING",
            "logger": "x",
            "message": "3 left",
            "role": "worker",
        }
    ]


def test_no_text_can_pass_for_a_line_of_its_own() -> None:
    text = 'x\r\n{"level": "ERROR"}\x1b[2J\u2028\u202e\ud800\x00"'
    record = logging.makeLogRecord({"msg": "said %s", "args": (text,)})

    line = JsonLines().format(record)

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"said {text}"


def test_a_traceback_stands_in_a_field_without_secrets(stream: io.StringIO) -> None:
    try:
        raise RuntimeError(f"calling {TOKEN}")
    except RuntimeError:
        logging.getLogger("x").exception("it failed", stack_info=True)

    (line,) = lines(stream)
    assert line["message"] == "it failed"
    assert "RuntimeError: calling ***" in line["error"]
    assert "Stack (most recent call last)" in line["error"]


async def test_lines_of_a_dialog_and_its_steps_say_what_they_are_about(
    stream: io.StringIO,
) -> None:
    async with running(app, settings=RuntimeSettings(observer=Scoping())) as world:
        await world.says("/buy")

        event = await world.says("canary of a user's text")

    about = {
        "role": "worker",
        "conversation": KEY,
        "dialog": "buy",
        "update": event.id,
        "shard": slot_of_key(KEY) % 64,
    }
    found = lines(stream)
    assert [line["message"] for line in found] == [
        "asked",
        "a logger of the bot's own",
        "paid by ***",
    ]
    for line in found:
        assert about.items() <= line.items()


async def test_lines_of_a_dialogs_own_log_name_their_conversation_even_unobserved(
    stream: io.StringIO,
) -> None:
    async with running(app) as world:
        await world.says("/buy")
        await world.says("tea")

    asked = next(line for line in lines(stream) if line["message"] == "asked")
    assert asked["conversation"] == KEY


async def test_lines_about_a_delivery_name_its_conversation_and_no_other(
    stream: io.StringIO,
) -> None:
    async with running(app, settings=RuntimeSettings(observer=Scoping())) as world:
        world.platform.answer = lambda call, at: (
            Verdict("refused", error="no") if at.chat == "2" else None
        )
        await world.says("/buy")
        await world.says("/buy", place("2", "2"))

    (dead,) = [line for line in lines(stream) if "is dead" in line["message"]]
    assert dead["conversation"] == "test:bot:2:2:"
    assert "update" not in dead


async def test_a_line_has_the_trace_that_it_belongs_to(stream: io.StringIO) -> None:
    observer = Scoping()
    began = observer.begin_update("1", trace=f"00-{'ab' * 16}-{'cd' * 8}-01")
    logging.getLogger("x").warning("inside")
    observer.end_update(began)
    logging.getLogger("x").warning("outside")

    assert [line.get("trace") for line in lines(stream)] == ["ab" * 16, None]
