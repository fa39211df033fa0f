"""What sets a dialog off, and what does not."""

from dataclasses import dataclass

import pytest

from legato import App, Chat, MemberJoined, MemberLeft, MessageEdited
from legato.app.triggers import button_pattern
from legato.errors import Misuse
from legato.model.events import AnyEvent
from tests.unit.app.kit import edited, joined, message, place, pressed

app = App("shop")
ROOM = place("room")


@app.message()
async def anything(chat: Chat) -> None: ...


@app.message(r"^cats?$")
async def cat(chat: Chat) -> None: ...


@app.message("^c")
async def begins_with_c(chat: Chat) -> None: ...


@app.message(r"buy (?P<what>\w+)(?: x(?P<n>\d))?")
async def buy(chat: Chat, what: str, n: str | None) -> None: ...


@app.button("buy:{item}:{size}")
async def press(chat: Chat, item: str, size: str) -> None: ...


@app.on(MemberJoined, MemberLeft)
async def join(chat: Chat) -> None: ...


@app.command("start", "Begin", help="Start over")
async def start(chat: Chat) -> None: ...


@app.command("ban", only="moderators")
async def ban(chat: Chat) -> None: ...


def fits(event: AnyEvent) -> tuple[str, dict[str, str]] | None:
    """(dialog, arguments) of the trigger that takes an event outside of conversations."""
    found = app.triggers.match(event)
    return None if found is None else (found[0].dialog.name, found[1])


def test_the_first_pattern_that_fits_wins_over_a_bare_message() -> None:
    assert fits(message("cat")) == ("cat", {})
    assert fits(message("cow")) == ("begins_with_c", {})
    assert fits(message("dog")) == ("anything", {})
    assert fits(message("")) == ("anything", {})


def test_named_groups_become_arguments() -> None:
    assert fits(message("please buy tea x3")) == ("buy", {"what": "tea", "n": "3"})
    assert fits(message("buy tea")) == ("buy", {"what": "tea", "n": None})


def test_a_buttons_template_gives_arguments() -> None:
    assert fits(pressed("buy:tea:XL")) == ("press", {"item": "tea", "size": "XL"})
    assert fits(pressed("buy:tea")) is None
    assert fits(pressed("re-buy:tea:XL")) is None
    assert fits(message("buy:tea:XL")) == ("anything", {})


def test_a_template_is_no_pattern() -> None:
    other = App("other")

    @other.button("a.b*[{x}]")
    async def odd(chat: Chat, x: str) -> None: ...

    assert other.triggers.match(pressed("a.b*[1]")) == (other.triggers.all[0], {"x": "1"})
    assert other.triggers.match(pressed("aXbbb1")) is None


@pytest.mark.parametrize("template", ["{}", "{a}{a}", "{1x}", "{a b}"])
def test_a_template_that_makes_no_arguments_is_refused(template: str) -> None:
    with pytest.raises(Misuse, match="identifiers"):
        button_pattern(template)


def test_events_go_to_those_who_asked_for_them() -> None:
    assert fits(joined()) == ("join", {})
    assert fits(edited("cat")) is None


def test_edits_go_to_those_who_asked_for_them() -> None:
    other = App("other")

    @other.on(MessageEdited)
    async def corrected(chat: Chat) -> None: ...

    @other.message()
    async def said(chat: Chat) -> None: ...

    found = other.triggers.match(edited("x"))
    assert found is not None
    assert found[0].dialog.name == "corrected"


def test_on_takes_event_classes_only() -> None:
    with pytest.raises(Misuse, match="event classes"):
        app.on(str)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["/start", "!start", "/START", "/begin now", "!begin"])
def test_a_command_is_found_by_name_and_alias(text: str) -> None:
    found = app.triggers.command(message(text))
    assert found is not None
    assert found.dialog.name == "start"


def test_other_commands_and_plain_texts_are_no_command() -> None:
    for event in (message("/stop"), message("start"), edited("/start"), pressed("start")):
        assert app.triggers.command(event) is None
    assert fits(message("/stop")) == ("anything", {})


@dataclass
class Case:
    only: str
    roles: tuple[str, ...]
    private: bool
    allowed: bool


@pytest.mark.parametrize(
    "case",
    [
        Case("private", (), private=True, allowed=True),
        Case("private", (), private=False, allowed=False),
        Case("groups", (), private=False, allowed=True),
        Case("groups", (), private=True, allowed=False),
        Case("moderators", ("moderator",), private=False, allowed=True),
        Case("moderators", ("admin",), private=False, allowed=True),
        Case("moderators", ("broadcaster",), private=False, allowed=True),
        Case("moderators", ("vip", "member"), private=False, allowed=False),
        Case("moderators", (), private=False, allowed=False),
        Case("broadcaster", ("broadcaster",), private=False, allowed=True),
        Case("broadcaster", ("moderator",), private=False, allowed=False),
    ],
)
def test_only_says_who_may_set_it_off(case: Case) -> None:
    other = App("other")

    @other.command("go", only=case.only)
    async def go(chat: Chat) -> None: ...

    @other.message("go", only=case.only)
    async def going(chat: Chat) -> None: ...

    event = message("/go", place() if case.private else ROOM, roles=case.roles)
    assert (other.triggers.command(event) is not None) == case.allowed
    assert (other.triggers.match(event) is not None) == case.allowed


def test_an_unknown_only_is_refused() -> None:
    with pytest.raises(Misuse, match="'private', 'groups', 'moderators', 'broadcaster'"):
        App("other").command("x", only="friends")(ban)


def test_a_command_has_one_handler() -> None:
    other = App("other")

    @other.command("go", "run")
    async def go(chat: Chat) -> None: ...

    with pytest.raises(Misuse, match=r"'run' has two handlers: 'go' and 'other_go'"):

        @other.command("run", name="other_go")
        async def run(chat: Chat) -> None: ...


def test_help_lists_the_commands_that_have_a_text() -> None:
    assert app.triggers.help() == [("start", "Start over")]
    assert app.triggers.has_command("begin")
    assert not app.triggers.has_command("stop")
