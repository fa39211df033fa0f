"""Group commit: writes that are asked for at the same time share one transaction and one fsync.

While a COMMIT waits for the disk in a thread, the next batch gathers. Nothing is ever delayed to make a
batch larger: a lone commit is written at once, and the batches grow with the load.

Only COMMIT runs in the thread. The statements before it touch memory and take microseconds each; run in
the thread, every one of them would release the interpreter lock and wait for a busy loop to give it back.

    gather (loop)  BEGIN IMMEDIATE, the statements of up to 64 jobs
    commit (thread)  COMMIT: writes the log and fsyncs
    resolve (loop)  every waiter gets its result; gather again

A job that fails inside a batch (not refused: an exception) would take its neighbours with it. The batch is
undone then, and its jobs are run again one by one, so that only the guilty one fails.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence

from legato.errors import Misuse, StoreError, StoreFull, StoreUnavailable
from legato.model.records import Commit, Committed, Settled
from legato.stores.sqlite.files import Connection, Database
from legato.stores.sqlite.statements import Execute, tolerant, write_commit, write_settled
from legato.stores.sqlite.within import run_within

BATCH = 64
"""Jobs in one transaction at most: bounds how long the loop is kept (about 25 us a job)."""

Work = Commit | Sequence[Settled]
Result = Committed | None
Job = tuple[Work, asyncio.Future[Result]]
Resume = Callable[[Exception | None], None]


class Transactions:
    """Transactions on one connection, step by step, without threads. A step that raises undoes all."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection: Connection | None = connection
        self._execute: Execute = connection.cursor().execute
        self._wait_s = database.busy_s
        self._closed = False

    def connection(self) -> Connection:
        """The connection: a new one if the last one broke."""
        if self._connection is None:
            if self._closed:
                raise StoreUnavailable(f"{self._database.path} was closed")
            self._connection = self._database.writer()
            self._execute = self._connection.cursor().execute
            self.wait(self._wait_s)
        return self._connection

    def begin(self) -> None:
        """BEGIN IMMEDIATE."""
        if self._connection is None:
            self.connection()
        self._execute("BEGIN IMMEDIATE", ())

    def write(self, works: Sequence[Work], *, careful: bool = False) -> list[Result]:
        """The statements between BEGIN and COMMIT.

        Args:
            works: What to write, in order.
            careful: Take text that has no UTF-8 form, which is slower.
        """
        execute = tolerant(self._execute) if careful else self._execute
        try:
            return [self._write(execute, work) for work in works]
        except BaseException:
            self.undo()
            raise

    def _write(self, execute: Execute, work: Work) -> Result:
        if not isinstance(work, Commit):
            write_settled(execute, work)
            return None
        return write_commit(execute, work, lambda within: run_within(self._connection, within))

    def commit(self) -> None:
        """COMMIT: on the disk once this returns."""
        try:
            self._execute("COMMIT", ())
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """ROLLBACK if there is something to undo; a connection that cannot is replaced."""
        connection = self._connection
        assert connection is not None
        try:
            if connection.in_transaction:  # SQLite undoes some failures by itself
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None
            connection.close()

    def lacks_room(self, error: Exception) -> bool:
        """Whether a COMMIT failed for want of room and is undone for certain, so that smaller batches may
        be tried. After other failures (of a sync) a new connection may yet find the transaction whole.
        """
        return (
            self._connection is not None
            and isinstance(error, sqlite3.Error)
            and isinstance(self._database.error(error), StoreFull)
        )

    def wait(self, busy_s: float) -> None:
        """How long statements wait for another process's lock from here on."""
        self._wait_s = busy_s
        assert self._connection is not None
        self._connection.execute(f"PRAGMA busy_timeout = {int(busy_s * 1000)}")

    def close(self) -> None:
        """Disconnects for good. Idempotent."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class InlineWriter:
    """Writes on the calling thread, one job a transaction: for cloud functions. Makes no thread."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def submit(self, work: Work) -> Result:
        """Writes one job; durable once it returns.

        Raises:
            sqlite3.Error: Nothing was written.
        """
        try:
            return self._attempt(work, careful=False)
        except UnicodeEncodeError:
            return self._attempt(work, careful=True)

    def _attempt(self, work: Work, *, careful: bool) -> Result:
        self._transactions.begin()
        (result,) = self._transactions.write((work,), careful=careful)
        self._transactions.commit()
        return result

    async def close(self) -> None:
        """Nothing is ever pending here."""


class GroupWriter:
    """Writes the jobs of concurrent callers in common transactions. Belongs to one event loop."""

    def __init__(self, transactions: Transactions, patience_s: float) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self._transactions = transactions
        self._patience_s = patience_s
        transactions.wait(0)  # the loop itself never waits for another process's lock
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        # These go before commits that wait, in their own order: what they are about is committed long
        # since, and a crash meanwhile would send it again. In a flood of updates that would be thousands.
        self._settling: deque[Job] = deque()
        self._one_by_one = 0  # so many jobs at the head of `_waiting` are run alone
        self._busy = False
        self._closed = False
        self._calls: SimpleQueue[tuple[Callable[[], None], Resume] | None] = SimpleQueue()
        # A daemon: a process that ends without `close` ends; its last batch is as after a kill.
        self._thread = Thread(target=self._serve, name="legato-sqlite", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> asyncio.Future[Result]:
        """Writes one job with whatever else is waiting; durable once the future has its result.

        An exception of the future (sqlite3.Error and whatever a job's data may cause) means that
        nothing of the job was written. A job whose future is cancelled is still written if its batch
        had begun.
        """
        if self._closed or asyncio.get_running_loop() is not self._loop:
            raise Misuse(
                "this store was opened in another event loop (or is closed): open it in the loop that "
                "uses it"
            )
        done: asyncio.Future[Result] = self._loop.create_future()
        first = bool(work) and not isinstance(work, Commit)
        (self._settling if first else self._waiting).append((work, done))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._gather)  # soon: who else runs in this round joins
        return done

    async def close(self) -> None:
        """Finishes what was asked for before, then ends the thread."""
        try:
            if self._busy and asyncio.get_running_loop() is self._loop:
                await self.submit(())  # in order: everything before it is done then
        except (sqlite3.Error, StoreError):
            pass  # nothing of ours was in it, and the others were told
        finally:
            self._closed = True
            self._calls.put(None)
            self._thread.join()

    # -- one batch, step by step --------------------------------------------------------------

    def _gather(self) -> None:
        jobs, careful = self._take()
        if not jobs:
            self._busy = False
            return

        def begun(error: Exception | None) -> None:
            self._begun(jobs, error, careful=careful)

        try:
            self._transactions.begin()
        except Exception as error:  # noqa: BLE001 - goes to whoever waits for the jobs
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_BUSY:
                self._in_thread(self._begin_patiently, begun)
            else:
                begun(error)
        else:
            begun(None)

    def _take(self) -> tuple[list[Job], bool]:
        careful = self._one_by_one > 0
        limit = 1 if careful else BATCH
        self._one_by_one -= careful
        jobs: list[Job] = []
        settling = None if careful else self._settling
        while len(jobs) < limit and (queue := settling or self._waiting):
            job = queue.popleft()
            if not job[1].cancelled():  # nobody waits for it any more, and nothing is written yet
                jobs.append(job)
        return jobs, careful

    def _begin_patiently(self) -> None:
        self._transactions.wait(self._patience_s)
        try:
            self._transactions.begin()
        finally:
            self._transactions.wait(0)

    def _begun(self, jobs: list[Job], error: Exception | None, *, careful: bool) -> None:
        if error is not None:
            self._finish(jobs, error)
            return
        try:
            results = self._transactions.write([work for work, _ in jobs], careful=careful)
        except Exception as failure:  # noqa: BLE001 - goes to whoever waits for the jobs
            if careful:
                self._finish(jobs, failure)
            else:
                self._apart(jobs)
            return

        def committed(error: Exception | None) -> None:
            if error is not None and len(jobs) > 1 and self._transactions.lacks_room(error):
                self._apart(jobs)  # one too large for the disk must not take small ones along
            else:
                self._finish(jobs, error or results)

        self._in_thread(self._transactions.commit, committed)

    def _apart(self, jobs: list[Job]) -> None:
        """Runs the jobs of a batch that was undone again, each alone."""
        self._waiting.extendleft(reversed(jobs))
        self._one_by_one = len(jobs)
        self._gather()

    def _finish(self, jobs: list[Job], outcome: Exception | list[Result]) -> None:
        for number, (_, done) in enumerate(jobs):
            if done.done():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome[number])
        self._loop.call_soon(
            self._gather
        )  # after those who wait, so that what they write next joins

    # -- the thread ---------------------------------------------------------------------------

    def _in_thread(self, call: Callable[[], None], resume: Resume) -> None:
        self._calls.put((call, resume))

    def _serve(self) -> None:
        while (item := self._calls.get()) is not None:
            call, resume = item
            error: Exception | None = None
            try:
                call()
            except Exception as raised:  # noqa: BLE001 - goes to whoever waits for the jobs
                error = raised
            try:
                self._loop.call_soon_threadsafe(resume, error)
            except RuntimeError:
                return  # the loop was closed under us: nobody is left to tell
