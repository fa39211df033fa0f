"""What follows from each verdict."""

import asyncio
import logging

import pytest

from legato.abc import Limits, Verdict
from legato.errors import StoreUnavailable
from legato.model.events import Address
from legato.model.records import DEAD, QUEUED, SENT, UNKNOWN, Call, OutboxItem
from legato.outbox import sender
from legato.outbox.verdicts import judge
from tests.unit.outbox.kit import ELSEWHERE, START_MS, World, item, place, virtual

HOUR_MS = 3_600_000


def times(world: World, method: str) -> list[float]:
    return [round(at - 1000.0, 3) for at, _, name in world.bot.tries if name == method]


@virtual
async def test_a_failed_try_is_repeated_with_growing_waits() -> None:
    async with World() as w:
        w.bot.answer("a", *[Verdict("retry", error="down")] * 4, Verdict("sent"))
        await w.say(item("a"), item("b"))
        assert await w.relay.flush(100) == 0
        first, *later = times(w, "a")
        assert first == 0
        waits = [b - a for a, b in zip([first, *later], later, strict=False)]
        for wait, whole in zip(waits, (0.5, 1.0, 2.0, 4.0), strict=True):
            assert whole / 2 <= wait < whole
        assert w.bot.methods()[-1] == "b"
        assert (w.relay.stats.retried, w.relay.stats.sent) == (4, 2)


@virtual
async def test_a_429_is_obeyed_for_its_chat_and_holds_up_no_other() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("retry", retry_after_s=30, code=429), Verdict("sent"))
        await w.say(item("a", "slow"), item("b", "slow"), item("c", "quick"))
        await w.say(item("d", "quick"))
        assert await w.relay.flush(100) == 0
        assert times(w, "a") == [0, 30]
        assert times(w, "b") == [30]
        assert times(w, "c") == times(w, "d") == [0]
        assert w.relay.stats.limited_429 == 1


@virtual
async def test_a_429_of_the_whole_bot_holds_all_its_lanes() -> None:
    async with World() as w:
        verdict = Verdict("retry", retry_after_s=30, whole_bot=True, code=429)
        w.bot.answer("a", verdict, Verdict("sent"))
        await w.say(item("a", "one"))
        await w.relay.flush(1)
        await w.say(item("b", "two"), item("c", "three", bulk=True))
        assert await w.relay.flush(100) == 0
        assert times(w, "a") == [0, 30]
        assert times(w, "b") == times(w, "c") == [30]


@virtual
async def test_chat_limits_pace_a_chat_and_group_limits_a_group() -> None:
    async with World(Limits(private=(1, 1.0, 2), group=(20, 60.0, 1))) as w:
        group = Address("test", "1", "g", user="ann")
        await w.say(*(item("p") for _ in range(4)))
        await w.say(*(item("g", "g", place=group) for _ in range(3)))
        assert await w.relay.flush(100) == 0
        assert times(w, "p") == [0, 0, 1, 2]
        assert times(w, "g") == [0, 3, 6]


@virtual
async def test_the_bots_limit_is_shared_first_come_first_served() -> None:
    async with World(Limits(bot=(10, 1.0, 1))) as w:
        await w.say(*(item("m", f"{n}") for n in range(4)))
        assert await w.relay.flush(100) == 0
        assert times(w, "m") == [0, 0.1, 0.2, 0.3]
        assert [chat for _, chat, _ in w.bot.tries] == ["0", "1", "2", "3"]


@virtual
async def test_a_long_wait_is_written_to_the_store_and_a_short_one_is_not() -> None:
    async with World() as w:
        w.bot.answer("long", Verdict("retry", retry_after_s=60, error="slow down"), Verdict("sent"))
        w.bot.answer("short", Verdict("retry", retry_after_s=4), Verdict("sent"))
        await w.say(item("long", "x"), item("short", "y"))
        await w.relay.flush(1)
        long, short = await w.rows()
        assert (long.attempts, long.error) == (1, "slow down")
        assert long.not_before_ms == START_MS + 1_060_000
        assert (short.attempts, short.not_before_ms) == (0, 0)


@virtual
async def test_an_item_is_given_up_at_its_deadline_and_the_next_goes_on() -> None:
    async with World(give_up_after_s=100) as w:
        w.bot.answer("a", Verdict("retry", error="down"))
        await w.say(item("a"), item("b"))
        assert await w.relay.flush(1000) == 0
        assert max(times(w, "a")) <= 100
        (dead,) = await w.rows(DEAD)
        assert dead.error == f"gave up after {len(times(w, 'a'))} tries: down"
        assert dead.attempts == len(times(w, "a"))
        assert len(times(w, "b")) == 1


@virtual
async def test_a_wait_beyond_the_deadline_ends_the_item_and_blocks_its_chat_no_longer() -> None:
    async with World(give_up_after_s=100) as w:
        w.bot.answer("a", Verdict("retry", retry_after_s=1e9, error="come back later"))
        await w.say(item("a"), item("b"))
        assert await w.relay.flush(1) == 1
        assert await w.fates() == {"a": DEAD, "b": QUEUED}
        assert await w.relay.flush(100) == 0
        assert times(w, "b") == [100]


@virtual
async def test_an_item_older_than_the_deadline_gets_one_try() -> None:
    async with World() as w:
        w.bot.answer("b", Verdict("retry"))
        await w.say(item("a", created_ms=1), item("b", created_ms=1))
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["a", "b"]
        assert await w.fates() == {"b": DEAD}


@virtual
async def test_an_expired_item_is_dead_and_an_expired_typing_sign_is_forgotten() -> None:
    async with World() as w:
        now = w.clock.now_ms()
        await w.say(item("a", expires_ms=now), item("typing", expires_ms=now, idempotent=True))
        await w.say(item("b", expires_ms=now + 1))
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["b"]
        assert await w.fates() == {"a": DEAD}
        assert w.relay.stats.expired == 2


@virtual
async def test_no_retry_is_made_after_the_expiry() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("retry", retry_after_s=10))
        await w.say(item("a", expires_ms=w.clock.now_ms() + 9_000))
        assert await w.relay.flush(1) == 0
        assert await w.fates() == {"a": DEAD}


@virtual
async def test_a_refused_item_is_dead_with_its_reason_without_secrets() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("refused", error="bad request at /bots3cret/x"))
        await w.say(item("a"), item("b"))
        assert await w.relay.flush(1) == 0
        (dead,) = await w.rows(DEAD)
        assert dead.error == "bad request at /bot***/x"
        assert w.bot.methods() == ["a", "b"]


def test_a_refusal_is_logged_once_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    @virtual
    async def refuse() -> None:
        async with World() as w:
            w.bot.answer("a", Verdict("refused", error="chat not found, s3cret"))
            await w.say(item("a"))
            await w.relay.flush(1)

    with caplog.at_level(logging.DEBUG, "legato.relay"):
        refuse()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "chat not found, ***" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_bug_of_an_adapter_is_a_refusal_with_a_traceback_that_hides_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @virtual
    async def fail() -> None:
        async with World() as w:
            w.bot.answer("a", KeyError("s3cret"), Verdict("sent"))
            await w.say(item("a"), item("b"))
            assert await w.relay.flush(1) == 0
            (dead,) = await w.rows(DEAD)
            assert dead.error == "a bug in the test adapter: KeyError: '***'"
            assert w.bot.methods() == ["a", "b"]

    fail()
    assert "Traceback" in caplog.text
    assert "s3cret" not in caplog.text


@virtual
async def test_an_unknown_outcome_is_repeated_unless_delivery_is_at_most_once() -> None:
    async with World() as w:
        for method in ("again", "never", "edit"):
            w.bot.answer(method, Verdict("unknown", error="cut off"), Verdict("sent"))
        await w.say(
            item("again", "x"),
            item("never", "y", delivery="at_most_once"),
            item("edit", "z", delivery="at_most_once", idempotent=True),
        )
        assert await w.relay.flush(10) == 0
        assert sorted(w.bot.methods()) == ["again", "again", "edit", "edit", "never"]
        (row,) = await w.rows()
        assert (row.call.method, row.state) == ("never", UNKNOWN)
        assert row.error == "sent or not, nobody knows: cut off"
        assert w.relay.stats.unknown == 1


@virtual
async def test_a_gone_user_ends_the_items_of_that_conversation_in_the_lane() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("gone", error="bot was blocked by the user"))
        await w.say(item("a"), item("b"), item("c", key="another"), item("d"))
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["a", "c"]
        assert w.gone == ["key-c"]
        assert await w.fates() == dict.fromkeys("abd", DEAD)
        assert {row.error for row in await w.rows()} == {
            "user is gone: bot was blocked by the user"
        }
        assert (w.relay.stats.gone, w.relay.stats.dead) == (1, 3)


@virtual
async def test_on_gone_is_called_once_for_each_epoch_of_a_conversation() -> None:
    async with World() as w:
        for method in ("a", "b", "c"):
            w.bot.answer(method, Verdict("gone"))
        await w.say(item("a"))
        await w.relay.flush(1)
        await w.say(item("b"))
        await w.relay.flush(1)
        assert w.gone == ["key-c"]
        await w.say(item("c", epoch=2))
        await w.relay.flush(1)
        assert w.gone == ["key-c", "key-c"]


@virtual
async def test_on_gone_may_wait_for_the_lane_and_offer_items() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("gone"))

        async def on_gone(gone: OutboxItem) -> None:
            await w.relay.delivered(gone.lane, gone.id)
            await w.say(item("farewell", key="another"))

        w.when_gone = on_gone
        await w.say(item("a"))
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["a", "farewell"]


@virtual
async def test_a_gone_item_is_settled_only_after_on_gone_returned() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("gone"))
        failures = [ValueError("a bug"), None]

        async def on_gone(gone: OutboxItem) -> None:
            assert await w.fates() == {"a": QUEUED}
            if failure := failures.pop(0):
                raise failure

        w.when_gone = on_gone
        await w.say(item("a"))
        assert await w.relay.flush(1) == 0
        assert await w.fates() == {"a": DEAD}


@virtual
async def test_on_gone_is_called_again_while_the_store_is_unavailable() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("gone"))

        async def on_gone(gone: OutboxItem) -> None:
            if len(w.gone) < 3:
                raise StoreUnavailable("the disk is away")

        w.when_gone = on_gone
        await w.say(item("a"))
        assert await w.relay.flush(60) == 0
        assert w.gone == ["key-c"] * 3
        assert await w.fates() == {"a": DEAD}


def test_told_conversations_and_moved_chats_are_remembered_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "KEPT", 2)

    @virtual
    async def tell() -> None:
        async with World() as w:
            w.bot.answer("a", Verdict("gone"))
            for key in ("x", "y", "z", "x"):
                await w.say(item("a", key=key))
                await w.relay.flush(1)
            assert w.gone == ["x", "y", "z", "x"]
            w.bot.answer("b", *[Verdict("retry", moved_to="new"), Verdict("sent")] * 4)
            for chat in ("1", "2", "3", "1"):
                await w.say(item("b", chat))
                await w.relay.flush(1)
            assert [chat for _, chat, name in w.bot.tries if name == "b"] == [
                *("1", "new", "2", "new", "3", "new", "1", "new")
            ]

    tell()


@virtual
async def test_items_of_no_conversation_are_dead_without_on_gone() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("gone"))
        await w.say(item("a", key=""), item("b", key=""))
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["a", "b"]
        assert w.gone == []


@virtual
async def test_a_call_of_a_gone_conversation_is_answered_too() -> None:
    async with World() as w:
        w.bot.takes_s = 1.0
        w.bot.answer("a", Verdict("gone", error="blocked"))
        await w.say(item("a"))
        same, another = await asyncio.gather(
            w.relay.call(Call("get"), place(), key="key-c", epoch=1),
            w.relay.call(Call("get"), place(), key="another", epoch=1),
        )
        assert (same.outcome, another.outcome) == ("gone", "sent")
        assert w.bot.methods() == ["a", "get"]
        await w.relay.flush(1)


@virtual
async def test_a_moved_chat_is_followed_at_once_and_from_then_on() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("retry", moved_to="-100"), Verdict("sent"))
        await w.say(item("a", "-5", params={"chat_id": -5, "text": "hi"}), item("b", "-5"))
        assert await w.relay.flush(1) == 0
        assert w.bot.tries == [(1000.0, "-5", "a"), (1000.0, "-100", "a"), (1000.0, "-100", "b")]
        assert w.bot.calls[1].params == {"chat_id": -100, "text": "hi"}
        assert await w.store.get("alias", place("-5").lane) == b"-100"


@virtual
async def test_a_chat_that_moves_in_circles_is_given_up() -> None:
    async with World() as w:
        w.bot.answer("a", *[Verdict("refused", moved_to=f"m{n}") for n in range(9)])
        await w.say(item("a"), item("b"))
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["a"] * 4 + ["b"]
        assert await w.fates() == {"a": DEAD}


@virtual
async def test_a_move_that_the_store_does_not_take_is_followed_all_the_same() -> None:
    async with World() as w:
        said = await w.commit(item("a"))
        w.bot.answer("a", Verdict("retry", moved_to="new"), Verdict("sent"))
        w.store.broken = True
        w.relay.offer(said)
        await w.relay.flush(1)
        assert [chat for _, chat, _ in w.bot.tries] == ["c", "new"]


@virtual
async def test_an_item_of_a_bot_that_is_not_set_up_is_dead_and_says_so() -> None:
    async with World() as w:
        await w.say(item("a", place=ELSEWHERE))
        assert await w.relay.flush(1) == 0
        (row,) = await w.rows(DEAD)
        assert row.error == "no other bot 9 is set up; retry once it is"


@pytest.mark.parametrize(
    ("outcome", "state"), [("sent", SENT), ("nonsense", DEAD), ("", DEAD), ("refused", DEAD)]
)
def test_an_outcome_that_is_none_counts_as_a_refusal(outcome: str, state: str) -> None:
    fate = judge(item("a"), Verdict(outcome), now_ms=0, give_up_ms=HOUR_MS, moves=0, wait_s=1.0)
    assert fate.state == state
