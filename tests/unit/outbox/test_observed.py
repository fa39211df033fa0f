"""An observer is told of each try to send, and of what came of it."""

from typing import Any

from legato.abc import Verdict
from legato.abc.observer import Observer
from legato.model.records import OutboxItem
from tests.unit.outbox.kit import World, item, virtual


class Sends(Observer):
    """Notes each try."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[tuple[str, str]] = []

    def begin_send(self, item: OutboxItem) -> Any:
        self.begun.append(item.call.method)
        return item.id

    def end_send(self, began: Any, item: OutboxItem, verdict: Verdict) -> None:
        assert began == item.id
        self.ended.append((item.call.method, verdict.outcome))


@virtual
async def test_each_try_is_told_with_the_platforms_verdict() -> None:
    async with World() as w:
        sends = Sends()
        w.relay.watch(sends)
        w.bot.answer("a", Verdict("retry", error="down"), Verdict("sent"))
        w.bot.answer("b", Verdict("refused", error="no"))

        await w.say(item("a"), item("b"))
        await w.relay.flush(100)

    assert sends.begun == ["a", "a", "b"]
    assert sends.ended == [("a", "retry"), ("a", "sent"), ("b", "refused")]


@virtual
async def test_an_adapters_bug_is_told_as_a_refusal() -> None:
    async with World() as w:
        sends = Sends()
        w.relay.watch(sends)
        w.bot.answer("a", RuntimeError("a bug"))

        await w.say(item("a"))
        await w.relay.flush(100)

    assert sends.ended == [("a", "refused")]
