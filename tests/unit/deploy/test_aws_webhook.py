"""The probe: a deployment that looks well and is not is found out before people are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from legato import App, Chat
from legato.app.settings import Settings
from legato.deploy.aws import steering, talks, webhook
from legato.deploy.transport import Transport
from legato.errors import BadToken, ConfigError, Unavailable
from legato.platforms.telegram import Telegram
from legato.stores.memory import MemoryStore
from legato.testing._http import Request, Response, Server
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.aws_script import PLACE, Scripted, clouded

HEADER = "x-telegram-bot-api-secret-token"
app = App("probed")


@app.command("start", help="says hello")
async def start(chat: Chat) -> None:
    await chat.say("hello")


class Function:
    """What stands at the function's address.

    Attributes:
        early: Statuses of the first answers.
        forged: The status for a wrong secret.
    """

    def __init__(self) -> None:
        self.early: list[int] = []
        self.forged = 401
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        if self.early:
            return Response(self.early.pop(0), b"no")
        return Response(200 if request.headers.get(HEADER) == "secret" else self.forged)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSE_S", 0.0)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Function, str, Transport]]:
    """A function, its address, and a client."""
    function, http = Function(), Transport()
    server = Server(function)
    try:
        yield function, f"http://127.0.0.1:{await server.open()}", http
    finally:
        await http.close()
        await server.close()


async def test_a_signed_request_is_taken_and_a_forged_one_is_not() -> None:
    async with served() as (function, url, http):
        function.early = [403, 502]  # its permissions are not known everywhere yet

        await webhook.probe(Telegram("42:abc", secret="secret"), http, url)

        assert [one.target for one in function.requests] == ["/telegram"] * 4
        assert [one.headers[HEADER] for one in function.requests[2:]] == ["secret", "wrong"]
        assert function.requests[2].body == b'{"update_id":0}'


async def test_a_function_that_takes_any_secret_is_found_out() -> None:
    async with served() as (function, url, http):
        function.forged = 200

        with pytest.raises(ConfigError, match=r"answers 200, not 401, .* speak for anybody"):
            await webhook.probe(Telegram("42:abc", secret="secret"), http, url)


async def test_a_function_with_another_secret_is_found_out() -> None:
    async with served() as (_, url, http):
        with pytest.raises(ConfigError, match="answers 401 to a signed request"):
            await webhook.probe(Telegram("42:abc", secret="another"), http, url)


async def test_an_address_without_its_permissions_is_explained() -> None:
    async with served() as (function, url, http):
        function.early = [403] * webhook.TRIES

        with pytest.raises(
            ConfigError, match=r"lambda:InvokeFunctionUrl and lambda:InvokeFunction"
        ):
            await webhook.probe(Telegram("42:abc", secret="secret"), http, url)
        function.early = [502] * webhook.BROKEN
        with pytest.raises(ConfigError, match="/telegram: 502: no"):
            await webhook.probe(Telegram("42:abc", secret="secret"), http, url)
        assert function.early == []


async def test_an_address_where_nobody_is_is_told() -> None:
    async with served() as (_, gone, _):
        pass
    async with served() as (_, _, http):
        with pytest.raises(ConfigError, match="cannot be reached: "):
            await webhook.probe(Telegram("42:abc", secret="secret"), http, gone)


async def test_the_webhook_is_set_checked_tried_and_taken_away() -> None:
    async with served() as (_, url, http), FakeTelegram() as telegram:
        settings = Settings(
            telegram_token=telegram.token, telegram_api=telegram.api, telegram_secret="secret"
        )
        store = MemoryStore()
        await store.open()
        platforms = webhook.platforms_of(app, settings)

        (tried,) = await webhook.connect(platforms, settings, store, http, url)

        assert (tried.platform, tried.url) == ("telegram", f"{url}/telegram")
        assert (tried.pending, tried.trouble) == (0, "")
        assert telegram.called("setMyCommands"), "the menu is set, too"
        assert (await webhook.webhook_info(settings, http))["url"] == f"{url}/telegram"
        await webhook.disconnect(platforms, store, http)
        assert (await webhook.webhook_info(settings, http))["url"] == ""
        await store.close()


async def test_a_webhook_that_another_program_sets_is_told() -> None:
    async with served() as (_, url, http), FakeTelegram() as telegram:
        settings = Settings(telegram_token=telegram.token, telegram_api=telegram.api)
        telegram.extra["getwebhookinfo"] = lambda params, files: {"url": "https://other.example"}

        with pytest.raises(ConfigError, match=r"sends to https://other\.example, not to"):
            await webhook._checked(settings, http, f"{url}/telegram")


async def test_a_bot_that_has_moved_keeps_its_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()

    monkeypatch.setattr(talks, "opened", opened)
    async with served() as (_, url, http), FakeTelegram() as telegram:
        settings = Settings(telegram_token=telegram.token, telegram_api=telegram.api)
        cloud = clouded(Scripted())
        for at in (f"{url}/", "https://elsewhere.example"):
            await Telegram(telegram.token, api=telegram.api, secret="s").setup(
                http, MemoryStore(), url
            )
            away = await steering._disconnected(cloud, PLACE, settings, "t", {at})
            left = str((await webhook.webhook_info(settings, http))["url"])
            assert (away, left) == (("", "") if at.startswith(url) else (f"{url}/telegram",) * 2)
        await Telegram(telegram.token, api=telegram.api).setup(http, MemoryStore(), "")
        assert not await steering._disconnected(cloud, PLACE, settings, "t", {"https://x"})
        assert not await webhook.elsewhere(Settings(), http, {"https://x"})


async def test_a_token_that_telegram_does_not_know_is_told_and_never_shown() -> None:
    async with served() as (function, url, http), FakeTelegram() as telegram:
        settings = Settings(telegram_token="4200:another", telegram_api=telegram.api)
        with pytest.raises(BadToken, match="refuses the token of bot 4200: check TELEGRAM_TOKEN"):
            await webhook.webhook_info(settings, http)
        settings = Settings(telegram_token="4200:another", telegram_api="http://127.0.0.1:1")
        with pytest.raises(Unavailable, match=r"cannot be asked for the webhook: ") as told:
            await webhook.webhook_info(settings, http)
        assert "another" not in str(told.value)
        function.early = [502]
        settings = Settings(telegram_token="4200:another", telegram_api=url)  # no Telegram at all
        with pytest.raises(Unavailable, match="answers 502 to getWebhookInfo"):
            await webhook.webhook_info(settings, http)
