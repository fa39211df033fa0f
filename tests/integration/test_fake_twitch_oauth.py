"""The fake authorization server: what is granted, refreshed, refused and revoked."""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from legato.testing.fake_twitch import FakeTwitch

REDIRECT = "http://localhost:3000/cb"
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
Ask = Callable[..., Any]


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[FakeTwitch, Ask]]:
    async with FakeTwitch() as twitch, aiohttp.ClientSession() as session:

        async def ask(path: str, *, access: str = "", **form: str) -> tuple[int, Any]:
            client = {"client_id": twitch.client_id, "client_secret": twitch.client_secret}
            headers = {"authorization": f"OAuth {access}"} if access else {}
            method = "GET" if path == "/validate" else "POST"
            async with session.request(
                method, twitch.auth_url + path, data=client | form, headers=headers
            ) as response:
                kind = response.content_type
                return response.status, await response.json() if "json" in kind else None

        yield twitch, ask


async def visit(twitch: FakeTwitch, **params: str) -> dict[str, Any]:
    """What the browser is sent back with; {"status": ...} if it is not sent anywhere."""
    defaults = {"client_id": twitch.client_id, "redirect_uri": REDIRECT, "response_type": "code"}
    query = defaults | {"scope": "chat:read chat:edit", "state": "s1"} | params
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            twitch.auth_url + "/authorize", params=query, allow_redirects=False
        ) as response,
    ):
        if response.status != 302:
            found: dict[str, Any] = await response.json()
            return found
        location = urlsplit(response.headers["location"])
        assert f"{location.scheme}://{location.netloc}{location.path}" == REDIRECT
        return {name: values[0] for name, values in parse_qs(location.query).items()}


async def test_a_code_gives_tokens_once() -> None:
    async with opened() as (twitch, ask):
        back = await visit(twitch)
        assert (back["state"], back["scope"]) == ("s1", "chat:read chat:edit")
        form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": REDIRECT}
        status, tokens = await ask("/token", **form)
        assert (status, tokens["scope"]) == (200, ["chat:edit", "chat:read"])
        assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 14_400)
        _, valid = await ask("/validate", access=tokens["access_token"])
        assert (valid["login"], valid["user_id"]) == ("fakebot", twitch.bot.id)
        assert (valid["scopes"], valid["client_id"]) == (["chat:edit", "chat:read"], "fakeclientid")
        assert await ask("/token", **form) == (
            400,
            {"status": 400, "message": "Invalid authorization code", "error": "Bad Request"},
        )


async def test_whoever_is_at_the_browser_logs_in_or_refuses() -> None:
    async with opened() as (twitch, ask):
        ann = twitch.viewer("Ann")
        twitch.auth.visitor = ann.account
        code = (await visit(twitch))["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        _, tokens = await ask("/token", **form)
        assert (await ask("/validate", access=tokens["access_token"]))[1]["login"] == "ann"
        twitch.auth.denies = True
        back = await visit(twitch)
        assert back == {
            "state": "s1",
            "error": "access_denied",
            "error_description": "The user denied you access",
        }


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"client_id": "other"}, "invalid client"),
        ({"redirect_uri": "https://example.org/cb"}, "redirect_uri does not match"),
        ({"response_type": "token"}, "invalid response type"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid code challenge"),
    ],
)
async def test_a_wrong_address_leads_nowhere(params: dict[str, str], message: str) -> None:
    async with opened() as (twitch, _):
        back = await visit(twitch, **params)
        assert back["status"] == 400
        assert message in back["message"]


async def test_only_registered_addresses_are_redirected_to_if_there_are_any() -> None:
    async with opened() as (twitch, _):
        twitch.auth.redirect_uris = {"http://localhost:4000"}
        assert (await visit(twitch))["status"] == 400
        twitch.auth.redirect_uris = {REDIRECT}
        assert "code" in await visit(twitch)


async def test_a_code_with_a_challenge_needs_its_verifier() -> None:
    async with opened() as (twitch, ask):
        for verifier, expected in ((VERIFIER, 200), ("w" * 43, 400), ("", 400)):
            challenge = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
            code = (await visit(twitch, **challenge))["code"]
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
            status, _ = await ask("/token", **form, code_verifier=verifier)
            assert status == expected


async def test_a_refresh_token_works_once_and_the_next_one_after_it() -> None:
    async with opened() as (twitch, ask):
        form = {"grant_type": "refresh_token", "refresh_token": twitch.refresh_token}
        status, first = await ask("/token", **form)
        assert status == 200
        assert await ask("/token", **form) == (
            400,
            {"status": 400, "message": "Invalid refresh token", "error": "Bad Request"},
        )
        form["refresh_token"] = first["refresh_token"]
        assert (await ask("/token", **form))[0] == 200
        assert twitch.auth.refreshed == [twitch.refresh_token] * 2 + [first["refresh_token"]]
        _, valid = await ask("/validate", access=first["access_token"])
        assert "chat:read" in valid["scopes"]


@pytest.mark.parametrize(
    ("form", "status", "message"),
    [
        ({"client_id": "x"}, 400, "invalid client"),
        ({"client_secret": "x"}, 403, "invalid client secret"),
        ({}, 400, "missing grant type"),
        ({"grant_type": "password"}, 400, "Invalid grant"),
        ({"grant_type": "refresh_token"}, 400, "Invalid refresh token"),
        ({"grant_type": "authorization_code"}, 400, "Invalid authorization code"),
    ],
)
async def test_a_wrong_request_gets_no_token(
    form: dict[str, str], status: int, message: str
) -> None:
    async with opened() as (_, ask):
        answered, body = await ask("/token", **form)
        assert (answered, body["message"]) == (status, message)


async def test_an_app_gets_a_token_of_its_own() -> None:
    async with opened() as (_, ask):
        _, tokens = await ask("/token", grant_type="client_credentials")
        assert sorted(tokens) == ["access_token", "expires_in", "token_type"]
        _, valid = await ask("/validate", access=tokens["access_token"])
        assert sorted(valid) == ["client_id", "expires_in", "scopes"]
        assert valid["scopes"] is None


async def test_tokens_expire_are_revoked_and_forgotten() -> None:
    async with opened() as (twitch, ask):
        now = 1000.0
        twitch.world.now = lambda: now
        token = twitch.auth.grant(twitch.bot)
        assert (await ask("/validate", access=token.access))[0] == 200
        now += 14_400
        assert (await ask("/validate", access=token.access))[0] == 401
        assert (await ask("/validate"))[1]["message"] == "missing authorization token"

        fresh = twitch.auth.grant(twitch.bot)
        assert (await ask("/revoke", token=fresh.access))[0] == 200
        assert (await ask("/revoke", token=fresh.access))[0] == 400
        assert (await ask("/revoke", token=fresh.access, client_id="x"))[0] == 404
        form = {"grant_type": "refresh_token", "refresh_token": fresh.refresh}
        assert (await ask("/token", **form))[0] == 400

        twitch.auth.forget(twitch.bot)
        form["refresh_token"] = token.refresh
        assert (await ask("/token", **form))[0] == 400
        assert (await ask("/nowhere"))[0] == 404
