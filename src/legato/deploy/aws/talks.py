"""Open conversations in a bot's table: how many there are, and whether other code can go on with them."""

from __future__ import annotations

import subprocess  # nosec B404
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from legato.abc import Store
from legato.app.app import App
from legato.app.operate import check as replayed
from legato.app.operate import conversations
from legato.deploy.aws.cloud import Cloud
from legato.deploy.clock import SystemClock
from legato.deploy.package.build import unpack_own
from legato.deploy.parts import make_store
from legato.engine import journal
from legato.engine.versions import Report
from legato.errors import ConfigError

MOST_SHOWN = 5
SECONDS = 600


def address(cloud: Cloud, table: str) -> str:
    """Of the bot's store."""
    return f"dynamodb://{table}?region={cloud.region}"


@asynccontextmanager
async def opened(cloud: Cloud, table: str) -> AsyncIterator[Store]:
    """The bot's store."""
    cloud.export()
    store = make_store(address(cloud, table), shared=True, create=False)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


class Seen(NamedTuple):
    """What is open.

    Attributes:
        statuses: How many conversations there are in each.
        builds: Which version wrote each last, by key; 0 = one from before they told.
    """

    statuses: Counter[str]
    builds: dict[str, int]


async def seen(cloud: Cloud, table: str) -> Seen:
    """Looks at all conversations."""
    found = Seen(Counter(), {})
    async with opened(cloud, table) as store:
        async for one in conversations(store):
            found.statuses[one.status] += 1
            found.builds[one.key] = journal.decode_state(one.state).build
    return found


async def misfits(cloud: Cloud, table: str, app: App) -> list[Report]:
    """Open conversations that the code of `app` cannot replay."""
    async with opened(cloud, table) as store:
        return [one async for one in replayed(store, app, SystemClock()) if one.verdict != "same"]


def told(reports: list[Report]) -> str:
    """The first few of them, for people."""
    lines = [f"{one.key}: {one.verdict}: {one.detail:.400}" for one in reports[:MOST_SHOWN]]
    more = len(reports) - MOST_SHOWN
    return "; ".join([*lines, f"and {more} more"] if more > 0 else lines)


def packed_misfits(cloud: Cloud, table: str, archive: bytes) -> set[str]:
    """Keys of the conversations that the code in an older package cannot replay.

    The bot's own files are unpacked and replay in a process of their own, with the libraries of this
    machine; nothing is run or sent.
    """
    cloud.export()
    with tempfile.TemporaryDirectory(prefix="legato-rollback-") as folder:
        manifest = unpack_own(archive, Path(folder))
        done = subprocess.run(  # nosec B603
            [
                sys.executable, "-m", "legato.cli.main", "check", manifest.entry,
                "--store", address(cloud, table), "--json",
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )  # fmt: skip
    if done.returncode == 0:
        return set()
    try:
        found = msgspec.json.decode(done.stdout.rstrip("\n").rpartition("\n")[2])
        return {str(one["key"]) for one in found["problems"]}
    except (msgspec.MsgspecError, KeyError, TypeError):
        text = (done.stderr.strip() or done.stdout.strip())[-500:]
        raise ConfigError(f"the older code cannot be tried here: {text}") from None


__all__ = ["Seen", "address", "misfits", "opened", "packed_misfits", "seen", "told"]
