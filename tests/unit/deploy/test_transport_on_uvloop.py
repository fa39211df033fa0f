"""The same table on the loop that `legato run` uses: its transports and sockets are not asyncio's."""

import inspect
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from tests.unit.deploy import test_transport as table
from tests.unit.deploy import test_transport_pool as pool
from tests.unit.deploy.servers import Handler

TESTS = [
    test
    for name, test in [*vars(table).items(), *vars(pool).items()]
    if name.startswith("test_")
    and inspect.iscoroutinefunction(test)
    and not inspect.signature(test).parameters
]


@pytest.mark.parametrize("test", TESTS)
def test_on_uvloop(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await test()

    uvloop.run(run())


@pytest.mark.parametrize("handler", table.MAYBE_SENT)
def test_a_failure_after_the_first_byte_on_uvloop(handler: Handler) -> None:
    uvloop.run(table.test_once_a_byte_was_written_a_failure_is_maybe_sent(handler))
