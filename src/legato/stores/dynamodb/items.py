"""Between records and the items of the table.

An item is a dict in DynamoDB's JSON: {"pk": {"S": "c|telegram:7:1:1:"}, "head": {"N": "3"}, ...}; bytes become
base64 when it is sent. A value of more than PART bytes goes on in further items of the same partition, right
behind its own ("..+0001"), so that no item comes near the 400 KB it may have.
"""

from __future__ import annotations

from binascii import a2b_base64
from typing import Any

from msgspec import Struct

from legato.errors import StoreCorrupt, StoreError
from legato.model.records import Conversation, OutboxItem
from legato.stores._codec import pack, unpack_call, unpack_place

PART = 65_536
LONGEST_KEY = 900
"""Bytes of a text that stands in a key: a sort key may have 1024."""

Item = dict[str, dict[str, Any]]
_ESCAPE = "\ud7ff"


def text(value: str) -> str:
    """The text as one that has UTF-8; two texts keep their order.

    A lone surrogate has none, so it becomes U+D7FF, which means nothing and stands right below the surrogates,
    and a character that stands right above them.
    """
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        pass  # the slow way
    else:
        if _ESCAPE not in value:
            return value
    return "".join(
        [
            _ESCAPE + "\x01"
            if char == _ESCAPE
            else _ESCAPE + chr(ord(char) + 0x800)
            if "\ud800" <= char <= "\udfff"
            else char
            for char in value
        ]
    )


def untext(value: str) -> str:
    """What `text` made `value` from."""
    if _ESCAPE not in value:
        return value
    first, *others = value.split(_ESCAPE)
    return first + "".join(
        [
            (_ESCAPE if part[0] == "\x01" else chr(ord(part[0]) - 0x800)) + part[1:]
            for part in others
        ]
    )


def key_text(value: str, what: str) -> str:
    """The text as part of a key.

    Raises:
        StoreError: It is too long for one.
    """
    found = text(value)
    if len(found.encode()) > LONGEST_KEY:
        raise StoreError(f"{what} of more than {LONGEST_KEY} bytes cannot be a key in DynamoDB")
    return found


# -- values -----------------------------------------------------------------------------------------


def s(value: str) -> dict[str, Any]:
    """A text, which has UTF-8."""
    return {"S": value}


def n(value: int) -> dict[str, Any]:
    """A number."""
    return {"N": str(value)}


def b(value: bytes) -> dict[str, Any]:
    """Bytes."""
    return {"B": value}


def get_n(item: Item, name: str, default: int = 0) -> int:
    """A number of an item."""
    found = item.get(name)
    return default if found is None else int(found["N"])


def get_s(item: Item, name: str) -> str:
    """A text of an item, as it is in the table; "" if there is none."""
    found = item.get(name)
    return "" if found is None else str(found["S"])


def get_b(item: Item, name: str) -> bytes:
    """Bytes of an item, b"" if there are none."""
    found = item.get(name)
    return b"" if found is None else a2b_base64(found["B"])


def keyed(pk: str, sk: str) -> Item:
    """The primary key of an item."""
    return {"pk": s(pk), "sk": s(sk)}


def parts_of(
    pk: str, sk: str, value: bytes, tx: str, **more: dict[str, Any]
) -> tuple[Item, list[Item]]:
    """A long value: what its item holds of it, and the items that hold the rest.

    Args:
        pk, sk: Of its item.
        value: The bytes.
        tx: Which write these items belong to.
        more: Further attributes of the others.
    """
    own: Item = {"body": b(value[:PART])}
    others = [
        keyed(pk, f"{sk}+{number:04d}") | {"part": b(value[at : at + PART]), "tx": s(tx)} | more
        for number, at in enumerate(range(PART, len(value), PART), 1)
    ]
    if others:
        own["parts"] = n(len(others))
    return own, others


# -- where things are -------------------------------------------------------------------------------


def conversation_pk(key: str) -> str:
    """Partition of a conversation: its row ("c") and its journal ("j|run|head")."""
    return "c|" + key_text(key, "a conversation's key")


def journal_sk(run: str, head: int) -> str:
    """Place of a segment; head 0 is the birth."""
    return f"j|{run}|{head:010d}"


def state_sk(run: str, head: int) -> str:
    """Place before the rest of a long state."""
    return f"{journal_sk(run, head)}s"


def update_pk(update_id: str) -> str:
    """Partition of a known update: waiting or consumed ("u")."""
    return "u|" + key_text(update_id, "an update's id")


def mail_pk(key: str) -> str:
    """Partition of the mailbox of a key."""
    return "m|" + key_text(key, "a mailbox's key")


def mail_sk(order: int) -> str:
    """Place in a mailbox."""
    return f"{order:017d}"


def item_key(number: int, slot: int, spread: int) -> Item:
    """Where an outbox item is."""
    return keyed(f"o|{slot % spread:02d}", f"{number:019d}")


def kept_key(space: str, name: str) -> Item:
    """Where a remembered value is."""
    space = key_text(space, "a space")
    return keyed(f"k|{len(space)}|{space}|{key_text(name, 'a name')}", "k")


# -- records ----------------------------------------------------------------------------------------


class Seat(Struct, frozen=True):
    """Where a conversation's journal is.

    Attributes:
        run: Name of the current epoch's journal: no other one ever has it.
        home: Its partition: another one's after the conversation was moved aside.
    """

    run: str
    home: str


def seat_of(row: Item) -> Seat:
    """Of a conversation's row."""
    return Seat(get_s(row, "run"), get_s(row, "home") or get_s(row, "pk"))


def conversation(row: Item, state: bytes) -> Conversation:
    """The record of a row, with its whole state."""
    return Conversation(
        key=untext(get_s(row, "pk")[2:]),
        dialog=untext(get_s(row, "dialog")),
        version=untext(get_s(row, "ver")),
        epoch=get_n(row, "epoch"),
        head=get_n(row, "head"),
        status=get_s(row, "stat"),
        wake_ms=get_n(row, "wake"),
        state=state,
        updated_ms=get_n(row, "upd"),
    )


def outbox_attributes(item: OutboxItem, at_ms: int) -> Item:
    """All of an item but its key and its call."""
    found = {
        "lane": s(text(item.lane)),
        "place": b(pack(item.place)),
        "conv": s(text(item.key)),
        "epoch": n(item.epoch),
        "handle": s(text(item.ref)),
        "mode": s(item.delivery),
        "fate": s(item.state),
        "tries": n(item.attempts),
        "nbf": n(item.not_before_ms),
        "err": s(text(item.error)),
        "born": n(item.created_ms or at_ms),
    }
    return {name: value for name, value in found.items() if value not in _NOTHING}


_NOTHING = (s(""), n(0))


def outbox_item(item: Item, call: bytes) -> OutboxItem:
    """The record of an item, with its whole call.

    Raises:
        StoreCorrupt: Its call or place cannot be read.
    """
    return OutboxItem(
        id=int(get_s(item, "sk")),
        lane=untext(get_s(item, "lane")),
        place=unpack_place(get_b(item, "place")),
        key=untext(get_s(item, "conv")),
        epoch=get_n(item, "epoch"),
        ref=untext(get_s(item, "handle")),
        call=unpack_call(call),
        delivery=get_s(item, "mode"),
        state=get_s(item, "fate"),
        attempts=get_n(item, "tries"),
        not_before_ms=get_n(item, "nbf"),
        error=untext(get_s(item, "err")),
        created_ms=get_n(item, "born"),
    )


def corrupt(name: str, what: str) -> StoreCorrupt:
    """What is said of items that do not belong together."""
    return StoreCorrupt(f"{name}: {what}. Was an item changed or deleted by hand?")
