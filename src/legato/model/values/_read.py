"""Bytes to stored values, and stored values to values. Trusts no row."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from msgspec import MsgspecError, Struct
from msgspec import json as _json
from msgspec.structs import force_setattr

from legato.errors import NotStorable
from legato.model.values import _classes as classes
from legato.model.values import _scalars as scalars
from legato.model.values._classes import Refused, Spec
from legato.model.values._scalars import part
from legato.model.values._write import MAX_DEPTH, encode, to_stored

_decoder = _json.Decoder()


def decode(data: bytes) -> object:
    """The stored value in `data`.

    Raises:
        NotStorable: It is no JSON.
    """
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError, MsgspecError) as error:
        raise NotStorable(f"a row of the journal is damaged, it is no JSON: {error}") from error


def round_trip(value: object, *, where: str = "") -> Any:
    """`value` as a replay will see it: equal, of the same type, sharing nothing with `value`.

    Raises:
        NotStorable: As `to_stored`.
    """
    return from_stored(decode(encode(to_stored(value, where=where))))


def from_stored(stored: object) -> Any:
    """The value that `to_stored` made `stored` of: a new one at each call, sharing nothing.

    Raises:
        NotStorable: The row is damaged, or its class is gone or not imported.
    """
    kind = type(stored)
    if kind is not dict and kind is not list:
        return stored
    try:
        return _read(stored, 0)
    except RecursionError as error:
        raise NotStorable(
            "a stored value is nested too deep for what is left of the stack"
        ) from error


def _read(stored: Any, depth: int) -> Any:
    kind = type(stored)
    if kind is list:
        return _items(stored, depth)
    if kind is not dict:
        return stored
    if "$" not in stored:
        _enter(depth)
        return {key: _read(item, depth + 1) for key, item in stored.items()}
    tag = stored["$"]
    try:
        scalar = scalars.READERS.get(tag)
        if scalar is not None:
            return scalar(stored)
        return _READERS[tag](stored, depth)
    except (NotStorable, RecursionError):
        raise
    except Exception as error:
        what = f"a stored {tag}" if type(tag) is str and tag in _KNOWN else "a stored value"
        reason = str(error) or type(error).__name__
        if what == "a stored value":
            reason = f"this version of Legato knows no tag {tag!r:.60}"
        raise NotStorable(
            f"{what} cannot be read: {reason}. The row is damaged, or was written by other code"
        ) from error


def _enter(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise NotStorable(f"a row of the journal is damaged: nested more than {MAX_DEPTH} deep")


def _items(stored: list[Any], depth: int) -> list[Any]:
    _enter(depth)
    inner = depth + 1
    return [_read(item, inner) for item in stored]


def _tuple(stored: dict[str, Any], depth: int) -> object:
    return tuple(_items(part(stored, "v", list), depth))


def _set(stored: dict[str, Any], depth: int) -> object:
    return set(_items(part(stored, "v", list), depth))


def _frozenset(stored: dict[str, Any], depth: int) -> object:
    return frozenset(_items(part(stored, "v", list), depth))


def _dict(stored: dict[str, Any], depth: int) -> object:
    _enter(depth)
    inner = depth + 1
    return {_read(key, inner): _read(item, inner) for key, item in part(stored, "v", list)}


# -- classes -----------------------------------------------------------------------------------


_KINDS = {
    classes.ENUM: "an Enum",
    classes.DATA: "a dataclass",
    classes.STRUCT: "a msgspec.Struct",
    classes.SUB: "a registered subclass of a builtin type",
}


def _class(stored: dict[str, Any], kind: str) -> tuple[type, Spec]:
    name = part(stored, "c", str)
    cls = classes.find(name)
    if cls is None:
        module, _, qualname = name.partition(":")
        raise NotStorable(
            f"the journal holds a {qualname or name} of module '{module}', and no such class is "
            f"loaded. Import that module where the App is made, or, if the class has moved, put "
            f"@register(name='{name}') on it"
        )
    try:
        spec = classes.spec_of(cls)
    except Refused:
        spec = None
    if spec is None or spec.kind != kind:
        raise NotStorable(f"'{name}' was stored as {_KINDS[kind]}, and is none any more")
    return cls, spec


def _enum(stored: dict[str, Any], depth: int) -> object:
    cls: Any = _class(stored, classes.ENUM)[0]
    held = stored.get("v")
    if type(held) is str:
        member = cls._member_map_.get(held)
        if member is None:
            raise NotStorable(
                f"{cls.__name__} has no member '{held}' any more, only "
                f"{', '.join(cls._member_map_)}. Keep old names as aliases"
            )
        return member
    flag: Any = sys.modules["enum"].Flag
    number = _read(held, depth)
    if type(number) is not int or not issubclass(cls, flag):
        raise ValueError("its 'v' is no member's name")
    if cls._missing_.__func__ is not flag._missing_.__func__:
        raise ValueError(f"{cls.__name__} overrides _missing_")
    return cls(number)


def _fields(stored: dict[str, Any], depth: int) -> dict[str, Any]:
    _enter(depth)
    inner = depth + 1
    return {name: _read(item, inner) for name, item in part(stored, "v", dict).items()}


def _complete(fields: dict[str, Any], cls: type, spec: Spec) -> dict[str, Any]:
    """The fields that the class has today.

    A field that is newer than the row takes its default; one that the class has no more is dropped.
    Both at once look like a renamed field, whose value must not be lost.
    """
    missing = [name for name in spec.fields if name not in fields]
    if len(fields) + len(missing) > len(spec.fields) and missing and not spec.omit:
        gone = sorted(fields.keys() - set(spec.fields))
        raise NotStorable(
            f"a stored {cls.__name__} has {gone} and lacks {missing}: was a field renamed? Keep "
            f"its old name, or cancel the conversations that hold it"
        )
    found = {name: fields[name] for name in spec.fields if name in fields}
    for name in missing:
        if name in spec.values:
            found[name] = spec.values[name]
        elif name in spec.factories:
            found[name] = spec.factories[name]()
        else:
            raise NotStorable(
                f"a stored {cls.__name__} has no field '{name}', and the class gives it no fixed "
                f"default. Give it one: the row is older than the field"
            )
    return found


def _data(stored: dict[str, Any], depth: int) -> object:
    """A dataclass without its `__init__` and `__post_init__`.

    They ran when the value was made. Once more they could change it (a counter, a cleaned-up
    text), refuse it after a stricter check was deployed, or do something: a replay must see what
    the first run saw, and a row must run no code.
    """
    cls, spec = _class(stored, classes.DATA)
    made: object = object.__new__(cls)
    for name, value in _complete(_fields(stored, depth), cls, spec).items():
        object.__setattr__(made, name, value)
    return made


def _struct(stored: dict[str, Any], depth: int) -> object:
    """A msgspec.Struct. It can only be made by calling it, so a `__post_init__` runs; what that
    changes is set back.
    """
    cls, spec = _class(stored, classes.STRUCT)
    found = _complete(_fields(stored, depth), cls, spec)
    made: Struct = cls(**found)
    if hasattr(cls, "__post_init__"):
        for name, value in found.items():
            force_setattr(made, name, value)
    return made


_FILLED_LATER: tuple[Any, ...] = (list, dict, set, bytearray)


def _sub(stored: dict[str, Any], depth: int) -> object:
    cls, spec = _class(stored, classes.SUB)
    base: Any = spec.base
    made: object
    plain = _read(stored.get("v"), depth)
    kind = type(plain)
    if kind is not spec.base:
        raise ValueError(f"its 'v' is no {base.__name__}")
    names = getattr(cls, "_fields", None) if kind is tuple else None  # a NamedTuple's
    if names is not None and len(names) != len(plain):
        raise NotStorable(
            f"a stored {cls.__name__} has {len(plain)} fields, the class has {len(names)} now. Use a "
            f"dataclass, whose fields go by name, or cancel the conversations that hold it"
        )
    if base in _FILLED_LATER:
        made = base.__new__(cls)
        base.__init__(made, plain)
    else:
        made = base.__new__(cls, plain)
    return made


_READERS: dict[str, Callable[[dict[str, Any], int], object]] = {
    "tuple": _tuple,
    "set": _set,
    "frozenset": _frozenset,
    "dict": _dict,
    classes.ENUM: _enum,
    classes.DATA: _data,
    classes.STRUCT: _struct,
    classes.SUB: _sub,
}
_KNOWN = _READERS.keys() | scalars.READERS.keys()
