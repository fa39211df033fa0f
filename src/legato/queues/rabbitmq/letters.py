"""How a letter lies in a message of AMQP.

It is persistent, its routing key is the slot, and its headers are id, kind, at (milliseconds since
1970) and, if there is one, trace. Texts are UTF-8, with lone surrogates passed through. Both ways are
written out by hand, since every letter takes them.
"""

from __future__ import annotations

import struct

from pamqp.header import ContentHeader

from legato.abc.queue import Letter

_FLAGS = b"\x30\x00"  # headers, delivery mode
_PERSISTENT = b"\x02"
_LONG = struct.Struct(">I")
_length = _LONG.pack
_AT = struct.Struct(">q")
_KINDS = ("event", "dead", "end")


def name_of(letter: Letter) -> bytes:
    """The part of its header that says which letter it is."""
    name = letter.id.encode("utf-8", "surrogatepass")
    return b"\x02idS%b%b" % (_length(len(name)), name)


def properties(letter: Letter, name: bytes) -> bytes:
    """Flags and values of the content's header; `name` is that of `name_of`."""
    kind = letter.kind.encode()
    table = b"%b\x04kindS%b%b\x02atl%b" % (name, _length(len(kind)), kind, _AT.pack(letter.at_ms))
    if letter.trace:
        trace = letter.trace.encode("utf-8", "surrogatepass")
        table += b"\x05traceS%b%b" % (_length(len(trace)), trace)
    return b"%b%b%b%b" % (_FLAGS, _length(len(table)), table, _PERSISTENT)


def read(key: bytes, header: bytes, body: bytes) -> Letter:
    """The letter in a message.

    Whoever may publish may send anything: what is no letter is one of kind "dead", never an error.

    Args:
        key: Its routing key: the slot; a queue's name if it is an end letter, which ends in the shard.
        header: Of the content, from its class on.
        body: Of the message.
    """
    last = key.rpartition(b".")[2]
    slot = int(last) if last.isdigit() else 0
    end = len(header) - 1
    if header[12:14] == _FLAGS and header[18:22] == b"\x02idS":
        at, name = _text(header, 22)
        if header[at : at + 6] == b"\x04kindS":
            at, kind = _text(header, at + 6)
            if kind in _KINDS and header[at : at + 4] == b"\x02atl" and at + 12 <= end:
                at_ms: int = _AT.unpack_from(header, at + 4)[0]
                at += 12
                if at == end:
                    return Letter(name, slot, body, kind, at_ms)
                if header[at : at + 7] == b"\x05traceS":
                    at, trace = _text(header, at + 7)
                    if at == end:
                        return Letter(name, slot, body, kind, at_ms, trace)
    return _read_any(slot, header, body)


def _read_any(slot: int, header: bytes, body: bytes) -> Letter:
    """The same for a header with more in it, as the broker's own count of deliveries, or less."""
    content = ContentHeader()
    try:
        content.unmarshal(header)
        found = content.properties.headers or {}
        name = _string(found.get("id") or content.properties.message_id)
        kind = _string(found.get("kind") or "event")
        trace = _string(found.get("trace"))
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError, struct.error):
        return Letter("", slot, body, "dead")
    at_ms = found.get("at")
    kind = kind if name and kind in _KINDS else "dead"
    return Letter(name, slot, body, kind, at_ms if isinstance(at_ms, int) else 0, trace)


def _string(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "surrogatepass")
    return value if isinstance(value, str) else ""


def _text(header: bytes, at: int) -> tuple[int, str]:
    begin = at + 4
    end = begin + int(_LONG.unpack_from(header, at)[0])
    return end, header[begin:end].decode("utf-8", "surrogatepass")


__all__ = ["name_of", "properties", "read"]
