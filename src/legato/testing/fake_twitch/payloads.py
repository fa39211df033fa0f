"""How a message looks on the wire: as tags of IRC, and as the event of EventSub."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from legato.testing.fake_twitch.world import Account, FakeMessage, Json

EMOTES = {"Kappa": "25", "HeyGuys": "30259", "LUL": "425618", "Kreygasm": "41", ":)": "1"}
"""A few of the global emotes and their ids."""

_ESCAPES = {"\\": "\\\\", ";": "\\:", " ": "\\s", "\r": "\\r", "\n": "\\n"}
_UNESCAPES = {"\\": "\\", ":": ";", "s": " ", "r": "\r", "n": "\n"}
_ESCAPED = re.compile(r"\\(.|$)", re.DOTALL)
_WORD = re.compile(r"\S+")


def tags(values: dict[str, str]) -> str:
    """The tags of a line, with "@" and the space behind them; "" if there are none."""
    if not values:
        return ""
    table = str.maketrans(_ESCAPES)
    return (
        "@" + ";".join(f"{name}={value.translate(table)}" for name, value in values.items()) + " "
    )


def untagged(line: str) -> tuple[dict[str, str], str]:
    """The tags of a client's line, and the rest of it."""
    if not line.startswith("@"):
        return {}, line
    text, _, rest = line[1:].partition(" ")
    pairs = (item.partition("=") for item in text.split(";") if item)
    found = {n: _ESCAPED.sub(lambda m: _UNESCAPES.get(m[1], m[1]), v) for n, _, v in pairs}
    return found, rest.lstrip(" ")


def emotes(text: str) -> list[tuple[str, int, int]]:
    """(name, start, end) of the emotes in a text."""
    return [(m[0], m.start(), m.end()) for m in _WORD.finditer(text) if m[0] in EMOTES]


def _emote_tag(text: str) -> str:
    places: dict[str, list[str]] = {}
    for name, start, end in emotes(text):
        places.setdefault(EMOTES[name], []).append(f"{start}-{end - 1}")
    return "/".join(f"{emote}:{','.join(found)}" for emote, found in places.items())


def badge_tags(badges: dict[str, str]) -> dict[str, str]:
    """The tags that tell of roles."""
    return {
        "badge-info": f"subscriber/{badges['subscriber']}" if "subscriber" in badges else "",
        "badges": ",".join(f"{name}/{version}" for name, version in badges.items()),
        "mod": "1" if "moderator" in badges else "0",
        "subscriber": "1" if "subscriber" in badges else "0",
        "user-type": "mod" if "moderator" in badges else "",
    }


def message_tags(message: FakeMessage) -> dict[str, str]:
    """The tags of a PRIVMSG.

    https://dev.twitch.tv/docs/chat/irc#privmsg-tags (read 2026-11-29)
    """
    user, parent = message.user, message.reply_to
    found = badge_tags(message.badges)
    found |= {"vip": "1"} if "vip" in message.badges else {}
    found |= {
        "color": user.colour,
        "display-name": user.name,
        "emotes": _emote_tag(message.text),
        "first-msg": "0",
        "flags": "",
        "id": message.id,
        "returning-chatter": "0",
        "room-id": message.channel.id,
        "tmi-sent-ts": str(message.at_ms),
        "turbo": "0",
        "user-id": user.id,
    }
    if parent is not None:
        found |= {
            "reply-parent-display-name": parent.user.name,
            "reply-parent-msg-body": parent.text,
            "reply-parent-msg-id": parent.id,
            "reply-parent-user-id": parent.user.id,
            "reply-parent-user-login": parent.user.login,
            "reply-thread-parent-msg-id": parent.id,
            "reply-thread-parent-user-login": parent.user.login,
        }
    if message.home is not None:
        found |= {"source-room-id": message.home.id, "source-id": message.id}
    return dict(sorted(found.items()))


def source(user: Account) -> str:
    """Whom a line comes from."""
    return f":{user.login}!{user.login}@{user.login}.tmi.twitch.tv"


def _names(prefix: str, user: Account) -> Json:
    return {
        f"{prefix}_user_id": user.id,
        f"{prefix}_user_login": user.login,
        f"{prefix}_user_name": user.name,
    }


def event(message: FakeMessage) -> Json:
    """The event of channel.chat.message.

    https://dev.twitch.tv/docs/eventsub/eventsub-reference/#channel-chat-message-event (read 2026-11-29)
    """
    home, badges = message.home, _badges(message.badges)
    found = _names("broadcaster", message.channel.owner) | _names("chatter", message.user)
    found |= {
        "message_id": message.id,
        "message": {"text": message.text, "fragments": _fragments(message.text)},
        "color": message.user.colour,
        "badges": badges,
        "message_type": "text",
        "cheer": None,
        "reply": _reply(message.reply_to) if message.reply_to is not None else None,
        "channel_points_custom_reward_id": None,
        "channel_points_animation_id": None,
        "source_broadcaster_user_id": None,
        "source_broadcaster_user_login": None,
        "source_broadcaster_user_name": None,
        "source_message_id": None,
        "source_badges": None,
        "is_source_only": None,
    }
    if home is not None:
        found |= _names("source_broadcaster", home.owner)
        found |= {"source_message_id": message.id, "source_badges": badges, "is_source_only": False}
    return found


def _badges(badges: dict[str, str]) -> list[Json]:
    return [
        {"set_id": name, "id": version, "info": version if name == "subscriber" else ""}
        for name, version in badges.items()
    ]


def _reply(parent: FakeMessage) -> Json:
    return {
        "parent_message_id": parent.id,
        "parent_message_body": parent.text,
        "parent_user_id": parent.user.id,
        "parent_user_name": parent.user.name,
        "parent_user_login": parent.user.login,
        "thread_message_id": parent.id,
        "thread_user_id": parent.user.id,
        "thread_user_name": parent.user.name,
        "thread_user_login": parent.user.login,
    }


def _fragments(text: str) -> list[Json]:
    found: list[Json] = []
    at = 0
    for name, start, end in emotes(text):
        found += [_fragment(text[at:start], None)] if start > at else []
        owner: Json = {"emote_set_id": "0", "owner_id": "0", "format": ["static"]}
        found.append(_fragment(name, {"id": EMOTES[name]} | owner))
        at = end
    return [*found, _fragment(text[at:], None)] if at < len(text) else found


def _fragment(text: str, emote: Json | None) -> Json:
    kind = "text" if emote is None else "emote"
    return {"type": kind, "text": text, "cheermote": None, "emote": emote, "mention": None}


def timestamp() -> str:
    """Now, as EventSub writes it: UTC with nanoseconds."""
    now = datetime.now(UTC)
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond:06}123Z"
