"""The codec of journaled values: JSON with tags. Never pickle, never code.

    to_stored -> encode -> (the journal) -> decode -> from_stored

A *stored* value consists of JSON builtins. None, bool, int (64 bit), finite float, str, list and
dict stand for themselves; everything else is an object with a tag, `{"$": kind, ...}`:

    $            holds                             made from
    int          v: hexadecimal digits             an int beyond 64 bit
    float        v: "nan", "inf", "-inf"           a float that JSON lacks
    str          v: base64 of UTF-8                a str with lone surrogates
    dict         v: [[key, value], ...]            a dict with other keys than str, or with "$"
    bytes, bytearray          v: base64
    tuple, set, frozenset     v: [item, ...]       sets are sorted by what is stored
    datetime, date, time      v: ISO; f: 1 if fold; z: zone's key, or o: [offset in us(, name)]
    timedelta    v: [days, seconds, microseconds]
    decimal      v: text
    uuid         v: 32 hexadecimal digits
    enum         c: class; v: member's name, or the number of a combination of flags
    data         c: class; v: {field: value}       a dataclass
    struct       c: class; v: {field: value}       a msgspec.Struct
    sub          c: class; v: the builtin value    a registered subclass of a builtin type
    unset                                          msgspec.UNSET

A class is named "module:qualname". Reading imports nothing and runs nothing that the row chooses:
a name is looked up among registered classes (`register`), then in modules that the program has
imported by itself, and must be a class of the right kind. So a damaged or forged row can at worst
give another harmless value, or NotStorable.

Types come back exactly as they were: True is no 1, a tuple no list, a Decimal keeps its zeros.
A value may be nested 100 deep, and its encoding 1 MB long.
"""

from __future__ import annotations

from legato.model.values._classes import register as register
from legato.model.values._errors import decode_error as decode_error
from legato.model.values._errors import encode_error as encode_error
from legato.model.values._read import decode as decode
from legato.model.values._read import from_stored as from_stored
from legato.model.values._read import round_trip as round_trip
from legato.model.values._write import MAX_BYTES as MAX_BYTES
from legato.model.values._write import MAX_DEPTH as MAX_DEPTH
from legato.model.values._write import encode as encode
from legato.model.values._write import to_stored as to_stored

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "decode",
    "decode_error",
    "encode",
    "encode_error",
    "from_stored",
    "register",
    "round_trip",
    "to_stored",
]
