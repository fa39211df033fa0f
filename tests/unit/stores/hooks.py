"""sqlite3 connections that call a hook before every statement: to count, to hold, or to fail one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any


class Hooks:
    """What happens before a statement runs.

    Attributes:
        seen: The first word of every statement.
        before: Called with the statement; what it raises, the statement raises.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.before: Callable[[str], None] = lambda _: None

    def run(self, sql: str) -> None:
        """One statement is about to run."""
        self.seen.append(sql.split(maxsplit=1)[0])
        self.before(sql)

    def connect(self, path: str, busy_s: float) -> sqlite3.Connection:
        """For `SQLiteStore(_connect=...)`."""
        hooks = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
                hooks.run(sql)
                return super().execute(sql, parameters)

        class Connection(sqlite3.Connection):
            def cursor(self, *_: Any) -> Any:
                return Cursor(self)

            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                hooks.run(sql)
                return super().execute(sql, parameters)

        return sqlite3.connect(
            path, timeout=busy_s, isolation_level=None, check_same_thread=False, factory=Connection
        )


def failing(*words: str, code: int = sqlite3.SQLITE_IOERR, times: int = 1) -> Callable[[str], None]:
    """A hook that fails the next `times` statements beginning with one of `words`."""
    left = times

    def before(sql: str) -> None:
        nonlocal left
        if left and sql.startswith(words):
            left -= 1
            raise driver_error("disk I/O error", code)

    return before


def driver_error(text: str, code: int) -> sqlite3.Error:
    """An error as sqlite3 raises it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error
