"""What the SQLite store says and does when disk, lock or process fail; and that it works again afterwards."""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.errors import StoreBusy, StoreFull, StoreUnavailable
from legato.model.records import COMMITTED, CONFLICT, QUEUED, Commit, Committed
from legato.stores.sqlite import SQLiteStore
from legato.testing.conformance._samples import begin, item, row
from tests.integration import crash_points

HERE = Path(__file__).parent


def _pages(store: SQLiteStore, limit: int) -> None:
    """Lets the file grow by so many pages, as a disk that is nearly full does."""
    assert store._transactions is not None
    connection = store._transactions.connection()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + limit}")


# -- no space ---------------------------------------------------------------------------------------


def _large(number: int) -> Commit:
    key = f"{number:03}"
    puts = (("space", "name", key.encode()),)
    return begin(key, segment=b"s" * 6000, update_id=key, outbox=(item(key),), puts=puts)


@pytest.mark.parametrize("threads", [True, False])
async def test_a_full_disk_refuses_whole_commits_until_there_is_room(
    tmp_path: Path, threads: bool
) -> None:
    store = SQLiteStore(tmp_path / "bot.db", threads=threads)
    await store.open()
    try:
        _pages(store, 20)
        for number in range(6):
            assert (await store.commit(_large(number))).result == COMMITTED
        commits = [_large(number) for number in range(6, 20)]
        done = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        full = [result for result in done if isinstance(result, StoreFull)]
        refused = [commit for commit, result in zip(commits, done, strict=True) if result in full]
        assert len(refused) > 6
        for error in full:
            assert re.search(r"bot\.db: .*full.*Make room", str(error))
            assert isinstance(error.__cause__, sqlite3.OperationalError)
        assert len(await store.outbox(states=(QUEUED,))) == 20 - len(refused)
        for commit in refused:
            assert await store.load(commit.key) is None
            assert await store.get("inbox", commit.key) is None
        _pages(store, 1000)
        for commit in refused:
            assert (await store.commit(commit)).result == COMMITTED
    finally:
        await store.close()


async def test_of_concurrent_commits_only_those_without_room_fail(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "bot.db")
    await store.open()
    try:
        _pages(store, 8)
        commits = [begin(f"{number}") for number in range(10)]
        commits[3:3] = [begin("large", segment=b"s" * 100_000)]
        results = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        assert isinstance(results.pop(3), StoreFull)
        assert results == [Committed(COMMITTED)] * 10
        assert [found.key for found in await store.find()] == [f"{number}" for number in range(10)]
    finally:
        await store.close()


LIMITED = """
import asyncio, resource, sys
from legato.errors import StoreUnavailable
from legato.stores.sqlite import SQLiteStore
from legato.testing.conformance._samples import begin

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    acknowledged = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    try:
        for number in range(100):
            key = f"{number:03}"
            await store.commit(begin(key, segment=b"s" * 6000))
            acknowledged.append(key)
    except StoreUnavailable as error:
        assert sys.argv[1] in str(error), error
    else:
        raise AssertionError("the limit was never met")
    commits = [begin(f"{number:03}", segment=b"s" * 6000) for number in range(50, 60)]
    refused = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
    assert all(isinstance(error, StoreUnavailable) for error in refused), refused
    assert [row.key for row in await store.find()] == acknowledged
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    done = await asyncio.gather(*map(store.commit, commits))
    assert {committed.result for committed in done} == {"committed"}
    await store.close()
    await store.open()
    assert len(await store.find()) == len(acknowledged) + 10
    await store.close()

asyncio.run(main())
"""


def test_a_log_that_cannot_grow_fails_the_whole_batch_and_recovers(tmp_path: Path) -> None:
    _program("-c", LIMITED, str(tmp_path / "bot.db"))


def _program(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *arguments],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- another writer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [True, False])
async def test_a_foreign_write_lock_makes_commits_unavailable_for_as_long_as_it_is_held(
    tmp_path: Path, threads: bool
) -> None:
    store = SQLiteStore(tmp_path / "bot.db", threads=threads, _busy_s=0.05)
    await store.open()
    foreign = sqlite3.connect(tmp_path / "bot.db", isolation_level=None)
    try:
        foreign.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"bot\.db: .*locked.*over 0\.05 s"):
                await store.commit(begin())
            assert await store.find() == []  # reading goes on
        foreign.execute("ROLLBACK")
        assert (await store.commit(begin())).result == COMMITTED
    finally:
        foreign.close()
        await store.close()


async def test_the_loop_runs_on_while_a_commit_waits_for_a_foreign_lock(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "bot.db", _busy_s=100)
    await store.open()
    foreign = sqlite3.connect(tmp_path / "bot.db", isolation_level=None)
    try:
        foreign.execute("BEGIN IMMEDIATE")
        commits = [asyncio.create_task(store.commit(begin(f"{number}"))) for number in range(5)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(commit.done() for commit in commits)
        foreign.execute("ROLLBACK")
        assert {done.result for done in await asyncio.gather(*commits)} == {COMMITTED}
    finally:
        foreign.close()
        await store.close()


# -- other processes --------------------------------------------------------------------------------

HOLDER = """
import asyncio, sys
from legato.stores.sqlite import SQLiteStore
from legato.testing.conformance._samples import begin

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    await store.commit(begin())
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds bot.db open, with one conversation in it."""
    program = [sys.executable, "-c", HOLDER, str(tmp_path / "bot.db")]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        yield holder
        holder.kill()


async def test_a_second_process_is_refused_until_the_first_is_gone(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    store = SQLiteStore(tmp_path / "bot.db")
    with pytest.raises(StoreBusy, match=rf"in use by another process \({holder.pid}\)"):
        await store.open()
    holder.kill()
    holder.wait()
    await store.open()
    assert await store.find() == [row()]
    await store.close()


async def test_an_operator_reads_and_writes_beside_a_running_bot(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    operator = SQLiteStore(tmp_path / "bot.db", shared=True)
    await operator.open()
    assert await operator.find() == [row()]
    assert (await operator.commit(begin("from outside"))).result == COMMITTED
    assert (await operator.commit(begin())).result == CONFLICT
    await operator.close()
    assert holder.poll() is None


STARTER = """
import asyncio, sys
from legato.stores.sqlite import SQLiteStore
from legato.testing.conformance._samples import begin

async def main():
    store = SQLiteStore(sys.argv[1], shared=True, threads=False)
    print("ready", flush=True)
    sys.stdin.read()
    await store.open()
    await store.commit(begin(sys.argv[2]))
    await store.close()

asyncio.run(main())
"""


def _start_together(path: Path, number: int) -> list[str]:
    """Starts so many programs, lets them all go at once; what they complain of."""
    pipe, starters = subprocess.PIPE, []
    for name in range(number):
        program = [sys.executable, "-c", STARTER, str(path), f"{name}"]
        starters.append(subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.close()
        starter.stdin = None
    return [starter.communicate()[1] for starter in starters]


async def test_several_processes_may_make_a_shared_file_at_the_same_time(tmp_path: Path) -> None:
    assert _start_together(tmp_path / "bot.db", 4) == [""] * 4
    store = SQLiteStore(tmp_path / "bot.db")
    await store.open()
    assert [found.key for found in await store.find()] == ["0", "1", "2", "3"]
    await store.close()


# -- the process dies -------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "least"), [("batch", 30), ("first-start", 20)])
def test_a_process_killed_at_any_statement_leaves_all_or_nothing(
    tmp_path: Path, what: str, least: int
) -> None:
    points, wrong = json.loads(_program(crash_points.__file__, str(tmp_path), what))
    assert wrong == []
    assert points >= least


def test_the_kills_catch_a_store_without_transactions(tmp_path: Path) -> None:
    points, wrong = json.loads(_program(crash_points.__file__, str(tmp_path), "batch", "sabotage"))
    assert len(wrong) > points // 2
