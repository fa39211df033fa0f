"""The ways in which a bot on Twitch hears while its process runs."""

from __future__ import annotations

import logging

from legato.abc import HttpClient, Store
from legato.errors import Unavailable
from legato.platforms.twitch.chat import Chat
from legato.platforms.twitch.inbox import Inbox
from legato.platforms.twitch.notifications import Notifications
from legato.platforms.twitch.setup import find_channels, subscribe
from legato.platforms.twitch.sockets import Endpoint, LineStream, open_lines, open_socket
from legato.platforms.twitch.state import State
from legato.platforms.twitch.subscriptions import subscribe as subscribe_to
from legato.platforms.twitch.waiting import together

log: logging.Logger = logging.getLogger("legato.twitch")

CHECK_S = 3600.0
"""How often the subscriptions of a webhook are looked at."""
SOON_S = 60.0
"""The same after a change, and where Twitch could not be asked."""


async def until_lost(state: State, http: HttpClient, store: Store) -> None:
    """Keeps the account valid.

    Raises:
        BadToken: Twitch does not take it any more.
    """

    async def watch() -> None:
        await state.gone.wait()
        if state.lost is not None:
            raise state.lost

    await together(watch(), state.tokens.keep_valid(http, store))


def chat_of(state: State, where: Endpoint, inbox: Inbox, http: HttpClient, store: Store) -> Chat:
    """The bot's presence on IRC."""

    async def opened() -> LineStream:
        return await open_lines(where)

    async def token(refused: str) -> str:
        if refused:
            return await state.tokens.refresh(http, store, refused)
        return await state.tokens.user_token(http, store)

    return Chat(opened, state.login, token, state.rooms, inbox=inbox, clock=state.clock)


async def notified(state: State, url: str, inbox: Inbox, http: HttpClient, store: Store) -> None:
    """Hears over a WebSocket of EventSub until cancelled.

    Raises:
        BadToken: Twitch does not take the account any more.
    """
    while len(state.channels()) == 0:  # set-up could not be finished: it is out of reach
        try:
            await find_channels(state, http, store)
        except Unavailable as error:
            log.warning("%s; asking again", error)
            await state.clock.sleep(max(5.0, error.retry_after_s))

    async def subscribe_one(session: str, channel: str) -> str:
        transport: dict[str, object] = {"method": "websocket", "session_id": session}
        return await subscribe_to(state.helix, http, store, channel, transport)

    sessions = Notifications(
        open_socket, url, state.channels(), subscribe_one, inbox=inbox, clock=state.clock
    )
    await sessions.run()


async def look_after(state: State, http: HttpClient, store: Store) -> None:
    """Sees to it that webhooks keep coming, until cancelled.

    Raises:
        BadToken: Twitch does not take the account any more.
    """
    wait_s = SOON_S  # by then the callbacks are verified, or are not
    while True:
        await together(state.changed.wait(), state.clock.sleep(wait_s))
        if state.changed.is_set():
            state.changed.clear()
            await state.clock.sleep(min(wait_s, SOON_S))  # never in a tight circle
        if not state.callback:
            continue  # set-up is still being tried
        try:
            well = await subscribe(state, http, store)
        except Unavailable as error:
            log.warning("the subscriptions cannot be looked at: %s", error)
            well = False
        wait_s = CHECK_S if well else SOON_S
