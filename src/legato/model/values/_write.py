"""Values to stored values, and stored values to bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from msgspec import NODEFAULT, MsgspecError
from msgspec import json as _json

from legato.errors import NotStorable
from legato.model.values import _classes as classes
from legato.model.values import _scalars as scalars
from legato.model.values._classes import Refused, Spec
from legato.model.values._cures import describe

MAX_BYTES = 1_000_000
MAX_DEPTH = 100

_INT64 = 1 << 63
_EXACT_FROM = MAX_BYTES // 16
"""No value's encoding is longer than 16 times the writer's own count."""

_encoder = _json.Encoder()


def encode(stored: object) -> bytes:
    """JSON of a stored value. The same value gives the same bytes in every process.

    Raises:
        NotStorable: It is longer than MAX_BYTES, or is no stored value.
    """
    try:
        data = _encoder.encode(stored)
    except (TypeError, ValueError, RecursionError, MsgspecError) as error:
        raise NotStorable(f"this is no stored value, make one with to_stored(): {error}") from error
    if len(data) > MAX_BYTES:
        raise NotStorable(f"value {_TOO_BIG}")
    return data


def to_stored(value: object, *, where: str = "") -> object:
    """`value` as JSON builtins with tags. Does not change it.

    Args:
        value: What to keep.
        where: Where it comes from, for the error's text: "bot.py:12" or "the result of charge()".

    Raises:
        NotStorable: A part of it cannot be kept. Names the part's type, the path to it and a cure.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        if -_INT64 <= value < _INT64:  # type: ignore[operator] # mypy does not narrow by type()
            return value
    elif kind is float:
        if value - value == 0.0:  # type: ignore[operator] # neither inf nor nan
            return value
    elif kind is str and value.isascii() and len(value) < _EXACT_FROM:  # type: ignore[attr-defined,arg-type]
        return value
    return _write(value, where)


def _write(value: object, where: str) -> object:
    writer = _Writer()
    try:
        stored = writer.put(value, 0)
        if writer.size >= _EXACT_FROM and len(_encoder.encode(stored)) > MAX_BYTES:
            raise Refused(_TOO_BIG, path=False)
    except Refused as refused:
        raise NotStorable(_explain(refused, where)) from None
    except RecursionError as error:
        text = "is nested too deep for what is left of the stack. Keep it flat"
        raise NotStorable(_explain(Refused(text), where)) from error
    return stored


_TOO_BIG = (
    f"is longer than {MAX_BYTES // 1_000_000} MB once encoded, too long for the journal. Keep it "
    f"in a file, a database or an object store, and journal the key it has there"
)


def _explain(refused: Refused, where: str) -> str:
    steps, text = refused.path[::-1], refused.text
    if len(set(refused.holders)) < len(refused.holders):
        steps, text = [], "contains itself, and the journal keeps trees only. Keep ids, not objects"
    if len(steps) > 12:
        steps = [*steps[:6], "...", *steps[-3:]]
    return f"{where}: value{''.join(steps)} {text}".removeprefix(": ")


class _Writer:
    """Turns one value into a stored one.

    Attributes:
        size: A lower bound of the encoded length so far. It stops what would explode: a list that
            holds a list twice, which holds a list twice, ...
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0

    def put(self, value: Any, depth: int) -> object:
        """The stored form of `value`, which stands inside `depth` containers."""
        kind = type(value)
        if kind is str:
            self.grow(len(value))
            return value if _is_unicode(value) else _surrogates(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -_INT64 <= value < _INT64 else self.leaf(_big(value))
        if kind is float:
            return value if value - value == 0.0 else {"$": "float", "v": repr(value)}
        write = _CONTAINERS.get(kind)
        if write is not None:
            return write(self, value, depth)
        scalar = scalars.WRITERS.get(kind)
        if scalar is not None:
            return self.leaf(scalar(value))
        spec = classes.spec_of(kind)
        if spec is not None:
            self.grow(len(spec.name))
            return _BY_SPEC[spec.kind](self, value, depth, spec)
        raise Refused(describe(value))

    def grow(self, length: int) -> None:
        """Counts `length` bytes.

        Raises:
            Refused: That makes it too long.
        """
        self.size += length
        if self.size > MAX_BYTES:
            raise Refused(_TOO_BIG, path=False)

    def leaf(self, stored: dict[str, Any]) -> object:
        """`stored`, counted."""
        held = stored.get("v")
        self.grow(16 + (len(held) if type(held) is str else 0))
        return stored

    def enter(self, count: int, depth: int) -> None:
        """Checks that a container of `count` items may stand inside `depth` others."""
        if depth >= MAX_DEPTH:
            raise Refused(f"is nested more than {MAX_DEPTH} deep. Keep it flat, or keep ids")
        self.grow(2 * count + 2)


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogates, which UTF-8 cannot express."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _surrogates(text: str) -> object:
    return {"$": "str", "v": scalars.to_base64(text.encode("utf-8", "surrogatepass"))}


def _big(number: int) -> dict[str, Any]:
    return {"$": "int", "v": format(number, "x")}  # hexadecimal: no limit of digits, linear time


# -- containers: what was refused inside learns its path on the way out ------------------------


def _items(writer: _Writer, value: Any, depth: int) -> list[object]:
    writer.enter(len(value), depth)
    stored: list[object] = []
    put, inner = writer.put, depth + 1
    try:
        for item in value:
            stored.append(put(item, inner))  # noqa: PERF401 # its length tells where it stopped
    except Refused as refused:
        step = f"[{len(stored)}]" if isinstance(value, (list, tuple)) else "{...}"
        refused.passed(value, step)
        raise
    return stored


def _tuple(writer: _Writer, value: Any, depth: int) -> object:
    return {"$": "tuple", "v": _items(writer, value, depth)}


def _set(writer: _Writer, value: Any, depth: int) -> object:
    stored = _items(writer, value, depth)
    stored.sort(key=_encoder.encode)  # iteration order depends on the process's hash seed
    return {"$": type(value).__name__, "v": stored}


def _dict(writer: _Writer, value: Any, depth: int) -> object:
    writer.enter(len(value), depth)
    put, inner = writer.put, depth + 1
    key: Any = None
    try:
        if all(type(key) is str and key != "$" and _is_unicode(key) for key in value):
            stored: dict[str, object] = {}
            for key, item in value.items():
                writer.grow(len(key))
                stored[key] = put(item, inner)
            return stored
        pairs: list[list[object]] = []
        for key, item in value.items():
            pairs.append([put(key, inner), put(item, inner)])
    except Refused as refused:
        step = repr(key)[:60] if type(key) in (str, int) else type(key).__name__
        refused.passed(value, f"[{step}]")
        raise
    return {"$": "dict", "v": pairs}


_CONTAINERS: dict[type, Callable[[_Writer, Any, int], object]] = {
    list: _items,
    tuple: _tuple,
    set: _set,
    frozenset: _set,
    dict: _dict,
}


# -- classes -----------------------------------------------------------------------------------


def _enum(writer: _Writer, value: Any, depth: int, spec: Spec) -> object:
    name = value._name_
    if name is not None and type(value)._member_map_.get(name) is value:
        writer.grow(len(name))
        return {"$": "enum", "c": spec.name, "v": name}
    if not isinstance(value, sys.modules["enum"].Flag):
        raise Refused(f"is {value!r}, which is not among the members of its Enum. Keep its value")
    return {"$": "enum", "c": spec.name, "v": writer.put(value._value_, depth)}


def _fields(writer: _Writer, value: Any, depth: int, spec: Spec) -> object:
    writer.enter(len(spec.fields), depth)
    stored: dict[str, object] = {}
    name = ""
    try:
        for name in spec.fields:
            item = getattr(value, name)
            if spec.omit and _is_default(item, name, spec):
                continue
            writer.grow(len(name))
            stored[name] = writer.put(item, depth + 1)
    except Refused as refused:
        refused.passed(value, f".{name}")
        raise
    except AttributeError:
        raise Refused(f"has no value in its field '{name}'. Set it first") from None
    extra = classes.extra_attribute(value, spec)
    if extra:
        raise Refused(
            f"carries '{extra}', which is no field of {type(value).__name__} and would be lost. "
            f"Declare it as a field"
        )
    return {"$": spec.kind, "c": spec.name, "v": stored}


def _is_default(item: object, name: str, spec: Spec) -> bool:
    """Whether it can be left out: None, an empty container, or what == compares exactly."""
    kind = type(item)
    if name in spec.factories:
        return not item and kind is spec.factories[name]
    default = spec.values.get(name, NODEFAULT)
    if kind is not type(default):
        return False
    return item is default or (
        item == default if kind in _EXACT else kind is tuple and not item and not default
    )


_EXACT = (str, int, bool, bytes)


_PLAIN: dict[type, Callable[[Any], object]] = {
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: bytearray.copy,
    int: int.__pos__,
    float: float.__pos__,
    list: list.copy,
    dict: dict.copy,
    tuple: lambda value: tuple(tuple.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
"""The builtin value inside an instance of a subclass, whatever the subclass overrides."""


def _sub(writer: _Writer, value: Any, depth: int, spec: Spec) -> object:
    if getattr(value, "__dict__", None):
        raise Refused(f"has attributes beside its {spec.base.__name__}. Make it a dataclass")
    return {"$": "sub", "c": spec.name, "v": writer.put(_PLAIN[spec.base](value), depth)}


_BY_SPEC: dict[str, Callable[[_Writer, Any, int, Spec], object]] = {
    classes.ENUM: _enum,
    classes.DATA: _fields,
    classes.STRUCT: _fields,
    classes.SUB: _sub,
}
