"""Twitch's sockets, held by one of several processes: what each hears has the same id in all of them."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from legato.abc import Letter
from legato.deploy.clock import SystemClock
from legato.deploy.parts import make_store
from legato.model.events import MessageReceived
from legato.testing.fake_twitch import FakeTwitch
from tests.integration.listen_cluster import WAIT_S, Cluster, Crowd, cluster, stops, wakes
from tests.integration.run_kit import Bot
from tests.integration.twitch_bot import KEY, connected, log_in, until

VIEWERS = 15
BOTH = pytest.mark.parametrize("transport", ["irc", "eventsub-websocket"])


class World:
    """A cluster's listeners, and the viewers of a channel."""

    def __init__(
        self, twitch: FakeTwitch, transport: str, listeners: Cluster, crowd: Crowd
    ) -> None:
        self.twitch = twitch
        self.transport = transport
        self.cluster = listeners
        self.crowd = crowd

    async def holder(self, *others: Bot) -> Bot:
        """Who holds the connection, and hears what is said."""
        found = await self.cluster.holder(*others)
        await connected(self.twitch, self.transport, WAIT_S)
        return found

    def hearing(self) -> int:
        """How many processes hear the channel."""
        (channel,) = self.twitch.world.channels.values()
        if self.transport == "irc":
            return len(self.twitch.irc.members(channel))
        return len(list(self.twitch.eventsub.enabled))

    def in_order(self) -> bool:
        """Whether no viewer's message came before an earlier one."""
        return all(texts == sorted(texts, key=int) for texts in self.cluster.texts.values())

    def late(self) -> list[Letter]:
        """Letters of which a later one of the same viewer came before any of theirs."""
        newest: dict[str, int] = {}
        seen: set[str] = set()
        found: list[Letter] = []
        for letter in self.cluster.letters:
            event = msgspec.json.decode(letter.body, type=MessageReceived)
            if letter.id not in seen and int(event.text) < newest.get(event.place.user, 0):
                found.append(letter)
            seen.add(letter.id)
            newest[event.place.user] = max(int(event.text), newest.get(event.place.user, 0))
        return found

    def missing(self) -> int:
        """Messages that have not come."""
        sent, came = self.crowd.sent, self.cluster.texts
        return sum(len(texts) - len(came.get(user, [])) for user, texts in sent.items())

    def latest_came(self) -> bool:
        """Whether each viewer's last message has come."""
        return all(
            self.cluster.texts.get(user, [""])[-1:] == texts[-1:]
            for user, texts in self.crowd.sent.items()
        )


@asynccontextmanager
async def opened(
    folder: Path, store_url: str, rabbit_url: str, transport: str, names: str = "ab"
) -> AsyncIterator[World]:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        viewers = [twitch.viewer(f"V{n}") for n in range(VIEWERS)]
        env = twitch.environment(transport) | {"LEGATO_KEY": KEY, "LEGATO_STORE": store_url}
        store = make_store(store_url)
        await store.open()
        await log_in(twitch, store)
        await store.close()
        async with cluster(folder, rabbit_url, env, names) as listeners:
            crowd = Crowd({viewer.id: viewer.says for viewer in viewers})
            await connected(twitch, transport, WAIT_S)
            yield World(twitch, transport, listeners, crowd)


@BOTH
async def test_who_is_killed_is_followed_and_nothing_is_overtaken(
    transport: str, tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    async with opened(tmp_path, postgres_url, rabbit_url, transport) as world:
        async with world.crowd:
            await world.crowd.until_sent(10)
            old = await world.holder()
            await old.ends(signal.SIGKILL)
            await world.holder(old)
            await until(lambda: "twitch bot" in world.cluster.listeners["b"].output, WAIT_S)
            await world.crowd.until_sent(10)
        await until(world.latest_came, WAIT_S)
        assert world.in_order()
        assert world.twitch.violations == []


@BOTH
async def test_who_is_stopped_and_wakes_up_publishes_nothing_that_it_hears_then(
    transport: str, tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    """What it was about to publish when it was stopped may come late: nobody else has heard it."""
    async with opened(tmp_path, postgres_url, rabbit_url, transport) as world:
        async with world.crowd:
            await world.crowd.until_sent(10)
            zombie = await world.holder()
            stops(zombie)
            stopped_ms = SystemClock().now_ms()
            await world.holder(zombie)
            await world.crowd.until_sent(10)
            wakes(zombie)
            await zombie.says("another process may have it now")
            await world.crowd.until_sent(20)
        await until(world.latest_came, WAIT_S)
        assert [letter for letter in world.late() if letter.at_ms > stopped_ms] == []


@BOTH
async def test_what_was_heard_before_an_end_in_order_is_not_lost(
    transport: str, tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    async with opened(tmp_path, postgres_url, rabbit_url, transport, "a") as world:
        async with world.crowd:
            await world.crowd.until_sent(30)
        assert await world.cluster.listeners["a"].ends(signal.SIGTERM) == 0
        await until(lambda: world.missing() == 0, WAIT_S)
        assert world.in_order()


@BOTH
async def test_two_that_hear_the_same_give_it_the_same_id(
    transport: str, tmp_path: Path, rabbit_url: str
) -> None:
    """Also the negative control: without the election everything comes twice."""
    store_url = f"sqlite:///{tmp_path}/legato.db"
    async with opened(tmp_path, store_url, rabbit_url, transport) as world:
        ids: Counter[str] = Counter()

        def twice() -> bool:
            ids.clear()
            ids.update(letter.id for letter in world.cluster.letters)
            return bool(ids) and set(ids.values()) == {2}

        for bot in world.cluster.listeners.values():
            await bot.says("twitch bot")
        await until(lambda: world.hearing() == 2, WAIT_S)
        async with world.crowd:
            await world.crowd.until_sent(20)
        await until(twice, WAIT_S)
        said = {(one.id, one.slot, text_of(one)) for one in world.cluster.letters}
        assert len(said) == len(ids)
        assert world.in_order()


def text_of(letter: Letter) -> str:
    """What was said. (When, two sessions of EventSub are told differently.)"""
    return msgspec.json.decode(letter.body, type=MessageReceived).text
