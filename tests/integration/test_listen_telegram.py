"""Telegram's long polling, held by one of several processes that are killed, stopped and woken."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from legato.testing.fake_telegram import FakeTelegram
from tests.integration.listen_cluster import WAIT_S, Cluster, Crowd, cluster, stops, wakes
from tests.integration.twitch_bot import free_port, until
from tests.servers import Postgres, Rabbit

USERS = 20


class World:
    """A cluster's listeners, and the people on Telegram."""

    def __init__(
        self, telegram: FakeTelegram, listeners: Cluster, crowd: Crowd, env: dict[str, str]
    ) -> None:
        self.telegram = telegram
        self.env = env
        self.cluster = listeners
        self.crowd = crowd

    @property
    def conflicts(self) -> int:
        """Polls that another one ended."""
        return sum(call.code == 409 for call in self.telegram.called("getUpdates"))

    async def everything_came(self) -> None:
        """Each person's messages, in order."""
        await until(lambda: self.cluster.texts == self.crowd.sent, WAIT_S)


@asynccontextmanager
async def opened(
    folder: Path, postgres_url: str, rabbit_url: str, names: str = "ab"
) -> AsyncIterator[World]:
    async with FakeTelegram(second=0.2) as telegram:
        telegram.log_polls = True
        users = [telegram.user(f"U{n}") for n in range(USERS)]
        env = {
            "TELEGRAM_TOKEN": telegram.token,
            "TELEGRAM_API": telegram.api,
            "LEGATO_STORE": postgres_url,
        }
        async with cluster(folder, rabbit_url, env, names) as listeners:
            yield World(telegram, listeners, Crowd({str(u.id): u.sends for u in users}), env)


async def test_who_is_killed_under_load_is_followed_and_nothing_is_lost_or_overtaken(
    tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    async with opened(tmp_path, postgres_url, rabbit_url) as world:
        async with world.crowd:
            for generation in range(3):
                await world.crowd.until_sent(15)
                ended = [b for b in world.cluster.listeners.values() if b.process.returncode]
                old = await world.cluster.holder(*ended)
                await old.ends(signal.SIGKILL)
                await world.cluster.starts(f"new{generation}")
                await world.cluster.holder(old, *ended)
            await world.crowd.until_sent(15)
        await world.everything_came()


async def test_who_is_stopped_and_wakes_up_polls_no_more_beside_the_new_one(
    tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    async with opened(tmp_path, postgres_url, rabbit_url) as world:
        async with world.crowd:
            await world.crowd.until_sent(10)
            zombie = await world.cluster.holder()
            stops(zombie)
            new = await world.cluster.holder(zombie)
            await world.crowd.until_sent(10)
            before = world.conflicts
            wakes(zombie)
            await zombie.says("another process may have it now")
            await world.crowd.until_sent(60)
            assert world.conflicts == before
            assert "another process polls" not in new.output
            await new.ends(signal.SIGTERM)  # the zombie has become a standby, as good as any
            await until(lambda: zombie.output.count("held by this process") == 2, WAIT_S)
            await world.crowd.until_sent(10)
        await world.everything_came()


async def test_what_is_said_while_the_broker_is_away_comes_when_it_is_back(
    tmp_path: Path, postgres_url: str, own_rabbit: Rabbit, rabbit_url: str
) -> None:
    port = free_port()
    async with opened(tmp_path, postgres_url, rabbit_url, "") as world:
        await world.cluster.starts("a", LEGATO_LISTEN=f"127.0.0.1:{port}", **world.env)
        async with world.crowd:
            await until(lambda: world.cluster.texts, WAIT_S)
            assert await got(port, "readyz") == (200, "ready")
            assert 'legato_held_connections{platform="telegram"} 1' in await metrics(port)
            own_rabbit.kill9()
            await world.crowd.until_sent(30)
            await world.cluster.listeners["a"].says("an update waits")
            await becomes(port, 503, "not ready: queue")
            own_rabbit.start()
            await world.crowd.until_sent(10)
        await world.everything_came()
        await becomes(port, 200, "ready")


async def becomes(port: int, status: int, text: str) -> None:
    """Returns once /readyz says so: it asks once a second."""
    async with asyncio.timeout(WAIT_S):
        while await got(port, "readyz") != (status, text):  # noqa: ASYNC110 # nothing announces it
            await asyncio.sleep(0.1)


async def got(port: int, path: str) -> tuple[int, str]:
    """Status and text of what a listener serves."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/{path}") as response,
    ):
        return response.status, await response.text()


async def metrics(port: int) -> str:
    return (await got(port, "metrics"))[1]


async def test_a_start_waits_for_store_and_broker(tmp_path: Path, rabbit_url: str) -> None:
    with Postgres() as store:
        store.stop()
        async with FakeTelegram(second=0.2) as telegram, Cluster(tmp_path, rabbit_url, {}) as it:
            ann = telegram.user("Ann")
            env = {"TELEGRAM_TOKEN": telegram.token, "TELEGRAM_API": telegram.api}
            one = await it.starts("a", LEGATO_STORE=store.url, **env)
            await one.says("trying again")
            ann.sends("early")
            store.start()
            await until(lambda: it.texts, WAIT_S)
            store.restart()
            ann.sends("late")
            await until(lambda: it.texts == {str(ann.id): ["early", "late"]}, WAIT_S)
            assert await one.ends(signal.SIGTERM) == 0


async def test_two_that_know_nothing_of_each_other_are_seen_as_such(
    tmp_path: Path, rabbit_url: str
) -> None:
    """The negative control of the tests above: without the election Telegram complains."""
    async with opened(tmp_path, "memory://", rabbit_url) as world:
        async with world.crowd:
            await until(lambda: world.conflicts > 3, WAIT_S)
        outputs = [bot.output for bot in world.cluster.listeners.values()]
        assert any("another process polls with this bot's token" in text for text in outputs)
        assert all("no other process may listen" in text for text in outputs)
