"""A Twitch account's tokens: logged in, kept, checked; and what must never show."""

import asyncio

import pytest

from legato.abc import HttpResponse, MaybeSent, NotSent
from legato.errors import BadToken, ConfigError, Unavailable
from legato.platforms.twitch.oauth import SCOPES
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from tests.unit.platforms.twitch_login import KEY, REDIRECT, VERIFIER, Desk, LoginService, complaint


@pytest.fixture
def desk() -> Desk:
    return Desk(LoginService(), MemoryStore(), FakeClock())


# -- logging in -------------------------------------------------------------------------------------


async def test_a_login_is_known_to_every_later_process(desk: Desk) -> None:
    await desk.log_in()

    account = await desk.another().tokens.load(desk.store)

    assert account is not None
    assert (account.user_id, account.login, account.scopes) == ("77", "legatobot", SCOPES)
    assert await desk.another().token() == await desk.token()


async def test_without_a_login_the_cure_is_named(desk: Desk) -> None:
    assert await desk.tokens.load(desk.store) is None
    with pytest.raises(BadToken, match="legato twitch login"):
        await desk.token()
    assert desk.service.asked == []


async def test_a_code_serves_once_and_only_with_its_verifier(desk: Desk) -> None:
    for code, verifier in (("canary-code-1", "another"), ("canary-code-9", VERIFIER)):
        with pytest.raises(BadToken, match="refused this login") as caught:
            await desk.tokens.log_in(desk.http, desk.store, code, verifier, REDIRECT)
        assert "canary" not in str(caught.value)
    assert await desk.tokens.load(desk.store) is None


async def test_another_account_takes_the_place_of_the_first(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    second = desk.another()
    desk.service.user = ("88", "otherbot")
    await second.log_in()

    account = await desk.another().tokens.load(desk.store)
    assert account is not None
    assert account.login == "otherbot"
    assert await desk.store.get("twitch-token", "77") is None
    with pytest.raises(
        BadToken, match="legatobot was logged out"
    ):  # it must not speak as the other
        await desk.refresh(old)


async def test_a_login_for_another_application_is_not_used(desk: Desk) -> None:
    await desk.log_in()
    desk.tokens._auth.client_id = "another"

    with pytest.raises(BadToken, match="another TWITCH_CLIENT_ID"):
        await desk.tokens._read(desk.store)


async def test_logging_out_forgets_the_account_and_ends_its_token(desk: Desk) -> None:
    await desk.log_in()
    running = desk.another()
    token = await running.token()

    assert await desk.tokens.log_out(desk.http, desk.store) == ("legatobot", True)

    assert desk.service.alive == set()
    with pytest.raises(BadToken, match="was logged out"):
        await running.refresh(token)
    with pytest.raises(BadToken, match="was logged out"):
        await running.token()
    assert desk.service.count("refresh_token") == 0
    assert await desk.tokens.log_out(desk.http, desk.store) == ("", False)


async def test_an_account_can_be_forgotten_without_its_key_and_without_twitch(desk: Desk) -> None:
    await desk.log_in()
    stranger = desk.another(key="some-other-passphrase")
    assert await stranger.tokens.log_out(desk.http, desk.store) == ("77", False)

    await desk.log_in()
    desk.service.faults = [NotSent("no route")]
    assert await desk.tokens.log_out(desk.http, desk.store) == ("legatobot", False)
    assert await desk.tokens.load(desk.store) is None


# -- checking ---------------------------------------------------------------------------------------


async def test_the_token_is_checked_at_first_and_then_hourly(desk: Desk) -> None:
    await desk.log_in()
    running = desk.another()
    desk.service.asked.clear()

    for minutes, checks in ((0, 1), (59, 1), (2, 2), (59, 2), (2, 3)):
        desk.clock.advance(60 * minutes)
        await running.token()
        assert desk.service.count("validate") == checks

    assert desk.service.count("refresh_token") == 0


async def test_a_dead_token_is_renewed_by_the_check_before_anybody_uses_it(desk: Desk) -> None:
    await desk.log_in()
    desk.service.expire()

    assert await desk.another().token() in desk.service.alive
    assert desk.service.count("refresh_token") == 1


async def test_a_check_that_twitch_does_not_answer_is_made_again_a_minute_later(desk: Desk) -> None:
    await desk.log_in()
    running = desk.another()
    desk.service.asked.clear()
    desk.service.faults = [complaint(503, ""), MaybeSent("cut off")]

    for seconds, checks in ((0, 1), (30, 1), (31, 2), (61, 3), (61, 3)):
        desk.clock.advance(seconds)
        assert await running.token() in desk.service.alive
        assert desk.service.count("validate") == checks


async def test_a_held_connection_learns_within_the_hour_that_the_account_is_lost(
    desk: Desk,
) -> None:
    await desk.log_in()
    await desk.token()
    watch = asyncio.create_task(desk.tokens.keep_valid(desk.http, desk.store))
    for _ in range(3):
        await asyncio.sleep(0)
        desk.clock.advance(3600)
        for _ in range(20):
            await asyncio.sleep(0)
    assert not watch.done()
    assert desk.service.count("validate") > 3

    desk.service.disconnect()
    desk.clock.advance(3600)

    with pytest.raises(BadToken, match="log in again with `legato twitch login`"):
        await watch


# -- the application's own token ---------------------------------------------------------------------


async def test_an_app_token_is_asked_for_once_and_anew_when_it_is_refused(desk: Desk) -> None:
    tokens = await asyncio.gather(*(desk.app() for _ in range(20)))
    assert desk.service.alive == set(tokens)
    desk.clock.advance(3600)
    desk.service.expire()

    again = await asyncio.gather(*(desk.refresh(tokens[0]) for _ in range(20)))

    assert desk.service.alive == set(again) != set(tokens)
    assert await desk.app() == again[0]
    assert desk.service.count("client_credentials") == 2


async def test_an_app_token_needs_no_key_and_no_login(desk: Desk) -> None:
    assert await desk.another(key="").app() in desk.service.alive


async def test_an_app_token_refused_for_another_reason_is_kept(desk: Desk) -> None:
    token = await desk.app()

    assert await desk.refresh(token) == token
    assert desk.service.count("client_credentials") == 1


async def test_a_wrong_application_is_named(desk: Desk) -> None:
    desk.service.secret = "another"

    with pytest.raises(BadToken, match="TWITCH_CLIENT_ID and TWITCH_CLIENT_SECRET"):
        await desk.app()


# -- secrets ----------------------------------------------------------------------------------------


async def test_what_must_not_show_is_known_and_shows_in_no_error(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.log_in()
    app = await desk.app()
    grant = await desk.tokens._read(desk.store)
    assert {grant.access, grant.refresh, app} < set(desk.tokens.secrets)
    assert KEY in desk.tokens.secrets
    assert "canary" not in repr(desk.tokens)
    echoing = complaint(400, f"no token {grant.refresh} of {desk.tokens._client_secret}")
    bodies = [b"{", b'{"access_token":7}', b'"canary"', b'{"refresh_token":"canary"}']
    desk.service.expire()
    faults = [echoing, *(HttpResponse(200, body=body) for body in bodies)]

    for fault in reversed(faults):
        desk.service.faults = [fault]
        with pytest.raises((BadToken, Unavailable)) as caught:
            await desk.refresh(grant.access)
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None  # whose text could hold what was answered

    assert "canary" not in caplog.text


async def test_without_a_key_nothing_is_kept(desk: Desk) -> None:
    keyless = desk.another(key="")

    with pytest.raises(ConfigError, match=r"LEGATO_KEY is not set.*openssl rand -base64 32"):
        await keyless.log_in()

    assert desk.service.count("authorization_code") == 0  # the code is not wasted either
    assert await desk.store.get("twitch-token", "bot") is None


async def test_another_key_is_recognised(desk: Desk) -> None:
    await desk.log_in()

    with pytest.raises(BadToken, match="another LEGATO_KEY"):
        await desk.another(key="some-other-passphrase").token()
