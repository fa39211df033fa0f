"""The Telegram platform over real sockets: starting, webhooks, uploads and downloads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from legato import App, Chat
from legato.abc import HttpClient, HttpRequest, Store, Verdict
from legato.app.runtime import Runtime
from legato.errors import BadToken, ConfigError, Forged, Unavailable
from legato.model.events import Address, File, MessageReceived
from legato.model.messages import Button, Edit, Media, Message, Outgoing, Send
from legato.model.records import Call
from legato.platforms.telegram import Telegram
from legato.stores.memory import MemoryStore
from legato.testing._http import Request, Response, Server
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.telegram_kit import AiohttpClient


@asynccontextmanager
async def world() -> AsyncIterator[tuple[FakeTelegram, HttpClient, MemoryStore]]:
    store = MemoryStore()
    await store.open()
    async with FakeTelegram(second=0.01) as fake, AiohttpClient() as http:
        yield fake, http, store
    await store.close()


def bot(fake: FakeTelegram, secret: str = "") -> Telegram:
    return Telegram(fake.token, api=fake.api, secret=secret)


def at(user: FakeUser) -> Address:
    return Address("telegram", "4200", str(user.id), str(user.id))


# -- starting ------------------------------------------------------------------------------------


async def test_with_a_public_url_the_webhook_is_set_with_a_secret_that_is_made_once() -> None:
    async with world() as (fake, http, store):
        first = bot(fake)
        await first.setup(http, store, "http://127.0.0.1:9/")
        await bot(fake).setup(http, store, "http://127.0.0.1:9")
        one, two = (call.params for call in fake.called("setWebhook"))
        assert one == two
        assert one["url"] == "http://127.0.0.1:9/telegram"
        assert one["max_connections"] == 40
        allowed = one["allowed_updates"]
        assert isinstance(allowed, list)
        assert {"message", "callback_query", "message_reaction"} <= set(allowed)
        assert len(str(one["secret_token"])) >= 32
        assert one["secret_token"] in first.secrets


async def test_a_function_that_never_runs_setup_knows_the_secret_and_the_name_from_the_store() -> (
    None
):
    async with world() as (fake, http, store):
        await bot(fake).setup(http, store, "http://127.0.0.1:9")
        secret = str(fake.called("setWebhook")[0].params["secret_token"])

        function = bot(fake)
        request = HttpRequest("POST", "/telegram", {"x-telegram-bot-api-secret-token": secret})
        with pytest.raises(Forged):
            function.verify(request)
        await function.load(store)
        function.verify(request)
        assert command(function, "/go@other_bot") == ""
        assert command(function, "/go@FAKE_bot") == "go"


def command(telegram: Telegram, text: str) -> str:
    message = {"message_id": 1, "date": 1, "chat": {"id": 7, "type": "private"}, "text": text}
    (event,) = telegram.parse(msgspec.json.encode({"update_id": 1, "message": message})).events
    assert isinstance(event, MessageReceived)
    return event.command


async def test_two_processes_that_start_at_once_agree_on_one_secret() -> None:
    async with world() as (fake, http, store):
        bots = [bot(fake) for _ in range(8)]
        await asyncio.gather(*(b.setup(http, store, "http://127.0.0.1:9") for b in bots))
        assert len({b._secret for b in bots}) == 1
        assert {c.params["secret_token"] for c in fake.called("setWebhook")} == {bots[0]._secret}


async def test_a_given_secret_is_used_and_not_kept() -> None:
    async with world() as (fake, http, store):
        await bot(fake, secret="mine").setup(http, store, "http://127.0.0.1:9")
        assert fake.called("setWebhook")[0].params["secret_token"] == "mine"
        assert await store.get("setting", "telegram:4200:secret") is None


async def test_without_a_public_url_the_webhook_is_removed_and_nothing_waiting_is_lost() -> None:
    async with world() as (fake, http, store):
        await bot(fake).setup(http, store, "http://127.0.0.1:9")
        fake.updates.hold()
        fake.user().sends("x")
        await bot(fake).setup(http, store, "")
        assert fake.updates.webhook is None
        assert len(fake.updates.pending) == 1


async def test_a_refused_token_is_one_line_without_the_token() -> None:
    async with world() as (fake, http, store):
        for status in (401, 404):
            fake.fails(status, method="getMe")
            with pytest.raises(BadToken) as caught:
                await bot(fake).setup(http, store, "")
            assert "TELEGRAM_TOKEN" in str(caught.value)
            assert "fake-token" not in str(caught.value)
            assert "\n" not in str(caught.value)


async def test_a_telegram_that_is_down_is_unavailable_and_a_bad_url_a_setting_to_mend() -> None:
    async with world() as (fake, http, store):
        fake.fails(502, method="getMe")
        fake.fails(502, method="getMe", html=True)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await bot(fake).setup(http, store, "")
        fake.fails(429, method="getMe", retry_after=7)
        with pytest.raises(Unavailable) as caught:
            await bot(fake).setup(http, store, "")
        assert caught.value.retry_after_s == 7
        with pytest.raises(Unavailable):
            await Telegram(fake.token, api="http://127.0.0.1:1").setup(http, store, "")
        with pytest.raises(ConfigError, match="HTTPS URL"):
            await bot(fake).setup(http, store, "http://example.org")


# -- webhooks ------------------------------------------------------------------------------------


async def test_a_webhook_update_is_verified_parsed_and_answered_in_its_own_response() -> None:
    async with world() as (fake, http, store):
        telegram = bot(fake)

        def handle(request: Request) -> Response:
            telegram.verify(HttpRequest("POST", request.target, request.headers, request.body))
            (event,) = telegram.parse(request.body).events
            assert isinstance(event, MessageReceived)
            (call,) = telegram.render(Send(Message(f"You said {event.text}")), event.place)
            return Response(200, telegram.webhook_reply(call, event.place) or b"")

        server = Server(handle)
        try:
            await telegram.setup(http, store, f"http://127.0.0.1:{await server.open()}")
            ann = fake.user()
            ann.sends("<hi>")
            await ann.gets("You said <hi>")
        finally:
            await server.close()


# -- sending -------------------------------------------------------------------------------------


async def carry_out(
    fake: FakeTelegram, http: HttpClient, out: Outgoing, user: FakeUser
) -> list[Verdict]:
    telegram = bot(fake)
    return [await telegram.send(call, at(user), http) for call in telegram.render(out, at(user))]


async def test_what_we_render_is_what_a_person_sees() -> None:
    async with world() as (fake, http, _):
        ann = fake.user(started=True)
        rows = ((Button("Yes", data="y"), Button("Site", url="https://x.y")), (Button("No"),))
        message = Message("**Sure** <you>?", "markdown", buttons=rows)
        (verdict,) = await carry_out(fake, http, Send(message), ann)

        shown = ann.chat.last
        assert (verdict.outcome, verdict.message_id) == ("sent", str(shown.id))
        assert (shown.text, shown.rows) == ("Sure <you>?", [["Yes", "Site"], ["No"]])
        assert shown.entities == [{"type": "bold", "offset": 0, "length": 4}]


async def test_a_text_of_every_length_arrives_whole() -> None:
    async with world() as (fake, http, _):
        for text in ("👍" * 5000, "**word** _x_ <&> " * 900, "`c` " * 3000):
            ann = fake.user(started=True)
            for markup in ("", "markdown"):
                ann.chat.messages.clear()
                verdicts = await carry_out(fake, http, Send(Message(text, markup)), ann)
                assert {v.outcome for v in verdicts} == {"sent"}
                kept = text if not markup else text.replace("*", "").replace("`", "")
                assert "".join("".join(ann.sees).split()) == "".join(kept.split())


async def test_a_local_file_goes_up_and_a_received_one_comes_down(tmp_path: Path) -> None:
    async with world() as (fake, http, _):
        ann = fake.user(started=True)
        (tmp_path / "cät 1.bin").write_bytes(b"meow" * 10_000)
        out = Send(Message("A cat", media=Media("document", path=str(tmp_path / "cät 1.bin"))))
        (verdict,) = await carry_out(fake, http, out, ann)
        assert verdict.outcome == "sent"
        document = ann.chat.last.media["document"]
        assert isinstance(document, dict)
        assert (document["file_name"], document["file_size"]) == ("cät 1.bin", 40_000)

        telegram = bot(fake)
        file = File(document["file_id"])
        lookup = telegram.file_request(file, None)
        assert isinstance(lookup, Call)
        fetch = telegram.file_request(file, await telegram.send(lookup, at(ann), http))
        assert isinstance(fetch, HttpRequest)
        assert await http.download(fetch, str(tmp_path / "back"), 1_000_000) == 40_000
        missing = Send(Message(media=Media("photo", path=str(tmp_path / "none.jpg"))))
        (refused,) = await carry_out(fake, http, missing, ann)
        assert refused.outcome == "refused"


async def test_a_photos_text_and_the_photo_itself_can_be_edited(tmp_path: Path) -> None:
    async with world() as (fake, http, _):
        ann = fake.user(started=True)
        (tmp_path / "b.jpg").write_bytes(b"\xff\xd8")
        photo = Media("photo", url="https://x.y/a.jpg")
        (sent,) = await carry_out(fake, http, Send(Message("old", media=photo)), ann)
        await carry_out(fake, http, Edit(sent.message_id, Message("*new*", "markdown")), ann)
        assert ann.chat.last.text == "new"
        other = Message("newer", media=Media("photo", path=str(tmp_path / "b.jpg")))
        (edited,) = await carry_out(fake, http, Edit(sent.message_id, other), ann)
        assert (edited.outcome, ann.chat.last.text) == ("sent", "newer")


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_broken_connection_is_told_from_one_that_never_was(carried_out: bool) -> None:
    async with world() as (fake, http, _):
        ann = fake.user(started=True)
        fake.resets(carried_out=carried_out)
        (verdict,) = await carry_out(fake, http, Send(Message("x")), ann)
        assert verdict.outcome == "unknown"
    async with world() as (fake, http, _):
        nowhere = Telegram(fake.token, api="http://127.0.0.1:1")
        (call,) = nowhere.render(Send(Message("x")), at(ann))
        assert (await nowhere.send(call, at(ann), http)).outcome == "retry"


# -- the menu of commands --------------------------------------------------------------------------


async def menus_of(fake: FakeTelegram, app: App, store: Store, http: HttpClient) -> list[str]:
    """The methods that a start of `app` calls for its menus."""
    telegram = bot(fake)
    Runtime(app, store=store, platforms=[telegram], clock=FakeClock(), http=http)
    before = len(fake.calls)
    await telegram.setup(http, store, "")
    return [call.method for call in fake.calls[before:] if "MyCommands" in call.method]


def offering(*names: str) -> App:
    app = App("x")
    for name in names:

        async def dialog(chat: Chat) -> None: ...

        only = name if name in ("private", "groups", "moderators") else ""
        app.command(name, f"{name}2", name=name, help=f"What {name} does", only=only)(dialog)
    return app


async def test_the_menu_shows_the_apps_commands_and_is_set_only_when_they_change() -> None:
    async with world() as (fake, http, store):
        assert await menus_of(fake, App("x"), store, http) == []
        app = offering("start", "private", "groups", "moderators", "Ärger", "x" * 33)
        assert await menus_of(fake, app, store, http) == ["setMyCommands"] * 2
        (private, groups) = (call.params["commands"] for call in fake.called("setMyCommands"))
        assert isinstance(private, list)
        assert isinstance(groups, list)
        assert [c["command"] for c in private] == ["start", "private"]
        assert [c["command"] for c in groups] == ["start", "groups"]
        assert private[0]["description"] == "What start does"
        assert await menus_of(fake, app, store, http) == []
        assert await menus_of(fake, offering("private"), store, http) == [
            "setMyCommands",
            "deleteMyCommands",
        ]
        assert await menus_of(fake, App("x"), store, http) == ["deleteMyCommands"] * 2
        assert await menus_of(fake, App("x"), store, http) == []


async def test_a_telegram_that_refuses_the_menu_does_not_stop_the_bot(caplog: Any) -> None:
    async with world() as (fake, http, store):
        fake.fails(400, method="setMyCommands")
        assert await menus_of(fake, offering("start"), store, http) == ["setMyCommands"]
        assert "the menu of commands could not be set" in caplog.text
        assert await menus_of(fake, offering("start"), store, http) == ["setMyCommands"] * 2
