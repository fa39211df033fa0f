"""Sends commits, and knows what became of them.

A refusal names the conditions that failed and what stood there instead. Some of them only teach what the next
try needs (an update waits in the mailbox, a number is taken, the journal is elsewhere); some mean that another
was faster, now or before; and one may mean that it was we ourselves, in a request whose answer was lost.
"""

from __future__ import annotations

import asyncio
from typing import Any

from legato.aws.service import Refused, pause_s
from legato.errors import StoreError, StoreUnavailable
from legato.model.records import COMMITTED, CONFLICT, DUPLICATE, Commit, Committed
from legato.stores.dynamodb.client import TRIES, Client
from legato.stores.dynamodb.clock import Numbers, number_of
from legato.stores.dynamodb.failures import CANCELED, LATER, Unknown, explained
from legato.stores.dynamodb.items import (
    Item,
    Seat,
    conversation_pk,
    get_n,
    get_s,
    keyed,
    seat_of,
    update_pk,
)
from legato.stores.dynamodb.plan import (
    ASIDE,
    CLAIM,
    FENCE,
    NUMBER,
    REST,
    Facts,
    Plan,
    Waiting,
    packed,
)
from legato.stores.dynamodb.reading import Reading
from legato.stores.dynamodb.table import Table

ROUNDS = 200
"""Tries of one commit at most: each but the last few has learned something."""
REMEMBERED = 20_000

Reasons = list[dict[str, Any]]


class Writer:
    """Writes the commits of one process.

    Args:
        client, table, reading: The table.
        numbers: Gives ids.
    """

    __slots__ = ("_client", "_numbers", "_reading", "_seats", "_table", "_waiting")

    def __init__(self, client: Client, table: Table, reading: Reading, numbers: Numbers) -> None:
        self._client = client
        self._table = table
        self._reading = reading
        self._numbers = numbers
        # Only to save a question: what stands here may be out of date, and the conditions find out.
        self._seats: dict[str, Seat] = {}
        self._waiting: dict[str, Waiting] = {}

    def seen(self, key: str, row: Item) -> None:
        """A conversation's row was read."""
        _keep(self._seats, key, seat_of(row))

    async def commit(self, commit: Commit) -> Committed:
        """Writes one commit, once.

        Raises:
            StoreUnavailable: Nothing was written; Unknown: perhaps it was.
            StoreError: It cannot be written.
        """
        facts = Facts(
            packed(commit.outbox), waiting=self._waiting.get(commit.update_id), known=set()
        )
        mine: dict[str, Plan] = {}
        collisions, unsure = 0, False
        if not await self._prepared(commit, facts):
            return await self._overtaken(commit, mine)
        for _ in range(ROUNDS):
            plan = Plan(commit, facts, self._client.where, self._table, self._numbers)
            if not plan.writes:
                return Committed(COMMITTED)
            mine[plan.token] = plan
            try:
                await self._client.call(
                    "TransactWriteItems",
                    {"TransactItems": plan.writes, "ClientRequestToken": plan.token},
                )
            except Refused as refusal:
                if refusal.kind != CANCELED:
                    raise explained(refusal, self._client.where.name) from refusal
                unsure = unsure or refusal.unsure
                reasons: Reasons = refusal.answer.get("CancellationReasons") or []
                result = await self._judged(commit, facts, plan, reasons, mine)
                if isinstance(result, Committed):
                    return result
                if result is None:
                    collisions += 1
                    if collisions == TRIES:
                        raise self._given_up(refusal, unsure=unsure) from refusal
                    await asyncio.sleep(pause_s(collisions - 1))
            else:
                return self._written(commit, plan)
        raise StoreUnavailable(f"{self._client.where.name}: others are always faster. Try again.")

    def _given_up(self, refusal: Refused, *, unsure: bool) -> StoreUnavailable:
        what = (
            f"{self._client.where.name}: others write the same, or it is overloaded: {refusal.text}"
        )
        return Unknown(what) if unsure else StoreUnavailable(f"{what}. It will be tried again.")

    def _written(self, commit: Commit, plan: Plan) -> Committed:
        self._waiting.pop(commit.update_id, None)
        for name, waiting in plan.deposited.items():
            _keep(self._waiting, name, waiting)
        if commit.key and plan.seat is not None:
            _keep(self._seats, commit.key, plan.seat)
        elif commit.key:
            self._seats.pop(commit.key, None)
        return Committed(COMMITTED, plan.ids)

    async def _prepared(self, commit: Commit, facts: Facts) -> bool:
        """Learns what the plan must know of the row; False if the fence does not hold."""
        if not commit.key or commit.expect is None:
            return True
        if commit.aside == commit.key:
            return False
        facts.seat = self._seats.get(commit.key)
        if facts.seat is not None and not commit.aside:
            return True
        row = await self._reading.item(keyed(conversation_pk(commit.key), "c"))
        if row is None or (get_n(row, "epoch"), get_n(row, "head")) != commit.expect:
            return False
        facts.row, facts.seat = row, seat_of(row)
        return True

    # -- refusals -----------------------------------------------------------------------------

    async def _judged(
        self, commit: Commit, facts: Facts, plan: Plan, reasons: Reasons, mine: dict[str, Plan]
    ) -> Committed | bool | None:
        """What a refusal means: an end; True: try again at once, knowing more; None: try again later."""
        failed: dict[str, Item] = {}
        for role, reason in zip(plan.roles, reasons, strict=False):
            code = reason.get("Code", "None")
            if code == "ConditionalCheckFailed":
                old = failed[role] = reason.get("Item") or {}
                if get_s(old, "tx") in mine:
                    return self._written(commit, mine[get_s(old, "tx")])
            elif code not in LATER and code != "None":
                what = f"{self._client.where.name}: {reason.get('Message', '')} ({code})"
                raise StoreError(what)
        if CLAIM in failed and commit.update_id:
            known = await self._known(commit, facts, failed[CLAIM])
            if known is not None:
                return known
        fenced = FENCE in failed or ASIDE in failed
        if fenced and not self._learned(commit, facts, failed.get(FENCE, {})):
            return await self._overtaken(commit, mine)
        facts.known.update(failed.keys() - {CLAIM, FENCE, ASIDE, NUMBER, REST})
        return True if failed else None

    async def _known(self, commit: Commit, facts: Facts, found: Item) -> Committed | None:
        """What is known of the update: it was consumed, or (None) it waits, which is learned."""
        facts.waiting = None
        if "tm" not in found:
            if "mo" in found:  # else it was forgotten meanwhile
                facts.waiting = Waiting(get_s(found, "mk"), get_n(found, "mo"), get_n(found, "mn"))
            return None
        if get_n(found, "tm") < self._table.horizon:
            return None
        self._waiting.pop(commit.update_id, None)
        return Committed(DUPLICATE, reply=await self._reading.whole(found) or b"")

    def _learned(self, commit: Commit, facts: Facts, old: Item) -> bool:
        """Whether the fence holds after all: only what we believed of the row was out of date."""
        if commit.expect is None or commit.aside or not old:
            return False
        if (get_n(old, "epoch"), get_n(old, "head")) != commit.expect:
            return False
        self._numbers.push(number_of(get_n(old, "lastid")))
        facts.seat = seat_of(old)
        return True

    async def _overtaken(self, commit: Commit, mine: dict[str, Plan]) -> Committed:
        """The fence does not hold: another was faster, or the update was consumed before."""
        self._seats.pop(commit.key, None)
        if commit.update_id:
            found = await self._reading.item(keyed(update_pk(commit.update_id), "u"))
            if found is not None and get_s(found, "tx") in mine and "tm" in found:
                return self._written(commit, mine[get_s(found, "tx")])
            if found is not None and get_n(found, "tm", -1) >= self._table.horizon:
                return Committed(DUPLICATE, reply=await self._reading.whole(found) or b"")
        return Committed(CONFLICT)


def _keep(cache: dict[str, Any], name: str, value: Any) -> None:
    if len(cache) >= REMEMBERED:
        cache.clear()
    cache[name] = value
