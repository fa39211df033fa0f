"""What every Store must do. A subclass of ten lines runs all of it on another store.

class TestMyStore(StoreConformance):
    async def make_store(self) -> Store:
        return MyStore(...)          # with nothing in it

    async def reopen(self, store: Store) -> Store:
        await store.close()          # as a restart of the process would
        return MyStore(...)          # with the same data
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from legato.abc.store import Store
from legato.model.records import (
    DEAD,
    FAILED,
    HELD,
    QUEUED,
    RUNNING,
    SENDING,
    SENT,
    UNKNOWN,
    WAITING,
    Call,
    Commit,
    Mail,
    Settled,
)
from legato.testing.conformance._samples import (
    KEY,
    begin,
    done,
    everything,
    item,
    on_store,
    proceed,
    row,
    texts,
)
from legato.testing.conformance._store_commits import CommitConformance
from legato.testing.conformance._store_slots import SlotsConformance
from legato.testing.conformance._store_within import WithinConformance

NASTY = "NUL \0, a lone surrogate \ud800, \U0001f600, a quote ' and \u202e"


class StoreConformance(CommitConformance, SlotsConformance, WithinConformance):
    """Every sentence of `legato.abc.store` and of `Commit`, as a test."""

    opened: list[Store]

    async def make_store(self) -> Store:
        """A store that holds nothing. The suite opens and closes it."""
        raise AssertionError("the subclass must say which store is meant")

    async def reopen(self, store: Store) -> Store:
        """Closes `store` and gives another one with the same data, as after a restart.

        A store whose data ends with the object gives the same one.
        """
        await store.close()
        return store

    async def restart(self, store: Store) -> Store:
        """`reopen`, opened, and closed again at the end of the test."""
        again = await self.reopen(store)
        self.opened.append(again)
        await again.open()
        return again

    # -- life ---------------------------------------------------------------------------------

    @on_store
    async def test_open_and_close_may_be_called_twice(self, store: Store) -> None:
        """And a closed store may be opened again."""
        await store.open()
        await done(store, begin())
        await store.close()
        await store.close()
        await store.open()

    @on_store
    async def test_everything_is_there_after_a_restart(self, store: Store) -> None:
        """Conversations, mail, outbox, values, consumed updates; and ids go on growing."""
        mails = (Mail("b", KEY, b"2"), Mail("a", KEY, b"1"))
        values = (("space", "name", b"value"),)
        commit = begin(update_id="u", reply=b"r", outbox=(item("1"), item("2")), deposit=mails)
        ids = (await done(store, commit)).ids
        await done(store, Commit(at_ms=1, puts=values))
        await store.settle([Settled(ids[1], SENT)])
        before = await everything(store)
        store = await self.restart(store)
        assert await everything(store) == before
        again = await store.commit(begin(update_id="u"))
        assert (again.result, again.reply) == ("duplicate", b"r")
        assert (await done(store, Commit(at_ms=1, outbox=(item("3"),)))).ids > ids[1:]

    # -- mailbox ------------------------------------------------------------------------------

    @on_store
    async def test_mail_comes_in_the_order_of_deposit(self, store: Store) -> None:
        """Whatever the ids are; of one key, or of all."""
        for number, name in enumerate(("z", "a", "m", "b")):
            key = "one" if name in "zb" else "two"
            mail = Mail(name, key, b"event " + name.encode())
            await done(store, Commit(at_ms=9 - number, deposit=(mail,)))
        assert [mail.id for mail in await store.mail()] == ["z", "a", "m", "b"]
        one = [Mail("z", "one", b"event z"), Mail("b", "one", b"event b")]
        assert await store.mail(key="one") == one
        assert await store.mail(key="on") == []

    @on_store
    async def test_mail_is_read_page_by_page(self, store: Store) -> None:
        """`after` is the last one seen, also when it was consumed meanwhile."""
        mails = tuple(Mail(f"{9 - number}", "key", b"") for number in range(7))
        await done(store, Commit(at_ms=1, deposit=mails))
        seen: list[Mail] = []
        while page := await store.mail(key="key", after=seen[-1].id if seen else "", limit=3):
            assert len(page) <= 3
            seen += page
            await done(store, Commit(at_ms=1, update_id=page[-1].id))
        assert tuple(seen) == mails
        assert [mail.id for mail in await store.mail(after="9")] == ["8", "6", "5"]
        await done(store, Commit(at_ms=1, deposit=(Mail("new", "key", b""),)))
        assert [mail.id for mail in await store.mail(after="3")] == ["new"]

    @on_store
    async def test_an_event_is_deposited_once(self, store: Store) -> None:
        """Known ids are ignored, be they waiting or consumed; the commit itself goes through."""
        await done(store, Commit(at_ms=1, update_id="consumed"))
        await done(store, Commit(at_ms=1, deposit=(Mail("a", "k", b"1"), Mail("b", "k", b"2"))))
        again = (Mail("a", "other", b"again"), Mail("consumed", "k", b"again"), Mail("c", "k", b""))
        await done(store, begin(deposit=again))
        waiting = [Mail("a", "k", b"1"), Mail("b", "k", b"2"), Mail("c", "k", b"")]
        assert await store.mail() == waiting
        assert await store.load(KEY) is not None

    @on_store
    async def test_consuming_takes_the_event_out_of_the_mailbox(self, store: Store) -> None:
        """Once: it is a duplicate from then on, and is not deposited again."""
        await done(store, Commit(at_ms=1, deposit=(Mail("a", KEY, b"1"), Mail("b", KEY, b"2"))))
        conflict = proceed(update_id="a")
        assert (await store.commit(conflict)).result == "conflict"
        assert len(await store.mail()) == 2
        await done(store, begin(update_id="a", reply=b"reply"))
        assert await store.mail() == [Mail("b", KEY, b"2")]
        again = await store.commit(proceed(update_id="a", deposit=(Mail("c", KEY, b""),)))
        assert (again.result, again.reply) == ("duplicate", b"reply")
        await done(store, Commit(at_ms=1, deposit=(Mail("a", KEY, b"1"),)))
        assert await store.mail() == [Mail("b", KEY, b"2")]

    # -- outbox -------------------------------------------------------------------------------

    @on_store
    async def test_items_come_back_as_they_were_committed(self, store: Store) -> None:
        """With an id, and with the commit's time where they had none."""
        call = Call(
            "sendPhoto",
            {"chat_id": 1, "deep": [{"x": None, "y": 1.5}, True], "text": "é"},
            files=(("photo", "cat.jpg", "cat"),),
            target="ref:1:1",
            fill="message_id",
            bulk=True,
            idempotent=True,
            result="message",
            expires_ms=99,
        )
        first = item(call=call, ref="ref:2:1", delivery="at_most_once", state=SENDING, attempts=2)
        second = item(error="why", not_before_ms=5, created_ms=77, key="", epoch=0)
        ids = (await done(store, Commit(at_ms=4000, outbox=(first, second)))).ids
        found = await store.outbox(states=(QUEUED, SENDING))
        changes: Any = ({"id": ids[0], "created_ms": 4000}, {"id": ids[1]})
        assert found == [replace(first, **changes[0]), replace(second, **changes[1])]

    @on_store
    async def test_ids_grow_in_the_order_of_commits(self, store: Store) -> None:
        """Within one and over all; an id is never given again."""
        ids: list[int] = []
        for number in range(5):
            outbox = tuple(item(f"{number}.{part}") for part in range(3))
            ids += (await done(store, Commit(at_ms=1, outbox=outbox))).ids
            await store.settle([Settled(ids[-1], SENT)])
        assert ids == sorted(set(ids))
        assert ids[0] > 0
        assert await texts(store) == [f"{number}.{part}" for number in range(5) for part in (0, 1)]

    @on_store
    async def test_the_outbox_is_filtered_and_paged(self, store: Store) -> None:
        """By states, by key, after an id, at most so many."""
        states = (QUEUED, DEAD, UNKNOWN, QUEUED, DEAD, SENDING)
        outbox = tuple(
            item(str(number), key="even" if number % 2 == 0 else "odd", state=state)
            for number, state in enumerate(states)
        )
        ids = (await done(store, Commit(at_ms=1, outbox=outbox))).ids
        assert await texts(store, QUEUED) == ["0", "3"]
        assert await texts(store, DEAD, UNKNOWN) == ["1", "2", "4"]
        assert await texts(store, QUEUED, DEAD, key="odd") == ["1", "3"]
        assert await texts(store, *set(states), after=ids[1], limit=3) == ["2", "3", "4"]
        assert await texts(store, *set(states), after=ids[-1]) == []
        assert await store.outbox(states=()) == []

    @on_store
    async def test_a_sent_item_is_forgotten_and_its_message_id_kept(self, store: Store) -> None:
        """Kept under key, epoch and ref, if somebody holds a handle to it."""
        outbox = tuple(item(str(number), ref=f"ref:{number}:1") for number in range(3))
        ids = (await done(store, Commit(at_ms=1, outbox=outbox))).ids
        fates = [
            Settled(ids[0], SENT, key=KEY, epoch=1, ref="ref:0:1", message_id="m\u00e9ssage 4"),
            Settled(ids[1], SENT, key=KEY, epoch=1, ref="ref:1:1"),
            Settled(ids[2], SENT, key=KEY, epoch=1, message_id="5"),
        ]
        await store.settle(fates)
        assert await texts(store) == []
        assert await store.get("sent", f"{KEY}|1|ref:0:1") == "m\u00e9ssage 4".encode()
        assert await store.get("sent", f"{KEY}|1|ref:1:1") is None
        assert await store.get("sent", f"{KEY}|1|") is None

    @on_store
    async def test_other_fates_change_the_item(self, store: Store) -> None:
        """State, attempts, time and reason; the rest stays."""
        original = item("text", ref="ref:1:1", created_ms=5)
        (number,) = (await done(store, Commit(at_ms=1, outbox=(original,)))).ids
        for state in (SENDING, UNKNOWN, DEAD, QUEUED):
            fate = Settled(number, state, attempts=3, not_before_ms=60_000, error=f"is {state}")
            await store.settle([fate])
            await store.settle([fate])
            (found,) = await store.outbox(states=(state,))
            expected = replace(
                original,
                id=number,
                state=state,
                attempts=3,
                not_before_ms=60_000,
                error=f"is {state}",
            )
            assert found == expected

    @on_store
    async def test_settling_unknown_items_does_nothing(self, store: Store) -> None:
        """Twice is as once, and a late fate brings no item back."""
        await store.settle([])
        await done(store, begin(outbox=(item("1"), item("2"))))
        (first, second) = await store.outbox(states=(QUEUED,))
        sent = Settled(first.id, SENT, key=KEY, epoch=1, ref="r", message_id="4")
        await store.settle([sent, Settled(first.id, QUEUED, attempts=9)])
        before = await everything(store)
        late = Settled(first.id, SENT, key=KEY, epoch=1, ref="r", message_id="another")
        await store.settle([late, Settled(second.id + 1000, DEAD), Settled(first.id, DEAD)])
        assert await everything(store) == before
        assert await store.get("sent", f"{KEY}|1|r") == b"4"

    # -- looking for conversations ------------------------------------------------------------

    @on_store
    async def test_due_conversations_come_earliest_first(self, store: Store) -> None:
        """Only those whose time has come, never those without one, failed or held."""
        for number, wake_ms in enumerate((500, 0, 300, 1000, 1001, 400)):
            await done(store, begin(f"{number}", row=row(f"{number}", wake_ms=wake_ms)))
        for status in (FAILED, HELD, RUNNING):
            await done(store, begin(status, row=row(status, wake_ms=450, status=status)))
        assert [found.key for found in await store.due(1000, 99)] == ["2", "5", RUNNING, "0", "3"]
        assert [found.key for found in await store.due(1000, 2)] == ["2", "5"]
        assert await store.due(299, 99) == []
        await done(store, proceed("2", row=row("2", head=2, wake_ms=0)))
        await done(store, proceed("5", row=None))
        assert await store.due(1000, 1) == [row(RUNNING, wake_ms=450, status=RUNNING)]

    @on_store
    async def test_conversations_are_found_by_key_order(self, store: Store) -> None:
        """Filtered by status and dialog, page by page."""
        kinds = [(WAITING, "a"), (FAILED, "a"), (RUNNING, "b"), (WAITING, "b"), (FAILED, "b")]
        for number, (status, dialog) in reversed(list(enumerate(kinds))):
            key = f"key {number}"
            await done(store, begin(key, row=row(key, status=status, dialog=dialog)))

        async def keys(after: str = "", limit: int = 99, **filters: Any) -> str:
            found = await store.find(after=after, limit=limit, **filters)
            return "".join(conversation.key[-1] for conversation in found)

        assert await keys() == "01234"
        assert await keys(limit=2) == "01"
        assert await keys(after="key 1", limit=2) == "23"
        assert await keys(after="key 1x") == "234"
        assert await keys(status=FAILED) == "14"
        assert await keys(status=WAITING) == "03"
        assert await keys(dialog="b") == "234"
        assert await keys(status=FAILED, dialog="b", after="key 1") == "4"
        assert await keys(status=HELD) == ""

    # -- values -------------------------------------------------------------------------------

    @on_store
    async def test_values_are_remembered_and_forgotten(self, store: Store) -> None:
        """Any bytes, by space and name; the last put of a commit wins."""
        nasty = bytes(range(256)) + b"\0"
        puts = (("a", "n", nasty), ("b", "n", b""), ("a", "m", b"1"), ("a", "m", b"2"))
        await done(store, Commit(at_ms=1, puts=puts))
        assert await store.get("a", "n") == nasty
        assert await store.get("b", "n") == b""
        assert await store.get("a", "m") == b"2"
        assert await store.get("c", "n") is None
        await done(store, Commit(at_ms=1, puts=(("a", "n", None), ("a", "unknown", None))))
        assert await store.get("a", "n") is None
        assert await store.get("b", "n") == b""

    @on_store
    async def test_a_purge_forgets_what_is_old(self, store: Store) -> None:
        """Consumed ids, kept message ids and what was put beside them; never waiting mail, other values
        or what is newer.
        """
        for at_ms in (1000, 2000):
            outbox = (item(ref="r"),)
            mails = (Mail(f"mail {at_ms}", KEY, b""),)
            puts = (("space", str(at_ms), b"kept"), (SENT, f"put {at_ms}", b"kept"))
            commit = Commit(
                at_ms=at_ms, update_id=f"{at_ms}", outbox=outbox, deposit=mails, puts=puts
            )
            (number,) = (await done(store, commit)).ids
            await store.settle(
                [Settled(number, SENT, key=KEY, epoch=at_ms, ref="r", message_id="4")]
            )
        await done(store, Commit(at_ms=1000, update_id="mail 1000"))
        await done(store, Commit(at_ms=9000, purge_ms=2000))
        await done(store, Commit(at_ms=9000, update_id="1000"))
        await done(store, Commit(at_ms=9000, update_id="mail 1000"))
        assert (await store.commit(Commit(at_ms=9000, update_id="2000"))).result == "duplicate"
        assert await store.get("sent", f"{KEY}|1000|r") is None
        assert await store.get("sent", f"{KEY}|2000|r") == b"4"
        assert await store.get("space", "1000") == b"kept"
        assert await store.get(SENT, "put 1000") is None
        assert await store.get(SENT, "put 2000") == b"kept"
        assert [mail.id for mail in await store.mail()] == ["mail 2000"]

    # -- what people write --------------------------------------------------------------------

    @on_store
    async def test_no_text_of_a_person_is_a_poison_message(self, store: Store) -> None:
        """NUL, lone surrogates and the like come back as they were, in calls and in blobs."""
        raw = NASTY.encode("utf-8", "surrogatepass")
        mails = (Mail("m", KEY, raw),)
        puts = (("space", "name", raw),)
        await done(store, begin(segment=raw, outbox=(item(NASTY),), deposit=mails, puts=puts))
        loaded = await store.load(KEY)
        assert loaded is not None
        assert loaded.segments == [raw]
        assert await texts(store) == [NASTY]
        assert await store.mail() == list(mails)
        assert await store.get("space", "name") == raw

    @on_store
    async def test_an_odd_key_harms_nobody_else(self, store: Store) -> None:
        """A store may refuse an id that is no proper text, but not its neighbours."""
        commits = [begin(f"{number}", update_id=f"{number}") for number in range(10)]
        commits[4:4] = [begin("\ud800", update_id="\udfff"), begin("\0", update_id="\0")]
        results = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        for number in range(10):
            assert await store.load(f"{number}") is not None
        assert not any(isinstance(result, BaseException) for result in results[:4] + results[6:])
