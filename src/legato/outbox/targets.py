"""Puts a platform message id, known only now, into a call rendered earlier."""

from __future__ import annotations

import msgspec

from legato.model.records import Call


def filled(call: Call, message_id: str) -> Call:
    """The call with `message_id` as its parameter `call.fill` ("a.b" is b inside of a).

    The id is text, as everywhere in Legato; a platform that wants a number converts it in `send`.
    """
    params = dict(call.params)
    inner = params
    *outer, last = call.fill.split(".")
    for name in outer:
        below = inner.get(name)
        inner[name] = inner = dict(below) if isinstance(below, dict) else {}
    inner[last] = message_id
    return msgspec.structs.replace(call, params=params, target="", fill="")


def without_target(call: Call) -> Call:
    """The call without the parameter that its target would have filled: of "a.b" all of a goes,
    since an object without what it points to means nothing.
    """
    top = call.fill.split(".")[0]
    params = {name: value for name, value in call.params.items() if name != top}
    return msgspec.structs.replace(call, params=params, target="", fill="")


def readdressed(call: Call, old: str, new: str) -> Call:
    """The call with the chat `new` wherever a parameter is the chat `old` (as text or number)."""
    params: dict[str, object] = {}
    for name, value in call.params.items():
        if type(value) in (int, str) and str(value) == old:
            numeric = type(value) is int and new.removeprefix("-").isdecimal()
            params[name] = int(new) if numeric else new
        else:
            params[name] = value
    return msgspec.structs.replace(call, params=params)
