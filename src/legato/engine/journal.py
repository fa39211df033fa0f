"""Bytes of the journal: segments of records, states and births, and the answers in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from legato.model.events import AnyEvent
from legato.model.records import Birth, Record, State
from legato.model.values import from_stored

_encoder = msgspec.json.Encoder()
_records = msgspec.json.Decoder(list[Record])
_birth = msgspec.json.Decoder(Birth)
_state = msgspec.json.Decoder(State)
_event = msgspec.json.Decoder(AnyEvent)

encode: Callable[[object], bytes] = _encoder.encode
"""Any record structure to bytes."""

decode_birth: Callable[[bytes], Birth] = _birth.decode
decode_state: Callable[[bytes], State] = _state.decode
decode_event: Callable[[bytes], AnyEvent] = _event.decode


def segment(records: Iterable[Record]) -> bytes:
    """The records of one commit. What did not fail, and that is nearly all, has no place for an error."""
    return encode([r if r.error else (r.path, r.kind, r.name, r.at_ms, r.value) for r in records])


def read(segments: Iterable[bytes]) -> list[Record]:
    """All records of an epoch, in order."""
    return [record for segment in segments for record in _records.decode(segment)]


def answers(records: Iterable[Record]) -> dict[str, Any]:
    """What was answered so far, by the operations' names (`key=`); a name that occurs more than
    once also stands as "name:path" for each.
    """
    found: dict[str, Any] = {}
    for record in records:
        if record.kind not in ("ask", "step", "tx", "call", "signal") or record.error is not None:
            continue
        value = from_stored(record.value)
        found[f"{record.name}:{record.path}"] = value
        found[record.name] = value
    return found
