"""Which writes share a transaction, and what happens to the others when one of them fails."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from legato.errors import Misuse, StoreFull, StoreUnavailable
from legato.model.records import COMMITTED, DEAD, SENT, Call, Settled
from legato.stores.sqlite import SQLiteStore
from legato.testing.conformance._samples import KEY, begin, done, item, proceed
from tests.unit.stores.hooks import Hooks, failing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


@asynccontextmanager
async def opened(path: Path, hooks: Hooks, *, threads: bool = True) -> AsyncIterator[SQLiteStore]:
    """An open store whose statements go through `hooks`, of which nothing is seen yet."""
    store = SQLiteStore(path, threads=threads, _connect=hooks.connect)
    await store.open()
    hooks.seen.clear()
    try:
        yield store
    finally:
        hooks.before = lambda _: None
        await store.close()


class Gate:
    """A hook that holds the COMMITs in the writer's thread until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, sql: str) -> None:
        if sql == "COMMIT" and threading.current_thread() is not threading.main_thread():
            self.reached.set()
            assert self.open.wait(60)

    async def wait(self) -> None:
        """Returns once a COMMIT is held."""
        await asyncio.to_thread(self.reached.wait, 60)


# -- batches ----------------------------------------------------------------------------------------


async def test_concurrent_commits_share_transactions_of_bounded_size(path: Path) -> None:
    hooks = Hooks()
    async with opened(path, hooks) as store:
        await asyncio.gather(*(store.commit(begin(f"{number}")) for number in range(200)))
        assert hooks.seen.count("BEGIN") == hooks.seen.count("COMMIT") == 4
        assert len(await store.find()) == 200


async def test_a_lone_commit_waits_for_nobody(path: Path) -> None:
    hooks = Hooks()
    async with opened(path, hooks) as store:
        for number in range(3):
            await done(store, begin(f"{number}"))
        assert hooks.seen.count("COMMIT") == 3


async def test_while_a_batch_is_written_the_next_one_gathers(path: Path) -> None:
    hooks, gate = Hooks(), Gate()
    hooks.before = gate
    async with opened(path, hooks) as store:
        first = asyncio.create_task(store.commit(begin("first", outbox=(item(),))))
        await gate.wait()
        later = [asyncio.create_task(store.commit(begin(f"{number}"))) for number in range(20)]
        later.append(asyncio.create_task(store.commit(proceed("first"))))
        assert await store.find() == []  # not durable, not seen
        await asyncio.sleep(0)
        assert not first.done()
        gate.open.set()
        assert (await first).result == COMMITTED
        assert {committed.result for committed in await asyncio.gather(*later)} == {COMMITTED}
        assert hooks.seen.count("COMMIT") == 2


async def test_commits_and_settles_share_a_transaction(path: Path) -> None:
    hooks = Hooks()
    async with opened(path, hooks) as store:
        (number,) = (await done(store, begin(outbox=(item(),)))).ids
        hooks.seen.clear()
        await asyncio.gather(store.settle([Settled(number, SENT)]), store.commit(begin("other")))
        assert hooks.seen.count("COMMIT") == 1
        await store.settle([])
        assert hooks.seen.count("COMMIT") == 1


async def test_a_settlement_is_not_held_up_by_commits_that_wait(path: Path) -> None:
    hooks, gate = Hooks(), Gate()
    hooks.before = gate
    async with opened(path, hooks) as store:
        first = asyncio.create_task(store.commit(begin("first", outbox=(item(), item()))))
        await gate.wait()
        later = [asyncio.create_task(store.commit(begin(f"{number}"))) for number in range(200)]
        fates = [Settled(1, DEAD), Settled(2, SENT), Settled(1, SENT)]
        settling = [asyncio.create_task(store.settle([fate])) for fate in fates]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*settling)
        assert first.done()
        assert sum(commit.done() for commit in later) < 64  # a crash now would send nothing twice
        await asyncio.gather(*later)
        assert await store.outbox(states=("queued", "dead")) == []


async def test_closing_finishes_what_was_asked_for(path: Path) -> None:
    hooks, gate = Hooks(), Gate()
    hooks.before = gate
    async with opened(path, hooks) as store:
        commits = [asyncio.create_task(store.commit(begin(f"{number}"))) for number in range(70)]
        await gate.wait()
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.commit(begin("late"))
        gate.open.set()
        await closing
        assert {commit.result().result for commit in commits} == {COMMITTED}
        await store.open()
        assert len(await store.find()) == 70


async def test_a_conversation_is_loaded_as_it_was_at_one_moment(path: Path) -> None:
    hooks = Hooks()
    async with opened(path, hooks) as store:
        await done(store, begin())
        before = await store.load(KEY)
        writer = sqlite3.connect(path)

        def write(sql: str) -> None:
            if sql.startswith("SELECT data"):
                with writer:
                    writer.execute("DELETE FROM journal")

        hooks.before = write
        assert await store.load(KEY) == before
        hooks.before = lambda _: None
        assert await store.load(KEY) != before
        writer.close()


async def test_the_loop_itself_never_waits_for_a_lock(path: Path) -> None:
    hooks = Hooks()
    async with opened(path, hooks) as store:
        assert store._transactions is not None
        connection = store._transactions.connection()
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (0,)
        hooks.before = failing("COMMIT", "ROLLBACK", times=2)
        with pytest.raises(StoreUnavailable):
            await store.commit(begin())
        again = store._transactions.connection()
        assert again is not connection
        assert again.execute("PRAGMA busy_timeout").fetchone() == (0,)


# -- who goes away ----------------------------------------------------------------------------------


async def test_who_is_cancelled_before_the_batch_begins_is_not_written(path: Path) -> None:
    hooks, gate = Hooks(), Gate()
    hooks.before = gate
    async with opened(path, hooks) as store:
        first = asyncio.create_task(store.commit(begin("first")))
        await gate.wait()
        second = asyncio.create_task(store.commit(begin("second")))
        third = asyncio.create_task(store.commit(begin("third")))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        gate.open.set()
        assert (await third).result == COMMITTED
        assert [found.key for found in await store.find()] == ["first", "third"]
        assert first.cancelled()


def test_a_store_outlives_the_loop_that_left_a_commit_behind(path: Path) -> None:
    hooks, gate = Hooks(), Gate()
    store = SQLiteStore(path, _connect=hooks.connect)

    async def leave() -> None:
        await store.open()
        hooks.before = gate
        task = asyncio.create_task(store.commit(begin()))
        await gate.wait()
        task.cancel()

    async def elsewhere() -> None:
        with pytest.raises(Misuse, match="another event loop"):
            await store.commit(begin())
        await store.close()
        await store.open()
        assert len(await store.find()) == 1
        await store.close()

    asyncio.run(leave())
    gate.open.set()
    asyncio.run(elsewhere())


# -- failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [True, False])
async def test_a_commit_that_cannot_be_stored_fails_alone(path: Path, threads: bool) -> None:
    hooks = Hooks()
    async with opened(path, hooks, threads=threads) as store:
        commits = [begin(f"{number}", outbox=(item(f"{number}"),)) for number in range(9)]
        commits[4:4] = [begin("bad", outbox=(item(call=Call("send", {"text": object()})),))]
        results = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        assert isinstance(results.pop(4), TypeError)
        assert all(not isinstance(result, BaseException) for result in results)
        assert [found.key for found in await store.find()] == [f"{number}" for number in range(9)]
        assert hooks.seen.count("BEGIN") <= 12  # undone once, then each alone


async def test_a_failure_beside_them_does_not_change_the_order_of_commits(path: Path) -> None:
    hooks = Hooks()
    async with opened(path, hooks) as store:
        bad = begin("bad", outbox=(item(call=Call("send", {"text": object()})),))
        commits = [begin("a"), proceed("a"), bad, proceed("a", head=2), proceed("a", head=3)]
        results = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        assert isinstance(results[2], TypeError)
        loaded = await store.load("a")
        assert loaded is not None
        assert loaded.conversation.head == 4


@pytest.mark.parametrize("threads", [True, False])
async def test_ids_without_a_utf8_form_are_kept_as_they_are(path: Path, threads: bool) -> None:
    hooks, odd = Hooks(), "\ud800key"
    async with opened(path, hooks, threads=threads) as store:
        commits = [begin("a"), begin(odd, update_id=odd, outbox=(item("text", odd),)), begin("b")]
        await asyncio.gather(*map(store.commit, commits))
        loaded = await store.load(odd)
        assert loaded is not None
        assert loaded.conversation.key == odd
        assert {found.key for found in await store.find()} == {"a", "b", odd}
        assert [found.key for found in await store.outbox(states=("queued",), key=odd)] == [odd]
        assert await store.get("inbox", odd) == b""
        assert (await store.commit(proceed(odd, update_id=odd))).result == "duplicate"
        assert (await store.commit(begin(odd))).result == "conflict"


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (("COMMIT",), StoreUnavailable),
        (("BEGIN",), StoreUnavailable),
        (("COMMIT", "ROLLBACK"), StoreUnavailable),
        (("INSERT INTO outbox", "ROLLBACK"), StoreUnavailable),
        (("COMMIT",), StoreFull),
    ],
)
async def test_a_failed_transaction_is_told_to_all_and_leaves_nothing(
    path: Path, threads: bool, failure: tuple[str, ...], kind: type[StoreUnavailable]
) -> None:
    hooks = Hooks()
    code = sqlite3.SQLITE_FULL if kind is StoreFull else sqlite3.SQLITE_IOERR
    async with opened(path, hooks, threads=threads) as store:
        await done(store, begin("before"))
        commits = [
            begin(f"{number}", outbox=(item(),), update_id=f"{number}") for number in range(5)
        ]
        hooks.before = failing(*failure, code=code, times=1000)
        results = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        assert [type(result) for result in results] == [kind] * 5
        hooks.before = lambda _: None
        assert [found.key for found in await store.find()] == ["before"]
        assert await store.outbox(states=("queued",)) == []
        again = await asyncio.gather(*map(store.commit, commits))
        assert {committed.result for committed in again} == {COMMITTED}


async def test_closing_works_though_the_last_batch_fails(path: Path) -> None:
    hooks, gate = Hooks(), Gate()
    async with opened(path, hooks) as store:
        hooks.before = gate
        commit = asyncio.create_task(store.commit(begin()))
        await gate.wait()
        hooks.before = failing("BEGIN", "COMMIT", times=1000)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        gate.open.set()
        await closing
        assert (await commit).result == COMMITTED


async def test_a_file_that_cannot_be_opened_again_is_unavailable(path: Path) -> None:
    hooks = Hooks()
    async with opened(path, hooks) as store:
        hooks.before = failing("COMMIT", "ROLLBACK", "PRAGMA", times=1000)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="Check the disk"):
                await store.commit(begin())
        hooks.before = lambda _: None
        await done(store, begin())


async def test_a_broken_store_can_be_closed(path: Path) -> None:
    hooks = Hooks()
    async with opened(path, hooks) as store:
        hooks.before = failing("COMMIT", "ROLLBACK", times=2)
        with pytest.raises(StoreUnavailable):
            await store.commit(begin())
        await asyncio.sleep(0)  # nothing is pending any more
        await store.close()
        await store.open()
        assert await store.find() == []


async def test_a_closed_store_is_not_opened_by_a_late_batch(path: Path) -> None:
    hooks, gate = Hooks(), Gate()
    async with opened(path, hooks) as store:
        hooks.before = gate
        commits = [asyncio.create_task(store.commit(begin(f"{number}"))) for number in range(2)]
        await gate.wait()
        late = asyncio.create_task(store.commit(begin("late")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        gate.open.set()
        await asyncio.gather(closing, *commits, return_exceptions=True)
        with pytest.raises(StoreUnavailable, match="was closed"):
            await late


# -- without threads --------------------------------------------------------------------------------

THREADLESS = """
import asyncio, sys, threading
from legato.model.records import Commit
from legato.stores.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1], threads=False)
    await store.open()
    print((await store.commit(Commit(at_ms=1, update_id="1"))).result, threading.active_count())
    await store.close()

asyncio.run(main())
print({"concurrent.futures.thread", "queue"} & set(sys.modules))
"""


def test_without_threads_no_thread_is_made_nor_its_modules_imported(path: Path) -> None:
    program = [sys.executable, "-c", THREADLESS, str(path)]
    run = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("committed 1\nset()\n", "")
