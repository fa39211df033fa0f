"""Two independent libraries judge what we send, what we read, and the server that we test against.

aiogram and python-telegram-bot take seconds to import: only this file does, and not to be collected.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from legato.errors import Unsupported
from legato.model.events import Address, MessageReceived
from legato.model.messages import Button, Edit, Media, Message, Outgoing, Raw, Send
from legato.model.records import Call
from legato.platforms.telegram import Telegram
from legato.platforms.telegram.render import CALLBACK_DATA, CAPTION, TEXT
from legato.testing.conformance.platform import OUTGOING
from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.telegram_clients import Client, client

FIXTURES = Path(__file__).parents[1] / "fixtures" / "telegram"
PLACES = (
    Address("telegram", "4200", "5001", "5001"),
    Address("telegram", "4200", "-1001222", "5002", "55"),
)
INVOICE: dict[str, object] = {
    "title": "Tea",
    "description": "Green",
    "payload": "tea-1",
    "currency": "EUR",
    "prices": [{"label": "Tea", "amount": 300}],
}
MORE: dict[str, Outgoing] = {
    "a long text": Send(Message("word " * 2000, buttons=((Button("Ok"),),), reply_to="7")),
    "html": Send(Message("<b>x</b>", "html", preview=False)),
    "an edited photo": Edit("7", Message("**c**", "markdown", media=Media("photo", id="AgAC"))),
    "an edited keyboard": Edit("7", Message(buttons=((Button("A"),),))),
    "an invoice": Raw("send_invoice", INVOICE),
    **{
        f"a {kind}": Send(Message("x", media=Media(kind, id="ID")))
        for kind in ("document", "voice", "audio", "video", "animation", "sticker", "video_note")
    },
}


def calls() -> list[Call]:
    """Every kind of call that we make, with ids filled in as the relay does."""
    telegram = Telegram("4200:abcdef")
    found: list[Call] = []
    for out in (OUTGOING | MORE).values():
        for place in PLACES:
            try:
                found += telegram.render(out, place)
            except Unsupported:
                continue
    assert len(found) > 60
    return found


def params_of(call: Call) -> dict[str, Any]:
    params: dict[str, Any] = json.loads(json.dumps(call.params))
    if call.fill == "message_id":
        params["message_id"] = 7
    elif call.fill:
        params["reply_parameters"]["message_id"] = 7
    return params


# -- what we send --------------------------------------------------------------------------------


def test_aiogram_knows_every_parameter_and_reads_our_calls_as_they_are_meant() -> None:
    from aiogram import methods
    from aiogram.types import BufferedInputFile

    for call in calls():
        model = getattr(methods, call.method[0].upper() + call.method[1:])
        params = params_of(call)
        uploads = {
            f: BufferedInputFile(b"x", n) for f, _, n in call.files if f in model.model_fields
        }
        assert params.keys() <= model.model_fields.keys(), call

        read = model.model_validate(params | uploads)
        again = read.model_dump(
            mode="json", exclude_unset=True, by_alias=True, exclude=set(uploads)
        )
        assert again == params, call


def test_python_telegram_bot_knows_every_parameter_and_reads_our_keyboards_and_media() -> None:
    import inspect

    import telegram

    for call in calls():
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in call.method)
        known = inspect.signature(getattr(telegram.Bot, snake)).parameters.keys()
        params = params_of(call)
        assert params.keys() <= known, call
        markup = params.get("reply_markup", {})
        for key, kind in (
            ("inline_keyboard", telegram.InlineKeyboardMarkup),
            ("keyboard", telegram.ReplyKeyboardMarkup),
        ):
            if key in markup:
                read: Any = kind.de_json(markup, None)
                assert read.to_dict() == markup


def test_our_limits_are_theirs() -> None:
    from telegram import constants

    assert TEXT == constants.MessageLimit.MAX_TEXT_LENGTH
    assert CAPTION == constants.MessageLimit.CAPTION_LENGTH
    assert CALLBACK_DATA == constants.InlineKeyboardButtonLimit.MAX_CALLBACK_DATA
    limits = Telegram("4200:abcdef").limits
    assert limits.bulk is not None
    assert limits.bulk[0] <= constants.FloodLimit.MESSAGES_PER_SECOND
    assert limits.group is not None
    assert limits.group[:2] == (constants.FloodLimit.MESSAGES_PER_MINUTE_PER_GROUP, 60)


# -- what we read --------------------------------------------------------------------------------


def test_both_read_our_fixtures_and_find_in_them_what_we_find() -> None:
    import telegram
    from aiogram.types import Update

    ours = Telegram("4200:abcdef")
    for path in sorted(FIXTURES.glob("*.json")):
        body = path.read_bytes()
        theirs = Update.model_validate_json(body)
        others = telegram.Update.de_json(json.loads(body), None)
        events = ours.parse(body).events
        event = events[0] if events else None
        if isinstance(event, MessageReceived):
            assert others.effective_message is not None
            message = others.effective_message
            assert event.text == (message.text or message.caption or event.text)
            assert event.message_id == str(message.message_id)
            assert event.at_ms == int((message.edit_date or message.date).timestamp()) * 1000
            assert event.place.chat == str(message.chat_id)
            read = getattr(theirs, theirs.event_type)
            assert event.text == (read.text or read.caption or event.text)
            topic = read.message_thread_id if read.is_topic_message else ""
            assert event.place.thread == str(topic or "")
            if event.photo is not None:
                assert event.photo.id == max(read.photo, key=lambda p: p.width * p.height).file_id
        if others.callback_query is not None:
            assert getattr(event, "data", None) == others.callback_query.data
            assert ours.parse(body).acks[0].params == {
                "callback_query_id": others.callback_query.id
            }


def test_updates_that_they_write_are_read() -> None:
    import datetime as dt

    import telegram
    from aiogram import types

    now = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)
    ann = types.User(id=7, is_bot=False, first_name="Ann", language_code="lv")
    room = types.Chat(id=-1001, type="supergroup", title="Room")
    message = types.Message(
        message_id=5, date=now, chat=room, from_user=ann, text="/buy x", message_thread_id=3,
        is_topic_message=True,
    )  # fmt: skip
    written = types.Update(update_id=1, message=message)
    theirs = written.model_dump_json(exclude_none=True, by_alias=True)
    bob = telegram.User(8, "Bob", is_bot=False)
    other = telegram.Update(
        2,
        callback_query=telegram.CallbackQuery(
            "q1",
            bob,
            "c",
            data="yes",
            message=telegram.Message(6, now, telegram.Chat(8, "private")),
        ),
    )

    (first,) = Telegram("4200:abcdef").parse(theirs.encode()).events
    assert isinstance(first, MessageReceived)
    assert (first.command, first.args, first.place.thread) == ("buy", "x", "3")
    assert first.user is not None
    assert (first.user.id, first.user.locale) == ("7", "lv")
    (second,) = Telegram("4200:abcdef").parse(other.to_json().encode()).events
    assert (second.id, second.place.chat, second.place.user) == ("telegram:4200:2", "8", "8")


# -- the server we test against ------------------------------------------------------------------


def everything_that_people_do(fake: FakeTelegram) -> None:
    ann, bob = fake.user("Ann", username="ann"), fake.user("Bob")
    group, forum = fake.group("Friends", ann, bob), fake.group("Forum", ann, forum=True)
    said = ann.sends("/start")
    ann.edits(said, "/stop")
    ann.reacts(said, "👍")
    ann.reacts(said, "")
    ann.sends("yes", reply_to=said)
    ann.sends_album("one", "two")
    for kind in ("document", "voice", "audio", "video", "video_note", "animation", "sticker"):
        ann.sends_file("a.bin", b"x", kind=kind)
    ann.sends_location(56.9, 24.1)
    ann.sends_contact("+371200")
    ann.sends_dice(to=group)
    keys = {"inline_keyboard": [[{"text": "Go", "callback_data": "go"}]]}
    fake.methods.send_message({"chat_id": ann.id, "text": "?", "reply_markup": keys}, {})
    ann.presses("Go")
    ann.blocks()
    ann.unblocks()
    group.joins(bob)
    group.leaves(bob)
    group.says_anonymously("Rules")
    group.kicks_bot(by=ann)
    group.adds_bot(by=ann)
    ann.sends("here", to=forum, thread=forum.topic("Bugs", by=ann))
    fake.channel("News", username="news").posts("Breaking")
    fake.group("Old", kind="group").becomes_supergroup()


async def test_all_that_people_do_is_an_update_that_all_three_can_read() -> None:
    import telegram
    from aiogram.types import Update

    async with FakeTelegram() as fake:
        fake.updates.allow({"allowed_updates": [*Telegram("4200:abcdef")._updates, "chat_member"]})
        everything_that_people_do(fake)
        bodies = [update.body for update in fake.updates.pending.values()]
        assert len(bodies) > 30
        for body in bodies:
            assert Update.model_validate_json(body).event_type
            others = telegram.Update.de_json(json.loads(body), None)
            assert others.effective_chat is not None
            assert Telegram("4200:abcdef").parse(body).kind


async def test_what_the_server_answers_is_what_aiogram_expects() -> None:
    from aiogram import types

    async with FakeTelegram() as fake:
        ann = fake.user(started=True)
        url = "https://x.y/z"
        given: dict[str, dict[str, object]] = {
            "sendmessage": {"text": "x"},
            "sendlocation": {"latitude": 1, "longitude": 2},
            "sendcontact": {"phone_number": "1", "first_name": "A"},
            "senddice": {},
            "sendinvoice": INVOICE,
            "sendvideonote": {"video_note": url},
        }
        for kind in ("photo", "document", "voice", "audio", "video", "animation", "sticker"):
            given[f"send{kind}"] = {kind: url}
        for name, params in given.items():
            result = fake.methods.table[name](params | {"chat_id": ann.id}, {})
            assert types.Message.model_validate(result).chat.id == ann.id
        types.User.model_validate(fake.methods.get_me({}, {}))
        types.WebhookInfo.model_validate(fake.updates.info())
        types.ChatFullInfo.model_validate(fake.methods.get_chat({"chat_id": ann.id}, {}))


# -- the same flow by three clients --------------------------------------------------------------

EXPECTED = [
    ("who am I", "fake_bot"),
    ("a text", "sent"),
    ("with a button", "sent"),
    ("too long", "refused"),
    ("empty", "refused"),
    ("nobody there", "gone"),
    ("limited", "limited 3"),
    ("after the limit", "sent"),
    ("an edit", "sent"),
    ("the same edit", "sent"),
    ("a deletion", "sent"),
    ("the same deletion", "sent"),
    ("a photo", "sent"),
    ("blocked", "gone"),
    ("first updates", [100001, 100002]),
    ("unconfirmed, again", [100001, 100002]),
    ("the second", [100002]),
    ("no more", []),
    ("a webhook", "sent"),
    ("polling beside it", "conflict"),
    ("no webhook", "sent"),
]


async def flow(by: Client, fake: FakeTelegram, photo: str) -> list[tuple[str, object]]:
    ann = fake.user("Ann", started=True)
    steps = iter(EXPECTED)
    seen: list[tuple[str, object]] = []

    def note(result: object) -> None:
        seen.append((next(steps)[0], result))

    note(await by.me())
    note(await by.say(ann.id, "Hi ☺"))
    note(await by.say(ann.id, "Sure?", "Yes"))
    note(await by.say(ann.id, "x" * 4097))
    note(await by.say(ann.id, " "))
    note(await by.say(999, "x"))
    fake.fails(429, retry_after=3)
    note(await by.say(ann.id, "late"))
    note(await by.say(ann.id, "late"))
    last = ann.chat.last.id
    note(await by.edit(ann.id, last, "later"))
    note(await by.edit(ann.id, last, "later"))
    note(await by.delete(ann.id, last))
    note(await by.delete(ann.id, last))
    note(await by.photo(ann.id, photo))
    await _updates(by, fake, ann, note)
    return seen


async def _updates(by: Client, fake: FakeTelegram, ann: FakeUser, note: Any) -> None:
    ann.blocks()
    note(await by.say(ann.id, "x"))
    fake.updates.pending.clear()
    ann.unblocks()
    fake.updates.pending.clear()
    first = fake.updates._next + 1
    ann.sends("one")
    ann.sends("two")

    async def ids(offset: int) -> object:
        found = await by.updates(offset)
        return found if isinstance(found, str) else [100001 + i - first for i in found]

    note(await ids(0))
    note(await ids(first))
    note(await ids(first + 1))
    note(await ids(first + 2))
    note(await by.webhook("http://127.0.0.1:9/x"))
    note(await by.updates(0))
    note(await by.webhook(""))


@pytest.mark.parametrize("name", ["ours", "aiogram", "python-telegram-bot"])
async def test_three_clients_go_the_same_way_and_see_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")  # else it warns of its own next version
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8 a cat")
    async with FakeTelegram(second=0.01) as fake, client(name, fake) as by:
        seen = await flow(by, fake, str(tmp_path / "cat.jpg"))
        (ann,) = fake.world.accounts
        chat = fake.chat(ann)

        assert seen == EXPECTED
        shown = [(m.text, m.buttons, sorted(m.media)) for m in chat.messages if m.from_bot]
        assert shown == [("Hi ☺", [], []), ("Sure?", ["Yes"], []), ("cap", [], ["photo"])]
        (upload,) = fake.called("sendPhoto")[0].files.values()
        assert upload.data == b"\xff\xd8 a cat"
