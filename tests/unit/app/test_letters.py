"""One letter an event: the same ones when the update comes again."""

import msgspec

from legato import App, Chat
from legato.abc import Parsed
from legato.app.letters import DEAD_BYTES, letters
from legato.app.router import Router
from legato.model.events import AnyEvent
from legato.model.shards import slot_of_key
from legato.platforms.telegram import Telegram
from legato.testing.clock import FakeClock

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
bot = Telegram("123:abc", clock=FakeClock())


def router(scope: str = "user_in_chat") -> Router:
    """Of an App with one dialog."""
    app = App("x")

    @app.command("go", scope=scope)
    async def go(chat: Chat) -> None: ...

    app.finish()
    return Router(app.triggers, app.dialogs)


def update(number: int = 5, **parts: object) -> bytes:
    """Somebody writes into a group, or whatever `parts` say."""
    ann = {"id": 7, "is_bot": False, "first_name": "Ann"}
    message = {"message_id": 1, "date": 1, "chat": {"id": -9, "type": "group"}, "from": ann}
    return msgspec.json.encode({"update_id": number, "message": message | (parts or {"text": "a"})})


def test_a_letter_carries_the_event_its_slot_and_its_trace() -> None:
    [letter], parsed = letters(bot, router(), update(), 1234, TRACE)
    assert parsed is not None
    [event] = parsed.events
    assert msgspec.json.decode(letter.body, type=AnyEvent) == event
    assert (letter.id, letter.kind) == ("telegram:123:5", "event")
    assert (letter.at_ms, letter.trace) == (1234, TRACE)
    assert letter.slot == slot_of_key("telegram:123:-9:7:")


def test_the_slot_follows_the_lane_and_so_the_scopes_in_use() -> None:
    [letter], _ = letters(bot, router("user"), update(), 0)
    assert letter.slot == slot_of_key("telegram:123::7:")


def test_an_update_with_several_events_gives_a_letter_each_in_order() -> None:
    people = [{"id": n, "is_bot": False, "first_name": "P"} for n in (11, 12)]
    found, _ = letters(bot, router(), update(new_chat_members=people), 0)
    assert [letter.id for letter in found] == ["telegram:123:5", "telegram:123:5.1"]


def test_a_kind_that_nobody_needs_gives_no_letter() -> None:
    found, parsed = letters(bot, router(), b'{"update_id": 1, "poll": {}}', 0)
    assert found == []
    assert parsed is not None
    assert parsed.kind == "poll"


def test_an_unreadable_update_is_one_dead_letter_with_an_id_of_its_own() -> None:
    found, parsed = letters(bot, router(), b"{not json", 7)
    assert parsed is None
    [dead] = found
    assert (dead.kind, dead.body, dead.at_ms) == ("dead", b"{not json", 7)
    assert found == letters(bot, router(), b"{not json", 7)[0]
    assert dead.id != letters(bot, router(), b"{neither", 7)[0][0].id


def test_of_a_huge_unreadable_update_the_beginning_is_kept() -> None:
    found, _ = letters(bot, router(), b"{" * 1_000_000, 0)
    assert len(found[0].body) == DEAD_BYTES


class Broken(Telegram):
    """An adapter with a bug."""

    __slots__ = ()

    def parse(self, body: bytes) -> Parsed:
        raise KeyError("what nobody thought of")


def test_a_bug_of_the_adapter_makes_a_dead_letter_and_not_an_update_that_comes_for_a_day() -> None:
    [dead], parsed = letters(Broken("123:abc", clock=FakeClock()), router(), update(), 7)
    assert parsed is None
    assert (dead.kind, dead.body) == ("dead", update())
