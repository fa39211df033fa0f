"""Helix: the endpoints that a chat bot needs, with their checks of tokens, parameters and bodies.

https://dev.twitch.tv/docs/api/reference (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from legato.testing.fake_twitch.auth import Auth, Token
from legato.testing.fake_twitch.people import FakeChannel
from legato.testing.fake_twitch.world import (
    LONGEST,
    Account,
    ApiError,
    FakeMessage,
    Json,
    Refused,
    World,
)

Query = dict[str, list[str]]
MOST_USERS = 100
CREATED = "2016-12-14T20:32:28Z"
COLOURS = ("blue", "green", "orange", "purple", "primary")


class Asked(Struct, eq=False):
    """One request whose token is valid."""

    token: Token
    query: Query
    body: Json

    def param(self, name: str) -> str:
        """The value of a query parameter.

        Raises:
            ApiError: It is missing.
        """
        values = self.query.get(name)
        if not values or not values[0]:
            raise ApiError(400, f'Missing required parameter "{name}"')
        return values[0]

    def user(self) -> Account:
        """Whose token it is.

        Raises:
            ApiError: It is an app's.
        """
        if self.token.user is None:
            raise ApiError(401, "Missing User OAUTH Token")
        return self.token.user

    def scope(self, name: str) -> None:
        """Refuses a user's token without this scope."""
        if self.token.user is not None and name not in self.token.scopes:
            raise ApiError(401, f"Missing scope: {name}")


class Field(Struct):
    """One field of a body."""

    kind: type
    required: bool = True


def checked(body: object, fields: dict[str, Field], world: World, where: str) -> Json:
    """The body of a request, if its fields are those of the reference.

    Raises:
        ApiError: A field is missing or of another type.
    """
    if not isinstance(body, dict):
        raise ApiError(400, "The request body is not a JSON object.")
    for name, field in fields.items():
        value = body.get(name)
        if value is None and name not in body:
            if field.required:
                raise ApiError(400, f'Missing required parameter "{name}"')
        elif type(value) is not field.kind or (value == "" and field.required):
            raise ApiError(400, f'The parameter "{name}" was malformed')
    for name in body:
        if name not in fields:
            world.violated(f"{where} has no field {name!r}")
    return body


Result = tuple[int, Json | None]


class Helix:
    """The endpoints.

    Attributes:
        extra: Endpoints added by a test: ("GET", "/polls") -> function of the request.
        table: Those that are there.
    """

    def __init__(self, world: World, auth: Auth) -> None:
        self.world = world
        self.auth = auth
        self.extra: dict[tuple[str, str], Callable[[Asked], Result]] = {}
        self.table: dict[tuple[str, str], Callable[[Asked], Result]] = {
            ("GET", "/users"): self._users,
            ("GET", "/channels"): self._channels,
            ("GET", "/streams"): self._streams,
            ("GET", "/chat/chatters"): self._chatters,
            ("GET", "/moderation/moderators"): self._moderators,
            ("POST", "/chat/messages"): self._send,
            ("POST", "/chat/announcements"): self._announce,
            ("DELETE", "/moderation/chat"): self._delete,
            ("POST", "/moderation/bans"): self._ban,
            ("DELETE", "/moderation/bans"): self._unban,
        }

    def handle(self, method: str, path: str, headers: dict[str, str], asked: Asked) -> Result:
        """Answers one request below /helix; `asked.token` is not known yet.

        Raises:
            ApiError: It is refused.
        """
        kind, _, access = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not access:
            raise ApiError(401, "OAuth token is missing")
        if "client-id" not in headers:
            raise ApiError(401, "Client ID is missing")
        token = self.auth.valid(access)
        if token is None:
            raise ApiError(401, "Invalid OAuth token")
        if headers["client-id"] != self.auth.client_id:
            raise ApiError(401, "Client ID and OAuth token do not match")
        perform = self.extra.get((method, path)) or self.table.get((method, path))
        if perform is None:
            raise ApiError(404, "")
        asked.token = token
        return perform(asked)

    # -- looking up ---------------------------------------------------------------------------

    def _users(self, asked: Asked) -> Result:
        ids, logins = asked.query.get("id", []), asked.query.get("login", [])
        if len(ids) + len(logins) > MOST_USERS:
            raise ApiError(400, "The number of ids and logins must not exceed 100.")
        if ids or logins:
            by_id = [self.world.accounts.get(i) for i in ids]
            by_login = [self.world.logins.get(login.lower()) for login in logins]
            found = [a for a in (*by_id, *by_login) if a is not None]
        elif asked.token.user is not None:
            found = [asked.token.user]
        else:
            raise ApiError(400, "Must provide an ID, Login or OAuth Token.")
        return 200, {"data": [_user(account) for account in dict.fromkeys(found)]}

    def _channels(self, asked: Asked) -> Result:
        asked.param("broadcaster_id")
        ids = asked.query["broadcaster_id"]
        found = [self.world.channels[i] for i in ids if i in self.world.channels]
        return 200, {"data": [_channel(channel) for channel in found]}

    def _streams(self, asked: Asked) -> Result:
        ids, logins = asked.query.get("user_id", []), asked.query.get("user_login", [])
        live = [c for c in self.world.channels.values() if c.live]
        wanted = [c for c in live if not (ids or logins) or c.id in ids or c.login in logins]
        return 200, {"data": [_stream(channel) for channel in wanted], "pagination": {}}

    def _chatters(self, asked: Asked) -> Result:
        channel, _ = self._moderated(asked, "moderator:read:chatters")
        found = dict.fromkeys(message.user for message in channel.messages)
        data = [{"user_id": u.id, "user_login": u.login, "user_name": u.name} for u in found]
        return 200, {"data": data, "pagination": {}, "total": len(data)}

    def _moderators(self, asked: Asked) -> Result:
        asked.scope("moderation:read")
        channel = self._channel(asked.param("broadcaster_id"))
        if channel.owner is not asked.user():
            raise ApiError(401, "The ID in broadcaster_id must match the user ID in the token.")
        ids = [i for i, roles in channel.roles.items() if "moderator" in roles]
        found = [self.world.accounts[i] for i in ids]
        data = [{"user_id": u.id, "user_login": u.login, "user_name": u.name} for u in found]
        return 200, {"data": data, "pagination": {}}

    # -- chat ---------------------------------------------------------------------------------

    def _send(self, asked: Asked) -> Result:
        fields = {
            "broadcaster_id": Field(str),
            "sender_id": Field(str),
            "message": Field(str),
            "reply_parent_message_id": Field(str, required=False),
            "for_source_only": Field(bool, required=False),
        }
        given = asked.body or _from_query(asked.query)
        body = checked(given, fields, self.world, "Send Chat Message")
        channel, sender = self._channel(str(body["broadcaster_id"])), str(body["sender_id"])
        text = str(body["message"])
        self._may_send(asked, channel, sender, body)
        if len(text) > LONGEST:
            raise ApiError(422, "The message is too large.")
        parent = None
        if "reply_parent_message_id" in body:
            parent = self.world.messages.get(str(body["reply_parent_message_id"]))
            if parent is None or parent.channel is not channel:
                said = "The request's input was not valid. Message cannot be replied to."
                raise ApiError(400, said, data=[])
        user = self.world.accounts[sender]
        message = FakeMessage(self.world.uuid(), channel, user, text, parent)
        message.via = "helix"
        try:
            self.world.post(message)
        except Refused as refused:
            reason = {"code": refused.code, "message": refused.message}
            return 200, {"data": [{"message_id": "", "is_sent": False, "drop_reason": reason}]}
        sent = {"message_id": message.id, "is_sent": True, "drop_reason": None}
        return 200, {"data": [sent]}

    def _may_send(self, asked: Asked, channel: FakeChannel, sender: str, body: Json) -> None:
        if asked.token.user is not None:
            asked.scope("user:write:chat")
            if asked.token.user.id != sender:
                raise ApiError(401, "The ID in sender_id must match the user ID in the token.")
            if "for_source_only" in body:
                raise ApiError(400, "Cannot set for_source_only if User Access Token is used.")
            return
        for scope in ("user:write:chat", "user:bot"):
            if not self.auth.granted(sender, scope):
                raise ApiError(403, "The sender has not granted the required scopes.")
        user = self.world.accounts[sender]
        if not channel.bot_allowed and not channel.roles_of(user) & {"moderator", "broadcaster"}:
            said = "The sender is not permitted to send chat messages to the chat room."
            raise ApiError(403, said)

    def _announce(self, asked: Asked) -> Result:
        channel, user = self._moderated(asked, "moderator:manage:announcements")
        fields = {"message": Field(str), "color": Field(str, required=False)}
        body = checked(asked.body, fields, self.world, "Send Chat Announcement")
        if body.get("color", "primary") not in COLOURS:
            raise ApiError(400, "The color is not valid.")
        text = str(body["message"])[:LONGEST]
        channel.messages.append(FakeMessage(self.world.uuid(), channel, user, text))
        return 204, None

    # -- moderation ---------------------------------------------------------------------------

    def _delete(self, asked: Asked) -> Result:
        channel, user = self._moderated(asked, "moderator:manage:chat_messages")
        if "message_id" not in asked.query:
            channel.clears()
            return 204, None
        message = self.world.messages.get(asked.param("message_id"))
        if message is None or message.channel is not channel or message.deleted:
            raise ApiError(404, "The ID in message_id was not found.")
        if message.user is not user and message.badges.keys() & {"moderator", "broadcaster"}:
            raise ApiError(400, "You may not delete another moderator's messages.")
        channel.deletes(message)
        return 204, None

    def _ban(self, asked: Asked) -> Result:
        channel, moderator = self._moderated(asked, "moderator:manage:banned_users")
        body = checked(asked.body, {"data": Field(dict)}, self.world, "Ban User")
        fields = {"user_id": Field(str), "duration": Field(int, required=False)}
        fields["reason"] = Field(str, required=False)
        data = checked(body["data"], fields, self.world, "Ban User")
        user = self._account(str(data["user_id"]))
        if channel.roles_of(user) & {"moderator", "broadcaster"}:
            raise ApiError(400, "The user specified in the user_id field may not be banned.")
        if user.id in channel.banned and "duration" not in data:
            raise ApiError(400, "The user specified in the user_id field is already banned.")
        seconds = int(str(data.get("duration", 0)))
        channel.bans(user, seconds)
        end = datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None
        found: Json = {"broadcaster_id": channel.id, "moderator_id": moderator.id}
        found |= {"user_id": user.id, "created_at": CREATED}
        found["end_time"] = f"{end:%Y-%m-%dT%H:%M:%SZ}" if end is not None else None
        return 200, {"data": [found]}

    def _unban(self, asked: Asked) -> Result:
        channel, _ = self._moderated(asked, "moderator:manage:banned_users")
        user = self._account(asked.param("user_id"))
        if user.id not in channel.banned:
            raise ApiError(400, "The user in the user_id query parameter is not banned.")
        channel.unbans(user)
        return 204, None

    # -- parts --------------------------------------------------------------------------------

    def _channel(self, broadcaster: str) -> FakeChannel:
        if broadcaster not in self.world.channels:
            raise ApiError(400, 'The parameter "broadcaster_id" was malformed')
        return self.world.channels[broadcaster]

    def _account(self, user: str) -> Account:
        if user not in self.world.accounts:
            raise ApiError(400, 'The parameter "user_id" was malformed')
        return self.world.accounts[user]

    def _moderated(self, asked: Asked, scope: str) -> tuple[FakeChannel, Account]:
        """The channel, and the moderator whose token it is."""
        user = asked.user()
        asked.scope(scope)
        channel, moderator = (
            self._channel(asked.param("broadcaster_id")),
            asked.param("moderator_id"),
        )
        if moderator != user.id:
            raise ApiError(401, "The ID in moderator_id must match the user ID in the token.")
        if not channel.roles_of(user) & {"moderator", "broadcaster"}:
            raise ApiError(403, "The user in moderator_id is not one of the moderators.")
        return channel, user


def _from_query(query: Query) -> Json:
    """Send Chat Message takes its parameters from the address as well (and so its errors say)."""
    found: Json = {name: values[0] for name, values in query.items()}
    if "for_source_only" in found:
        found["for_source_only"] = found["for_source_only"] == "true"
    return found


def _user(account: Account) -> Json:
    return {
        "id": account.id,
        "login": account.login,
        "display_name": account.name,
        "type": "",
        "broadcaster_type": "",
        "description": "",
        "profile_image_url": "",
        "offline_image_url": "",
        "view_count": 0,
        "created_at": CREATED,
    }


def _stream(channel: FakeChannel) -> Json:
    return {
        "id": channel.id,
        "user_id": channel.id,
        "user_login": channel.login,
        "user_name": channel.name,
        "game_id": "",
        "game_name": "",
        "type": "live",
        "title": "",
        "viewer_count": 1,
        "started_at": CREATED,
        "language": "en",
        "thumbnail_url": "",
        "tag_ids": [],
        "tags": [],
        "is_mature": False,
    }


def _channel(channel: FakeChannel) -> Json:
    return {
        "broadcaster_id": channel.id,
        "broadcaster_login": channel.login,
        "broadcaster_name": channel.name,
        "broadcaster_language": "en",
        "game_id": "",
        "game_name": "",
        "title": "",
        "delay": 0,
        "tags": [],
        "content_classification_labels": [],
        "is_branded_content": False,
    }
