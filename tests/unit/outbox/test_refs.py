"""Calls about messages of our own: the platform's id is filled in when they are sent."""

import asyncio

from legato.abc import Verdict
from legato.model.records import DEAD, Call
from legato.outbox.targets import filled, readdressed, without_target
from tests.unit.outbox.kit import World, item, place, virtual

REF = "ref:3:0"


@virtual
async def test_an_edit_gets_the_id_of_the_message_sent_before_it() -> None:
    async with World() as w:
        w.bot.answer("send", Verdict("sent", message_id="77"))
        await w.say(item("send", ref=REF), item("edit", target=REF, fill="message_id"))
        assert await w.relay.flush(1) == 0
        assert w.bot.calls[1].params == {"message_id": "77"}


@virtual
async def test_an_edit_after_a_restart_finds_the_id_in_the_store() -> None:
    async with World() as w:
        w.bot.answer("send", Verdict("sent", message_id="77"))
        await w.say(item("send", ref=REF))
        await w.relay.flush(1)
        await w.relay.close()
        w.start()
        await w.say(item("edit", target=REF, fill="message_id"))
        verdict = await w.relay.call(
            Call("get", target=REF, fill="a.id"), place(), key="key-c", epoch=1
        )
        assert verdict.outcome == "sent"
        assert [call.params for call in w.bot.calls[1:]] == [
            {"message_id": "77"},
            {"a": {"id": "77"}},
        ]


@virtual
async def test_an_id_is_known_before_it_is_durable_however_many_there_are() -> None:
    async with World(recent=2) as w:
        said = await w.commit(
            *(item("send", f"{n}", ref=REF, idempotent=True) for n in range(9)),
            item("edit", "0", target=REF, fill="id"),
        )
        w.bot.answer("send", *(Verdict("sent", message_id=f"m{n}") for n in range(9)))
        w.store.broken = True
        w.relay.offer(said)
        await asyncio.sleep(1)
        assert w.bot.calls[-1].params == {"id": "m0"}
        w.store.broken = False
        assert await w.relay.flush(60) == 0


@virtual
async def test_the_same_ref_in_another_epoch_is_another_message() -> None:
    async with World() as w:
        w.bot.answer("send", Verdict("sent", message_id="1"), Verdict("sent", message_id="2"))
        await w.say(item("send", ref=REF), item("send", ref=REF, epoch=2))
        await w.say(
            item("edit", target=REF, fill="id"), item("edit", target=REF, fill="id", epoch=2)
        )
        await w.relay.flush(1)
        assert [call.params for call in w.bot.calls[2:]] == [{"id": "1"}, {"id": "2"}]


@virtual
async def test_an_edit_of_a_message_that_never_was_sent_is_dead() -> None:
    async with World() as w:
        w.bot.answer("send", Verdict("refused"))
        await w.say(
            item("send", ref=REF),
            item("edit", target=REF, fill="id", idempotent=True),
            item("next"),
        )
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["send", "next"]
        dead = (await w.rows(DEAD))[1]
        assert dead.error == "edit: the message it is about (ref:3:0) was never sent"


@virtual
async def test_an_answer_to_a_message_that_never_was_sent_is_sent_as_a_plain_message() -> None:
    async with World() as w:
        await w.say(
            item(
                "send", params={"text": "yes", "reply": {"quote": "x"}}, target=REF, fill="reply.id"
            )
        )
        assert await w.relay.flush(1) == 0
        assert w.bot.calls[0].params == {"text": "yes"}


@virtual
async def test_a_store_that_cannot_tell_an_id_is_asked_again() -> None:
    async with World() as w:
        w.bot.answer("send", Verdict("sent", message_id="77"))
        await w.say(item("send", ref=REF))
        await w.relay.flush(1)
        await w.relay.close()
        w.start()
        said = await w.commit(item("edit", target=REF, fill="id", idempotent=True))
        w.store.broken = True
        w.relay.offer(said)
        await asyncio.sleep(30)
        w.store.broken = False
        assert await w.relay.flush(60) == 0
        assert w.bot.calls[-1].params == {"id": "77"}


@virtual
async def test_a_platforms_own_id_is_a_target_too() -> None:
    async with World() as w:
        await w.say(item("delete", target="4711", fill="message_id"))
        await w.relay.flush(1)
        assert w.bot.calls[0].params == {"message_id": "4711"}


def test_filling_leaves_the_rendered_call_as_it_was() -> None:
    call = Call("m", {"a": {"b": {"x": 1}}, "c": 2}, target=REF, fill="a.b.id")
    assert filled(call, "7").params == {"a": {"b": {"x": 1, "id": "7"}}, "c": 2}
    assert call.params == {"a": {"b": {"x": 1}}, "c": 2}
    assert filled(Call("m", {"a": 1}, target=REF, fill="a.id"), "7").params == {"a": {"id": "7"}}
    assert without_target(call).params == {"c": 2}


def test_a_call_is_readdressed_wherever_the_chat_stands() -> None:
    call = Call("m", {"chat_id": -5, "peer": "-5", "other": -6, "text": "x", "flag": True})
    assert readdressed(call, "-5", "-100").params == {
        "chat_id": -100,
        "peer": "-100",
        "other": -6,
        "text": "x",
        "flag": True,
    }
    assert readdressed(Call("m", {"chat": 5}), "5", "@name").params == {"chat": "@name"}
