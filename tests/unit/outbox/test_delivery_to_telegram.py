"""Relay, adapter, HTTP client and a Bot API server together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from legato.abc import Verdict
from legato.deploy.clock import SystemClock
from legato.deploy.transport import Transport
from legato.model.events import Address
from legato.model.messages import Edit, Media, Message, Outgoing, Send
from legato.model.records import DEAD, UNKNOWN, Commit, OutboxItem
from legato.outbox.relay import Relay, RelaySettings
from legato.platforms.telegram import Telegram
from legato.stores.memory import MemoryStore
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.servers import clear_environment


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)


class Delivery:
    """Says things to chats by way of the outbox."""

    def __init__(self, telegram: FakeTelegram) -> None:
        self.bot = Telegram(telegram.token, api=telegram.api)
        self.store = MemoryStore()
        self.http = Transport()
        self.gone: list[str] = []
        self.relay = Relay(
            self.store,
            {("telegram", self.bot.bot): self.bot},
            self.http,
            SystemClock(),
            on_gone=self.on_gone,
            settings=RelaySettings(backoff_base_s=0.01),
        )

    async def on_gone(self, item: OutboxItem, verdict: Verdict) -> None:
        self.gone.append(item.key)

    async def say(self, chat: int, *outs: Outgoing, delivery: str = "at_least_once") -> None:
        place = Address("telegram", self.bot.bot, str(chat), user=str(chat))
        items = [
            OutboxItem(0, place.lane, place, f"key{chat}", 1, f"ref:{n}:0", call, delivery)
            for n, out in enumerate(outs)
            for call in self.bot.render(out, place)
        ]
        now = SystemClock().now_ms()
        items = [replace(one, created_ms=now) for one in items]
        done = await self.store.commit(Commit(at_ms=now, outbox=tuple(items)))
        self.relay.offer([replace(i, id=n) for i, n in zip(items, done.ids, strict=True)])

    async def states(self) -> list[str]:
        rows = await self.store.outbox(states=("queued", "sending", UNKNOWN, DEAD))
        return [row.state for row in rows]


@asynccontextmanager
async def delivering() -> AsyncIterator[tuple[FakeTelegram, Delivery]]:
    async with FakeTelegram() as telegram:
        delivery = Delivery(telegram)
        yield telegram, delivery
        await delivery.relay.close()
        await delivery.http.close()


def text(words: str) -> Send:
    return Send(Message(words))


async def test_texts_photos_and_edits_arrive_in_order(tmp_path: Path) -> None:
    photo = tmp_path / "cat.jpg"
    photo.write_bytes(b"\xff\xd8" + bytes(500_000))
    async with delivering() as (telegram, delivery):
        ann = telegram.user("Ann", started=True)
        await delivery.say(
            ann.id,
            text("one"),
            Send(Message("a cat", media=Media(path=str(photo)))),
            text("two"),
            Edit("ref:0:0", Message("first")),
        )
        assert await delivery.relay.flush(10) == 0
        assert telegram.chat(ann.id).texts == ["first", "a cat", "two"]
        assert await delivery.states() == []


async def test_a_reset_after_the_call_repeats_it_or_leaves_it_unknown() -> None:
    async with delivering() as (telegram, delivery):
        ann, bob = telegram.user("Ann", started=True), telegram.user("Bob", started=True)
        telegram.resets(carried_out=True, chat=ann.id)
        telegram.resets(carried_out=True, chat=bob.id)
        await delivery.say(ann.id, text("twice"), text("end"))
        await delivery.say(bob.id, text("once"), text("end"), delivery="at_most_once")
        assert await delivery.relay.flush(10) == 0
        assert telegram.chat(ann.id).texts == ["twice", "twice", "end"]
        assert telegram.chat(bob.id).texts == ["once", "end"]
        assert await delivery.states() == [UNKNOWN]


async def test_a_server_error_is_repeated_and_a_limit_is_obeyed() -> None:
    async with delivering() as (telegram, delivery):
        ann = telegram.user("Ann", started=True)
        telegram.fails(500)
        telegram.fails(429, retry_after=0.05, skip=1)
        await delivery.say(ann.id, text("one"), text("two"))
        assert await delivery.relay.flush(10) == 0
        assert telegram.chat(ann.id).texts == ["one", "two"]
        assert delivery.relay.stats.retried == 2


async def test_a_user_who_blocked_the_bot_is_told_of_once() -> None:
    async with delivering() as (telegram, delivery):
        ann = telegram.user("Ann", started=True)
        ann.blocks()
        await delivery.say(ann.id, text("one"), text("two"))
        assert await delivery.relay.flush(10) == 0
        assert delivery.gone == [f"key{ann.id}"]
        assert await delivery.states() == [DEAD, DEAD]


async def test_a_group_that_became_a_supergroup_is_followed() -> None:
    async with delivering() as (telegram, delivery):
        group = telegram.group("Friends", telegram.user("Ann"), kind="group")
        moved = group.becomes_supergroup()
        await delivery.say(group.id, text("one"), text("two"))
        assert await delivery.relay.flush(10) == 0
        assert telegram.chat(moved.id).texts[-2:] == ["one", "two"]
        assert len(telegram.called("sendMessage")) == 3
