"""The web chat on AWS when stores, pages and processes fail: nothing is lost, and nothing is shown twice."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from legato.deploy.function.websocket import Kept, SocketWeb
from legato.errors import StoreUnavailable
from legato.model.records import Commit, Committed
from legato.platforms.web.rooms import Entry, Room
from legato.stores.sqlite import SQLiteStore
from tests.unit.deploy.function_kit import Jumping
from tests.unit.deploy.socket_kit import ANN, LINK, Gateway, Page, Site, a_site, event, stored
from tests.unit.deploy.socket_victim import DEAD, greeter

OVER_S = 15
"""An invocation is over after that."""
SAID = ["/start", "Welcome.", "Your name?", "Ann", "Hello, Ann!"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with a_site(greeter(), tmp_path) as site:
        yield site


def test_two_processes_that_change_the_same_chat_lose_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads, and is overtaken before it writes."""
    read = SQLiteStore.get
    faster: list[str] = ["b", "a"]

    def show(name: str) -> Callable[[Room], None]:
        return lambda room: room.show(Entry(name))

    async def changes() -> Kept:
        async with site.process.invoked(8):
            web = site.process.platform("web")
            assert isinstance(web, SocketWeb)

            async def overtaken(store: SQLiteStore, space: str, name: str) -> bytes | None:
                found = await read(store, space, name)
                if name.startswith("web|") and faster:
                    await web.change("ann", show(faster.pop()))
                return found

            monkeypatch.setattr(SQLiteStore, "get", overtaken)
            await web.change("ann", show("c"))
            kept = (await web.change("ann", lambda room: None))[1]
            monkeypatch.setattr("legato.deploy.function.websocket.TRIES", 1)
            faster.append("d")
            with pytest.raises(StoreUnavailable):
                await web.change("ann", show("e"))
            return kept

    kept = site.process.run(changes())
    assert [entry.id for entry in kept.entries] == ["b", "a", "c"]
    assert kept.version == 3


def test_while_the_store_is_away_the_page_is_told_to_come_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Page(site, ANN, LINK).opens()
    write = SQLiteStore.commit
    refusals = [True]

    async def away(store: SQLiteStore, commit: Commit) -> Committed:
        if refusals:
            refusals.pop()
            raise StoreUnavailable("away")
        return await write(store, commit)

    monkeypatch.setattr(SQLiteStore, "commit", away)
    assert ann.sends(id="one", text="/start") == 503
    assert ann.news[-1] == {"again": "one", "after_s": 1}
    assert ann.sends(id="one", text="/start") == 200
    assert ann.shows == SAID[:3]


def test_a_page_that_cannot_be_reached_now_is_reached_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Page(site, ANN, LINK).opens()
    with Gateway() as other:
        nowhere = other.address
    monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", nowhere)
    old = Page(site, ANN, "old=")
    old.sends()  # the newest connection now, and nobody can write to it
    monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", site.gateway.address)
    ann.says("/start")
    assert {row.state for row in stored()} == {"queued"}
    Page(site, ANN, "newer=").opens()  # the other one is not waited for any more
    site.clock = clock = Jumping()
    site.restart()
    clock.later_s += OVER_S
    until_delivered(site)
    assert ann.shows == SAID[:3]


def until_delivered(site: Site) -> None:
    """Ticks, until nothing is left; a chat that waits for another try has its time."""
    for _ in range(100):
        site.invoke({"legato": "tick"})
        if not stored():
            return
    pytest.fail("something is never delivered")


def test_a_process_that_dies_anywhere_loses_nothing_and_shows_nothing_twice(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.clock = clock = Jumping()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    deaths = 0
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        clock.later_s = 0
        site.restart()
        page = Page(site, ANN, f"{number}=").opens()
        frame = json.dumps({"session": ANN, "id": "one", "text": "/start"})
        message = event(page.connection, "MESSAGE", frame)
        command = [sys.executable, "-m", "tests.unit.deploy.socket_victim", str(number)]
        died = subprocess.run([*command, json.dumps(message)], check=False, timeout=60).returncode
        assert died in (0, DEAD)
        deaths += died == DEAD

        clock.later_s += OVER_S
        site.restart()
        page.sends(id="one", text="/start")  # as the page does until it is told {"taken"}
        assert page.news[-1] == {"taken": "one"}
        site.invoke({"legato": "tick"})
        assert Page(site, ANN, f"{number}b=").opens().shows == SAID[:3]
        assert page.sends(id="two", text="Ann") == 200
        assert Page(site, ANN, f"{number}c=").opens().shows == SAID
        if died == 0:
            break
    assert deaths >= 6
