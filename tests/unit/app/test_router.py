"""Which conversation an event belongs to, and in which lane it is worked on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato import App, Chat
from legato.app.router import Router
from legato.model.events import Address, Signal
from legato.model.ids import SCOPES, conversation_key, place_of
from tests.unit.app.kit import message, place

IDS = st.text(min_size=1, max_size=8) | st.sampled_from(["^", "!", ":", "%", "a!1^", "%3A", "%21"])


def router(*scopes: str, overlays: bool = False) -> Router:
    """Of an App with one dialog per scope; `overlays`: one of them may stand on top of another."""
    app = App("x")
    for scope in scopes:

        async def dialog(chat: Chat) -> None: ...

        app.command(scope, scope=scope, name=scope, anywhere=overlays)(dialog)
    app.finish()
    return Router(app.triggers, app.dialogs)


def test_a_message_is_for_its_person_in_its_chat() -> None:
    assert router("user_in_chat").keys(message("hi", place("room", "7"))) == ["test:bot:room:7:"]


def test_the_narrowest_scope_is_asked_first() -> None:
    keys = router("chat", "user", "thread", "user_in_chat").keys(
        message("hi", place("room", "7", "t"))
    )
    assert keys == ["test:bot:room:7:", "test:bot:room::", "test:bot::7:", "test:bot:room::t"]


def test_a_dialog_on_top_is_asked_before_the_one_below() -> None:
    keys = router("user_in_chat", "chat", overlays=True).keys(message("hi", place("room", "7")))
    assert keys == ["test:bot:room:7:^", "test:bot:room:7:", "test:bot:room::^", "test:bot:room::"]


def test_no_key_comes_twice() -> None:
    keys = router("chat", "thread").keys(message("hi", place("room", "7", "")))
    assert keys == ["test:bot:room::"]


def test_help_and_cancel_open_no_scope_of_their_own() -> None:
    assert router("chat").keys(message("hi", place("room", "7"))) == ["test:bot:room::"]
    assert router().keys(message("hi", place("room", "7"))) == ["test:bot:room:7:"]


def test_a_dialog_of_the_whole_room_speaks_to_nobody_in_particular() -> None:
    app = App("x", scope="chat")

    @app.command("go")
    async def go(chat: Chat) -> None: ...

    routes = Router(app.triggers, app.dialogs)
    for event, user in ((message("/go", place("room", "7")), ""), (message("/go"), "1")):
        trigger = routes.command(event)
        assert trigger is not None
        start = routes.start(trigger, {"a": 1}, event)
        assert start.event.place.user == user
        assert start.key == conversation_key(event.place, "chat")
        assert start.args == {"a": 1}


@given(st.lists(st.sampled_from(SCOPES), unique=True), st.booleans(), IDS, IDS, st.just("") | IDS)
def test_timers_and_signals_share_the_lane_of_the_messages(
    scopes: list[str], overlays: bool, chat: str, user: str, thread: str
) -> None:
    routes = router(*scopes, overlays=overlays)
    event = message("hi", Address("test", "bot", chat, user, thread))
    keys = routes.keys(event)
    if {"chat", "thread"} & set(scopes) and "user" in scopes:
        return  # no lane covers both; there the fence alone keeps order
    for key in [*keys, *(f"{key}!{1 << 60}" for key in keys)]:
        signal = Signal(id="s", place=place_of(key), key=key)
        assert routes.lane(signal) == routes.lane(event)


@given(
    st.sampled_from(SCOPES), IDS, IDS, st.just("") | IDS, st.sampled_from(["", "^", "!99", "^!99"])
)
def test_the_place_of_a_key_leads_back_to_the_key(
    scope: str, chat: str, user: str, thread: str, suffix: str
) -> None:
    key = conversation_key(Address("test", "bot", chat, user, thread), scope)
    found = place_of(key + suffix)
    assert conversation_key(found, scope) == key
    assert (found.chat if scope != "user" else found.user) in (chat, user)


@pytest.mark.parametrize("scope", SCOPES)
@given(IDS, IDS, IDS, IDS)
def test_no_two_places_share_a_key_by_accident(
    scope: str, chat: str, user: str, other_chat: str, other_user: str
) -> None:
    one, other = place(chat, user, chat), place(other_chat, other_user, other_chat)
    same = {
        "user_in_chat": one == other,
        "chat": chat == other_chat,
        "user": user == other_user,
        "thread": chat == other_chat,
    }[scope]
    assert (conversation_key(one, scope) == conversation_key(other, scope)) == same
