"""From the `kind` that a dialog names to the parser of its answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, Literal, get_args, get_origin

from legato.engine.parsers import _texts as texts
from legato.engine.parsers._parser import (
    AttachmentParser,
    BoundedParser,
    CallParser,
    ChoiceParser,
    EventParser,
    FormParser,
    Parser,
    TextParser,
)
from legato.errors import Misuse
from legato.model.events import Contact, Event, File, Location, MessageReceived, Photo

SUPPORTED = (
    "str, int, float, Decimal, bool, date, time, datetime, timedelta, an Enum class, Literal[...], "
    "a list of answers, list[T], a compiled regex, Email, Photo, File, Location, Contact, None or "
    "MessageReceived (any message), or a function of the text that raises ValueError"
)
_COROUTINE = 0x80 | 0x100 | 0x200
"""Code flags of async functions, their decorated kin and async generators."""


def parser_for(kind: Any, *, min: Any = None, max: Any = None) -> Parser:
    """The parser of answers of `kind`: see the table in `legato.engine.parsers`.

    Args:
        kind: What to read.
        min, max: Bounds, included: of a number, a date or time, a text's length, a list's count.

    Raises:
        Misuse: There is no such kind, or it has no such bounds.
    """
    kind = getattr(kind, "__supertype__", kind)  # of a NewType
    bounds = (min, max)
    make = _SCALARS.get(kind) if isinstance(kind, type) else None
    if make is not None:
        if bounds != _UNBOUNDED:
            return make(_checked(kind, bounds))
        return _PLAIN.get(kind) or _PLAIN.setdefault(kind, make(_UNBOUNDED))
    if get_origin(kind) is list or kind is list:
        return _list(kind, _checked(list, bounds))
    if min is not None or max is not None:
        raise Misuse(f"ask(..., {_shown(kind)}): min= and max= mean nothing here")
    return _unbounded(kind)


def _unbounded(kind: Any) -> Parser:
    if kind is bool:
        return FormParser("bool", texts.boolean, (("Yes", "yes"), ("No", "no")))
    if kind is texts.Email:
        return FormParser("Email", texts.email)
    if kind is None or kind is MessageReceived:
        return EventParser("message")
    if isinstance(kind, type):
        wanted = _ATTACHMENTS.get(kind)
        if wanted is not None:
            return AttachmentParser(kind.__name__, kind, wanted)
        if issubclass(kind, Enum):
            return ChoiceParser(kind.__name__, _members(kind))
    if get_origin(kind) is Literal:
        return ChoiceParser("Literal", [_option(value, kind) for value in get_args(kind)])
    if isinstance(kind, list | tuple):
        return ChoiceParser("choice", [_option(value, kind) for value in kind])
    if isinstance(kind, re.Pattern):
        return _regex(kind)
    return CallParser(_call_name(kind), kind)


# -- kinds with bounds -------------------------------------------------------------------------


def _datetime(bounds: tuple[Any, Any]) -> Parser:
    zone = next((bound.tzinfo for bound in bounds if bound is not None), None)
    naive = bounds != (None, None) and zone is None

    def read(text: str) -> datetime:
        value = texts.moment(text, zone)
        if naive and value.tzinfo is not None:
            raise ValueError("Please answer with date and time without a time zone.")
        return value

    return BoundedParser("datetime", read, bounds, must="The time must be")


_SCALARS: dict[Any, Callable[[tuple[Any, Any]], Parser]] = {
    int: partial(BoundedParser, "int", texts.whole),
    float: partial(BoundedParser, "float", texts.real),
    Decimal: partial(BoundedParser, "Decimal", texts.decimal),
    str: partial(
        BoundedParser, "str", str, size=len, must="The answer must have", unit=" characters"
    ),
    date: partial(BoundedParser, "date", texts.day, must="The date must be"),
    time: partial(BoundedParser, "time", texts.clock, must="The time must be"),
    datetime: _datetime,
    timedelta: partial(BoundedParser, "timedelta", texts.duration, must="The duration must be"),
}
_UNBOUNDED = (None, None)
_PLAIN: dict[Any, Parser] = {}
"""Parsers of scalars without bounds: one does for all questions, since it keeps nothing."""
_NUMBERS = (int, float, Decimal)
_BOUND_TYPES: dict[type, tuple[type, ...]] = {
    int: _NUMBERS,
    float: _NUMBERS,
    Decimal: _NUMBERS,
    str: (int,),
    list: (int,),
    date: (date,),
    time: (time,),
    datetime: (datetime,),
    timedelta: (timedelta, int, float),
}


def _checked(kind: type, bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    """`bounds`, each of a type that compares with a `kind`.

    Raises:
        Misuse: One does not, or min is above max.
    """
    if bounds == (None, None):
        return bounds
    types = _BOUND_TYPES[kind]
    for name, bound in zip(("min", "max"), bounds, strict=True):
        if bound is not None and type(bound) not in types:
            raise Misuse(
                f"ask(..., {kind.__name__}, {name}={bound!r:.40}): {name} must be "
                f"{' or '.join(cls.__name__ for cls in types)}"
            )
        zoned = kind is time and getattr(bound, "tzinfo", None) is not None
        if zoned or bound != bound:  # noqa: PLR0124 # only NaN differs from itself
            raise Misuse(
                f"ask(..., {kind.__name__}, {name}={bound!r:.40}): no answer compares to it"
            )
    if kind is timedelta:
        low, high = (
            timedelta(seconds=bound) if isinstance(bound, int | float) else bound
            for bound in bounds
        )
    else:
        low, high = bounds
    try:
        if low is not None and high is not None and not low <= high:
            raise Misuse(f"ask(..., {kind.__name__}): min={low} is above max={high}")
    except TypeError as error:
        raise Misuse(f"ask(..., {kind.__name__}): min and max do not compare: {error}") from error
    return low, high


def _list(kind: Any, bounds: tuple[Any, Any]) -> Parser:
    (item,) = get_args(kind) or (str,)
    inner = parser_for(item)
    if not isinstance(inner, TextParser) or inner.name.startswith("list["):
        raise Misuse(f"ask(..., {_shown(kind)}): an item of a list must be a single text")

    def read(text: str) -> list[Any]:
        sign = r"[;\n]" if ";" in text or "\n" in text else ","
        parts = [texts.stripped(part) for part in re.split(sign, text)]
        values = [inner.read_text(part) for part in parts if part]
        if not values:
            raise ValueError("Please answer with one or more, parted by commas.")
        return values

    return BoundedParser(
        f"list[{inner.name}]", read, bounds, size=len, must="The list must have", unit=" items"
    )


# -- choices -----------------------------------------------------------------------------------


def _members(kind: type[Enum]) -> list[tuple[str, str, Any]]:
    return [_member(member) for member in kind]


def _member(member: Enum) -> tuple[str, str, Any]:
    """Label, payload and value of a member. Where the value is a text, that is the label."""
    name = member.name
    label = member.value if isinstance(member.value, str) and member.value else ""
    return label or name.replace("_", " ").capitalize(), name, member


def _option(value: Any, kind: Any) -> tuple[str, str, Any]:
    if isinstance(value, Enum):
        return _member(value)
    if isinstance(value, str) and texts.stripped(value):
        plain = str.__str__(value)
        return plain, plain, plain
    if value is None or isinstance(value, bool | int):
        return str(value), str(value), value
    raise Misuse(
        f"ask(..., {_shown(kind)}): {value!r:.40} is no answer that a person can give. Offer texts, "
        f"whole numbers or members of an Enum"
    )


def _regex(kind: re.Pattern[Any]) -> Parser:
    if isinstance(kind.pattern, bytes):
        raise Misuse("ask(..., re.compile(b'...')): compile a pattern of text")

    def read(text: str) -> str | tuple[str | None, ...]:
        match = kind.fullmatch(text)
        if match is None:
            raise ValueError("That answer does not have the right form. Please try again.")
        return match.groups() if kind.groups else match[0]

    return FormParser("regex", read)


_ATTACHMENTS: dict[Any, str] = {
    Photo: "Please send a photo.",
    File: "Please send a file.",
    Location: "Please share a location.",
    Contact: "Please share a contact.",
}


# -- functions ---------------------------------------------------------------------------------


def _call_name(kind: Any) -> str:
    """Name of a function of the text.

    Raises:
        Misuse: It is none.
    """
    if isinstance(kind, type) and issubclass(kind, Event):
        raise Misuse(
            f"ask(..., {kind.__name__}): ask() reads messages. Wait for other events with "
            f"chat.receive(kinds={kind.__name__})"
        )
    if not callable(kind) or get_origin(kind) is not None or _takes_no_text(kind):
        raise Misuse(f"ask(..., {_shown(kind)}): no answer can be read so. It can be {SUPPORTED}")
    code = getattr(getattr(kind, "__func__", kind), "__code__", None)
    if code is not None and code.co_flags & _COROUTINE:
        raise Misuse(
            f"ask(..., {_shown(kind)}): reading an answer waits for nothing, so it must be no async "
            f"function. Ask for str, then `await chat.run({_shown(kind)}, answer)`"
        )
    inner = kind.func if isinstance(kind, partial) else kind
    return getattr(inner, "__name__", type(inner).__name__)


def _takes_no_text(kind: Any) -> bool:
    """Whether it is a class that cannot be made of a text: builtin ones, records, typing's."""
    if not isinstance(kind, type):
        return type(kind).__module__ == "typing"
    if kind.__module__ in ("builtins", "typing") or hasattr(kind, "__struct_fields__"):
        return True
    return hasattr(kind, "__dataclass_fields__")


def _shown(kind: Any) -> str:
    name = getattr(kind, "__name__", None) if get_origin(kind) is None else None
    return name if isinstance(name, str) else f"{kind!r:.60}"
