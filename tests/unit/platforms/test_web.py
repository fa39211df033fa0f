"""What a visitor's page is told to show."""

import asyncio

import msgspec
import pytest

from legato.errors import Malformed, Unsupported
from legato.model.events import Address, MessageReceived
from legato.model.messages import (
    Button,
    Delete,
    Edit,
    Media,
    Message,
    Outgoing,
    Pin,
    Raw,
    React,
    Send,
    Typing,
)
from legato.platforms.web import Web, rooms
from legato.platforms.web.platform import Said
from legato.platforms.web.rooms import Change, Entry, Room, Rooms
from legato.testing.clock import FakeClock
from legato.testing.script import NoNetwork

PLACE = Address("web", "page", "v", "v")


async def shown(*outs: Outgoing) -> list[Entry]:
    """What stands on the page after all of that; a ref means the message before."""
    web = Web(FakeClock())
    last = ""
    for out in outs:
        for call in web.render(out, PLACE):
            filled = msgspec.structs.replace(call, target="", fill="")
            if call.fill:
                filled.params[call.fill] = last
            verdict = await web.send(filled, PLACE, NoNetwork())
            assert verdict.outcome == "sent"
            last = verdict.message_id or last
    return list(web.room("v").entries.values())


async def test_marks_of_a_text_become_names_of_tags_and_safe_addresses() -> None:
    text = "**b** `c` [t](https://x.org/?a&b) <script>"
    (entry,) = await shown(Send(Message(text, "markdown")))

    assert [run for run in entry.runs if str(run[0]).strip()] == [
        ["b", ["b"], ""],
        ["c", ["code"], ""],
        ["t", ["a"], "https://x.org/?a&b"],
        [" <script>", [], ""],
    ]


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "vbscript:x"])
async def test_an_address_that_runs_something_is_no_link(address: str) -> None:
    (entry,) = await shown(
        Send(
            Message(
                f'<a href="{address}">t</a>',
                "html",
                media=Media("photo", url=address),
                buttons=((Button("go", url=address),),),
            )
        )
    )

    assert address not in msgspec.json.encode([entry.runs, entry.media, entry.buttons]).decode()


async def test_buttons_carry_what_a_press_means() -> None:
    keys = ((Button("Yes", "y"), Button("Page", url="https://x.org")),)
    inline, reply, removed = await shown(
        Send(Message("?", buttons=keys)),
        Send(Message("?", buttons=((Button("Me", request="contact"),),), keyboard="reply")),
        Send(Message("!", buttons=keys, keyboard="remove")),
    )

    assert [b["data"] for b in inline.buttons[0]] == ["y", "Page"]
    assert inline.buttons[0][1]["url"] == "https://x.org"
    assert (reply.buttons[0][0]["say"], reply.buttons[0][0]["request"]) == (True, "contact")
    assert removed.buttons == []


async def test_edits_reactions_pins_and_deletions_change_the_entry() -> None:
    first = Send(Message("First", buttons=((Button("A"),),)))
    edit = Edit("ref:0:1", Message("Second"))

    (entry,) = await shown(first, edit, edit)
    assert (entry.runs[0][0], entry.buttons, entry.marks) == ("Second", [], ["edited"])
    (entry,) = await shown(first, React("ref:0:1", "👍"), Pin("ref:0:1"), React("ref:0:1", "🎉"))
    assert entry.marks == ["pinned", "🎉"]
    (entry,) = await shown(first, Pin("ref:0:1"), edit, React("ref:0:1", "👍"))
    assert entry.marks == ["edited", "pinned", "👍"]
    (entry,) = await shown(
        first,
        React("ref:0:1", "👍"),
        Pin("ref:0:1"),
        React("ref:0:1", ""),
        Pin("ref:0:1", pinned=False),
    )
    assert entry.marks == []
    assert await shown(first, Delete("ref:0:1")) == []


async def test_an_answer_names_the_message_it_answers() -> None:
    first, second, third = await shown(
        Send(Message("1")), Send(Message("2", reply_to="ref:0:1")), Send(Message("3", reply_to="9"))
    )

    assert second.reply_to == first.id
    assert third.reply_to == "9"


async def test_a_message_that_is_not_shown_any_more_cannot_be_edited() -> None:
    web = Web(FakeClock())
    (call,) = web.render(Edit("17", Message("x")), PLACE)

    assert (await web.send(call, PLACE, NoNetwork())).outcome == "refused"
    with pytest.raises(Unsupported, match="no method 'x'"):
        web.render(Raw("x", {}), PLACE)


async def test_a_typing_sign_is_passed_on_and_not_kept() -> None:
    web = Web(FakeClock())
    page = web.room("v").open()
    (call,) = web.render(Typing(), PLACE)
    await web.send(call, PLACE, NoNetwork())

    assert [page.get_nowait(), page.get_nowait()] == [("history", []), ("typing", None)]


def test_what_a_visitor_writes_is_shown_and_becomes_an_event() -> None:
    web = Web(FakeClock())
    message, body = web.writes("v", Said("", "", text="/start now \ud800"))
    (event,) = web.parse(body).events

    assert isinstance(event, MessageReceived)
    assert (event.command, event.args, event.message_id) == ("start", "now \ufffd", message)
    assert web.room("v").entries[message].mine
    assert web.writes("v", Said("", "", text="x"))[0] != message
    with pytest.raises(Malformed, match="no user"):
        web.parse(b'{"id":"1","user":""}')


# -- rooms -----------------------------------------------------------------------------------------


def drained(page: asyncio.Queue[Change | None]) -> list[Change | None]:
    return [page.get_nowait() for _ in range(page.qsize())]


async def test_a_page_that_falls_behind_is_cut_off_and_bothers_no_other() -> None:
    room = Room()
    slow, quick = room.open(), room.open()
    seen: list[Change | None] = []
    for number in range(rooms.MOST_WAITING + 10):
        room.show(Entry(str(number)))
        seen += drained(quick)

    assert drained(slow)[-1] is None
    assert len(seen) == rooms.MOST_WAITING + 11
    assert room.watched
    room.leave(quick)
    room.leave(slow)
    assert not room.watched


async def test_only_the_newest_messages_are_kept() -> None:
    room = Room()
    for number in range(rooms.MOST_SHOWN + 5):
        room.show(Entry(str(number)))
        room.files[str(number)] = "a file"

    assert list(room.entries) == [str(n) for n in range(5, rooms.MOST_SHOWN + 5)]
    assert "0" not in room.files


async def test_the_longest_unused_rooms_that_nobody_watches_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rooms, "MOST_ROOMS", 2)
    all_rooms = Rooms()
    watched, second = all_rooms.of("1"), all_rooms.of("2")
    watched.open()
    third = all_rooms.of("3")

    assert all_rooms.of("1") is watched
    assert all_rooms.of("3") is third
    assert all_rooms.of("2") is not second
