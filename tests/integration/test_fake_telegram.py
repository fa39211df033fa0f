"""The fake Telegram is trusted only as far as it behaves like the real one."""

import asyncio
import json
import urllib.request
from typing import Any

import aiohttp
import pytest

from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.telegram_kit import opened


def met(telegram: FakeTelegram) -> FakeUser:
    return telegram.user("Ann", username="ann", started=True)


# -- talking -------------------------------------------------------------------------------------


async def test_a_user_talks_with_the_bot_and_sees_its_answer() -> None:
    async with opened() as (telegram, call):
        ann = telegram.user("Ann")
        ann.sends("/start")
        _, updates = await call("getUpdates", timeout=10)
        message = updates["result"][0]["message"]
        assert message["text"] == "/start"
        assert message["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]

        _, sent = await call("sendMessage", chat_id=ann.id, text=" *Hi* ", parse_mode="MarkdownV2")
        shown = await ann.gets("Hi")
        assert shown.entities == [{"type": "bold", "offset": 0, "length": 2}]
        assert sent["result"]["text"] == "Hi"
        assert ann.sees == ["Hi"]


async def test_the_three_kinds_of_bodies_and_the_query_say_the_same() -> None:
    async with opened() as (telegram, _), aiohttp.ClientSession() as session:
        ann = met(telegram)
        url = f"{telegram.api}/bot{telegram.token}/sendMessage"
        markup = {"inline_keyboard": [[{"text": "é", "callback_data": "1"}]]}
        params = {"chat_id": ann.id, "text": "é&=+", "reply_markup": markup}
        flat = {k: v if isinstance(v, str) else json.dumps(v) for k, v in params.items()}
        form = aiohttp.FormData(flat)
        form.add_field("unused", b"x", filename="x")
        for arguments in ({"json": params}, {"data": flat}, {"data": form}, {"params": flat}):
            async with session.post(url, **arguments) as response:
                assert response.status == 200
        async with session.get(url, params=flat) as response:
            assert response.status == 200
        assert [call.params for call in telegram.calls] == [params] * 5


async def test_buttons_are_pressed_by_their_label_and_acknowledged_once() -> None:
    async with opened() as (telegram, call):
        ann = met(telegram)
        rows = [[{"text": "Yes", "callback_data": "y"}, {"text": "No", "callback_data": "n"}]]
        await call("sendMessage", chat_id=ann.id, text="?", reply_markup={"inline_keyboard": rows})
        assert ann.chat.last.buttons == ["Yes", "No"]
        press = ann.presses("No")
        _, updates = await call("getUpdates")
        query = updates["result"][0]["callback_query"]
        assert (query["data"], query["message"]["text"]) == ("n", "?")

        first = await call("answerCallbackQuery", callback_query_id=query["id"], text="Pity")
        again = await call("answerCallbackQuery", callback_query_id=query["id"])
        assert first[0] == 200
        assert "query is too old" in again[1]["description"]
        assert (press.answered, press.text) == (True, "Pity")
        with pytest.raises(AssertionError, match="Maybe"):
            ann.presses("Maybe")


async def test_a_reply_keyboard_types_shares_and_goes_away() -> None:
    async with opened() as (telegram, call):
        ann = met(telegram)
        keys = [["Home", {"text": "Me", "request_contact": True}]]
        await call("sendMessage", chat_id=ann.id, text="?", reply_markup={"keyboard": keys})
        ann.presses("Home")
        ann.presses("Me")
        _, updates = await call("getUpdates")
        messages = [update["message"] for update in updates["result"]]
        assert messages[0]["text"] == "Home"
        assert messages[1]["contact"]["user_id"] == ann.id
        await call("sendMessage", chat_id=ann.id, text="!", reply_markup={"remove_keyboard": True})
        assert ann.chat.keyboard == {}


async def test_edits_deletions_reactions_and_pins_show() -> None:
    async with opened() as (telegram, call):
        ann = met(telegram)
        _, sent = await call("sendMessage", chat_id=ann.id, text="one")
        here = {"chat_id": ann.id, "message_id": sent["result"]["message_id"]}
        await call("editMessageText", **here, text="two")
        assert ann.chat.last.text == "two"
        status, same = await call("editMessageText", **here, text="two")
        assert status == 400
        assert same["description"].startswith("Bad Request: message is not modified")
        await call("setMessageReaction", **here, reaction=[{"type": "emoji", "emoji": "👍"}])
        await call("pinChatMessage", **here)
        assert ann.chat.last.reactions == {4200: ["👍"]}
        assert ann.chat.last.pinned
        await call("deleteMessage", **here)
        assert ann.chat.messages == []
        status, _ = await call("deleteMessage", **here)
        assert status == 400


async def test_a_file_goes_up_and_comes_down_again() -> None:
    async with opened() as (telegram, call), aiohttp.ClientSession() as session:
        ann = met(telegram)
        form = aiohttp.FormData({"chat_id": str(ann.id), "caption": "Report"}, quote_fields=False)
        form.add_field("document", b"\x00\r\n--x\r\n", filename="r e.pdf")
        url = f"{telegram.api}/bot{telegram.token}/sendDocument"
        async with session.post(url, data=form) as response:
            sent = (await response.json())["result"]
        assert (sent["document"]["file_name"], sent["caption"]) == ("r e.pdf", "Report")

        _, found = await call("getFile", file_id=sent["document"]["file_id"])
        path = found["result"]["file_path"]
        async with session.get(f"{telegram.api}/file/bot{telegram.token}/{path}") as response:
            assert await response.read() == b"\x00\r\n--x\r\n"
        again, _ = await call("sendDocument", chat_id=ann.id, document=sent["document"]["file_id"])
        unknown, _ = await call("sendPhoto", chat_id=ann.id, photo="AgACbogus")
        assert (again, unknown) == (200, 400)


async def test_an_album_is_several_messages_of_one_id() -> None:
    async with opened() as (telegram, call):
        ann = met(telegram)
        ann.sends_album("one", "two")
        _, updates = await call("getUpdates")
        albums = {update["message"]["media_group_id"] for update in updates["result"]}
        assert len(albums) == 1
        media = [{"type": "photo", "media": "https://x.y/1.jpg"}] * 2
        _, sent = await call("sendMediaGroup", chat_id=ann.id, media=media)
        assert len(sent["result"]) == 2


# -- refusing ------------------------------------------------------------------------------------

BUTTON = {"text": "x", "callback_data": "x" * 65}


@pytest.mark.parametrize(
    ("method", "params", "description"),
    [
        ("sendMessage", {"text": ""}, "message text is empty"),
        ("sendMessage", {"text": " \n"}, "message text is empty"),
        ("sendMessage", {"text": "x" * 4097}, "message is too long"),
        ("sendMessage", {"text": "👍" * 2049}, "message is too long"),
        ("sendMessage", {"text": "x", "chat_id": 99}, "chat not found"),
        ("sendMessage", {"text": "x", "chat_id": ""}, "chat_id is empty"),
        (
            "sendMessage",
            {"text": "<b>x", "parse_mode": "HTML"},
            "can't parse entities: Can't find end",
        ),
        (
            "sendMessage",
            {"text": "</b>", "parse_mode": "HTML"},
            "can't parse entities: Unexpected end",
        ),
        ("sendMessage", {"text": "<x>", "parse_mode": "HTML"}, 'Unsupported start tag "x"'),
        ("sendMessage", {"text": "<b><i></b></i>", "parse_mode": "HTML"}, "Unmatched end tag"),
        ("sendMessage", {"text": "a.b", "parse_mode": "MarkdownV2"}, "Character '.' is reserved"),
        (
            "sendMessage",
            {"text": "*a", "parse_mode": "MarkdownV2"},
            "Can't find end of Bold entity",
        ),
        (
            "sendMessage",
            {"text": "x", "reply_markup": {"inline_keyboard": [[BUTTON]]}},
            "BUTTON_DATA",
        ),
        (
            "sendMessage",
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "x"}]]}},
            "Text b",
        ),
        (
            "sendMessage",
            {"text": "x", "reply_markup": {"inline_keyboard": [BUTTON]}},
            "Array of Arrays",
        ),
        ("sendMessage", {"text": "x", "reply_markup": {"bogus": 1}}, "can't parse reply keyboard"),
        ("sendMessage", {"text": "x", "reply_markup": "bogus"}, "can't parse reply_markup"),
        (
            "sendMessage",
            {"text": "x", "reply_parameters": {"message_id": 99}},
            "message to be replied",
        ),
        ("sendMessage", {"text": "x", "message_thread_id": 99}, "message thread not found"),
        ("sendPhoto", {}, "there is no photo"),
        ("sendPhoto", {"photo": "https://x/y", "caption": "x" * 1025}, "caption is too long"),
        ("editMessageText", {"message_id": 99, "text": "x"}, "message to edit not found"),
        ("deleteMessage", {}, "message identifier is not specified"),
        ("setMessageReaction", {"message_id": 99}, "message to react not found"),
        ("getFile", {"file_id": "x"}, "invalid file_id"),
    ],
)
async def test_what_telegram_refuses_is_refused_in_its_words(
    method: str, params: dict[str, object], description: str
) -> None:
    async with opened() as (telegram, call):
        status, answer = await call(method, **{"chat_id": met(telegram).id} | params)
        assert status == answer["error_code"] == 400
        assert description in answer["description"]
        assert answer["ok"] is False


async def test_who_cannot_be_reached_is_forbidden() -> None:
    async with opened() as (telegram, call):
        stranger, ann, bob = telegram.user("New"), met(telegram), met(telegram)
        group = telegram.group("Friends", ann)
        ann.blocks()
        bob.vanishes()
        group.kicks_bot(by=ann)
        for chat, said in (
            (stranger.id, "bot can't initiate conversation"),
            (ann.id, "bot was blocked by the user"),
            (bob.id, "user is deactivated"),
            (group.id, "bot is not a member of the supergroup chat"),
        ):
            status, answer = await call("sendMessage", chat_id=chat, text="x")
            assert status == 403
            assert answer["description"] == f"Forbidden: {said}" or said in answer["description"]
        ann.unblocks()
        assert (await call("sendMessage", chat_id=ann.id, text="x"))[0] == 200


async def test_a_wrong_token_and_an_unknown_method_are_told_apart() -> None:
    async with opened() as (telegram, call), aiohttp.ClientSession() as session:
        for token, expected in (("4200:other", 401), ("bogus", 404)):
            async with session.get(f"{telegram.api}/bot{token}/getMe") as response:
                assert response.status == expected
        assert (await call("inventTheWheel"))[1]["description"] == "Not Found: method not found"
        assert (await call("GETME"))[0] == 200


async def test_a_group_that_became_a_supergroup_tells_its_new_id() -> None:
    async with opened() as (telegram, call):
        group = telegram.group("Friends", kind="group")
        moved = group.becomes_supergroup()
        status, answer = await call("sendMessage", chat_id=group.id, text="x")
        assert (status, answer["parameters"]) == (400, {"migrate_to_chat_id": moved.id})
        assert (await call("sendMessage", chat_id=moved.id, text="x"))[0] == 200


# -- faults --------------------------------------------------------------------------------------


async def test_the_nth_call_fails_and_the_next_is_well_again() -> None:
    async with opened() as (telegram, call):
        ann, bob = met(telegram), met(telegram)
        telegram.fails(429, retry_after=3, chat=ann.id, skip=1)
        assert (await call("sendMessage", chat_id=ann.id, text="1"))[0] == 200
        assert (await call("sendMessage", chat_id=bob.id, text="1"))[0] == 200
        status, answer = await call("sendMessage", chat_id=ann.id, text="2")
        assert (status, answer["parameters"]) == (429, {"retry_after": 3})
        assert answer["description"] == "Too Many Requests: retry after 3"
        assert (await call("sendMessage", chat_id=ann.id, text="2"))[0] == 200
        assert ann.sees == ["1", "2"]


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_connection_breaks_before_or_after_the_call_is_carried_out(
    carried_out: bool,
) -> None:
    async with opened() as (telegram, call):
        ann = met(telegram)
        telegram.resets(carried_out=carried_out)
        with pytest.raises(aiohttp.ClientError):
            await call("sendMessage", chat_id=ann.id, text="x")
        assert ann.sees == (["x"] if carried_out else [])


@pytest.mark.parametrize("carried_out", [False, True])
async def test_an_answer_never_comes(carried_out: bool) -> None:
    async with opened() as (telegram, call):
        ann = met(telegram)
        fault = telegram.hangs(carried_out=carried_out, times=-1)
        waiting = asyncio.create_task(call("sendMessage", chat_id=ann.id, text="x"))
        await telegram.wait_for(lambda: fault.hits)
        assert ann.sees == (["x"] if carried_out else [])
        assert not waiting.done()
        fault.end()
        assert (await call("sendMessage", chat_id=ann.id, text="y"))[0] == 200
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


# -- from outside of its loop --------------------------------------------------------------------


def test_a_client_that_blocks_can_use_it_from_another_thread() -> None:
    with FakeTelegram(second=0.01).threaded() as telegram:
        ann = telegram.user("Ann")
        ann.sends("/start")

        def call(method: str, **params: object) -> Any:
            request = urllib.request.Request(
                f"{telegram.api}/bot{telegram.token}/{method}",
                json.dumps(params).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request) as response:
                return json.load(response)

        assert call("getUpdates")["result"][0]["message"]["text"] == "/start"
        call("sendMessage", chat_id=ann.id, text="Hi")
        assert telegram.wait_until(lambda: ann.sees) == ["Hi"]
    with FakeTelegram().threaded() as telegram:
        assert telegram.calls == []
