"""What the parts of one Twitch bot share."""

from __future__ import annotations

import asyncio

from legato.abc import Clock, Store
from legato.errors import BadToken
from legato.model.records import Commit
from legato.platforms.twitch.helix import Helix
from legato.platforms.twitch.oauth import Tokens
from legato.platforms.twitch.rooms import Rooms

IRC, IRC_WEBSOCKET = "irc", "irc-websocket"
EVENTSUB, EVENTSUB_WEBSOCKET = "eventsub", "eventsub-websocket"
TRANSPORTS = (IRC, IRC_WEBSOCKET, EVENTSUB, EVENTSUB_WEBSOCKET)


class State:
    """One bot, as far as it is known.

    Attributes:
        transport: One of TRANSPORTS.
        clock, rooms, tokens, helix: The parts.
        login: Its name, "" until it is known.
        secret: What webhooks are signed with, "" if there is none yet.
        callback: Where webhooks go, "" if they do not.
        store: Where it lives; None before `load`.
        lost: Why Twitch does not take the account any more.
        gone: Set with `lost`.
        changed: Set when the subscriptions should be looked at.
    """

    def __init__(
        self, transport: str, clock: Clock, *, rooms: Rooms, tokens: Tokens, helix: Helix
    ) -> None:
        self.transport: str = transport
        self.clock: Clock = clock
        self.rooms: Rooms = rooms
        self.tokens: Tokens = tokens
        self.helix: Helix = helix
        self.login: str = ""
        self.secret: str = ""
        self.callback: str = ""
        self.store: Store | None = None
        self.lost: BadToken | None = None
        self.gone: asyncio.Event = asyncio.Event()
        self.changed: asyncio.Event = asyncio.Event()
        helix.lost = self.lose

    @property
    def bot(self) -> str:
        """The bot's user id, "" until it is known."""
        return self.helix.bot

    @property
    def over_irc(self) -> bool:
        """Whether it chats over IRC."""
        return self.transport in (IRC, IRC_WEBSOCKET)

    def channels(self) -> tuple[str, ...]:
        """Ids of the channels to be in, as far as they are known."""
        return tuple(self.rooms.ids[c] for c in self.rooms.logins if c in self.rooms.ids)

    def lose(self, error: BadToken) -> None:
        """Twitch does not take the account any more."""
        self.lost = error
        self.gone.set()

    async def load(self, store: Store) -> None:
        """Takes what is in the store: who the bot is, its channels and the webhook's secret.

        Raises:
            ConfigError: LEGATO_KEY is missing, or not the one that the account was encrypted with.
        """
        self.store = store
        account = await self.tokens.load(store)
        if account is None:
            return
        self.helix.bot = account.user_id
        self.login = self.login or account.login
        if kept := await self.kept(store, "channels"):
            self.rooms.take(kept)
        self.secret = self.secret or (await self.kept(store, "secret")).decode()

    async def kept(self, store: Store, what: str) -> bytes:
        """A value of this bot, b"" if there is none."""
        return await store.get("setting", f"twitch:{self.bot}:{what}") or b""

    async def keep(self, store: Store, what: str, value: bytes, *, once: bool = False) -> None:
        """Keeps a value of this bot; `once`: only if no process ever did."""
        name = f"twitch:{self.bot}:{what}"
        commit = Commit(
            at_ms=self.clock.now_ms(),
            update_id=f"{name}:made" if once else "",
            puts=(("setting", name, value),),
        )
        await store.commit(commit)
