"""Power cuts: what SQLiteStore acknowledged is there when the power is back, whole, and nothing is half.

The store's own statements run on SQLite (APSW's build of it), over a disk that loses what was not synced.
LEGATO_SOAK=63 makes them ten thousand.
"""

import asyncio
import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.errors import StoreError
from tests.integration.power_workload import Ledger, Loss, inspect, store_on, work
from tests.integration.powercut import Disk, DiskVFS

CUTS = 160 * int(os.environ.get("LEGATO_SOAK", "1"))
ROUNDS = 60


@pytest.fixture
def vfs() -> Iterator[DiskVFS]:
    vfs = DiskVFS("power-cut", Disk(random.Random(0)))
    yield vfs
    vfs.unregister()


async def _cut(
    vfs: DiskVFS, folder: Path, disk: Disk, synchronous: str = "FULL"
) -> tuple[Ledger, Loss]:
    """Works on `disk` until its power goes, and inspects what is found afterwards."""
    ledger, vfs.disk = Ledger(), disk
    store = store_on(vfs, folder, synchronous)
    try:
        await store.open()
        await work(store, disk, ledger, ROUNDS)
    except StoreError:
        assert disk.off  # the power went while it opened
    await store.close()
    vfs.disk = disk.after_the_cut()
    if disk.rng.random() < 0.25:
        await _cut_again(vfs, folder, synchronous)
    store = store_on(vfs, folder, synchronous)
    try:
        await store.open()
        return ledger, await inspect(store, ledger)
    except (StoreError, sqlite3.Error) as error:
        return ledger, Loss(wrong=[str(error)])
    finally:
        await store.close()


async def _cut_again(vfs: DiskVFS, folder: Path, synchronous: str) -> None:
    """The power goes again while the store recovers."""
    vfs.disk.cut_at = vfs.disk.rng.randint(1, 12)
    store = store_on(vfs, folder, synchronous)
    try:
        await store.open()
        await work(store, vfs.disk, Ledger(), 0)
    except StoreError:
        pass  # the power went, or the first cut had done harm: that shows later
    await store.close()
    vfs.disk.cut_at = vfs.disk.cut_at if vfs.disk.off else vfs.disk.ops
    vfs.disk = vfs.disk.after_the_cut()


async def _prepared(vfs: DiskVFS, folder: Path) -> dict[str, bytes]:
    """The platters with an empty store on them."""
    store = store_on(vfs, folder, "FULL")
    await store.open()
    await store.close()
    return vfs.disk.durable


async def _cuts(vfs: DiskVFS, folder: Path, seeds: range, synchronous: str) -> tuple[int, Loss]:
    total, acknowledged = Loss(), 0
    platters = await _prepared(vfs, folder)
    for seed in seeds:
        disk = Disk(random.Random(seed), platters)
        disk.cut_at = disk.rng.randint(1, 2000)
        ledger, loss = await _cut(vfs, folder, disk, synchronous)
        acknowledged += ledger.acknowledged
        total.lost += loss.lost
        total.wrong += [f"seed {seed}: {text}" for text in loss.wrong]
    return acknowledged, total


def test_no_acknowledged_commit_is_lost_in_a_power_cut(vfs: DiskVFS, tmp_path: Path) -> None:
    acknowledged, loss = asyncio.run(_cuts(vfs, tmp_path, range(CUTS), "FULL"))
    assert loss == Loss()
    assert acknowledged > 20 * CUTS


def test_the_power_cuts_catch_a_store_that_syncs_too_rarely(vfs: DiskVFS, tmp_path: Path) -> None:
    acknowledged, loss = asyncio.run(_cuts(vfs, tmp_path, range(15), "NORMAL"))
    assert loss.lost > acknowledged / 50
    assert loss.wrong == []  # it forgets, but what is left is whole


def test_the_power_cuts_catch_a_store_that_never_syncs(vfs: DiskVFS, tmp_path: Path) -> None:
    _, loss = asyncio.run(_cuts(vfs, tmp_path, range(15), "OFF"))
    assert "malformed" in " ".join(loss.wrong)


def test_a_power_cut_while_the_file_is_made_leaves_none_or_an_empty_store(
    vfs: DiskVFS, tmp_path: Path
) -> None:
    async def first_starts() -> list[str]:
        wrong = []
        for cut_at in range(1, 80):
            disk = Disk(random.Random(cut_at))
            disk.cut_at = cut_at
            _, loss = await _cut(vfs, tmp_path, disk)
            wrong += [f"cut at {cut_at}: {text}" for text in loss.wrong + ["lost"] * loss.lost]
        return wrong

    assert asyncio.run(first_starts()) == []
