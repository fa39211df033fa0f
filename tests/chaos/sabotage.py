"""Parts of a cluster's safety, each broken in one process: what the chaos test must find out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from legato.abc import Letter
from legato.deploy.gateway import Gateway
from legato.errors import Unavailable
from legato.model.records import Commit, Committed
from legato.stores.postgres import PostgresStore

_left: set[asyncio.Task[None]] = set()


def answer_early() -> None:
    """The gateway answers 200 and publishes then, as others do."""

    async def forget(self: Gateway, found: Sequence[Letter]) -> None:
        try:
            await self._queue.publish(found)
        except Unavailable:
            return

    async def confirmed(self: Gateway, found: Sequence[Letter]) -> None:
        task = asyncio.create_task(forget(self, found))
        _left.add(task)
        task.add_done_callback(_left.discard)

    Gateway._confirmed = confirmed  # type: ignore[method-assign]


def no_dedupe() -> None:
    """No update is remembered, so a repeated one is applied again."""
    honest = PostgresStore.commit

    async def commit(self: PostgresStore, commit: Commit) -> Committed:
        return await honest(self, replace(commit, update_id=""))

    PostgresStore.commit = commit  # type: ignore[method-assign]


SABOTAGE: dict[str, Callable[[], None]] = {"answer-early": answer_early, "no-dedupe": no_dedupe}
