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

Row = Sequence[Any]
Wires = tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]
"""The numbers, the bytes and the texts of a row, each in the order of its columns in functions.py."""


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


_NO_ROW: Wires = ((None,) * 4, (None,) * 3, (None,))


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
        numbers, names, status = _NO_ROW
        if row is not None:
            numbers = (row.epoch, row.head, row.wake_ms, row.updated_ms)
            names = (to_bytes(row.dialog), to_bytes(row.version), row.state)
            status = (row.status,)
        self.keys: tuple[str, ...] = (key, aside) if aside else (key,) if key else ()
        self.commit: Wires = (
            (
                commit.at_ms,
                slot_of_key(key) if key else None,
                *((None, None) if expect is None else expect),
                *numbers,
                slot_of_key(aside) if aside else None,
                commit.purge_ms or None,
            ),
            (
                to_bytes(key) if key else None,
                *names,
                commit.birth or None,
                commit.segment or None,
                to_bytes(aside) if aside else None,
                to_bytes(commit.update_id) if commit.update_id else None,
                commit.reply or None,
            ),
            status,
        )
        at_ms = commit.at_ms
        self.items: list[Wires] = [_item_row(item, at_ms) for item in commit.outbox]
        self.mails: list[Wires] = [_mail_row(mail) for mail in commit.deposit]
        self.puts: list[Wires] = []
        if commit.puts:
            last = {(space, name): value for space, name, value in commit.puts}
            self.puts = [
                ((), (to_bytes(space), to_bytes(name), value), ())
                for (space, name), value in last.items()
            ]

    def check(self) -> tuple[Any, ...]:
        """Arguments of check_1."""
        numbers, names, _ = self.commit
        return names[0], *numbers[1:4], names[6], numbers[8], names[7]

    def with_segment(self, segment: bytes) -> Packed:
        """The same with another segment."""
        changed = object.__new__(Packed)
        changed.keys, changed.items = self.keys, self.items
        changed.mails, changed.puts = self.mails, self.puts
        numbers, names, texts = self.commit
        changed.commit = (numbers, (*names[:5], segment or None, *names[6:]), texts)
        return changed


def _item_row(item: OutboxItem, at_ms: int) -> Wires:
    place = item.place
    return (
        (
            item.epoch,
            item.attempts,
            item.not_before_ms,
            item.created_ms or at_ms,
            slot_of(place),
        ),
        (
            to_bytes(item.lane),
            to_bytes(item.key),
            to_bytes(item.ref),
            to_bytes(item.error),
            pack(place),
            pack(item.call),
        ),
        (item.delivery, item.state),
    )


def _mail_row(mail: Mail) -> Wires:
    return (slot_of_key(mail.key),), (to_bytes(mail.id), to_bytes(mail.key), mail.payload), ()


# -- a batch ----------------------------------------------------------------------------------------


class _Group:
    """The arrays of one group: numbers, bytes, texts."""

    __slots__ = ("blobs", "numbers", "texts")

    def __init__(self) -> None:
        self.numbers: list[Any] = []
        self.blobs: list[Any] = []
        self.texts: list[Any] = []

    def add(self, row: Wires) -> None:
        self.numbers += row[0]
        self.blobs += row[1]
        self.texts += row[2]

    def add_to(self, of: int, rows: Sequence[Wires]) -> None:
        for numbers, blobs, texts in rows:
            self.numbers.append(of)
            self.numbers += numbers
            self.blobs += blobs
            self.texts += texts


def arrays(works: Iterable[Packed | Sequence[Settled]]) -> list[Any]:
    """The parameters of write_1 for a batch, in the order of functions.PARAMETERS; None for an array that
    is empty.
    """
    commits, mails, items, puts = _Group(), _Group(), _Group(), _Group()
    settled: list[Settled] = []
    of = 0
    for work in works:
        if not isinstance(work, Packed):
            settled.extend(work)
            continue
        of += 1
        commits.add(work.commit)
        items.add_to(of, work.items)
        mails.add_to(of, work.mails)
        puts.add_to(of, work.puts)
    fates, sent, keeps = _fates(settled)
    return [
        *(commits.numbers or None, commits.blobs or None, commits.texts or None),
        *(mails.numbers or None, mails.blobs or None),
        *(items.numbers or None, items.blobs or None, items.texts or None),
        *(puts.numbers or None, puts.blobs or None),
        *(fates.numbers or None, fates.blobs or None, fates.texts or None),
        sent or None,
        *(keeps.numbers or None, keeps.blobs or None),
    ]


def _fates(settled: Sequence[Settled]) -> tuple[_Group, list[int], _Group]:
    """Other fates (the last of each item), items that are sent, ids to keep."""
    last: dict[int, Settled] = {}
    for fate in settled:
        known = last.get(fate.id)
        if known is None or known.state != SENT:
            last[fate.id] = fate
    fates, keeps = _Group(), _Group()
    sent: list[int] = []
    for number, fate in sorted(last.items()):  # in one order, since others may lock the same rows
        if fate.state != SENT:
            numbers = (number, fate.attempts, fate.not_before_ms)
            fates.add((numbers, (to_bytes(fate.error),), (fate.state,)))
            continue
        sent.append(number)
        if fate.message_id and fate.ref:
            name = to_bytes(f"{fate.key}|{fate.epoch}|{fate.ref}")
            keeps.add(((number,), (name, to_bytes(fate.message_id)), ()))
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
