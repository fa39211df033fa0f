"""The web chat on AWS: who speaks, what is pushed, and what is shown to whoever comes back."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from legato import App, Chat
from legato.deploy.function.connections import api_of
from legato.deploy.function.websocket import MOST_BYTES
from legato.errors import ConfigError
from legato.platforms.web.visits import visitor
from legato.testing.clock import FakeClock
from tests.unit.deploy.function_kit import request
from tests.unit.deploy.socket_kit import (
    ANN,
    BOB,
    LINK,
    SECRET,
    SOCKET,
    Gateway,
    Page,
    Site,
    a_site,
    event,
    stored,
)

models = pytest.importorskip("aws_lambda_powertools.utilities.parser.models")

DAY_S = 86_400
STARTED: list[str] = []
GONE: list[Gateway] = []
"""Gateways whose connections end while a dialog runs."""


def tunnel() -> None:
    for gateway in GONE:
        gateway.open.clear()


def shop() -> App:
    app = App("shop")

    @app.command("start")
    async def start(chat: Chat) -> None:
        STARTED.append(chat.user.id)
        size = await chat.choose("Size?", ["S", "L"])
        message = await chat.say(f"You took {size}.")
        await message.edit("Done.")
        await chat.ask("More?")

    @app.command("long")
    async def long(chat: Chat) -> None:
        await chat.say('"\N{GRINNING FACE}' * 20_000)

    @app.command("tunnel")
    async def into_a_tunnel(chat: Chat) -> None:
        await chat.say("Here it comes.")
        await chat.run(tunnel)
        await chat.say("There it was.")

    @app.command("cat")
    async def cat(chat: Chat) -> None:
        await chat.say("A cat", photo="/srv/cat.png")

    return app


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    STARTED.clear()
    GONE.clear()
    with a_site(shop(), tmp_path) as site:
        yield site


@pytest.mark.parametrize(
    ("kind", "model"),
    [("CONNECT", "Connect"), ("DISCONNECT", "Disconnect"), ("MESSAGE", "Message")],
)
def test_the_events_of_these_tests_are_such_as_powertools_knows(kind: str, model: str) -> None:
    told = getattr(models, f"APIGatewayWebSocket{model}EventModel").model_validate(
        event(LINK, kind, "{}")
    )
    assert told.request_context.connection_id == LINK
    assert told.request_context.event_type == kind


def test_a_page_talks_with_the_bot(site: Site) -> None:
    ann = Page(site, ANN, LINK).opens()
    (first,) = ann.news
    assert first["changes"] == [["name", "shop"], ["history", []]]

    assert ann.says("/start") == 200
    assert ann.shows == ["/start", "Size?"]
    assert ann.news[-1] == {"taken": f"{LINK[:-1]}-1"}
    question = ann.entries[-1]
    button = question["buttons"][0][1]
    assert ann.sends(id="press", message=question["id"], data=button["data"]) == 200
    assert ann.shows == ["/start", "Size?", "Done.", "More?"]
    numbers = [news["seq"] for news in ann.news if "seq" in news]
    assert numbers == list(range(first["seq"], first["seq"] + len(numbers)))


def test_who_comes_back_is_shown_what_was_said_meanwhile(site: Site) -> None:
    GONE.append(site.gateway)
    ann = Page(site, ANN, LINK).opens()
    assert ann.says("/tunnel") == 200  # nobody tells the function that it is gone
    assert "There it was." not in ann.shows
    assert stored() == []

    site.restart()
    back = Page(site, ANN, "another=").opens()
    assert back.shows == ["/tunnel", "Here it comes.", "There it was."]
    seen = len(ann.news)
    back.says("hello")
    assert len(ann.news) == seen


def test_a_session_is_known_by_its_secret_and_not_by_its_connection(site: Site) -> None:
    ann = Page(site, ANN, LINK).opens()
    ann.says("/start")
    bob = Page(site, BOB, "bobs=").opens()
    assert bob.shows == []
    thief = Page(site, BOB, LINK)  # who knows the connection, and has it even
    before = len(ann.news)
    assert thief.says("1") == 200
    assert ann.entries[-1].get("mine")  # shown on this very connection, which wrote it ...
    assert len(ann.news) > before
    assert bob.shows == ["1"]  # ... but said by Bob, who has no dialog
    assert Page(site, ANN, "third=").opens().shows == ["/start", "Size?"]

    nobody = Page(site, "", LINK)
    assert [nobody.says("/start"), nobody.sends()] == [403, 403]
    assert Page(site, "short", LINK).says("/start") == 403
    assert len(STARTED) == 1
    data = Path("legato.db").read_bytes() + Path("legato.db-wal").read_bytes()
    assert ANN.encode() not in data


def test_a_message_that_comes_twice_is_worked_on_once(site: Site) -> None:
    ann = Page(site, ANN, LINK).opens()
    for _ in range(2):
        assert ann.sends(id="one", text="/start") == 200
        site.restart()
    assert ann.shows == ["/start", "Size?"]
    assert [news for news in ann.news if "taken" in news] == [{"taken": "one"}] * 2
    assert len(STARTED) == 1


def test_a_push_that_fails_is_made_again_and_shown_once(site: Site) -> None:
    ann = Page(site, ANN, LINK).opens()
    site.gateway.failures = [200, 500]  # one push is lost on its way, the next one is not taken
    ann.says("/start")
    site.invoke({"legato": "tick"})
    assert ann.shows == ["Size?"]
    numbers = [news["seq"] for news in ann.news if "seq" in news]
    assert numbers == [numbers[0], numbers[0] + 3]  # the page sees that something is missing
    ann.sends(seq=numbers[0])
    assert ann.shows == ["/start", "Size?"]
    before = len(ann.news)
    ann.sends(seq=ann.seq)
    assert len(ann.news) == before
    assert stored() == []


def test_a_function_without_the_right_says_so_to_its_operator(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    ann = Page(site, ANN, LINK).opens()
    site.gateway.failures = [200, 403]
    ann.says("/start")
    assert "execute-api:ManageConnections" in caplog.text
    assert [row.state for row in stored()] == ["dead"]
    assert Page(site, ANN, "again=").opens().shows == ["/start", "Size?"]


def test_where_nobody_may_sign_nothing_is_lost(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ann = Page(site, ANN, LINK).opens()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert ann.says("/start") == 200
    assert "AWS_SECRET_ACCESS_KEY" in caplog.text
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert Page(site, ANN, "again=").opens().shows == ["/start", "Size?"]


def test_all_pages_of_a_session_show_the_same(site: Site) -> None:
    first, second = Page(site, ANN, "first=").opens(), Page(site, ANN, "second=").opens()
    first.says("/start")
    assert first.shows == second.shows == ["/start", "Size?"]
    first.closes()
    second.says("nonsense")
    assert len(second.shows) > 2
    assert len(first.shows) == 2


def test_what_is_long_comes_in_pieces_and_of_too_much_the_oldest_is_forgotten(site: Site) -> None:
    ann = Page(site, ANN, LINK).opens()
    for _ in range(3):
        ann.says("/long")
    assert site.gateway.largest < 128_000
    assert len(ann.shows) == 6
    assert ann.shows[-1] == '"\N{GRINNING FACE}' * 20_000
    back = Page(site, ANN, "back=").opens()
    assert 0 < len(back.shows) < 6
    assert back.shows == ann.shows[-len(back.shows) :]
    assert len(json.dumps(back.entries[:-1], ensure_ascii=False).encode()) <= MOST_BYTES


def test_who_was_gone_for_long_is_forgotten_and_may_come_back(tmp_path: Path) -> None:
    """Of eight days without a change nothing is left: the purge of each hour takes it."""
    clock = FakeClock()
    with a_site(shop(), tmp_path, clock) as site:
        ann = Page(site, ANN, LINK).opens()
        ann.says("/cat")
        clock.advance(5 * DAY_S)
        Page(site, BOB, "bobs=").opens().says("/cat")
        assert len(visitors()) == 2
        clock.advance(4 * DAY_S)
        site.invoke({"legato": "tick"})
        assert visitors() == [f"web|{visitor(BOB)}"]
        assert Page(site, BOB, "again=").opens().shows == ["/cat", "A cat"]

        seen = ann.seq
        ann.sends(seq=seen)  # a page that slept all the time: it takes nothing for old news
        assert ann.shows == []
        assert ann.seq > seen
        ann.says("/cat")
        assert ann.shows == ["/cat", "A cat"]


def visitors() -> list[str]:
    """Of whom something is in the store of this folder."""
    with closing(sqlite3.connect("legato.db")) as link:
        found = link.execute("SELECT DISTINCT name FROM kept WHERE name LIKE 'web|%'")
        return [str(name) for (name,) in found]


def test_what_is_no_message_is_refused(site: Site) -> None:
    ann = Page(site, ANN, LINK).opens()
    assert ann.says(" ") == 200
    assert ann.news[-1] == {"refused": f"{LINK[:-1]}-1", "why": "a message needs a text"}
    strange = json.dumps({"session": ANN, "id": "a\0", "text": "/start"})
    for body in ("", "[]", "{", '{"seq": "a"}', "[" * 100_000, strange):
        assert site.invoke(event(LINK, "MESSAGE", body))["statusCode"] == 400


def test_a_file_of_the_machine_is_only_named(site: Site) -> None:
    ann = Page(site, ANN, LINK).opens()
    ann.says("/cat")
    assert ann.entries[-1]["media"] == {"kind": "photo", "name": "cat.png"}


def test_the_page_is_served_with_the_address_of_its_socket(site: Site) -> None:
    page = site.invoke(request("GET", "/", headers={}))
    assert page["statusCode"] == 200
    assert f'<meta name="legato-socket" content="{SOCKET}">' in page["body"]
    assert '<script src="web/socket.js">' in page["body"]
    policy = page["headers"]["content-security-policy"]
    assert "connect-src wss://abc123.execute-api.eu-central-1.amazonaws.com;" in policy
    for file, text in (("socket.js", "ChatSocket"), ("chat.js", "heard"), ("chat.css", "{")):
        found = site.invoke(request("GET", f"/web/{file}", headers={}))
        assert text in found["body"]
    assert site.invoke(request("GET", "/web/page.html", headers={}))["statusCode"] == 404
    assert site.invoke(request("POST", "/web", "{}", headers={}))["statusCode"] == 401


def test_a_bot_without_a_web_chat_says_what_to_set(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "4200:canary-of-the-token")
    monkeypatch.setenv("TELEGRAM_SECRET", "secret")
    site.process.close()
    site.process = type(site.process)(site.app, {})
    with pytest.raises(ConfigError, match="LEGATO_WEB_SOCKET"):
        site.invoke(event(LINK, "MESSAGE", json.dumps({"session": ANN})))
    assert site.invoke(request("GET", "/", headers={}))["statusCode"] == 404


@pytest.mark.parametrize(
    ("host", "region", "expected"),
    [
        (
            "abc.execute-api.eu-west-1.amazonaws.com",
            "us-east-1",
            "https://abc.execute-api.eu-west-1.amazonaws.com/p%20x",
        ),
        ("chat.example.org", "eu-west-1", "https://abc.execute-api.eu-west-1.amazonaws.com/p%20x"),
        (
            "chat.example.cn",
            "cn-north-1",
            "https://abc.execute-api.cn-north-1.amazonaws.com.cn/p%20x",
        ),
    ],
)
def test_a_page_is_written_to_by_the_name_of_its_api(
    host: str, region: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", raising=False)
    monkeypatch.setenv("AWS_REGION", region)
    assert api_of({"domainName": host, "apiId": "abc", "stage": "p x"}) == expected


def test_another_address_of_the_management_api_may_name_the_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", "http://127.0.0.1:1/x/{id}/")
    assert api_of({"apiId": "abc", "stage": "live"}) == "http://127.0.0.1:1/x/abc/live"
