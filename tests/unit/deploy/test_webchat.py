"""The web chat over ASGI: sessions, messages in, the stream out, and who is kept away."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.app.runtime import Runtime
from legato.deploy import webchat
from legato.deploy.http import Endpoint, Message
from legato.deploy.webchat import WebChat
from legato.errors import Unavailable
from legato.platforms.web import Web
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.script import NoNetwork
from tests.unit.deploy.asgi_kit import Answer, request, scope_of

HOST = {"host": "127.0.0.1:8080"}
PROOF = {"x-legato-chat": "1"}
PNG = b"\x89PNG\r\n\x1a\n picture"


def shop(folder: Path) -> App:
    app = App("shop")

    @app.command("start")
    async def start(chat: Chat) -> None:
        size = await chat.choose("**Size?**", ["S", "L"])
        message = await chat.say(f"You took {size}.")
        await message.edit("Done.")
        await chat.ask("More?")

    @app.command("cat")
    async def cat(chat: Chat) -> None:
        await chat.say("A cat", photo=str(folder / "cat.png"))

    @app.command("phone")
    async def phone(chat: Chat) -> None:
        message = await chat.receive()
        await chat.say(repr(message.attachments))

    return app


class Stream:
    """A page's stream of events, as a browser reads it."""

    def __init__(self, app: Endpoint, headers: dict[str, str]) -> None:
        self.answer = Answer()
        self.gone = asyncio.Event()
        self._more = asyncio.Condition()
        scope = scope_of("GET", "/web/events", headers)
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        async with self._more:
            await self.answer.send(message)
            self._more.notify_all()

    @property
    def events(self) -> list[tuple[str, Any]]:
        found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", self.answer.body.decode())
        return [(name, json.loads(data)) for name, data in found]

    async def until(self, fits: Callable[[list[tuple[str, Any]]], bool]) -> list[tuple[str, Any]]:
        async with self._more, asyncio.timeout(10):
            await self._more.wait_for(lambda: fits(self.events))
        return self.events

    async def leaves(self) -> None:
        self.gone.set()
        await self.task


class Browser:
    """One visitor's browser: keeps the cookie, sends what our page sends."""

    def __init__(self, site: "Site") -> None:
        self.site = site
        self.headers = dict(HOST)

    async def opens(self) -> Answer:
        answer = await request(self.site.app, "GET", "/", headers=self.headers)
        if "set-cookie" in answer.headers:
            self.headers["cookie"] = answer.headers["set-cookie"].partition(";")[0]
        return answer

    async def posts(self, path: str, body: object, **more: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = self.headers | PROOF | more
        answer = await request(self.site.app, "POST", path, data, headers=headers)
        await self.site.runtime.drained()
        await self.site.runtime.relay.flush(10)
        return answer

    async def says(self, text: str) -> None:
        assert (await self.posts("/web/messages", {"text": text})).status == 204

    def stream(self) -> Stream:
        return Stream(self.site.app, self.headers)

    async def sees(self) -> list[dict[str, Any]]:
        """What the page shows after a reload."""
        stream = self.stream()
        events = await stream.until(lambda events: len(events) == 2)
        await stream.leaves()
        assert events[0] == ("name", "shop")
        found: list[dict[str, Any]] = events[1][1]
        return found


class Site:
    def __init__(self, folder: Path, host: str) -> None:
        clock = FakeClock()
        self.web = Web(clock)
        self.runtime = Runtime(
            shop(folder),
            store=MemoryStore(),
            platforms=[self.web],
            clock=clock,
            http=NoNetwork(),
        )
        self.app = Endpoint(self.runtime, WebChat(self.runtime, self.web, "shop", host))


@asynccontextmanager
async def site(folder: Path = Path(), host: str = "127.0.0.1") -> AsyncIterator[Site]:
    made = Site(folder, host)
    await made.runtime.start(loops=False)
    try:
        yield made
    finally:
        await made.runtime.abandon()


def text_of(entry: dict[str, Any]) -> str:
    return "".join(run[0] for run in entry.get("runs", []))


async def test_a_conversation_is_streamed_and_shown_again_after_a_reload() -> None:
    async with site() as made:
        ann = Browser(made)
        await ann.opens()
        stream = ann.stream()
        await stream.until(lambda events: len(events) == 2)
        await ann.says("/start")
        events = await stream.until(lambda e: any("buttons" in str(d) for _, d in e))
        assert events[:2] == [("name", "shop"), ("history", [])]
        question = events[-1][1]
        assert text_of(question) == "**Size?**"
        button = question["buttons"][0][1]
        press = {"message": question["id"], "data": button["data"]}
        await ann.posts("/web/buttons", press)
        await stream.until(lambda e: "edited" in str(e))
        (room,) = made.web._rooms._rooms.values()
        watched = [room.watched]
        await stream.leaves()
        watched.append(room.watched)
        assert watched == [True, False]

        shown = await ann.sees()
        assert [(text_of(e), e.get("mine", False)) for e in shown] == [
            ("/start", True),
            ("**Size?**", False),
            ("Done.", False),
            ("More?", False),
        ]


async def test_every_browser_has_a_conversation_of_its_own() -> None:
    async with site() as made:
        ann, bob = Browser(made), Browser(made)
        await ann.opens()
        await bob.opens()
        assert ann.headers["cookie"] != bob.headers["cookie"]
        await ann.says("/start")

        assert len(await ann.sees()) == 2
        assert await bob.sees() == []
        assert "set-cookie" not in (await ann.opens()).headers
        rows = await made.runtime.store.find()
        assert ann.headers["cookie"].partition("=")[2] not in str(rows)


async def test_a_page_that_falls_behind_or_a_chat_that_closes_ends_its_stream() -> None:
    async with site() as made:
        ann = Browser(made)
        await ann.opens()
        stream = ann.stream()
        await stream.until(lambda events: len(events) == 2)
        made.web.close()
        await stream.task

        assert stream.answer.done


async def test_a_silent_stream_shows_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webchat, "BEAT_S", 0.001)
    async with site() as made:
        ann = Browser(made)
        await ann.opens()
        stream = ann.stream()
        await stream.until(lambda events: b": alive" in stream.answer.body)
        await stream.leaves()


async def test_only_our_page_may_post() -> None:
    async with site() as made:
        ann = Browser(made)
        message = {"text": "/start"}
        assert (await ann.posts("/web/messages", message)).status == 403  # no session yet
        await ann.opens()
        bare = await request(made.app, "POST", "/web/messages", b"{}", headers=ann.headers)
        assert bare.status == 403
        foreign = {"origin": "https://evil.example"}
        assert (await ann.posts("/web/messages", message, **foreign)).status == 403
        own = {"origin": "http://127.0.0.1:8080"}
        assert (await ann.posts("/web/messages", message, **own)).status == 204
        assert (await request(made.app, "GET", "/web/events", headers=HOST)).status == 403
        assert (await request(made.app, "POST", "/web", b"{}", headers=ann.headers)).status == 401


@pytest.mark.parametrize(
    ("listens", "host", "status"),
    [
        ("127.0.0.1", "localhost:8080", 200),
        ("127.0.0.1", "[::1]:8080", 200),
        ("127.0.0.1", "rebound.example:8080", 403),
        ("127.0.0.1", "", 403),
        ("0.0.0.0", "bot.example.org", 200),
    ],
)
async def test_on_this_machine_only_names_of_this_machine_are_answered(
    listens: str, host: str, status: int
) -> None:
    async with site(host=listens) as made:
        assert (await request(made.app, "GET", "/", headers={"host": host})).status == status


async def test_the_page_holds_no_foreign_things_and_may_load_none() -> None:
    async with site() as made:
        page = await Browser(made).opens()
        script = await request(made.app, "GET", "/web/chat.js", headers=HOST)
        style = await request(made.app, "GET", "/web/chat.css", headers=HOST)

        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        cookie = page.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        for answer in (page, script, style):
            assert answer.status == 200
            assert b"//" not in answer.body.replace(b"// ", b"")
        for way in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval"):
            assert way not in script.body


async def test_a_local_photo_is_served_to_its_own_visitor_only(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    async with site(tmp_path) as made:
        ann, bob = Browser(made), Browser(made)
        await ann.opens()
        await bob.opens()
        await ann.says("/cat")
        media = (await ann.sees())[-1]["media"]
        mine = await request(made.app, "GET", media["url"], headers=ann.headers)
        other = await request(made.app, "GET", media["url"], headers=bob.headers)

        assert (mine.status, mine.body) == (200, PNG)
        assert mine.headers["content-type"] == "image/png"
        assert "sandbox" in mine.headers["content-security-policy"]
        assert "path" not in media
        assert other.status == 404
        (tmp_path / "cat.png").unlink()
        assert (await request(made.app, "GET", media["url"], headers=ann.headers)).status == 404


async def test_contacts_and_places_are_shared() -> None:
    async with site() as made:
        ann = Browser(made)
        await ann.opens()
        for body, shared in (
            ({"phone": "+371"}, "Contact(phone='+371'"),
            ({"location": [1, 2.5]}, "Location(latitude=1.0, longitude=2.5)"),
        ):
            await ann.says("/phone")
            assert (await ann.posts("/web/messages", body)).status == 204
            assert shared in text_of((await ann.sees())[-1])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/web/messages", b"{", 400),
        ("/web/messages", b"[]", 400),
        ("/web/messages", {"text": "  "}, 400),
        ("/web/messages", {"text": "x" * 20_000}, 400),
        ("/web/messages", {"location": [91, 0]}, 400),
        ("/web/messages", b'{"text":"\xff"}', 400),
        ("/web/messages", b'{"a":' * 30_000, 413),
        ("/web/messages", b"[" * 60_000, 400),
        ("/web/buttons", {"text": "x"}, 400),
        ("/web/buttons", {"data": "x" * 2000}, 400),
        ("/web/buttons", {"data": "nothing waits for this"}, 204),
        ("/web/messages", {"text": "a\x00b \u202e"}, 204),
    ],
)
async def test_what_is_no_message_is_refused(path: str, body: object, status: int) -> None:
    async with site() as made:
        ann = Browser(made)
        await ann.opens()

        assert (await ann.posts(path, body)).status == status


async def test_other_paths_and_methods_are_refused() -> None:
    async with site() as made:
        for method, path, status in (
            ("POST", "/", 405),
            ("GET", "/web/messages", 405),
            ("GET", "/web/other", 404),
            ("GET", "/web/media/1", 404),
        ):
            assert (await request(made.app, method, path, headers=HOST)).status == status


async def test_a_message_that_was_not_taken_is_neither_acknowledged_nor_shown() -> None:
    async with site() as made:
        ann = Browser(made)
        await ann.opens()

        async def refuse(*args: object) -> None:
            raise Unavailable("the disk is away")

        made.runtime.receive = refuse  # type: ignore[assignment,method-assign]
        answer = await ann.posts("/web/messages", {"text": "hello"})

        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert await ann.sees() == []
