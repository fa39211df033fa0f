"""What the log says while messages wait."""

import pytest

from legato.abc import Verdict
from tests.unit.outbox.kit import World, item, virtual


def test_the_log_says_now_and_then_that_messages_wait_and_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @virtual
    async def wait() -> None:
        async with World() as w:
            w.bot.answer("a", *[Verdict("retry", error="down, s3cret")] * 12, Verdict("sent"))
            w.bot.answer("b", Verdict("retry", retry_after_s=3, code=429), Verdict("sent"))
            await w.say(item("a", "one"), item("b", "two"))
            assert await w.relay.flush(1000) == 0

    wait()
    said = [record.getMessage() for record in caplog.records]
    assert 1 < len(said) < 12
    assert all(line.startswith("a to ") and line.endswith(": down, ***") for line in said)
