"""Words of the crash tests: what a call does, and how a store may lie."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from legato.model.records import Call


def told(call: Call) -> str:
    """What a call does, in a few words that no other call of the script shares."""
    out: Any = call.params["out"]
    text = out.get("message", {}).get("text", "")
    return text if out["type"] == "send" else f"{out['type']}: {text}"


class Liar(Struct, frozen=True):
    """How the store betrays its contract: which of its promises are off."""

    fence: bool = False
    dedupe: bool = False
    settle: bool = False
