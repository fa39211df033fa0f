"""Between records and what goes over the wire: a write as rows of arrays, and rows read back.

Text goes as bytes: see schema.py. A lone surrogate has no UTF-8 form and takes the three bytes it would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from legato.model.records import (
    COMMITTED,
    CONFLICT,
    DUPLICATE,
    SENT,
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
from legato.stores.postgres.functions import GROUPS

Row = Sequence[Any]
Arrays = list[Any]
_SIZES = {group: len(columns) for group, columns in GROUPS}


def to_bytes(text: str) -> bytes:
    """The bytes that stand for a text in the database."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """The text that stands in the database as `data`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogatepass")


# -- a commit ---------------------------------------------------------------------------------------


class Packed:
    """One commit as rows. Made before the commit joins a batch, so that what has no form fails alone.

    Attributes:
        commit: The row of functions.COMMITS.
        mails, items, puts: Rows of the others, without `of`.
        keys: Keys of conversations that it touches.
    """

    __slots__ = ("commit", "items", "keys", "mails", "puts")

    def __init__(self, commit: Commit) -> None:
        key, row, expect, aside = commit.key, commit.row, commit.expect, commit.aside
        slot = slot_of_key(key) if key else None
        there = (None, None) if expect is None else expect
        if row is None:
            new: tuple[Any, ...] = (None,) * 8
        else:
            new = (
                to_bytes(row.dialog),
                to_bytes(row.version),
                row.epoch,
                row.head,
                row.status,
                row.wake_ms,
                row.updated_ms,
                row.state,
            )
        self.keys: tuple[str, ...] = (key, aside) if aside else (key,) if key else ()
        self.commit: tuple[Any, ...] = (
            commit.at_ms,
            to_bytes(key) if key else None,
            slot,
            *there,
            *new,
            commit.birth or None,
            commit.segment or None,
            to_bytes(aside) if aside else None,
            slot_of_key(aside) if aside else None,
            to_bytes(commit.update_id) if commit.update_id else None,
            commit.reply or None,
            commit.purge_ms or None,
        )
        self.items: tuple[tuple[Any, ...], ...] = ()
        if commit.outbox:
            self.items = tuple([_item_row(item, commit.at_ms) for item in commit.outbox])
        self.mails: tuple[tuple[Any, ...], ...] = ()
        if commit.deposit:
            self.mails = tuple([_mail_row(mail) for mail in commit.deposit])
        self.puts: tuple[tuple[Any, ...], ...] = ()
        if commit.puts:
            last = {(space, name): value for space, name, value in commit.puts}
            self.puts = tuple(
                [(to_bytes(space), to_bytes(name), value) for (space, name), value in last.items()]
            )

    def check(self) -> tuple[Any, ...]:
        """Arguments of check_1."""
        _, key, slot, epoch, head, *rest = self.commit
        aside, aside_slot, update_id = rest[10:13]
        return key, slot, epoch, head, aside, aside_slot, update_id

    def with_segment(self, segment: bytes) -> Packed:
        """The same with another segment."""
        changed = object.__new__(Packed)
        changed.keys = self.keys
        changed.commit = (*self.commit[:14], segment or None, *self.commit[15:])
        changed.items, changed.mails, changed.puts = self.items, self.mails, self.puts
        return changed


def _item_row(item: OutboxItem, at_ms: int) -> tuple[Any, ...]:
    return (
        to_bytes(item.lane),
        to_bytes(item.key),
        item.epoch,
        to_bytes(item.ref),
        item.delivery,
        item.state,
        item.attempts,
        item.not_before_ms,
        to_bytes(item.error),
        item.created_ms or at_ms,
        pack(item.place),
        pack(item.call),
        slot_of(item.place),
    )


def _mail_row(mail: Mail) -> tuple[Any, ...]:
    return to_bytes(mail.id), to_bytes(mail.key), slot_of_key(mail.key), mail.payload


# -- a batch ----------------------------------------------------------------------------------------


def arrays(works: Iterable[Packed | Sequence[Settled]]) -> Arrays:
    """The arrays of functions.GROUPS for a batch; None for all columns of an empty group."""
    commits: list[tuple[Any, ...]] = []
    mails: list[tuple[Any, ...]] = []
    items: list[tuple[Any, ...]] = []
    puts: list[tuple[Any, ...]] = []
    settled: list[Settled] = []
    for work in works:
        if not isinstance(work, Packed):
            settled.extend(work)
            continue
        commits.append(work.commit)
        of = len(commits)
        items += [(of, *row) for row in work.items]
        mails += [(of, *row) for row in work.mails]
        puts += [(of, *row) for row in work.puts]
    fates, sent, keeps = _fates(settled) if settled else ((), (), ())
    found: Arrays = []
    for (group, _), rows in zip(
        GROUPS, (commits, mails, items, puts, fates, sent, keeps), strict=True
    ):
        found += zip(*rows, strict=True) if rows else (None,) * _SIZES[group]
    return found


def _fates(
    settled: Sequence[Settled],
) -> tuple[list[tuple[Any, ...]], list[tuple[int]], list[tuple[Any, ...]]]:
    """Other fates (the last of each item), items that are sent, ids to keep."""
    last: dict[int, Settled] = {}
    for fate in settled:
        known = last.get(fate.id)
        if known is None or known.state != SENT:
            last[fate.id] = fate
    fates: list[tuple[Any, ...]] = []
    sent: list[tuple[int]] = []
    keeps: list[tuple[Any, ...]] = []
    for number, fate in sorted(last.items()):  # in one order, since others may lock the same rows
        if fate.state != SENT:
            error = to_bytes(fate.error)
            fates.append((number, fate.state, fate.attempts, fate.not_before_ms, error))
            continue
        sent.append((number,))
        if fate.message_id and fate.ref:
            name = to_bytes(f"{fate.key}|{fate.epoch}|{fate.ref}")
            keeps.append((number, name, to_bytes(fate.message_id)))
    return fates, sent, keeps


def outcomes(works: Iterable[Packed | Sequence[Settled]], row: Row) -> list[Committed | None]:
    """What became of a batch: of each work in order, None for a settle.

    Args:
        works: The batch.
        row: What write_1 (or recover_1) gave for it.
    """
    results, replies, given = row
    ids = iter(given or ())
    verdicts = iter(zip(results or (), replies or (), strict=True))
    found: list[Committed | None] = []
    for work in works:
        if not isinstance(work, Packed):
            found.append(None)
            continue
        result, reply = next(verdicts)
        if result == 0:
            found.append(Committed(COMMITTED, tuple([next(ids) for _ in work.items])))
        else:
            found.append(refusal(result, reply))
    return found


def refusal(result: int, reply: bytes | None) -> Committed:
    """What the database says of a commit that it refused: 1 or 2."""
    return Committed(DUPLICATE, reply=reply or b"") if result == 1 else Committed(CONFLICT)


# -- reading ----------------------------------------------------------------------------------------

COLUMNS = "key, dialog, version, epoch, head, status, wake_ms, state, updated_ms"
ITEM_COLUMNS = "id, lane, place, key, epoch, ref, call, delivery, state, attempts, not_before_ms, error, created_ms"


def loaded(row: Row) -> Loaded:
    """From COLUMNS and the journal's data, whose first is the birth."""
    birth, *segments = row[9]
    return Loaded(conversation(row), birth, segments)


def conversation(row: Row) -> Conversation:
    """From COLUMNS."""
    return Conversation(to_text(row[0]), to_text(row[1]), to_text(row[2]), *row[3:9])


def item(row: Row) -> OutboxItem:
    """From ITEM_COLUMNS.

    Raises:
        StoreCorrupt: Its call or place cannot be read.
    """
    return OutboxItem(
        id=row[0],
        lane=to_text(row[1]),
        place=unpack_place(row[2]),
        key=to_text(row[3]),
        epoch=row[4],
        ref=to_text(row[5]),
        call=unpack_call(row[6]),
        delivery=row[7],
        state=row[8],
        attempts=row[9],
        not_before_ms=row[10],
        error=to_text(row[11]),
        created_ms=row[12],
    )
