"""The same on the loop that a gateway uses: its transports end connections in their own way."""

import inspect
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from legato.deploy import serving
from tests.unit.deploy import test_serving as table

TESTS = [
    test
    for name, test in vars(table).items()
    if name.startswith("test_")
    and inspect.iscoroutinefunction(test)
    and not inspect.signature(test).parameters
]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOOK_S", 0.01)


@pytest.mark.parametrize("test", TESTS)
def test_on_uvloop(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await test()

    uvloop.run(run())


@pytest.mark.parametrize("many", [1, 3])
def test_a_client_that_says_no_more_on_uvloop(many: int) -> None:
    uvloop.run(table.test_a_client_that_says_no_more_still_gets_its_answers(many))


@pytest.mark.parametrize("start", [b"P", b"\r\n"])
def test_a_head_that_does_not_end_on_uvloop(start: bytes) -> None:
    uvloop.run(table.test_a_head_that_does_not_end_is_answered_with_408(start))


def test_a_head_that_is_too_large_on_uvloop() -> None:
    head = b"GET /x HTTP/1.1\r\nx: " + b"a" * 400_000 + b"\r\n\r\n"
    uvloop.run(table.test_a_head_that_is_too_large_is_refused(head))
