"""Which classes may stand in a journal, and how one is found again by its name.

`dataclasses` and `enum` are never imported here: an instance can only exist if the program did.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary

from msgspec import NODEFAULT, Struct

from legato.errors import Misuse

C = TypeVar("C", bound=type)

ENUM, DATA, STRUCT, SUB = "enum", "data", "struct", "sub"

_Field = tuple[str, object, Any]
_BUILTINS = (str, bytes, bytearray, int, float, tuple, list, dict, set, frozenset)
_FACTORIES = (list, dict, set, tuple, frozenset, bytearray)
_HEAP_TYPE = 1 << 9
"""Flag of a class that was made at run time (by a `class` statement), not in C."""

_registered: dict[str, type] = {}
_names: WeakKeyDictionary[type, str] = WeakKeyDictionary()
_specs: WeakKeyDictionary[type, Spec] = WeakKeyDictionary()


class Refused(Exception):
    """A value cannot be stored. Collects the path to it while it unwinds.

    Attributes:
        text: What it is, and the cure.
        path: The steps to it, innermost first, such as "[3]" or ".price".
        holders: id() of the containers passed, to tell a cycle from mere depth.
    """

    def __init__(self, text: str, *, path: bool = True) -> None:
        self.text = text
        self.path: list[str] = []
        self.holders: list[int] = []
        self._tells_path = path
        super().__init__(text)

    def passed(self, holder: object, step: str) -> None:
        """It comes out of `holder`, where `step` led to it."""
        self.holders.append(id(holder))
        if self._tells_path:
            self.path.append(step)


class Spec(Struct, frozen=True):
    """How instances of one class are stored.

    Attributes:
        kind: ENUM, DATA, STRUCT or SUB.
        name: Under which it is found again.
        fields: Names of its fields, in order.
        values: Defaults of fields, for rows that are older than the field.
        factories: Likewise, but only builtin ones: any other (uuid4, a clock) would give another
            value at each replay.
        omit: Leave a field out whose value is the default (msgspec's `omit_defaults`).
        base: For SUB: the builtin type.
    """

    kind: str
    name: str
    fields: tuple[str, ...] = ()
    values: dict[str, object] = {}
    factories: dict[str, Callable[[], object]] = {}
    omit: bool = False
    base: type = object


_FACTORY = type(Spec.__struct_defaults__[1])
"""How msgspec marks `values = {}`; the type has no public name."""


@overload
def register(cls: C, *, name: str = "") -> C: ...
@overload
def register(*, name: str) -> Callable[[C], C]: ...
def register(cls: C | None = None, *, name: str = "") -> C | Callable[[C], C]:
    """Let instances of `cls` be kept in journals. Usable as a decorator; idempotent.

    Needed for an exception that a step raises, for a class that lives inside a function, and for a
    subclass of a builtin type (a NamedTuple, `class Sku(str)`). Enums, dataclasses and msgspec
    Structs at module level need no registration.

    Args:
        cls: An exception, Enum, dataclass, msgspec.Struct, or a subclass of a builtin type.
        name: "module:qualname" under which it is stored. By default where it is now; after a move
            to another module, its old place, so that old journals find it.

    Raises:
        Misuse: `cls` is of no such kind, or another class has this name.
    """
    if cls is None:
        return lambda cls: register(cls, name=name)
    name = name or home_of(cls)
    if ":" not in name:
        raise Misuse(f"register({cls.__name__}, name={name!r}): write it as 'module:Name'")
    held = _registered.get(name)
    if held is not None and held is not cls and home_of(held) != home_of(cls):
        raise Misuse(f"'{name}' is registered already, for {home_of(held)}")
    if not issubclass(cls, BaseException) and not kind_of(cls, registered=True):
        raise Misuse(
            f"register({cls.__name__}): it is neither an exception, Enum, dataclass or "
            f"msgspec.Struct nor a plain subclass of a builtin type. Make it a dataclass."
        )
    _registered[name] = cls
    _names[cls] = name
    _specs.pop(cls, None)
    return cls


def registered_name(cls: type) -> str:
    """Name under which `cls` was registered, "" if it was not."""
    return _names.get(cls, "")


def registered(name: str) -> type | None:
    """The class registered under `name`."""
    return _registered.get(name)


def home_of(cls: type) -> str:
    """Where a class is: "module:qualname". In the program's main file, the file's name is the module.

    So `python bot.py`, which calls its module "__main__", and a function that imports `bot` find
    each other's rows.
    """
    module = cls.__module__
    if module == "__main__":
        module = _main_name() or module
    return f"{module}:{cls.__qualname__}"


def _main_name() -> str:
    main = _names_in(sys.modules.get("__main__"))
    spec, file = main.get("__spec__"), main.get("__file__")
    if spec is not None:  # python -m bot
        return str(getattr(spec, "name", ""))
    if not isinstance(file, str):  # a prompt
        return ""
    return file.replace("\\", "/").rpartition("/")[2].removesuffix(".py")


def find(name: str) -> type | None:
    """The class called `name`: a registered one, or one in a module that is imported already.

    Reads dictionaries only: no import, no module's `__getattr__`, no descriptor is ever run.
    """
    cls = _registered.get(name)
    if cls is not None:
        return cls
    module, _, path = name.partition(":")
    cls = _walk(module, path)
    if cls is None and module == _main_name():
        cls = _walk("__main__", path)
    return cls


def _walk(module: str, path: str) -> type | None:
    names = _names_in(sys.modules.get(module))
    found: type | None = None
    for part in path.split("."):
        item = names.get(part)
        if not issubclass(type(item), type):  # isinstance() would ask the item's __class__
            return None
        found = item
        names = type.__getattribute__(found, "__dict__")
    return found


def _names_in(module: object) -> dict[str, Any]:
    """A module's dictionary, around any `__getattribute__` (a lazy module's would load it)."""
    try:
        names: dict[str, Any] = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return names


def kind_of(cls: type, *, registered: bool = False) -> str:
    """ENUM, DATA, STRUCT or SUB, "" if instances of `cls` cannot be stored at all."""
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(cls, enum.Enum):
        return ENUM
    if _has(cls, "__del__"):
        return ""  # owns something outside; must not come out of a row
    if issubclass(cls, Struct):
        return STRUCT if cls is not Struct else ""
    builtin = native_base(cls)
    if builtin is object:
        return DATA if _has(cls, "__dataclass_fields__") else ""
    if registered and builtin in _BUILTINS and _is_plain(cls, builtin):
        return SUB
    return ""


def _has(cls: type, name: str) -> bool:
    """`hasattr(cls, name)`, without asking a metaclass."""
    bases = type.__getattribute__(cls, "__mro__")
    return any(name in type.__getattribute__(base, "__dict__") for base in bases)


def native_base(cls: type) -> type:
    """The nearest base that is made in C: it decides the memory layout."""
    return next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)


def _is_plain(cls: type, builtin: type) -> bool:
    """Whether the builtin value is all that an instance holds (a defaultdict holds more)."""
    bare = cls.__reduce__ is builtin.__reduce__ and cls.__reduce_ex__ is builtin.__reduce_ex__
    slots = any(vars(base).get("__slots__") for base in cls.__mro__ if base is not builtin)
    return bare and not slots and cls is not builtin


def spec_of(cls: type) -> Spec | None:
    """How instances of `cls` are stored; None if they cannot be.

    Raises:
        Refused: They could, but the class would not be found again.
    """
    spec = _specs.get(cls)
    if spec is not None:
        return spec
    name = _names.get(cls, "")
    kind = kind_of(cls, registered=bool(name))
    if not kind:
        return None
    if not name:
        name = home_of(cls)
        if find(name) is not cls:
            raise Refused(
                f"is a {cls.__name__}, whose class cannot be found again as '{name}'. Define it at "
                f"module level under its own name, or put @register on it"
            )
    spec = _make_spec(cls, kind, name)
    _specs[cls] = spec
    return spec


def _make_spec(cls: type, kind: str, name: str) -> Spec:
    if kind == SUB:
        return Spec(kind, name, base=native_base(cls))
    if kind == ENUM:
        return Spec(kind, name)
    fields, omit = _struct_fields(cls) if issubclass(cls, Struct) else _dataclass_fields(cls)
    values = {f: value for f, value, factory in fields if value is not NODEFAULT}
    factories: dict[str, Callable[[], object]] = {
        f: factory for f, _, factory in fields if factory in _FACTORIES
    }
    return Spec(kind, name, tuple(f for f, _, _ in fields), values, factories, omit=omit)


def _dataclass_fields(cls: type) -> tuple[list[_Field], bool]:
    import dataclasses

    none = dataclasses.MISSING
    return [
        (f.name, NODEFAULT if f.default is none else f.default, f.default_factory)
        for f in dataclasses.fields(cls)
    ], False


def _struct_fields(cls: type[Struct]) -> tuple[list[_Field], bool]:
    """Not `msgspec.structs.fields`: that evaluates annotations, which may fail or be slow."""
    names, defaults = cls.__struct_fields__, cls.__struct_defaults__
    found: list[_Field] = [(name, NODEFAULT, None) for name in names[: -len(defaults) or None]]
    for name, default in zip(names[len(found) :], defaults, strict=True):
        factory = getattr(default, "factory", None) if type(default) is _FACTORY else None
        found.append((name, NODEFAULT if factory else default, factory))
    return found, bool(cls.__struct_config__.omit_defaults)


def extra_attribute(value: object, spec: Spec) -> str:
    """Name of an attribute of `value` that is no field, "" if there is none.

    What a `functools.cached_property` has left there is computed again when it is needed.
    """
    held: dict[str, object] | None = getattr(value, "__dict__", None)
    if not held:
        return ""
    cached = functools.cached_property
    for name in held.keys() - set(spec.fields):
        if not any(type(vars(base).get(name)) is cached for base in type(value).__mro__):
            return name
    return ""
