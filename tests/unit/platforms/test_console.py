"""What a person at a terminal types and sees."""

import asyncio
import os
from collections.abc import AsyncIterator

import msgspec
import pytest

from legato.abc import HttpRequest
from legato.errors import Forged, Unavailable
from legato.model.events import (
    Address,
    ButtonPressed,
    Contact,
    Event,
    File,
    Location,
    MessageReceived,
    Photo,
)
from legato.model.messages import (
    Button,
    Delete,
    Edit,
    Media,
    Message,
    Outgoing,
    Pin,
    React,
    Send,
)
from legato.platforms.console import Console
from legato.platforms.console.stdin import stdin_lines
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.script import NoNetwork

PLACE = Address("console", "terminal", "you", "you")
SIZES = ((Button("Small", "s"), Button("Large", "l")), (Button("Page", url="https://x.org"),))


class Terminal:
    """A console whose person types `lines`; before each one the bot shows what stands there."""

    def __init__(self, *steps: str | Outgoing) -> None:
        self.steps = steps
        self.events: list[Event] = []
        self.screen = ""
        self.ids: list[str] = []
        self.refusals = 0
        self.clock = FakeClock()
        self.console = Console(self.clock, lines=self._typed(), write=self._write)

    def _write(self, text: str) -> None:
        self.screen += text

    async def _typed(self) -> AsyncIterator[str]:
        for step in self.steps:
            if isinstance(step, str):
                yield step + "\n"
            else:
                await self.show(step)

    async def show(self, out: Outgoing) -> None:
        for call in self.console.render(out, PLACE):
            filled = msgspec.structs.replace(call, target="", fill="")
            if call.fill:
                filled.params[call.fill] = self.ids[-1]
            verdict = await self.console.send(filled, PLACE, NoNetwork())
            assert verdict.outcome == "sent"
            self.ids.append(verdict.message_id)

    async def _sink(self, body: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("not now", retry_after_s=0)
        self.events += self.console.parse(body).events

    async def run(self) -> list[Event]:
        await self.console.listen(self._sink, NoNetwork(), MemoryStore())
        return self.events


async def pressed(*steps: str | Outgoing) -> list[str]:
    """What the typed lines meant: the payload of a button, or the text in quotes."""
    events = await Terminal(*steps).run()
    return [
        e.data if isinstance(e, ButtonPressed) else repr(getattr(e, "text", "")) for e in events
    ]


async def seen(*shown: Outgoing) -> str:
    terminal = Terminal()
    for out in shown:
        await terminal.show(out)
    return terminal.screen


async def test_lines_are_messages_of_one_person_with_commands_and_arguments() -> None:
    events = await Terminal("/Start now please", "", "  ", "hello").run()

    first, second = events
    assert isinstance(first, MessageReceived)
    assert isinstance(second, MessageReceived)
    assert (first.command, first.args, first.private) == ("start", "now please", True)
    assert (second.command, second.text, second.place) == ("", "hello", PLACE)
    assert first.id != second.id


async def test_a_button_is_pressed_by_number_or_label_while_its_message_is_the_newest() -> None:
    ask = Send(Message("Size?", buttons=SIZES))

    assert await pressed(ask, "2", "Small", "3", "0", "large") == [
        "l",
        "s",
        "'3'",
        "'0'",
        "'large'",
    ]
    assert await pressed(ask, Send(Message("How many?")), "2", "Small") == ["'2'", "'Small'"]


async def test_an_older_button_is_pressed_by_its_label_in_brackets() -> None:
    ask = Send(Message("Size?", buttons=SIZES))

    assert await pressed(ask, Send(Message("More?")), "[Large]", "[Page]") == ["l", "'[Page]'"]


async def test_a_button_of_an_edited_message_can_be_pressed() -> None:
    edit = Edit("1800000000000-1", Message("Which?", buttons=SIZES))
    terminal = Terminal(Send(Message("Size?")), Send(Message("Hello")), edit, "1")

    (event,) = await terminal.run()
    assert isinstance(event, ButtonPressed)
    assert event.data == "s"


async def test_a_deleted_message_has_no_buttons() -> None:
    assert await pressed(
        Send(Message("Size?", buttons=SIZES)), Delete("ref:0:1"), "1", "[Small]"
    ) == ["'1'", "'[Small]'"]


async def test_keys_of_a_reply_keyboard_type_their_text_and_share_what_they_ask_for() -> None:
    keys = (
        (Button("Home"), Button("Share", request="contact"), Button("Here", request="location")),
    )
    ask = Send(Message("Where?", buttons=keys, keyboard="reply"))

    events = await Terminal(ask, "1", "2", "3").run()

    texts = [e.text for e in events if isinstance(e, MessageReceived)]
    attached = [e.attachments for e in events if isinstance(e, MessageReceived)]
    assert texts == ["Home", "", ""]
    assert attached[1:] == [
        (Contact("+10000000000", "You", "you"),),
        (Location(0, 0),),
    ]


async def test_photos_files_and_places_are_written_in_brackets() -> None:
    (event,) = await Terminal(
        "look [photo: a.jpg] [file: b/c.txt] [location: 1, 2] [contact: +1] [location: 91, 0] [x: y]"
    ).run()

    assert isinstance(event, MessageReceived)
    assert event.attachments == (
        Photo("a.jpg"),
        File("b/c.txt", "c.txt"),
        Location(1, 2),
        Contact("+1", "You", "you"),
    )
    assert event.text.split() == ["look", "[location:", "91,", "0]", "[x:", "y]"]


async def test_a_line_is_offered_again_until_it_is_taken() -> None:
    terminal = Terminal("hello")
    terminal.refusals = 3

    assert len(await terminal.run()) == 1


async def test_buttons_are_numbered_and_photos_written_out() -> None:
    photo = Send(Message("A cat", media=Media("photo", path="cat.jpg"), buttons=SIZES))

    assert await seen(photo) == (
        "bot: [photo: cat.jpg]\n     A cat\n     [1] Small   [2] Large\n     Page: https://x.org\n"
    )


async def test_marks_become_plain_text_with_the_addresses_of_links() -> None:
    text = "**b** [t](https://x.org/?a&b)"

    assert await seen(Send(Message(text, "markdown"))) == "bot: b t (https://x.org/?a&b)\n"
    assert await seen(Send(Message("<b>b</b> &lt;", "html"))) == "bot: b <\n"


async def test_edits_deletions_reactions_and_pins_name_the_message() -> None:
    first = Send(Message("First"))

    assert await seen(first, Edit("ref:0:1", Message("Second")), Delete("ref:0:1")) == (
        "bot: First\nbot: (edited, was: First) Second\nbot: (deleted: Second)\n"
    )
    assert await seen(first, React("ref:0:1", "👍"), React("ref:0:1", "")) == (
        "bot: First\nbot: (reacts 👍 to: First)\nbot: (takes the reaction back from: First)\n"
    )
    assert await seen(first, Pin("ref:0:1"), Pin("7", pinned=False)) == (
        "bot: First\nbot: (pinned: First)\nbot: (unpinned: an earlier message)\n"
    )
    assert await seen(first, Send(Message("x" * 50, reply_to="ref:0:1"))) == (
        f"bot: First\nbot: (to: First) {'x' * 50}\n"
    )


async def test_no_text_moves_the_cursor_or_turns_the_line_around() -> None:
    shown = await seen(Send(Message("a\x1b[2J\u202eb\rc\nd\te")))

    assert shown == "bot: a\ufffd[2J\ufffdb\ufffdc\n     d\te\n"


async def test_only_the_newest_messages_are_remembered() -> None:
    terminal = Terminal()
    for number in range(150):
        await terminal.show(Send(Message(str(number))))

    await terminal.show(Delete(terminal.ids[0]))

    assert terminal.screen.endswith("(deleted: an earlier message)\n")


async def test_a_closed_terminal_is_a_verdict_and_no_exception() -> None:
    def closed(text: str) -> None:
        raise BrokenPipeError("closed")

    console = Console(FakeClock(), write=closed)
    (call,) = console.render(Send(Message("Hi")), PLACE)

    assert (await console.send(call, PLACE, NoNetwork())).outcome == "refused"


async def test_piped_input_waits_until_the_answer_to_each_line_is_shown() -> None:
    order: list[str] = []

    async def lines() -> AsyncIterator[str]:
        for line in ("one", "two"):
            yield line

    async def settled() -> None:
        order.append("settled")

    async def sink(body: bytes) -> None:
        order.append(msgspec.json.decode(body)["text"])

    console = Console(FakeClock(), lines=lines(), settled=settled)
    await console.listen(sink, NoNetwork(), MemoryStore())

    assert order == ["one", "settled", "two", "settled"]


async def test_stdin_is_read_line_by_line_to_its_end_without_keeping_the_loop() -> None:
    out, into = os.pipe()
    got: list[str] = []

    async def read() -> None:
        async for line in stdin_lines(out):
            got.append(line)
            if len(got) == 1:
                os.write(into, "sé\r\nlast".encode())
                os.close(into)

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    os.write(into, b"first\n")
    await task
    os.close(out)

    assert got == ["first", "sé\r", "last"]


def test_the_console_has_no_webhook() -> None:
    with pytest.raises(Forged):
        Console(FakeClock()).verify(HttpRequest("POST", "/console", {}, b"{}"))
