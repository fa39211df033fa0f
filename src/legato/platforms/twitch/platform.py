"""The Twitch platform: parts put together, and the calls that are I/O."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from legato.abc.clock import Clock
from legato.abc.http import HttpClient, HttpRequest
from legato.abc.platform import Capabilities, Limits, Parsed, Platform, Sink, Verdict
from legato.abc.redaction import redacted
from legato.abc.store import Store
from legato.errors import ConfigError, Forged
from legato.model.events import Address
from legato.model.messages import Outgoing
from legato.model.records import Call
from legato.platforms.twitch.auth import AUTH
from legato.platforms.twitch.drops import Forms, code_of, dropped
from legato.platforms.twitch.events import Notice, Reader
from legato.platforms.twitch.eventsub import check_signature
from legato.platforms.twitch.helix import API, Helix, unsure
from legato.platforms.twitch.oauth import Tokens
from legato.platforms.twitch.render import SAY, render
from legato.platforms.twitch.rooms import Rooms
from legato.platforms.twitch.sockets import IRC as LINES
from legato.platforms.twitch.sockets import IRC_WEBSOCKET as SOCKET_LINES
from legato.platforms.twitch.sockets import Endpoint, endpoint
from legato.platforms.twitch.state import (
    EVENTSUB,
    EVENTSUB_WEBSOCKET,
    IRC,
    IRC_WEBSOCKET,
    TRANSPORTS,
    State,
)

if TYPE_CHECKING:
    from legato.platforms.twitch.chat import Chat

log: logging.Logger = logging.getLogger("legato.twitch")

SPEAK = "user:write:chat"
"""What the account must have allowed to speak through the API."""

_CURES = {
    "authorization_revoked": "`legato twitch login` again, or the broadcaster lets the bot in again",
    "notification_failures_exceeded": "the bot did not answer in time; it is subscribed to again",
    "user_removed": "the account does not exist any more",
    "version_removed": "Legato is too old for Twitch: update it",
}


CAPABILITIES = Capabilities(
    buttons=False,
    edit=True,  # as a message of its own
    react=False,
    pin=False,
    photos=False,
    files=False,
    typing=False,
    public=True,
)


class Twitch(Platform):
    """One bot on Twitch.

    It hears over IRC or EventSub, each by a socket that is held open or (EventSub) by webhooks; it
    answers over IRC or by the API. The same message gives the same event on each of these ways.
    """

    __slots__ = (
        "_chat",
        "_forms",
        "_reader",
        "_sessions",
        "_state",
        "_where",
        "bot",
        "capabilities",
        "limits",
        "name",
    )

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        channels: tuple[str, ...],
        *,
        clock: Clock,
        transport: str = IRC,
        irc: str = "",
        api: str = API,
        auth: str = AUTH,
        eventsub: str = "",
        secret: str = "",
        key: str = "",
        prefixes: tuple[str, ...] = ("/", "!"),
    ) -> None:
        """Makes the bot of an application; nothing is sent. Who it speaks as is in the store.

        Args:
            client_id, client_secret: As the developer console shows them.
            channels: Names of the channels to be in.
            clock: Time.
            transport: One of TRANSPORTS.
            irc: host:port, or an ircs:// or wss:// address.
            api, auth, eventsub: Addresses of the services.
            secret: What Twitch signs webhooks with, 10-100 ASCII characters. Without one `setup`
                makes it and keeps it in the store.
            key: LEGATO_KEY, what the account's tokens are encrypted with.
            prefixes: What a command may begin with.

        Raises:
            ConfigError: Something of this cannot be. The text begins with the variable's name.
        """
        _check(transport, eventsub, secret)
        self._where = _address(irc, transport)
        self._sessions = eventsub
        self.name: str = "twitch"
        self.bot: str = ""
        self.capabilities: Capabilities = CAPABILITIES
        self.limits: Limits = Limits()
        tokens = Tokens(client_id, client_secret, key, auth=auth, clock=clock)
        helix = Helix(client_id, tokens, clock, api, say_as_app=transport == EVENTSUB)
        self._state = State(transport, clock, rooms=Rooms(channels), tokens=tokens, helix=helix)
        self._state.secret = secret
        self._reader = Reader("", tuple(filter(None, prefixes)), clock)
        self._forms = Forms(clock)
        self._chat: Chat | None = None

    def __repr__(self) -> str:
        return f"<Twitch bot={self.bot or '?'} by {self._state.transport}>"

    @property
    def secrets(self) -> tuple[str, ...]:  # type: ignore[override] # it changes as tokens do
        """What must never show in logs or errors."""
        return tuple(filter(None, (*self._state.tokens.secrets, self._state.secret)))

    # -- in -----------------------------------------------------------------------------------

    def verify(self, request: HttpRequest) -> None:
        state = self._state
        if state.transport != EVENTSUB or not state.secret:
            raise Forged("no webhook is expected: TWITCH_TRANSPORT=eventsub, and run setup")
        check_signature(request.headers, request.body, state.secret, state.clock.now_ms())

    def parse(self, body: bytes) -> Parsed:
        parsed, notice = self._reader.read(body)
        if notice is not None:
            self._noticed(notice)
        return parsed

    def _noticed(self, notice: Notice) -> None:
        channel = self._state.rooms.login(notice.channel)
        if notice.roles is not None:
            self._state.rooms.hold(channel, notice.roles)
        if notice.revoked:
            log.error(
                "Twitch ended the messages of channel %s (%s): %s",
                channel,
                notice.revoked,
                _CURES.get(notice.revoked, "see https://dev.twitch.tv/docs/eventsub"),
            )
            self._state.changed.set()

    # -- out ----------------------------------------------------------------------------------

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        """See Platform. A target of a reply is filled in at "reply_to"."""
        return render(out, place)

    def limit(self, call: Call, place: Address) -> tuple[int, float] | None:
        """See Platform: 20 messages in 30 seconds, 100 where the bot is a moderator. A process that
        does not hear Twitch knows that from one that does, within seconds; until then it is 20.
        """
        if call.method not in (SAY, "send_chat_message"):
            return None
        return self._state.window(place.chat)

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        verdict = await self._sent(call, place, http)
        if not verdict.error:
            return verdict
        return replace(verdict, error=redacted(verdict.error, self.secrets))

    async def _sent(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        state = self._state
        if state.store is None:
            return Verdict("retry", error="the account is not loaded yet")
        if self._chat is None:
            await state.look_at_roles(state.store)
        if call.method != SAY:
            return await state.helix.send(call, place, http, state.store)
        text, reply_to = self._forms.of(call, place.chat)
        if state.over_irc and (self._chat is not None or not place.chat.isdecimal()):
            verdict = await self._say(call, place, text, reply_to)
        elif lacking := self._lacks():
            verdict = Verdict("retry", retry_after_s=60.0, error=lacking)
        else:
            params: dict[str, object] = {"text": text, "reply_to": reply_to}
            shaped = Call(SAY, params, idempotent=call.idempotent)
            verdict = await state.helix.send(shaped, place, http, state.store)
        if verdict.outcome == "sent":
            self._forms.shown(place.chat, text)
        elif code := code_of(verdict):
            self._forms.dropped(place.chat, text, reply_to, code)
        return verdict

    def _lacks(self) -> str:
        """Why the account cannot speak through the API, as a process without a connection to chat must
        (a worker, a function); "" if it can. What waits is kept until somebody logs in again.
        """
        account = self._state.tokens.account
        if not self._state.over_irc or account is None or SPEAK in account.scopes:
            return ""
        return (
            f"this process is not in Twitch chat, and the account {account.login} did not allow {SPEAK}: "
            "log in again with `legato twitch login`"
        )

    async def _say(self, call: Call, place: Address, text: str, reply_to: str) -> Verdict:
        """Says something over IRC."""
        from legato.platforms.twitch.chat import NotConnected
        from legato.platforms.twitch.session import NotShown
        from legato.platforms.twitch.sockets import Closed

        if self._chat is None:
            return Verdict("retry", error="not in chat yet")
        try:
            message_id = await self._chat.say(self._state.rooms.login(place.chat), text, reply_to)
        except NotConnected as error:
            return Verdict("retry", error=str(error))
        except NotShown as error:
            return dropped(error.code, str(error))
        except Closed as error:
            return unsure(call, f"the connection broke while it was said: {error}"[:500])
        return Verdict("sent", message_id)

    # -- life ---------------------------------------------------------------------------------

    def way(self, public_url: str) -> str:
        """See Platform."""
        transport = self._state.transport
        return super().way(public_url) if transport == EVENTSUB else transport

    def listens(self, public_url: str) -> bool:
        """See Platform: even with webhooks there is something to look after."""
        return True

    async def load(self, store: Store) -> None:
        """See Platform: who the bot is, its channels and the webhook's secret.

        Raises:
            ConfigError: LEGATO_KEY is missing, or not the one that the account was encrypted with.
        """
        await self._state.load(store)
        self.bot = self._reader.bot = self._state.bot

    async def setup(self, http: HttpClient, store: Store, public_url: str) -> None:
        """See Platform.

        Raises:
            BadToken: Nobody is logged in, or Twitch does not take the account.
            ConfigError: It cannot work like this.
            Unavailable: Twitch does not answer.
        """
        from legato.platforms.twitch.setup import set_up

        try:
            await set_up(self._state, http, store, public_url)
        finally:
            self.bot = self._reader.bot = self._state.bot

    async def listen(self, sink: Sink, http: HttpClient, store: Store) -> None:
        from legato.platforms.twitch import listening
        from legato.platforms.twitch.inbox import Inbox
        from legato.platforms.twitch.notifications import EVENTSUB as SESSIONS
        from legato.platforms.twitch.waiting import together

        state = self._state
        inbox = Inbox(sink, state.clock)
        try:
            if state.over_irc:
                self._chat = listening.chat_of(state, self._where, inbox, http, store)
                work = self._chat.run()
            elif state.transport == EVENTSUB_WEBSOCKET:
                url = self._sessions or SESSIONS
                work = listening.notified(state, url, inbox, http, store)
            else:
                work = listening.look_after(state, http, store)
            await together(work, listening.until_lost(state, http, store), state.tell_roles(store))
        finally:
            self._chat = None
            await inbox.close()


def _check(transport: str, eventsub: str, secret: str) -> None:
    if transport not in TRANSPORTS:
        raise ConfigError(f"TWITCH_TRANSPORT={transport}: choose one of {', '.join(TRANSPORTS)}")
    if secret and not (secret.isascii() and secret.isprintable() and 10 <= len(secret) <= 100):
        raise ConfigError("TWITCH_SECRET must be 10 to 100 ASCII characters")
    try:
        if eventsub and not endpoint(eventsub).url:
            raise ConfigError(f"{eventsub!r:.80} is no wss:// address")
    except ConfigError as error:
        raise ConfigError(f"TWITCH_EVENTSUB: {error}") from None


def _address(irc: str, transport: str) -> Endpoint:
    """Where the chat server is.

    Raises:
        ConfigError: It is no address, or none for this transport.
    """
    socket = transport == IRC_WEBSOCKET
    try:
        where = endpoint(irc or (SOCKET_LINES if socket else LINES))
    except ConfigError as error:
        raise ConfigError(f"TWITCH_IRC: {error}") from None
    if transport in (IRC, IRC_WEBSOCKET) and bool(where.url) != socket:
        wanted = "a wss:// address" if socket else "host:port or ircs://host:port"
        raise ConfigError(f"TWITCH_IRC={irc}: for TWITCH_TRANSPORT={transport} write {wanted}")
    return where
