"""Runs a conformance suite that stands in the documentation, without pytest collecting it."""

from typing import Any


def run_suite(suite: type[Any]) -> int:
    """Runs every test of `suite`, each on a fresh instance; returns how many.

    Knows of pytest's marks only `parametrize`.
    """
    count = 0
    for name in sorted(n for n in dir(suite) if n.startswith("test_")):
        for arguments in _arguments(getattr(suite, name)):
            getattr(suite(), name)(**arguments)
            count += 1
    return count


def _arguments(test: Any) -> list[dict[str, Any]]:
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    if not marks:
        return [{}]
    (mark,) = marks
    names, values = mark.args
    names = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
    rows = [(value,) if len(names) == 1 else value for value in values]
    return [dict(zip(names, row, strict=True)) for row in rows]
