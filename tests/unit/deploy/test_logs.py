"""Log lines: readable, and without secrets."""

import io
import logging
from collections.abc import Iterator

import pytest

from legato.deploy.logs import set_up_logs

TOKEN = "4200:canary-of-the-token"
SECRETS = [TOKEN, "canary-of-the-token", "s"]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    undo = set_up_logs(lambda: SECRETS, stream=stream)
    yield stream
    undo()
    assert "canary" not in stream.getvalue()


def test_secrets_leave_messages_and_arguments(stream: io.StringIO) -> None:
    log = logging.getLogger("some.library")
    log.warning("GET https://api/bot%s/getMe", TOKEN)
    log.warning(f"token {TOKEN.partition(':')[2]}")  # noqa: G004 # as a library may do it
    log.warning(ValueError(TOKEN))

    assert stream.getvalue().count("***") == 3


def test_secrets_leave_tracebacks_and_stacks(stream: io.StringIO) -> None:
    try:
        raise RuntimeError(f"calling {TOKEN}")
    except RuntimeError:
        logging.getLogger("x").exception("it failed", stack_info=True)

    text = stream.getvalue()
    assert "RuntimeError: calling ***" in text
    assert "Stack (most recent call last)" in text


def test_a_secret_that_is_made_later_is_known_too() -> None:
    secrets: list[str] = []
    stream = io.StringIO()
    undo = set_up_logs(lambda: secrets, stream=stream)
    secrets.append("made-later")
    logging.getLogger("x").warning("made-later")
    undo()

    assert "made-later" not in stream.getvalue()


def test_a_message_with_wrong_arguments_is_not_lost(stream: io.StringIO) -> None:
    template = "%d and %d"
    logging.getLogger("x").warning(template, TOKEN)

    assert "%d and %d ('***',)" in stream.getvalue()


def test_no_text_passes_for_a_line_of_its_own(stream: io.StringIO) -> None:
    logging.getLogger("x").warning("said: %s", "hello\n2026-01-01 ERROR fake\x1b[2J\r")

    (first, second) = stream.getvalue().splitlines()
    assert first.endswith("WARNING x: said: hello")
    assert second == "    2026-01-01 ERROR fake\ufffd[2J\ufffd"


def test_libraries_only_warn_and_all_is_undone(stream: io.StringIO) -> None:
    logging.getLogger("legato.run").info("told")
    logging.getLogger("legato.run").debug("not told")
    logging.getLogger("uvicorn.error").info("not told")

    assert stream.getvalue().count("\n") == 1
    assert logging.getLogger("uvicorn").level == logging.WARNING


def test_undoing_leaves_the_root_as_it_was() -> None:
    root = logging.getLogger()
    before = (root.level, root.handlers[:], logging.getLogger("uvicorn").level)
    undo = set_up_logs(list)
    undo()

    assert (root.level, root.handlers[:], logging.getLogger("uvicorn").level) == before
