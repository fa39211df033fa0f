"""The menu of commands that Telegram shows beside the text field.

https://core.telegram.org/bots/api#setmycommands (read 2026-11): at most 100 commands a scope; a name of 1-32
characters a-z 0-9 _; a description of 1-256. Set per scope; here one for talks between two and one for groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from legato.abc.platform import Offered
from legato.model.records import Call

MOST = 100
LONGEST_NAME = 32
LONGEST_HELP = 256


def menus(commands: Sequence[Offered]) -> list[Call]:
    """The calls that set both menus; an empty menu is taken away."""
    return [
        _menu("all_private_chats", [c for c in commands if c.private]),
        _menu("all_group_chats", [c for c in commands if c.groups]),
    ]


def _menu(kind: str, commands: Sequence[Offered]) -> Call:
    scope: dict[str, object] = {"type": kind}
    listed = [
        {"command": c.name, "description": c.help[:LONGEST_HELP]}
        for c in commands
        if _is_name(c.name)
    ][:MOST]
    if not listed:
        return Call("deleteMyCommands", {"scope": scope})
    return Call("setMyCommands", {"commands": listed, "scope": scope})


def _is_name(text: str) -> bool:
    plain = text.replace("_", "a")
    return plain.isascii() and plain.isalnum() and text.islower() and len(text) <= LONGEST_NAME


def encoded(calls: Sequence[Call]) -> bytes:
    """What is kept of them, to see whether they changed."""
    return msgspec.json.encode(calls)
