"""EventSub: subscriptions, as Helix makes and lists them, and the notifications they bring.

https://dev.twitch.tv/docs/eventsub/manage-subscriptions (read 2026-11-29).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import Struct

from legato.testing._stage import inside
from legato.testing.fake_twitch.auth import Auth
from legato.testing.fake_twitch.helix import Asked, Field, Result, checked
from legato.testing.fake_twitch.payloads import event, timestamp
from legato.testing.fake_twitch.people import FakeChannel
from legato.testing.fake_twitch.sockets import Sockets
from legato.testing.fake_twitch.webhooks import Webhooks
from legato.testing.fake_twitch.world import Account, ApiError, FakeMessage, Json, World

CHAT = "channel.chat.message"
MOST_SUBSCRIPTIONS, MOST_SESSIONS = 300, 3
"""Enabled subscriptions of one WebSocket; WebSockets of one user that have any."""
TYPES: dict[tuple[str, str], tuple[str, ...]] = {
    (CHAT, "1"): ("broadcaster_user_id", "user_id"),
    ("channel.chat.notification", "1"): ("broadcaster_user_id", "user_id"),
    ("channel.chat.message_delete", "1"): ("broadcaster_user_id", "user_id"),
    ("channel.update", "2"): ("broadcaster_user_id",),
    ("stream.online", "1"): ("broadcaster_user_id",),
    ("stream.offline", "1"): ("broadcaster_user_id",),
    ("user.update", "1"): ("user_id",),
}
"""Types with their versions, and what their conditions need. Events come only of the first."""


class Subscription(Struct, eq=False):
    """One subscription.

    Attributes:
        status: "enabled", or why it is not.
        user: Whose token made it, "" for the app's.
        transport: As `method` and `callback` or `session_id`.
        secret: What webhooks are signed with.
    """

    id: str
    type: str
    version: str
    condition: Json
    transport: Json
    user: str
    secret: str = ""
    status: str = "enabled"
    created_at: str = ""

    @property
    def enabled(self) -> bool:
        """Whether it brings events."""
        return self.status == "enabled"

    def json(self) -> Json:
        """As Twitch shows it."""
        return {
            "id": self.id,
            "status": self.status,
            "type": self.type,
            "version": self.version,
            "condition": self.condition,
            "transport": self.transport,
            "created_at": self.created_at,
            "cost": 0,
        }


class EventSub:
    """All subscriptions and their ways.

    Attributes:
        subscriptions: Every one there is, dead ones included.
        page: How many the list shows at once.
        repeats: Every notification is sent so many times more, with the same id.
        webhooks, sockets: The two ways.
    """

    def __init__(self, world: World, auth: Auth) -> None:
        self.world = world
        self.auth = auth
        self.subscriptions: list[Subscription] = []
        self.page = 100
        self.repeats = 0
        self.webhooks: Webhooks = Webhooks(world, self.end)
        self.sockets: Sockets = Sockets(world, self._disconnected)
        self.table: dict[tuple[str, str], Callable[[Asked], Result]] = {
            ("POST", "/eventsub/subscriptions"): self._create,
            ("GET", "/eventsub/subscriptions"): self._list,
            ("DELETE", "/eventsub/subscriptions"): self._remove,
        }

    # -- for tests ----------------------------------------------------------------------------

    @property
    def enabled(self) -> list[Subscription]:
        """Those that bring events."""
        return [s for s in self.subscriptions if s.enabled]

    @inside
    def revokes(
        self, status: str = "authorization_revoked", *, channel: FakeChannel | None = None
    ) -> None:
        """Ends the subscriptions (of one channel) and tells their owner why."""
        for subscription in self.enabled:
            of = subscription.condition.get("broadcaster_user_id")
            if channel is None or of == channel.id:
                self.end(subscription, status)

    def end(self, subscription: Subscription, status: str) -> None:
        """Ends one, with a revocation message."""
        subscription.status = status
        self._deliver(subscription, "revocation", {"subscription": subscription.json()})
        self.world.changed()

    # -- events -------------------------------------------------------------------------------

    def said(self, message: FakeMessage, _origin: object) -> None:
        mine = [s for s in self.subscriptions if _wants(s, message)]
        if mine:
            content = event(message)
            for subscription in mine:
                body: Json = {"subscription": subscription.json(), "event": content}
                self._deliver(subscription, "notification", body, lane=message.user.id)

    def deleted(self, message: FakeMessage) -> None:
        """Nobody subscribes to that here."""

    def cleared(self, channel: FakeChannel, user: Account | None, seconds: int) -> None:
        """Nobody subscribes to that here."""

    def _deliver(
        self, subscription: Subscription, kind: str, body: Json, *, lane: str = ""
    ) -> None:
        uuid = self.world.uuid()
        times = 1 + (self.repeats if kind == "notification" else 0)
        if subscription.transport["method"] == "webhook":
            for _ in range(times):
                self.webhooks.post(subscription, kind, uuid, body, lane)
            return
        session = self.sockets.sessions.get(str(subscription.transport["session_id"]))
        if session is not None:
            for _ in range(times):
                session.tell(kind, body, uuid, subscription.type, subscription.version)

    def _disconnected(self, session_id: str, status: str) -> None:
        for subscription in self.subscriptions:
            if subscription.enabled and subscription.transport.get("session_id") == session_id:
                subscription.status = status
        self.world.changed()

    # -- Helix --------------------------------------------------------------------------------

    def _create(self, asked: Asked) -> Result:
        where = "Create EventSub Subscription"
        fields = {"type": Field(str), "version": Field(str)}
        fields |= {"condition": Field(dict), "transport": Field(dict)}
        fields["is_batching_enabled"] = Field(bool, required=False)
        body = checked(asked.body, fields, self.world, where)
        kind, version = str(body["type"]), str(body["version"])
        if (kind, version) not in TYPES:
            raise ApiError(400, "invalid subscription type and version")
        conditions = {name: Field(str) for name in TYPES[kind, version]}
        condition = checked(body["condition"], conditions, self.world, where)
        transport = body["transport"]
        method = transport.get("method") if isinstance(transport, dict) else None
        made = Subscription(self.world.uuid(), kind, version, condition, {}, "")
        made.created_at = timestamp()
        if method == "webhook":
            self._by_webhook(asked, made, checked(transport, _WEBHOOK, self.world, where))
        elif method == "websocket":
            self._by_socket(asked, made, checked(transport, _WEBSOCKET, self.world, where))
        else:
            raise ApiError(400, "invalid transport method")
        same = (made.type, made.condition, made.transport)
        for other in self.subscriptions:
            active = other.enabled or other.status == "webhook_callback_verification_pending"
            if active and _same(other, same):
                raise ApiError(409, "subscription already exists")
        self.subscriptions.append(made)
        self.world.changed()
        if method == "webhook":
            self.webhooks.verify(made)
        return 202, {"data": [made.json()]} | self._totals()

    def _by_webhook(self, asked: Asked, made: Subscription, transport: Json) -> None:
        if asked.token.user is not None:
            raise ApiError(400, "invalid transport and auth combination")
        url, secret = urlsplit(str(transport["callback"])), str(transport["secret"])
        loopback = url.hostname in ("127.0.0.1", "localhost")
        if not loopback and (url.scheme != "https" or url.port not in (None, 443)):
            raise ApiError(400, "invalid callback: it must use HTTPS and the port 443")
        if not 10 <= len(secret) <= 100 or not secret.isascii():
            raise ApiError(400, "secret must be between 10 and 100 ASCII characters")
        if made.type == CHAT:
            self._authorized(made)
        made.transport = {"method": "webhook", "callback": transport["callback"]}
        made.secret, made.status = secret, "webhook_callback_verification_pending"

    def _authorized(self, made: Subscription) -> None:
        """Whether the app may read the chat as this user: both must have agreed."""
        user, channel = str(made.condition["user_id"]), str(made.condition["broadcaster_user_id"])
        missing = ApiError(403, "subscription missing proper authorization")
        if channel not in self.world.channels or user not in self.world.accounts:
            raise missing
        if not all(self.auth.granted(user, s) for s in ("user:read:chat", "user:bot")):
            raise missing
        room, reader = self.world.channels[channel], self.world.accounts[user]
        if not room.bot_allowed and not room.roles_of(reader) & {"moderator", "broadcaster"}:
            raise missing

    def _by_socket(self, asked: Asked, made: Subscription, transport: Json) -> None:
        if asked.token.user is None:
            raise ApiError(400, "invalid transport and auth combination")
        session = self.sockets.sessions.get(str(transport["session_id"]))
        if session is None:
            raise ApiError(400, "websocket transport session does not exist or has disconnected")
        made.user = asked.token.user.id
        of = made.condition.get("user_id", made.user)
        if made.type == CHAT and ("user:read:chat" not in asked.token.scopes or of != made.user):
            raise ApiError(403, "subscription missing proper authorization")
        mine = [s for s in self.enabled if s.transport.get("session_id") == session.id]
        if len(mine) >= MOST_SUBSCRIPTIONS:
            raise ApiError(429, "number of websocket subscriptions exceeded")
        used = {s.transport.get("session_id") for s in self.enabled if s.user == made.user}
        if len(used - {session.id}) >= MOST_SESSIONS:
            raise ApiError(429, "number of websocket transports limit exceeded")
        session.used = True
        made.transport = {
            "method": "websocket",
            "session_id": session.id,
            "connected_at": session.connected_at,
        }

    def _list(self, asked: Asked) -> Result:
        filters = [name for name in ("status", "type", "user_id") if name in asked.query]
        if len(filters) > 1:
            raise ApiError(400, "The request may specify only one filter query parameter.")
        mine = self._mine(asked)
        for name in filters:
            value = asked.param(name)
            mine = [s for s in mine if _shows(s, name, value)]
        cursor = asked.query.get("after", ["0"])[0]
        if not cursor.isdigit():
            raise ApiError(400, "The cursor specified in the after query parameter is not valid.")
        end = int(cursor) + self.page
        shown = [s.json() for s in mine[int(cursor) : end]]
        more = {"cursor": str(end)} if end < len(mine) else {}
        return 200, {"data": shown, "pagination": more} | self._totals(len(mine))

    def _remove(self, asked: Asked) -> Result:
        wanted = asked.param("id")
        found = next((s for s in self._mine(asked) if s.id == wanted), None)
        if found is None:
            raise ApiError(404, "subscription not found")
        self.subscriptions.remove(found)
        self.world.changed()
        return 204, None

    def _mine(self, asked: Asked) -> list[Subscription]:
        """An app sees its webhooks, a user the WebSockets opened in that name."""
        user = asked.token.user.id if asked.token.user is not None else ""
        return [s for s in self.subscriptions if s.user == user]

    def _totals(self, total: int = 1) -> Json:
        return {"total": total, "total_cost": 0, "max_total_cost": 10_000}

    async def close(self) -> None:
        """Stops sending."""
        await asyncio.gather(self.webhooks.close(), self.sockets.close())


_WEBHOOK = {"method": Field(str), "callback": Field(str), "secret": Field(str)}
_WEBSOCKET = {"method": Field(str), "session_id": Field(str)}


def _wants(subscription: Subscription, message: FakeMessage) -> bool:
    return (
        subscription.enabled
        and subscription.type == CHAT
        and subscription.condition.get("broadcaster_user_id") == message.channel.id
    )


def _same(one: Subscription, other: tuple[str, Json, Json]) -> bool:
    return (one.type, one.condition, one.transport) == other


def _shows(subscription: Subscription, name: str, value: str) -> bool:
    if name == "user_id":
        return value in subscription.condition.values()
    return bool(getattr(subscription, name) == value)
