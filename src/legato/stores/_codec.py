"""How stores keep the two structs that they do not get as bytes: a rendered call and its place.

JSON, because an operator should be able to read a stuck call. A text with a lone surrogate has no
UTF-8 form; it goes the slow way through escapes, so that no user's text can stop an outbox.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from legato.errors import StoreCorrupt
from legato.model.events import Address
from legato.model.records import Call

_T = TypeVar("_T", Call, Address)

_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(Call).decode
_decode_place = msgspec.json.Decoder(Address).decode


def pack(value: Call | Address) -> bytes:
    """JSON of a call or a place.

    Raises:
        TypeError: The call's parameters hold something that JSON has no form for.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        import json

        return json.dumps(msgspec.to_builtins(value)).encode("ascii")


def unpack_call(data: bytes) -> Call:
    """The call that `pack` made `data` from.

    Raises:
        StoreCorrupt: It is no call.
    """
    try:
        return _decode_call(data)
    except msgspec.DecodeError:
        return _unpack_slowly(data, Call)


def unpack_place(data: bytes) -> Address:
    """The place that `pack` made `data` from.

    Raises:
        StoreCorrupt: It is no place.
    """
    try:
        return _decode_place(data)
    except msgspec.DecodeError:
        return _unpack_slowly(data, Address)


def _unpack_slowly(data: bytes, kind: type[_T]) -> _T:
    import json

    try:
        return msgspec.convert(json.loads(data), kind)
    except ValueError as error:  # msgspec's and json's errors are ValueErrors
        raise StoreCorrupt(f"a stored {kind.__name__} cannot be read: {error}") from error
