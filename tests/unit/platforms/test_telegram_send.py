"""What an answer of Telegram, or none, means for a call."""

import asyncio

import msgspec
import pytest

from legato.abc import HttpRequest, HttpResponse, MaybeSent, NotSent, Verdict
from legato.errors import BadToken, ConfigError, Forged, Unsupported
from legato.model.events import Address, File
from legato.model.messages import Edit, Media, Message, Send
from legato.model.records import Call
from legato.platforms.telegram import Telegram
from legato.testing.conformance.platform import ScriptedHttp

TOKEN = "4200:the-token"
ANN = Address("telegram", "4200", "5001", "5001")
SAY = Call("sendMessage", {"chat_id": 5001, "text": "x"}, result="message")
EDIT = Call("editMessageText", {"chat_id": 5001, "message_id": 9, "text": "x"}, idempotent=True)
DELETE = Call("deleteMessage", {"chat_id": 5001, "message_id": 9}, idempotent=True)
ACK = Call("answerCallbackQuery", {"callback_query_id": "1"}, idempotent=True)


class Script(ScriptedHttp):
    """Gives its answers one after another."""

    def __init__(self, *answers: HttpResponse | Exception) -> None:
        super().__init__(answers[0])
        self._answers = list(answers)

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.answer = self._answers.pop(0)
        return await super().send(request)


def answer(code: int, description: str = "", **parameters: float) -> HttpResponse:
    body = {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    return HttpResponse(code, body=msgspec.json.encode(body))


def ok(result: object) -> HttpResponse:
    return HttpResponse(200, body=msgspec.json.encode({"ok": True, "result": result}))


def send(call: Call, *answers: HttpResponse | Exception) -> Verdict:
    return asyncio.run(Telegram(TOKEN).send(call, ANN, Script(*answers)))


def sent(call: Call) -> HttpRequest:
    """The request that a call becomes."""
    http = ScriptedHttp(ok(True))
    asyncio.run(Telegram(TOKEN, api="https://api.example.org/").send(call, ANN, http))
    return http.requests[0]


# -- the request -------------------------------------------------------------------------------


def test_a_call_is_json_to_the_methods_address() -> None:
    request = sent(SAY)

    assert (request.method, request.url) == (
        "POST",
        f"https://api.example.org/bot{TOKEN}/sendMessage",
    )
    assert request.headers == {"content-type": "application/json"}
    assert msgspec.json.decode(request.body) == SAY.params


def test_ids_that_the_relay_fills_in_as_text_go_out_as_numbers() -> None:
    reply = {"message_id": "17", "allow_sending_without_reply": True}
    call = Call("x", {"message_id": "9", "reply_parameters": reply, "text": "9"})

    assert msgspec.json.decode(sent(call).body) == {
        "message_id": 9,
        "reply_parameters": {"message_id": 17, "allow_sending_without_reply": True},
        "text": "9",
    }
    assert reply["message_id"] == "17", "the call itself stays as it is"


def test_an_upload_is_a_form_whose_fields_are_text_or_json() -> None:
    message = Message("é", media=Media("photo", path="/tmp/cat.jpg"), silent=True)
    request = sent(Telegram(TOKEN).render(Send(message), ANN)[0])

    assert request.files == (("photo", "/tmp/cat.jpg", "cat.jpg"),)
    assert request.fields == (
        ("chat_id", "5001"),
        ("disable_notification", "true"),
        ("caption", "é"),
    )
    assert request.timeout_s > 60
    edit = Edit("9", Message(media=Media("photo", path="a.jpg")))
    fields = dict(sent(Telegram(TOKEN).render(edit, ANN)[0]).fields)
    assert msgspec.json.decode(fields["media"]) == {"type": "photo", "media": "attach://file"}


def test_a_call_that_is_no_json_or_a_file_that_is_not_there_is_refused_unsent() -> None:
    for params in ({"text": "\ud800"}, {"text": object()}, {1j: "x"}):
        verdict = send(Call("sendMessage", params), ok(True))  # type: ignore[arg-type]
        assert verdict.outcome == "refused"
        assert "no JSON" in verdict.error
    gone = send(SAY, FileNotFoundError(2, "No such file", "/tmp/x"))
    assert (gone.outcome, "cannot read the file" in gone.error) == ("refused", True)


def test_a_call_can_ride_in_the_answer_to_a_webhook() -> None:
    telegram = Telegram(TOKEN)

    body = telegram.webhook_reply(SAY, ANN)
    assert body is not None
    assert msgspec.json.decode(body) == {"method": "sendMessage", "chat_id": 5001, "text": "x"}
    assert telegram.webhook_reply(Call("sendPhoto", files=(("photo", "a", "a"),)), ANN) is None
    assert telegram.webhook_reply(Call("x", target="ref:0", fill="message_id"), ANN) is None
    assert telegram.webhook_reply(Call("x", {"text": "\ud800"}), ANN) is None


# -- the verdict -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "message_id"),
    [
        ({"message_id": 17, "date": 1}, "17"),
        ([{"message_id": 5}, {"message_id": 6}], "5"),
        (True, ""),
        ([], ""),
        ("https://t.me/invoice", ""),
    ],
)
def test_what_was_sent_keeps_its_result(result: object, message_id: str) -> None:
    assert send(SAY, ok(result)) == Verdict("sent", message_id, result)


def test_a_result_that_cannot_be_read_was_sent_all_the_same() -> None:
    verdict = send(SAY, HttpResponse(200, body=b'{"ok":true,"result":{"x":1e999}}'))
    assert (verdict.outcome, verdict.result) == ("sent", None)


@pytest.mark.parametrize(
    ("call", "response", "expected"),
    [
        (SAY, answer(400, "Bad Request: chat not found"), "gone"),
        (SAY, answer(400, "Bad Request: PEER_ID_INVALID"), "gone"),
        (SAY, answer(400, "Bad Request: message thread not found"), "gone"),
        (SAY, answer(403, "Forbidden: bot was blocked by the user"), "gone"),
        (SAY, answer(403, "Forbidden: user is deactivated"), "gone"),
        (SAY, answer(403, "Forbidden: bot was kicked from the supergroup chat"), "gone"),
        (SAY, answer(400, "Bad Request: message is too long"), "refused"),
        (SAY, answer(400, "Bad Request: not enough rights to send text messages"), "refused"),
        (SAY, answer(400, "Bad Request: message is not modified"), "refused"),
        (EDIT, answer(400, "Bad Request: message is not modified: specified new"), "sent"),
        (EDIT, answer(400, "Bad Request: message to edit not found"), "refused"),
        (DELETE, answer(400, "Bad Request: message to delete not found"), "sent"),
        (DELETE, answer(400, "Bad Request: message can't be deleted"), "refused"),
        (ACK, answer(400, "Bad Request: query is too old and response timeout expired"), "sent"),
        (SAY, answer(413, "Request Entity Too Large"), "refused"),
        (SAY, answer(500, "Internal Server Error"), "retry"),
        (SAY, answer(502, "Bad Gateway"), "retry"),
        (SAY, HttpResponse(500, body=b"<html>"), "unknown"),
        (SAY, HttpResponse(502, body=b"<html>"), "unknown"),
        (SAY, HttpResponse(504, body=b""), "unknown"),
        (SAY, HttpResponse(200, body=b'{"ok":tr'), "unknown"),
        (EDIT, HttpResponse(502, body=b"<html>"), "retry"),
        (SAY, HttpResponse(503, body=b"<html>"), "retry"),
        (SAY, HttpResponse(403, body=b"<html>a firewall"), "retry"),
        (SAY, HttpResponse(407, body=b""), "retry"),
        (SAY, HttpResponse(302, body=b""), "retry"),
        (SAY, HttpResponse(413, body=b"<html>"), "refused"),
        (SAY, NotSent("connection refused"), "retry"),
        (SAY, MaybeSent("timed out"), "unknown"),
        (EDIT, NotSent("connection refused"), "retry"),
        (EDIT, MaybeSent("timed out"), "retry"),
    ],
)
def test_each_way_to_fail_has_its_verdict(
    call: Call, response: HttpResponse | Exception, expected: str
) -> None:
    verdict = send(call, response)

    assert verdict.outcome == expected
    assert bool(verdict.error) == (expected != "sent")


def test_a_limit_binds_the_chat_or_the_whole_bot_where_no_chat_is_meant() -> None:
    limited = answer(429, "Too Many Requests: retry after 7", retry_after=7)

    assert send(SAY, limited) == Verdict(
        "retry", retry_after_s=7.0, error="Too Many Requests: retry after 7", code=429
    )
    assert send(ACK, limited).whole_bot


def test_a_group_that_moved_is_tried_again_at_its_new_id() -> None:
    verdict = send(SAY, answer(400, "upgraded to a supergroup", migrate_to_chat_id=-1001))

    assert (verdict.outcome, verdict.moved_to) == ("retry", "-1001")


def test_that_another_chat_is_gone_or_moved_does_not_end_this_one() -> None:
    other = Call("sendMessage", {"chat_id": 6000, "text": "x"})

    assert send(other, answer(403, "Forbidden: bot was blocked by the user")).outcome == "refused"
    assert send(other, answer(400, "x", migrate_to_chat_id=-1001)).outcome == "refused"


def test_a_message_outlives_a_bad_token_which_is_told() -> None:
    verdict = send(SAY, answer(401, "Unauthorized"))

    assert verdict.outcome == "retry"
    assert "TELEGRAM_TOKEN" in verdict.error


def test_a_bad_method_says_what_to_check() -> None:
    assert "no method 'sendMessage'" in send(SAY, answer(404, "Not Found")).error


def test_an_edit_of_a_photos_text_edits_its_caption() -> None:
    http = Script(
        answer(400, "Bad Request: there is no text in the message to edit"), ok({"message_id": 9})
    )
    params = EDIT.params | {"link_preview_options": {"is_disabled": True}}
    call = Call(EDIT.method, params, idempotent=True)
    verdict = asyncio.run(Telegram(TOKEN).send(call, ANN, http))

    assert verdict.outcome == "sent"
    assert http.requests[1].url.endswith("/editMessageCaption")
    assert msgspec.json.decode(http.requests[1].body) == {
        "chat_id": 5001,
        "message_id": 9,
        "caption": "x",
    }


def test_the_token_never_shows_in_an_error() -> None:
    for failure in (NotSent, MaybeSent, OSError):
        verdict = send(SAY, failure(f"https://api.telegram.org/bot{TOKEN}/sendMessage the-token"))
        assert "the-token" not in verdict.error
        assert "***" in verdict.error


# -- construction, secrets, files ----------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["", "4200", "4200:", ":abc", "x:abcdef", "4200:a b c", "4200:abc\n"]
)
def test_what_does_not_look_like_a_token_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(BadToken) as caught:
        Telegram(token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("secret", ["a b", "é", "x" * 257, "a\n"])
def test_a_secret_that_telegram_would_not_take_is_refused(secret: str) -> None:
    with pytest.raises(ConfigError):
        Telegram(TOKEN, secret=secret)


def test_without_a_secret_nothing_is_believed() -> None:
    with pytest.raises(Forged, match="TELEGRAM_SECRET"):
        Telegram(TOKEN).verify(HttpRequest("POST", "/telegram"))
    with pytest.raises(Forged, match="TELEGRAM_SECRET"):
        Telegram(TOKEN).verify(
            HttpRequest("POST", "/telegram", {"x-telegram-bot-api-secret-token": ""})
        )


def test_the_repr_tells_the_bot_and_no_secret() -> None:
    assert repr(Telegram(TOKEN, secret="s3cret")) == "<Telegram bot=4200>"


def test_a_file_is_looked_up_and_then_fetched_from_telegram_only() -> None:
    telegram = Telegram(TOKEN)
    file = File("BQAC")
    assert telegram.file_request(file, None) == Call(
        "getFile", {"file_id": "BQAC"}, idempotent=True
    )
    found = telegram.file_request(file, Verdict("sent", result={"file_path": "documents/a b.pdf"}))
    assert isinstance(found, HttpRequest)
    assert found.url == f"https://api.telegram.org/file/bot{TOKEN}/documents/a%20b.pdf"


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "a/../../b", "https://evil.org/x", "..", "a\\b"]
)
def test_a_path_that_leads_elsewhere_is_not_fetched(path: str) -> None:
    with pytest.raises(Unsupported):
        Telegram(TOKEN).file_request(File("x"), Verdict("sent", result={"file_path": path}))


def test_a_file_that_telegram_does_not_give_is_unsupported() -> None:
    refused = Verdict("refused", error="Bad Request: file is too big")
    with pytest.raises(Unsupported, match="too big"):
        Telegram(TOKEN).file_request(File("x"), refused)
