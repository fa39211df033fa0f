"""What one Commit writes: the items of one TransactWriteItems, and what each of them is there for.

Every plan has something by which its own work is known again: `tx`, the token of the request, stands in the
item of the consumed update, in the conversation's row, or in a receipt made for that. So a commit whose answer
was lost is told apart from somebody else's, however late.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from legato.errors import StoreTooMuch
from legato.model.records import FAILED, HELD, SENT, Commit, Conversation, Mail, OutboxItem
from legato.model.shards import slot_of, slot_of_key
from legato.stores._codec import pack
from legato.stores.dynamodb.address import Where
from legato.stores.dynamodb.clock import Numbers, end_of_life, item_id
from legato.stores.dynamodb.items import (
    PART,
    Item,
    Seat,
    conversation_pk,
    item_key,
    journal_sk,
    kept_key,
    keyed,
    mail_pk,
    mail_sk,
    n,
    outbox_attributes,
    parts_of,
    s,
    state_sk,
    text,
    update_pk,
)
from legato.stores.dynamodb.table import Table

MOST_ITEMS = 100
MOST_BYTES = 3_900_000
"""Of the 4 MB that DynamoDB allows: it counts names and overhead, too."""

CLAIM = "claim"
FENCE = "fence"
ASIDE = "aside"
NUMBER = "number"
"""A condition that only says that a number is not taken."""
REST = "rest"


class Waiting(Struct, frozen=True):
    """An update that waits in a mailbox.

    Attributes:
        pk: Partition of the mailbox.
        order: Its place there.
        parts: How many further items it has.
    """

    pk: str
    order: int
    parts: int


class Facts(Struct):
    """What the plan of a commit needs to know beside it; more is learned with each refusal.

    Attributes:
        calls: The packed calls of its outbox.
        seat: Of the conversation's row, where one is expected.
        row: The whole row, where it is moved aside.
        waiting: Where the update that is consumed waits.
        known: Ids of mail that is not deposited, since it was before.
    """

    calls: list[bytes]
    seat: Seat | None = None
    row: Item | None = None
    waiting: Waiting | None = None
    known: set[str] = set()


class Plan:
    """One try of one commit.

    Attributes:
        token: Of the request; no other one has it.
        writes: Elements of TransactItems.
        roles: What each is there for: CLAIM, FENCE, ASIDE, NUMBER, REST, or the id of mail.
        ids: Of the outbox items.
        seat: Where the journal of the new row is; None if there is no row afterwards.
        deposited: Where mail waits afterwards.

    Raises:
        StoreTooMuch: It is more than one transaction takes.
    """

    def __init__(
        self, commit: Commit, facts: Facts, where: Where, table: Table, numbers: Numbers
    ) -> None:
        self._commit = commit
        self._facts = facts
        self._name = where.table
        self._table = table
        self._numbers = numbers
        self._size = 0
        self._ttl = n(end_of_life(where.keep_days))
        self.token: str = os.urandom(16).hex()
        self.writes: list[dict[str, Any]] = []
        self.roles: list[str] = []
        self.ids: tuple[int, ...] = ()
        self.seat: Seat | None = None
        self.deposited: dict[str, Waiting] = {}
        self._plan()
        if len(self.writes) > MOST_ITEMS or self._size > MOST_BYTES:
            raise StoreTooMuch(
                f"{where.name}: a commit of {len(self.writes)} items and {self._size} bytes is more than "
                f"DynamoDB takes at once ({MOST_ITEMS} items, {MOST_BYTES} bytes): let the dialog say or "
                "remember less between two waits or steps"
            )

    def _plan(self) -> None:
        commit = self._commit
        outbox = [
            (item, call, slot_of(item.place), self._numbers.next())
            for item, call in zip(commit.outbox, self._facts.calls, strict=True)
        ]
        self.ids = tuple(
            item_id(number, slot, long=len(call) > PART) for _, call, slot, number in outbox
        )
        if commit.update_id:
            self._consume()
        elif not commit.key and (commit.outbox or commit.puts):
            receipt = keyed(f"t|{self.token}", "t") | {"tx": s(self.token), "ttl": self._ttl}
            self._put(receipt, CLAIM, "attribute_not_exists(pk)")
        if commit.key:
            self._conversation()
        for mail in commit.deposit:
            known = mail.id == commit.update_id or mail.id in self._facts.known
            if not known and mail.id not in self.deposited:
                self._deposit(mail)
        for (item, call, slot, _), number in zip(outbox, self.ids, strict=True):
            self._queue(item, call, slot, number)
        for (space, name), value in {put[:2]: put[2] for put in commit.puts}.items():
            self._remember(space, name, value)

    # -- updates ------------------------------------------------------------------------------

    def _consume(self) -> None:
        commit, waiting = self._commit, self._facts.waiting
        pk = update_pk(commit.update_id)
        life = {"ttl": self._ttl}
        body, others = parts_of(pk, "u", commit.reply, self.token, **life)
        item = keyed(pk, "u") | body | life | {"tm": self._time(commit.at_ms), "tx": s(self.token)}
        if waiting is None:
            condition = "attribute_not_exists(pk) OR tm < :z"
            self._put(item, CLAIM, condition, {":z": n(self._table.horizon)})
        else:
            order = n(waiting.order)
            condition = "mo = :o AND attribute_not_exists(tm)"
            self._put(item | {"mo": order}, CLAIM, condition, {":o": order})
            sk = mail_sk(waiting.order)
            for gone in (sk, *[f"{sk}+{part:04d}" for part in range(1, waiting.parts + 1)]):
                self._delete(keyed(waiting.pk, gone))
        self._rest(others)

    def _deposit(self, mail: Mail) -> None:
        order = self._numbers.next()
        pk, sk = mail_pk(mail.key), mail_sk(order)
        body, others = parts_of(pk, sk, mail.payload, self.token)
        known = keyed(update_pk(mail.id), "u") | {
            "mk": s(pk),
            "mo": n(order),
            "mn": n(len(others)),
            "tx": s(self.token),
        }
        condition = "attribute_not_exists(pk) OR tm < :z"
        self._put(known, mail.id, condition, {":z": n(self._table.horizon)})
        part = slot_of_key(mail.key) % self._table.spread
        index = {"wpk": s(f"m|{part:02d}"), "wsk": s(sk)}
        item = keyed(pk, sk) | index | body | {"id": s(text(mail.id)), "tx": s(self.token)}
        self._put(item, NUMBER, "attribute_not_exists(pk)")
        self._rest(others)
        self.deposited[mail.id] = Waiting(pk, order, len(others))

    def _time(self, at_ms: int) -> dict[str, Any]:
        """When something was consumed: never so that it would be forgotten at once."""
        return n(max(at_ms, self._table.horizon))

    # -- the conversation ---------------------------------------------------------------------

    def _conversation(self) -> None:
        commit, row, seat = self._commit, self._commit.row, self._facts.seat
        pk = conversation_pk(commit.key)
        fence, values = self._fence()
        if commit.aside and seat is not None:
            assert self._facts.row is not None, "it was read, since the fence may hold"
            self._put(self._moved(self._facts.row, pk), ASIDE, "attribute_not_exists(pk)")
        elif seat is not None and (row is None or row.epoch != (commit.expect or (0,))[0]):
            sk = f"{self._numbers.next():017d}|{seat.run}"
            part = slot_of_key(commit.key) % self._table.spread
            left = {"home": s(seat.home), "run": s(seat.run)}
            self._put(keyed(f"r|{part:02d}", sk) | left, REST)
        if row is None:
            self._delete(keyed(pk, "c"), FENCE, fence, values)
            return
        begins = seat is None or commit.aside or row.epoch != (commit.expect or (0,))[0]
        if begins or seat is None:
            seat = Seat(self.token, pk)
        self.seat = seat
        self._row(row, pk, seat, fence, values, begins=bool(begins))
        if begins or commit.birth:
            self._segment(seat, 0, commit.birth)
        if commit.segment:
            self._segment(seat, row.head, commit.segment)

    def _fence(self) -> tuple[str, Item]:
        commit, seat = self._commit, self._facts.seat
        if commit.expect is None:
            return "attribute_not_exists(pk)", {}
        assert seat is not None, "it was read, since the fence may hold"
        epoch, head = commit.expect
        condition = "epoch = :xe AND head = :xh AND run = :xr"
        values = {":xe": n(epoch), ":xh": n(head), ":xr": s(seat.run)}
        if self.ids:
            condition += " AND (attribute_not_exists(lastid) OR lastid < :xi)"
            values[":xi"] = n(self.ids[0])
        return condition, values

    def _row(
        self, row: Conversation, pk: str, seat: Seat, fence: str, values: Item, *, begins: bool
    ) -> None:
        """Changes the row, or makes it: what does not change is not sent."""
        sets = {
            "epoch": n(row.epoch),
            "head": n(row.head),
            "dialog": s(text(row.dialog)),
            "ver": s(text(row.version)),
            "stat": s(row.status),
            "wake": n(row.wake_ms),
            "upd": n(row.updated_ms),
            "tx": s(self.token),
            **_index(row.key, row.status, row.wake_ms, self._table.spread),
        }
        sk = state_sk(seat.run, row.head)
        body, others = parts_of(seat.home, sk, row.state, self.token)
        sets |= body
        if begins:
            sets["run"] = s(seat.run)
        if self.ids:
            sets["lastid"] = n(self.ids[-1])
        added = n(1 if self._commit.segment else 0)
        expression = "segs = :segs" if begins else "segs = segs + :segs"
        expression = f"SET {expression}, " + ", ".join([f"{name} = :{name}" for name in sets])
        gone = [name for name in ("wpk", "wsk", "parts") if name not in sets]
        if begins:
            gone.append("home")
        values = values | {f":{name}": value for name, value in sets.items()} | {":segs": added}
        if gone:
            expression += " REMOVE " + ", ".join(gone)
        update = {"Key": keyed(pk, "c"), "UpdateExpression": expression}
        self._size += len(row.state[:PART])
        self._write("Update", update, FENCE, fence, values)
        self._rest(others)

    def _segment(self, seat: Seat, head: int, data: bytes) -> None:
        sk = journal_sk(seat.run, head)
        body, others = parts_of(seat.home, sk, data, self.token)
        self._rest([keyed(seat.home, sk) | body, *others])

    def _moved(self, row: Item, pk: str) -> Item:
        aside = self._commit.aside
        moved = row | keyed(conversation_pk(aside), "c")
        moved.setdefault("home", s(pk))
        for name in ("wpk", "wsk"):
            moved.pop(name, None)
        wake_ms, status = int(row["wake"]["N"]), str(row["stat"]["S"])
        return moved | {"tx": s(self.token)} | _index(aside, status, wake_ms, self._table.spread)

    # -- the rest -----------------------------------------------------------------------------

    def _queue(self, item: OutboxItem, call: bytes, slot: int, number: int) -> None:
        key = item_key(number, slot, self._table.spread)
        body, others = parts_of(key["pk"]["S"], key["sk"]["S"], call, self.token)
        whole = key | outbox_attributes(item, self._commit.at_ms) | body | {"tx": s(self.token)}
        self._put(whole, NUMBER, "attribute_not_exists(pk)")
        self._rest(others)

    def _remember(self, space: str, name: str, value: bytes | None) -> None:
        key = kept_key(space, name)
        if value is None:
            self._delete(key)
            return
        life, dated = {}, {}
        if space == SENT:  # whatever stands there is forgotten by its age
            life = {"ttl": self._ttl}
            dated = life | {"tm": self._time(self._commit.at_ms)}
        body, others = parts_of(key["pk"]["S"], "k", value, self.token, **life)
        self._rest([key | body | dated | {"tx": s(self.token)}, *others])

    def _rest(self, items: Sequence[Item]) -> None:
        for item in items:
            self._put(item, REST)

    def _put(self, item: Item, role: str, condition: str = "", values: Item | None = None) -> None:
        self._size += 300 + sum(
            [len(value["B"]) for value in item.values() if isinstance(value.get("B"), bytes)]
        )
        self._write("Put", {"Item": item}, role, condition, values)

    def _delete(
        self, key: Item, role: str = REST, condition: str = "", values: Item | None = None
    ) -> None:
        self._write("Delete", {"Key": key}, role, condition, values)

    def _write(
        self, kind: str, write: dict[str, Any], role: str, condition: str, values: Item | None
    ) -> None:
        write["TableName"] = self._name
        if condition:
            write["ConditionExpression"] = condition
            write["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if values:
            write["ExpressionAttributeValues"] = values
        self.writes.append({kind: write})
        self.roles.append(role)


def packed(outbox: Sequence[OutboxItem]) -> list[bytes]:
    """The calls of an outbox as bytes.

    Raises:
        TypeError: One holds something that JSON has no form for.
    """
    return [pack(item.call) for item in outbox]


def _index(key: str, status: str, wake_ms: int, spread: int) -> Item:
    """The attributes by which a row is found."""
    pk = conversation_pk(key)[2:]
    part = slot_of_key(key) % spread
    found = {"spk": s(f"{status}|{part:02d}"), "ssk": s(pk)}
    if wake_ms > 0 and status not in (FAILED, HELD):
        found |= {"wpk": s(f"w|{part:02d}"), "wsk": s(f"{wake_ms:020d}|{pk}")}
    return found


__all__ = ["ASIDE", "CLAIM", "FENCE", "NUMBER", "REST", "Facts", "Plan", "Waiting", "packed"]
