"""EventSub's rules: who signed a request, which subscriptions there should be. Pure.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events (read 2026-11-28). Twitch promises at least one
delivery and repeats one that is not answered with 2xx in a few seconds; it ends a subscription that
fails too often.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from legato.errors import Forged
from legato.platforms._signing import same
from legato.platforms.twitch.events import CHAT_MESSAGE, ENABLED, milliseconds

ID = "twitch-eventsub-message-id"
TIMESTAMP = "twitch-eventsub-message-timestamp"
SIGNATURE = "twitch-eventsub-message-signature"
WINDOW_MS = 600_000
"""A request that was signed longer ago is one that somebody repeats."""
VERSION = "1"
PENDING = "webhook_callback_verification_pending"
ALIVE = (ENABLED, PENDING)


def check_signature(headers: dict[str, str], body: bytes, secret: str, now_ms: int) -> None:
    """Checks that a request was signed by Twitch with our secret, within the last 10 minutes.

    Raises:
        Forged: It was not.
    """
    import hmac

    message_id, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
    given = headers.get(SIGNATURE, "").encode("utf-8", "surrogatepass")
    signed = (message_id + timestamp).encode("utf-8", "surrogatepass") + body
    expected = b"sha256=" + hmac.digest(secret.encode(), signed, "sha256").hex().encode()
    if not same(given, expected):
        raise Forged("Twitch-Eventsub-Message-Signature is missing or wrong")
    at_ms = milliseconds(timestamp)
    if not message_id or abs(now_ms - at_ms) > WINDOW_MS:
        raise Forged("the request was signed more than 10 minutes ago (or the clock is wrong)")


# -- subscriptions -----------------------------------------------------------------------------


class Transport(Struct, frozen=True):
    """How a subscription delivers."""

    method: str = ""
    callback: str = ""


class Subscription(Struct, frozen=True):
    """One as Helix lists it."""

    id: str
    status: str
    type: str
    condition: dict[str, object] = {}
    transport: Transport = Transport()

    @property
    def channel(self) -> str:
        """The channel it is about, its broadcaster's user id."""
        return str(self.condition.get("broadcaster_user_id", ""))


class _Page(Struct, frozen=True):
    data: list[Subscription]
    pagination: dict[str, str] | None = None


_page = msgspec.json.Decoder(_Page)


def page(body: bytes) -> tuple[list[Subscription], str]:
    """One page of a list, and the cursor of the next one, "" if there is none.

    Raises:
        ValueError: It is none.
    """
    found = _page.decode(body)
    return found.data, (found.pagination or {}).get("cursor", "")


class Plan(Struct, frozen=True):
    """What is to be done so that each channel has one subscription that lives.

    Attributes:
        delete: Ids of subscriptions.
        create: Channels.
        keep: Subscriptions that are as they should be.
    """

    delete: tuple[str, ...]
    create: tuple[str, ...]
    keep: tuple[Subscription, ...]


def plan(
    found: Iterable[Subscription],
    channels: Iterable[str],
    bot: str,
    callback: str,
    *,
    renew: bool = False,
) -> Plan:
    """Compares what there is with what there should be. What delivers somewhere else and lives is left
    alone: another installation of the bot.

    Args:
        found: All subscriptions of the application.
        channels: Where the bot is to hear.
        bot: Its user id.
        callback: Where its webhooks go.
        renew: None of those that deliver there can be kept: they sign with another secret.
    """
    wanted = dict.fromkeys(channels)
    kept: dict[str, Subscription] = {}
    delete: list[str] = []
    for one in found:
        if one.type != CHAT_MESSAGE or one.condition.get("user_id") != bot:
            continue
        if one.transport.method != "webhook":
            continue  # of a WebSocket: it ends with its session
        ours = one.transport.callback == callback
        good = ours and not renew and one.channel in wanted and one.channel not in kept
        if good and one.status in ALIVE:
            kept[one.channel] = one
        elif ours or one.status not in ALIVE:
            delete.append(one.id)
    create = tuple(channel for channel in wanted if channel not in kept)
    return Plan(tuple(delete), create, tuple(kept.values()))


def subscription_to(channel: str, bot: str, transport: dict[str, object]) -> dict[str, object]:
    """The parameters that subscribe to what is said in a channel."""
    return {
        "type": CHAT_MESSAGE,
        "version": VERSION,
        "condition": {"broadcaster_user_id": channel, "user_id": bot},
        "transport": transport,
    }


# -- over a WebSocket --------------------------------------------------------------------------

WELCOME = "session_welcome"
KEEPALIVE = "session_keepalive"
RECONNECT = "session_reconnect"
NOTIFICATION = "notification"
REVOCATION = "revocation"


class _Metadata(Struct, frozen=True):
    message_type: str
    message_id: str = ""


class _Session(Struct, frozen=True):
    id: str = ""
    keepalive_timeout_seconds: int | None = None
    reconnect_url: str | None = None


class _About(Struct, frozen=True):
    broadcaster_user_id: str = ""
    chatter_user_id: str = ""


class _Payload(Struct, frozen=True):
    session: _Session = _Session()
    event: _About | None = None


class Frame(Struct, frozen=True):
    """What came over a WebSocket."""

    metadata: _Metadata
    payload: _Payload = _Payload()

    @property
    def kind(self) -> str:
        """WELCOME, KEEPALIVE ..."""
        return self.metadata.message_type

    @property
    def viewer(self) -> str:
        """Whose message it tells of."""
        about = self.payload.event or _About()
        return f"{about.broadcaster_user_id}:{about.chatter_user_id}"


_frame = msgspec.json.Decoder(Frame)


def frame(text: str) -> Frame | None:
    """A message of EventSub; None if it is none."""
    try:
        return _frame.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
