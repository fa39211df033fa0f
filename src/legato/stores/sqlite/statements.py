"""What one commit, one settle and one read do to the tables. Everything runs inside a transaction
that somebody else begins and ends; nothing here knows of threads, batches or files.

Every check comes before the first write, so a commit that is refused has touched nothing and its
neighbours in the transaction are not disturbed: no savepoint is needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar

from legato.model.records import (
    COMMITTED,
    CONFLICT,
    DUPLICATE,
    SENT,
    WAITING,
    Commit,
    Committed,
    Conversation,
    Loaded,
    Mail,
    OutboxItem,
    Settled,
)
from legato.model.shards import slot_of, slot_of_key
from legato.stores._codec import pack, unpack_call, unpack_place

Row = tuple[Any, ...]
Within = Callable[[Any], Awaitable[bytes]]
_Keyed = TypeVar("_Keyed", Conversation, Mail)


class Cursor(Protocol):
    """What we use of sqlite3.Cursor."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""

    @property
    def lastrowid(self) -> int | None:
        """Id of the row that was inserted last."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


Execute = Callable[[str, Sequence[object]], Cursor]


def tolerant(execute: Execute) -> Execute:
    """An `execute` that takes text without a UTF-8 form (a lone surrogate in an id).

    Such text is bound as a blob of its bytes. SQLite never takes a blob for equal to a text, so ids stay
    distinct; `_text` turns it back. Only used where the plain way failed: it costs.
    """

    def run(sql: str, values: Sequence[object]) -> Cursor:
        return execute(sql, tuple(_bindable(value) for value in values))

    return run


def _bindable(value: object) -> object:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    return value


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


# -- writing ----------------------------------------------------------------------------------------

_FENCE = "SELECT epoch, head, number FROM conversation WHERE key = ?"
_SEEN = "SELECT reply FROM inbox WHERE id = ? AND payload IS NULL"
# Changes no row if the id is consumed already; takes the event out of the mailbox if it waits.
_CONSUME = """INSERT INTO inbox (id, reply, at_ms) VALUES (?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET payload = NULL, reply = excluded.reply, at_ms = excluded.at_ms
    WHERE payload IS NOT NULL"""
_DEPOSIT = """INSERT INTO inbox (id, key, payload, at_ms, seq)
    VALUES (?, ?, ?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM inbox WHERE seq IS NOT NULL))
    ON CONFLICT (id) DO NOTHING"""
# Both take the same values, then the key or the number. An empty birth leaves the one that stands.
_INSERT = """INSERT INTO conversation
    (dialog, version, epoch, head, status, wake_ms, updated_ms, state, birth, key)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, coalesce(?, x''), ?)"""
_UPDATE = """UPDATE conversation SET dialog = ?, version = ?, epoch = ?, head = ?, status = ?,
    wake_ms = ?, updated_ms = ?, state = ?, birth = coalesce(?, birth) WHERE number = ?"""
_DELETE = "DELETE FROM conversation WHERE number = ?"
_DELETE_JOURNAL = "DELETE FROM journal WHERE conversation = ?"
_MOVE = "UPDATE conversation SET key = ? WHERE number = ?"
_APPEND = "INSERT INTO journal (conversation, seq, data) VALUES (?, ?, ?)"
_QUEUE = """INSERT INTO outbox
    (lane, key, epoch, ref, delivery, state, attempts, not_before_ms, error, created_ms, place, call)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PUT = """INSERT INTO kept (space, name, value, at_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (space, name) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms"""
_FORGET = "DELETE FROM kept WHERE space = ? AND name = ?"
_PURGE_INBOX = "DELETE FROM inbox WHERE payload IS NULL AND at_ms < ?"
_PURGE_SENT = "DELETE FROM kept INDEXED BY kept_sent WHERE space = 'sent' AND at_ms < ?"
_KEEP_SENT = """INSERT INTO kept (space, name, value, at_ms)
    SELECT 'sent', ?, ?, created_ms FROM outbox WHERE id = ?
    ON CONFLICT (space, name) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms"""
_DELIVERED = "DELETE FROM outbox WHERE id = ?"
_SETTLE = """UPDATE outbox SET state = ?, attempts = ?, not_before_ms = ?, error = ? WHERE id = ?"""


def write_commit(
    execute: Execute, commit: Commit, run: Callable[[Within], bytes] | None = None
) -> Committed:
    """Applies one commit, or refuses it without a trace. `run` runs its `within`."""
    key, update_id = commit.key, commit.update_id
    number = _fenced(execute, commit) if key else 0
    if number is None:
        seen = execute(_SEEN, (update_id,)).fetchone() if update_id else None
        if seen is None:
            return Committed(CONFLICT)
        return Committed(DUPLICATE, reply=seen[0] or b"")
    if update_id:
        consumed = execute(_CONSUME, (update_id, commit.reply or None, commit.at_ms))
        if consumed.rowcount == 0:
            seen = execute(_SEEN, (update_id,)).fetchone()
            return Committed(DUPLICATE, reply=seen[0] or b"")
    segment = commit.segment
    if commit.within is not None:
        assert run is not None
        segment = run(commit.within)
    if key:
        _write_conversation(execute, commit, number, segment)
    for mail in commit.deposit:
        execute(_DEPOSIT, (mail.id, mail.key, mail.payload, commit.at_ms))
    ids = tuple([_queue(execute, item, commit.at_ms) for item in commit.outbox])
    for space, name, value in commit.puts:
        if value is None:
            execute(_FORGET, (space, name))
        else:
            execute(_PUT, (space, name, value, commit.at_ms))
    if commit.purge_ms:
        execute(_PURGE_INBOX, (commit.purge_ms,))
        execute(_PURGE_SENT, (commit.purge_ms,))
    return Committed(COMMITTED, ids)


def _fenced(execute: Execute, commit: Commit) -> int | None:
    """The number of the row under the commit's key, 0 if there is none; None: the fence does not hold."""
    found = execute(_FENCE, (commit.key,)).fetchone()
    if (None if found is None else found[:2]) != commit.expect:
        return None
    if commit.aside and execute(_FENCE, (commit.aside,)).fetchone() is not None:
        return None
    return 0 if found is None else found[2]


def _write_conversation(execute: Execute, commit: Commit, number: int, segment: bytes) -> None:
    row = commit.row
    if number and commit.aside:
        execute(_MOVE, (commit.aside, number))
        number = 0
    if row is None:
        if number:
            execute(_DELETE, (number,))
            execute(_DELETE_JOURNAL, (number,))
        return
    values = (
        row.dialog,
        row.version,
        row.epoch,
        row.head,
        row.status,
        row.wake_ms,
        row.updated_ms,
        row.state,
        commit.birth or None,
        number or commit.key,
    )
    if not number:
        number = execute(_INSERT, values).lastrowid or 0
    else:
        execute(_UPDATE, values)
        if commit.expect is not None and row.epoch != commit.expect[0]:
            execute(_DELETE_JOURNAL, (number,))
    if segment:
        execute(_APPEND, (number, row.head, segment))


def _queue(execute: Execute, item: OutboxItem, at_ms: int) -> int:
    values = (
        item.lane,
        item.key,
        item.epoch,
        item.ref,
        item.delivery,
        item.state,
        item.attempts,
        item.not_before_ms,
        item.error,
        item.created_ms or at_ms,
        pack(item.place),
        pack(item.call),
    )
    return execute(_QUEUE, values).lastrowid or 0


def write_settled(execute: Execute, settled: Sequence[Settled]) -> None:
    """Writes the fate of outbox items; unknown ids change nothing."""
    for fate in settled:
        if fate.state != SENT:
            values = (fate.state, fate.attempts, fate.not_before_ms, fate.error, fate.id)
            execute(_SETTLE, values)
            continue
        if fate.message_id and fate.ref:
            # Dated by its item: the store has no clock, and a purge goes by age.
            name = f"{fate.key}|{fate.epoch}|{fate.ref}"
            message_id = fate.message_id.encode("utf-8", "surrogatepass")
            execute(_KEEP_SENT, (name, message_id, fate.id))
        execute(_DELIVERED, (fate.id,))


# -- reading ----------------------------------------------------------------------------------------

_COLUMNS = "key, dialog, version, epoch, head, status, wake_ms, state, updated_ms"
_LOAD = f"SELECT {_COLUMNS}, birth, number FROM conversation WHERE key = ?"
_SEGMENTS = "SELECT data FROM journal WHERE conversation = ? ORDER BY seq"
_DUE = f"""SELECT {_COLUMNS} FROM conversation
    WHERE wake_ms > 0 AND wake_ms <= ? AND status NOT IN ('failed', 'held')
    ORDER BY wake_ms, key LIMIT ?"""
_OUTBOX = """SELECT id, lane, place, key, epoch, ref, call, delivery, state, attempts, not_before_ms,
    error, created_ms FROM outbox WHERE id > ?"""
_AFTER = "coalesce((SELECT seq FROM inbox WHERE id = ?), 0)"
_MAIL = f"""SELECT id, key, payload FROM inbox
    WHERE payload IS NOT NULL AND seq > {_AFTER} ORDER BY seq LIMIT ?"""
_MAIL_OF = f"""SELECT id, key, payload FROM inbox
    WHERE payload IS NOT NULL AND key = ? AND seq > {_AFTER} ORDER BY seq LIMIT ?"""
_GET = "SELECT value FROM kept WHERE space = ? AND name = ?"


def load(execute: Execute, key: str) -> Loaded | None:
    """The conversation under `key`. Two statements: the caller holds a snapshot around them."""
    row = execute(_LOAD, (key,)).fetchone()
    if row is None:
        return None
    segments = [data for (data,) in execute(_SEGMENTS, (row[10],)).fetchall()]
    return Loaded(_conversation(row[:9]), row[9], segments)


def due(
    execute: Execute, now_ms: int, limit: int, slots: Collection[int] | None = None
) -> list[Conversation]:
    """See Store.due."""
    rows = execute(_DUE, (now_ms, _most(limit, slots))).fetchall()
    return _within(slots, [_conversation(row) for row in rows], limit)


# A SQLite file belongs to one process, which nearly always asks for all slots: no column holds them.


def _most(limit: int, slots: Collection[int] | None) -> int:
    return limit if slots is None else -1


def _within(slots: Collection[int] | None, rows: list[_Keyed], limit: int) -> list[_Keyed]:
    if slots is None:
        return rows
    return [row for row in rows if slot_of_key(row.key) in slots][:limit]


def find(
    execute: Execute,
    *,
    status: str,
    dialog: str,
    after: str,
    limit: int,
    slots: Collection[int] | None = None,
) -> list[Conversation]:
    """See Store.find."""
    where, values = "key > ?", [after]
    if status:
        # The second term lets SQLite use the index of the few that do not wait.
        where += " AND status = ?" + ("" if status == WAITING else " AND status <> 'waiting'")
        values.append(status)
    if dialog:
        where += " AND dialog = ?"
        values.append(dialog)
    sql = f"SELECT {_COLUMNS} FROM conversation WHERE {where} ORDER BY key LIMIT ?"
    rows = execute(sql, (*values, _most(limit, slots))).fetchall()
    return _within(slots, [_conversation(row) for row in rows], limit)


def outbox(
    execute: Execute,
    *,
    states: Sequence[str],
    after: int,
    limit: int,
    key: str,
    slots: Collection[int] | None = None,
) -> list[OutboxItem]:
    """See Store.outbox."""
    sql, values = f"{_OUTBOX} AND state IN ({', '.join('?' * len(states))})", [after, *states]
    if key:
        sql += " AND key = ?"
        values.append(key)
    rows = execute(f"{sql} ORDER BY id LIMIT ?", (*values, _most(limit, slots))).fetchall()
    items = [_item(row) for row in rows]
    if slots is None:
        return items
    return [item for item in items if slot_of(item.place) in slots][:limit]


def mail(
    execute: Execute, *, key: str, after: str, limit: int, slots: Collection[int] | None = None
) -> list[Mail]:
    """See Store.mail. An `after` that is not known (any more) begins at the beginning."""
    if key:
        rows = execute(_MAIL_OF, (key, after, _most(limit, slots))).fetchall()
    else:
        rows = execute(_MAIL, (after, _most(limit, slots))).fetchall()
    return _within(slots, [Mail(_text(row[0]), _text(row[1]), row[2]) for row in rows], limit)


def get(execute: Execute, space: str, name: str) -> bytes | None:
    """See Store.get."""
    if space == "inbox":
        row = execute(_SEEN, (name,)).fetchone()
        return None if row is None else row[0] or b""
    row = execute(_GET, (space, name)).fetchone()
    return None if row is None else row[0]


def _conversation(row: Row) -> Conversation:
    if type(row[0]) is type(row[1]) is type(row[2]) is str:
        return Conversation(*row)
    key, dialog, version, *rest = row
    return Conversation(_text(key), _text(dialog), _text(version), *rest)


def _item(row: Row) -> OutboxItem:
    number, lane, place, key, epoch, ref, call, delivery, state, attempts, not_before_ms = row[:11]
    return OutboxItem(
        id=number,
        lane=_text(lane),
        place=unpack_place(place),
        key=_text(key),
        epoch=epoch,
        ref=_text(ref),
        call=unpack_call(call),
        delivery=delivery,
        state=state,
        attempts=attempts,
        not_before_ms=not_before_ms,
        error=_text(row[11]),
        created_ms=row[12],
    )
