"""What the tables hold, and that no statement reads more of them than it must."""

from pathlib import Path
from typing import Any

import pytest

from legato.model.records import SENT, Commit, Mail, Settled
from legato.stores.sqlite import SQLiteStore, statements
from legato.testing.conformance._samples import KEY, begin, done, item, proceed, row


class Explained:
    """An `execute` that keeps SQLite's plan of every statement."""

    def __init__(self, store: SQLiteStore) -> None:
        assert store._transactions is not None
        self.connection = store._transactions.connection()
        self.plans: list[str] = []

    def __call__(self, sql: str, values: Any) -> Any:
        steps = self.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
        self.plans.append(" | ".join(step[3] for step in steps))
        return self.connection.execute(sql, values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


async def test_what_runs_often_uses_an_index(path: Path) -> None:
    store = SQLiteStore(path, threads=False)
    await store.open()
    execute = Explained(store)
    statements.load(execute, KEY)
    statements.due(execute, 1, 1)
    statements.find(execute, status="running", dialog="", after="", limit=1)
    statements.mail(execute, key=KEY, after="1", limit=1)
    statements.mail(execute, key="", after="1", limit=1)
    statements.outbox(execute, states=("queued",), after=1, limit=1, key="")
    statements.get(execute, "space", "name")
    commit = Commit(at_ms=1, update_id="u", deposit=(Mail("m", KEY, b""),), purge_ms=9)
    statements.write_commit(execute, commit)
    statements.write_settled(execute, [Settled(1, SENT, ref="r", message_id="1")])
    await store.close()
    scans = [plan for plan in execute.plans if "SCAN" in plan and "CONSTANT" not in plan]
    assert scans == []
    used = " ".join(execute.plans)
    indexes = ("conversation_due", "conversation_status", "inbox_waiting", "inbox_order")
    for index in (*indexes, "inbox_consumed", "kept_sent"):
        assert index in used, f"{index} is maintained for nothing"


async def test_the_journal_holds_the_current_epoch_and_goes_aside_with_its_row(path: Path) -> None:
    store = SQLiteStore(path, threads=False)
    await store.open()
    assert store._transactions is not None
    connection = store._transactions.connection()
    aside = f"{KEY}!2"

    def journal() -> list[Any]:
        joined = "journal JOIN conversation ON conversation = number"
        return connection.execute(f"SELECT key, epoch, seq FROM {joined}").fetchall()

    await done(store, begin())
    await done(store, proceed(row=row(epoch=2)))
    assert journal() == [(KEY, 2, 1)]
    await done(store, proceed(epoch=2, head=1, row=row(epoch=3), aside=aside))
    assert sorted(journal()) == [(KEY, 3, 1), (aside, 2, 1)]
    await done(store, proceed(epoch=3, head=1, row=None))
    assert journal() == [(aside, 2, 1)]
    await store.close()


async def test_a_parked_conversation_of_ten_records_takes_less_than_a_kilobyte(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    keys = [f"telegram:7000000001:{number}:{number}:" for number in range(10**6, 10**6 + 500)]
    for key in keys:
        await done(store, begin(key, birth=b"b" * 250, row=row(key, state=b"s" * 90), segment=b""))
        for head in range(1, 5):
            record = b'["2","ask","int",1700000000000,42],' * 2
            await done(store, proceed(key, head=head, segment=record))
    await store.close()
    assert path.stat().st_size / len(keys) < 1100  # noqa: ASYNC240 - one look at the size


async def test_what_was_delivered_leaves_no_row(path: Path) -> None:
    store = SQLiteStore(path, threads=False)
    await store.open()
    (number,) = (await done(store, begin(outbox=(item(),), update_id="u"))).ids
    await store.settle([Settled(number, SENT)])
    await done(store, proceed(row=None))
    await done(store, Commit(at_ms=10_000, purge_ms=9000))
    assert store._transactions is not None
    connection = store._transactions.connection()
    for table in ("conversation", "journal", "inbox", "outbox", "kept"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    await store.close()
