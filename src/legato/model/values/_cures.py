"""What to say of a value that cannot be stored."""

from __future__ import annotations

_CURES = {
    "pathlib": "Use str(path)",
    "builtins.range": "Use list(...) of it",
    "builtins.complex": "Use a tuple of its two parts",
    "builtins.memoryview": "Use bytes(...) of it",
    "builtins.slice": "Keep its numbers",
    "builtins.mappingproxy": "Use dict(...) of it",
    "builtins.coroutine": "Await it first",
    "builtins.generator": "Use list(...) of it",
    "builtins.async_generator": "Collect it into a list",
    "builtins.function": "Keep its name, and look it up where it is needed",
    "builtins.method": "Keep its name, and look it up where it is needed",
    "builtins.builtin_function_or_method": "Keep its name, and look it up where it is needed",
    "builtins.type": "Keep its name, and look it up where it is needed",
    "builtins.module": "Import it where it is needed",
    "builtins.object": "Use None or an Enum member as a mark",
    "collections.deque": "Use list(...) of it",
    "re.Match": "Keep its .group() or .groups()",
    "re.Pattern": "Keep its .pattern",
    "zoneinfo.ZoneInfo": "Keep its .key",
    "datetime.timezone": "Keep the offset, a timedelta",
    "fractions.Fraction": "Keep its numerator and denominator",
    "_io": "Read it, and keep the content or the file's name",
    "socket.socket": "Open it inside the step that uses it",
    "_thread": "Make it where it is used, outside of dialogs",
    "_asyncio": "Await it inside a step",
    "sqlite3": "Open it inside the step that uses it, and keep plain rows",
}
_VIEWS = ("dict_keys", "dict_values", "dict_items")


def describe(value: object) -> str:
    """For instance "is a PosixPath, which the journal cannot keep. Use str(path)"."""
    cls = type(value)
    article = "an" if cls.__name__[:1] in "AEIOUaeiou" else "a"
    return f"is {article} {cls.__name__}, which the journal cannot keep. {_cure(cls)}"


def _cure(cls: type) -> str:
    for base in cls.__mro__[:-1] if cls is not object else (object,):
        module = base.__module__
        cure = _CURES.get(f"{module}.{base.__name__}") or _CURES.get(module.partition(".")[0])
        if cure:
            return cure
    if issubclass(cls, BaseException):
        return "Raise it, or keep str(error)"
    if cls.__name__ in _VIEWS or hasattr(cls, "__next__"):
        return "Use list(...) of it"
    if hasattr(cls, "model_dump"):
        return "Use .model_dump() of it, or a msgspec.Struct"
    for builtin in (str, bytes, bytearray, int, float, tuple, list, dict, set, frozenset):
        if issubclass(cls, builtin):
            return (
                f"Use {builtin.__name__}(...) of it; a plain subclass of {builtin.__name__} can be "
                f"kept as it is with @register"
            )
    if hasattr(cls, "__attrs_attrs__"):
        return "Use attrs.asdict() of it, or make it a dataclass"
    return "Keep the parts you need, or make the class a dataclass or msgspec.Struct"
