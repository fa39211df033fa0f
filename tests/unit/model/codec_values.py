"""Classes that the codec's tests store, and what "comes back exactly" means."""

import dataclasses
import enum
import typing
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from legato.model.values import register

Shop = Callable[[str], Any]
"""The fixture `shop`: puts source in place of the module "shop", and returns the module."""


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"
    TINY = SMALL


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Item:
    name: str
    price: Decimal = Decimal(0)
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    items: tuple[Item, ...]
    size: Size

    class Line(msgspec.Struct, frozen=True):
        text: str


class Payment(msgspec.Struct):
    amount: Decimal
    at: datetime | None = None
    note: str | msgspec.UnsetType = msgspec.UNSET
    lines: list[Order.Line] = []


@register
class Point(typing.NamedTuple):
    x: int
    y: int


@register
class Sku(str):
    __slots__ = ()


@register
class Basket(dict[str, int]):
    pass


def same(a: object, b: object) -> bool:
    """Equal and of the same types all the way down; NaN equals itself, 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, int):
        return a == b
    if isinstance(a, list | tuple):
        assert isinstance(b, list | tuple)
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        assert isinstance(b, dict)
        return same(list(a.items()), list(b.items()))
    if isinstance(a, set | frozenset):
        assert isinstance(b, set | frozenset)
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    if dataclasses.is_dataclass(a) or isinstance(a, msgspec.Struct):
        return same(_fields(a), _fields(b))
    return repr(a) == repr(b)


def _fields(value: Any) -> list[object]:
    names = getattr(value, "__dataclass_fields__", None) or value.__struct_fields__
    return [getattr(value, name) for name in names]
