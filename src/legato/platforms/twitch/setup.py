"""What a bot on Twitch does before it hears anything: who, where, and subscriptions."""

from __future__ import annotations

import logging

import msgspec
from msgspec import Struct

from legato.abc import HttpClient, Store
from legato.errors import BadToken, ConfigError, Unavailable
from legato.platforms.twitch.state import EVENTSUB, EVENTSUB_WEBSOCKET, State
from legato.platforms.twitch.subscriptions import reconcile

log: logging.Logger = logging.getLogger("legato.twitch")

LOGINS = 100
"""Channels looked up with one request."""


class _User(Struct, frozen=True):
    id: str
    login: str


class _Users(Struct, frozen=True):
    data: list[_User]


def scopes_for(transport: str) -> set[str]:
    """What the account must have allowed."""
    if transport == EVENTSUB:
        return {"user:read:chat", "user:write:chat", "user:bot"}
    if transport == EVENTSUB_WEBSOCKET:
        return {"user:read:chat", "user:write:chat"}
    return {"chat:read", "chat:edit"}


async def set_up(state: State, http: HttpClient, store: Store, public_url: str) -> None:
    """Makes sure that the bot can hear and speak. Idempotent.

    Raises:
        BadToken: Nobody is logged in, or Twitch does not take the account.
        ConfigError: It cannot work like this.
        Unavailable: Twitch does not answer.
    """
    if state.transport == EVENTSUB and not public_url:
        raise ConfigError(
            "TWITCH_TRANSPORT=eventsub receives webhooks: set LEGATO_PUBLIC_URL, or choose "
            "eventsub-websocket"
        )
    await state.load(store)
    valid = await state.tokens.validate(http, store)
    state.login = valid.login or state.login
    missing = scopes_for(state.transport) - set(valid.scopes or ())
    if missing:
        raise BadToken(
            f"the Twitch account {state.login} did not allow {', '.join(sorted(missing))}: log in again "
            "with `legato twitch login`"
        )
    await find_channels(state, http, store)
    if state.transport == EVENTSUB:
        state.callback = f"{public_url.rstrip('/')}/twitch"
        await subscribe(state, http, store)


async def find_channels(state: State, http: HttpClient, store: Store) -> None:
    """Looks the channels' ids up and keeps them.

    Raises:
        ConfigError: None of them exists.
        BadToken, Unavailable: As the API says.
    """
    rooms = state.rooms
    found: set[str] = set()
    for start in range(0, len(rooms.logins), LOGINS):
        params: dict[str, object] = {"login": list(rooms.logins[start : start + LOGINS])}
        response = await state.helix.ask("get_users", params, http, store)
        if response.status != 200:
            raise Unavailable(f"Twitch answered HTTP {response.status} when asked for channels")
        try:
            users = msgspec.json.decode(response.body, type=_Users).data
        except msgspec.MsgspecError as error:
            raise Unavailable("Twitch's list of channels cannot be read") from error
        for user in users:
            found.add(user.login.lower())
            rooms.learn(user.login.lower(), user.id)
    unknown = [login for login in rooms.logins if login not in found]
    if not found:
        raise ConfigError(f"TWITCH_CHANNELS: Twitch has no channel {', '.join(unknown)}")
    if unknown:
        log.error("TWITCH_CHANNELS: Twitch has no channel %s", ", ".join(unknown))
    await state.keep(store, "channels", rooms.kept())


async def subscribe(state: State, http: HttpClient, store: Store) -> bool:
    """Makes the webhook's subscriptions be what they should be; whether Twitch is done with them, as far
    as it takes them at all.

    Raises:
        BadToken, Unavailable: As the API says.
    """
    from hashlib import sha256

    if not state.secret:
        from secrets import token_urlsafe

        # The first process to come makes the secret, the others take it.
        await state.keep(store, "secret", token_urlsafe(32).encode(), once=True)
        await state.load(store)
    signed = sha256(f"{state.secret} {state.callback}".encode()).hexdigest()[:16].encode()
    done = await reconcile(
        state.helix,
        http,
        store,
        channels=state.channels(),
        callback=state.callback,
        secret=state.secret,
        # Those made with another secret (or nobody knows which) would all be refused as forged.
        renew=await state.kept(store, "signed") != signed,
    )
    await state.keep(store, "signed", signed)
    return not (done.waiting or done.created)
