"""Words of the crash tests: what a call does, and how a store may lie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from legato.model.records import Call, Commit
from legato.stores.sqlite.within import Sql
from legato.testing.sql import Tables


def told(call: Call) -> str:
    """What a call does, in a few words that no other call of the script shares."""
    out: Any = call.params["out"]
    text = out.get("message", {}).get("text", "")
    return text if out["type"] == "send" else f"{out['type']}: {text}"


class Liar(Struct, frozen=True):
    """How the store betrays its contract: which of its promises are off."""

    fence: bool = False
    dedupe: bool = False
    settle: bool = False
    apart: bool = False


class Till(Tables):
    """The app's own table: what was sold.

    Args:
        apart: Its transactions are not the store's: what is written stays, come what may.
    """

    def __init__(self, *, apart: bool) -> None:
        super().__init__()
        self.script("CREATE TABLE sold (what)")
        self._apart = apart

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Sql]:
        if self._apart:
            yield Sql(self._connection)
            return
        async with super().transaction() as sql:
            yield sql

    @property
    def sold(self) -> list[str]:
        """What was sold, in order."""
        return [what for (what,) in self.fetch("SELECT what FROM sold")]


def pointed(commit: Commit, point: Callable[[str], Awaitable[None]]) -> Commit:
    """A commit in whose transaction a process may die before and after the app's SQL."""
    inner = commit.within
    if inner is None:
        return commit

    async def within(sql: Any) -> bytes:
        await point("within")
        segment = await inner(sql)
        await point("done within")
        return segment

    return replace(commit, within=within)
