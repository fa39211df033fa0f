"""What the parts of one Twitch bot share."""

from __future__ import annotations

import asyncio
import logging

import msgspec
from msgspec import Struct

from legato.abc import Clock, Store
from legato.errors import BadToken, StoreError
from legato.model.records import Commit
from legato.platforms.twitch.helix import Helix
from legato.platforms.twitch.oauth import Tokens
from legato.platforms.twitch.rooms import Rooms
from legato.platforms.twitch.waiting import together

IRC, IRC_WEBSOCKET = "irc", "irc-websocket"
EVENTSUB, EVENTSUB_WEBSOCKET = "eventsub", "eventsub-websocket"
TRANSPORTS = (IRC, IRC_WEBSOCKET, EVENTSUB, EVENTSUB_WEBSOCKET)
TELL_S = 60.0
"""How often a process that hears Twitch says where the bot is a moderator."""
BELIEVE_S = 3 * TELL_S
"""So long that is believed: whoever said it may be gone, and the bot no moderator any more."""
LOOK_S = 10.0
"""How often a process that does not hear Twitch looks what was said."""

log: logging.Logger = logging.getLogger("legato.twitch")


class Told(Struct, frozen=True):
    """Where the bot is a moderator, as a process that hears Twitch says in the store.

    Attributes:
        at_ms: When.
        powers: Ids of channels.
    """

    at_ms: int = 0
    powers: tuple[str, ...] = ()


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
        roles: Set when the bot's rights in a channel have changed.
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
        self.roles: asyncio.Event = asyncio.Event()
        self._told = Told()
        self._look_at = 0.0
        rooms.changed = self.roles.set
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

    # -- the bot's rights, from who hears Twitch to who does not ------------------------------

    async def tell_roles(self, store: Store) -> None:
        """Keeps in the store where the bot is a moderator, until cancelled."""
        told = False
        while True:
            self.roles.clear()
            powers = self.rooms.powers
            if powers or told:
                news = Told(self.clock.now_ms(), powers)
                try:
                    await self.keep(store, "powers", msgspec.json.encode(news))
                    told = bool(powers)
                except StoreError as error:
                    log.debug("nobody is told where the bot is a moderator: %s", error)
            await together(self.roles.wait(), self.clock.sleep(TELL_S))

    async def look_at_roles(self, store: Store) -> None:
        """Learns where the bot is a moderator from who hears Twitch; costs a read now and then."""
        if self.clock.monotonic() < self._look_at:
            return
        self._look_at = self.clock.monotonic() + LOOK_S
        try:
            kept = await self.kept(store, "powers")
            self._told = msgspec.json.decode(kept, type=Told) if kept else Told()
        except (StoreError, msgspec.MsgspecError) as error:
            log.debug("nobody says where the bot is a moderator: %s", error)

    def window(self, room: str) -> tuple[int, float]:
        """How much the bot may say in the channel with this id, as far as is known: little if not."""
        fresh = self._told.at_ms + BELIEVE_S * 1000 > self.clock.now_ms()
        return self.rooms.window(room, self.bot, self._told.powers if fresh else ())

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
