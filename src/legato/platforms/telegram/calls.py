"""Small things about calls and tokens. Pure."""

from __future__ import annotations

import msgspec

from legato.platforms.telegram.render import number


def is_key(text: str) -> bool:
    """Whether it is 1-256 characters of those that tokens and secrets are made of."""
    return (
        0 < len(text) <= 256
        and text.isascii()
        and text.replace("_", "a").replace("-", "a").isalnum()
    )


def numbered(params: dict[str, object]) -> dict[str, object]:
    """Parameters with message ids as the numbers they are: the relay fills them in as text."""
    changed: dict[str, object] = {}
    message_id = params.get("message_id")
    if isinstance(message_id, str):
        changed["message_id"] = number(message_id)
    reply = params.get("reply_parameters")
    if isinstance(reply, dict) and isinstance(reply.get("message_id"), str):
        changed["reply_parameters"] = reply | {"message_id": number(reply["message_id"])}
    return params | changed if changed else params


def field(value: object) -> str:
    """A parameter as a field of a form."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


__all__ = ["field", "is_key", "numbered"]
