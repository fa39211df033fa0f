"""`legato gateway` in processes of their own, before a real broker: what is in the queue at the end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from legato.deploy.serving import bound
from legato.model.events import AnyEvent
from legato.queues.rabbitmq import RabbitQueue
from legato.testing.conformance._queue_kit import Reader
from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.faults import Proxy
from tests.integration.listen_kit import command, echo
from tests.integration.run_kit import SECRET, TOKEN, Bot, environment
from tests.servers import free_port
from tests.servers.rabbit import Rabbit

Sent = dict[int, list[str]]


class Cluster:
    """Gateways, and a reader of all that they publish."""

    reader: Reader

    def __init__(self, folder: Path, telegram: FakeTelegram, url: str) -> None:
        self.folder = folder
        self.telegram = telegram
        self.queue = RabbitQueue(url, "echo")
        self._bot = echo(folder)
        with bound("127.0.0.1", 0) as listener:
            self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = environment(telegram, LEGATO_QUEUE=url, LEGATO_LISTEN=f"127.0.0.1:{self.port}")

    @asynccontextmanager
    async def gateway(self, *flags: str, **env: str) -> AsyncIterator[Bot]:
        flags = ("--public-url", self.url, "--share-port", *flags)
        async with command(
            "gateway", self._bot, *flags, folder=self.folder, env=self.env | env
        ) as bot:
            await bot.says(f"listening: {self.url}/")
            await self.telegram.wait_for(lambda: bool(self.telegram.called("setWebhook")))
            yield bot

    def texts(self) -> Sent:
        """What each user wrote, by what is in the queue; repeated letters once."""
        found: dict[str, Any] = {}
        for letter in self.reader.letters:
            found.setdefault(letter.id, msgspec.json.decode(letter.body, type=AnyEvent))
        texts: Sent = {}
        for event in found.values():
            texts.setdefault(int(event.place.user), []).append(event.text)
        return texts

    def has(self, sent: Sent) -> bool:
        return sum(map(len, self.texts().values())) >= sum(map(len, sent.values()))

    async def all_are_there(self, sent: Sent) -> None:
        """Waits until everything that was written is in the queue, in order."""
        async with asyncio.timeout(60):
            while not self.has(sent):  # noqa: ASYNC110 # the reader only collects
                await asyncio.sleep(0.02)
        assert self.texts() == sent


@asynccontextmanager
async def cluster(folder: Path, url: str) -> AsyncIterator[Cluster]:
    async with FakeTelegram(token=TOKEN) as telegram:
        found = Cluster(folder, telegram, url)
        await found.queue.open()
        try:
            await found.queue.declare(1, 1)
            found.reader = await Reader.of(found.queue, 1, 0, acks=True)
            yield found
        finally:
            await found.queue.close()


def write(people: list[FakeUser], sent: Sent, count: int, word: str) -> None:
    """Everybody writes so many messages at once."""
    for n in range(count):
        for user in people:
            user.sends(f"{word} {n}")
            sent.setdefault(user.id, []).append(f"{word} {n}")


async def test_a_gateway_killed_under_load_loses_nothing_and_keeps_the_order(
    tmp_path: Path, rabbit_url: str
) -> None:
    async with cluster(tmp_path, rabbit_url) as all_:
        people = [all_.telegram.user(f"U{n}") for n in range(8)]
        sent: Sent = {}
        for round_ in range(4):
            async with all_.gateway() as gate:
                write(people, sent, 10, f"round {round_}")
                seen = len(all_.reader.letters)
                await all_.reader.has(seen + 5)
                assert await gate.ends(signal.SIGKILL) == -signal.SIGKILL
        async with all_.gateway():
            await all_.all_are_there(sent)


async def test_gateways_share_a_port_and_one_that_ends_in_order_loses_nothing(
    tmp_path: Path, rabbit_url: str
) -> None:
    async with cluster(tmp_path, rabbit_url) as all_:
        del all_.env["TELEGRAM_SECRET"]  # the first of them makes one
        people = [all_.telegram.user(f"U{n}") for n in range(8)]
        sent: Sent = {}
        async with all_.gateway() as first, all_.gateway() as second:
            write(people, sent, 15, "both")
            await all_.reader.has(30)
            assert await first.ends(signal.SIGTERM) == 0
            assert "stopped" in first.output
            write(people, sent, 5, "one")
            await all_.all_are_there(sent)
            assert await second.ends(signal.SIGTERM) == 0
        secrets = {call.params["secret_token"] for call in all_.telegram.called("setWebhook")}
        assert len(secrets) == 1
        assert all(status in (0, 200) for _, status in all_.telegram.updates.deliveries)


async def test_a_store_that_went_away_after_the_start_is_not_missed(
    tmp_path: Path, rabbit_url: str
) -> None:
    async with cluster(tmp_path, rabbit_url) as all_:
        user = all_.telegram.user("Ann")
        sent: Sent = {}
        store = tmp_path / "away" / "legato.db"
        store.parent.mkdir()
        async with all_.gateway("--store", f"sqlite:///{store}"):
            write([user], sent, 1, "before")
            await all_.all_are_there(sent)
            for file in store.parent.iterdir():
                file.write_bytes(b"")
            write([user], sent, 5, "after")
            await all_.all_are_there(sent)


async def test_a_blocked_broker_is_503_within_two_seconds_and_taken_up_again(
    tmp_path: Path, own_rabbit: Rabbit, rabbit_url: str
) -> None:
    async with cluster(tmp_path, rabbit_url) as all_, aiohttp.ClientSession() as session:
        user = all_.telegram.user("Ann")
        sent: Sent = {}

        async def status(path: str) -> int:
            async with session.get(all_.url + path) as answer:
                return answer.status

        async with all_.gateway():
            write([user], sent, 1, "before")
            await all_.all_are_there(sent)
            assert await status("/readyz") == 200
            await asyncio.to_thread(own_rabbit.block)
            all_.telegram.updates.deliveries.clear()
            write([user], sent, 3, "meanwhile")
            deliveries = all_.telegram.updates.deliveries
            await all_.telegram.wait_for(lambda: 503 in {one for _, one in deliveries})
            assert not [one for one in deliveries if one[1] == 200]
            async with asyncio.timeout(60):
                while await status("/readyz") == 200:  # noqa: ASYNC110 # it is another process
                    await asyncio.sleep(0.1)
            assert await status("/healthz") == 200
            await asyncio.to_thread(own_rabbit.unblock)
            await all_.all_are_there(sent)


async def test_a_gateway_starts_before_its_broker_and_survives_its_restart(
    tmp_path: Path, own_rabbit: Rabbit, rabbit_url: str
) -> None:
    link, port = Proxy("127.0.0.1", own_rabbit.port), free_port()
    away = rabbit_url.replace(f":{own_rabbit.port}/", f":{port}/")
    async with FakeTelegram(token=TOKEN) as telegram:
        found = Cluster(tmp_path, telegram, rabbit_url)
        async with found.gateway(LEGATO_QUEUE=away) as gate:
            await gate.says("the broker: ")
            user = telegram.user("Ann")
            sent: Sent = {}
            write([user], sent, 2, "early")
            deliveries = telegram.updates.deliveries
            await telegram.wait_for(lambda: 503 in {one for _, one in deliveries})
            await link.open(port)  # now there is one: a broker takes seconds to start
            await found.queue.open()
            try:
                await found.queue.declare(1, 1)
                found.reader = await Reader.of(found.queue, 1, 0, acks=True)
                await found.all_are_there(sent)
                await asyncio.to_thread(own_rabbit.kill9)
                write([user], sent, 2, "late")
                await asyncio.to_thread(own_rabbit.start)
                await found.all_are_there(sent)
            finally:
                await found.queue.close()
                await link.close()


async def test_buttons_are_acknowledged_by_the_gateway(tmp_path: Path, rabbit_url: str) -> None:
    async with cluster(tmp_path, rabbit_url) as all_, all_.gateway():
        person = {"id": 5, "first_name": "Ann", "is_bot": False}
        message = {"message_id": 1, "date": 1, "chat": {"id": 5, "type": "private"}}
        query = {"id": "q1", "from": person, "message": message, "data": "b"}
        headers = {"x-telegram-bot-api-secret-token": SECRET}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(
                f"{all_.url}/telegram", json={"update_id": 1, "callback_query": query}
            ) as answer,
        ):
            assert answer.status == 200
        await all_.telegram.wait_for(lambda: bool(all_.telegram.called("answerCallbackQuery")))
        await all_.reader.has(1)
