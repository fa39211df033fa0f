"""Requests to Twitch's API, the token they carry, and what the answers mean."""

import json
from typing import Any

import msgspec
import pytest

from legato.abc import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent, Store, Verdict
from legato.errors import BadToken, Unavailable
from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.twitch.drops import Forms, code_of, dropped, is_drop
from legato.platforms.twitch.events import INVISIBLE
from legato.platforms.twitch.helix import Helix, interpret
from legato.platforms.twitch.methods import METHODS, method_of, similar
from legato.stores.memory import MemoryStore
from legato.testing.clock import START_MS, FakeClock

PLACE = Address("twitch", "4200", "777", "5001")
SAY = Call("say", {"channel": "777", "text": "hi"}, result="message")
SENT = b'{"data":[{"message_id":"abc","is_sent":true,"drop_reason":null}]}'


class Tokens:
    """Gives tokens that grow old: "user1", then "user2" ..."""

    def __init__(self) -> None:
        self.serial = 1
        self.refreshed: list[str] = []
        self.failure: Exception | None = None

    async def user_token(self, http: HttpClient, store: Store) -> str:
        if self.failure is not None:
            raise self.failure
        return f"user{self.serial}"

    async def app_token(self, http: HttpClient, store: Store) -> str:
        return f"app{self.serial}"

    async def refresh(self, http: HttpClient, store: Store, refused: str) -> str:
        self.refreshed.append(refused)
        self.serial += 1
        return f"{refused[:-1]}{self.serial}"


class Http(HttpClient):
    """Gives one answer after another, the last one for ever."""

    def __init__(self, *answers: HttpResponse | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError(request)

    async def close(self) -> None:
        return


def helix(tokens: Tokens | None = None, *, say_as_app: bool = False) -> Helix:
    made = Helix(
        "client", tokens or Tokens(), FakeClock(), "https://x.org/helix/", say_as_app=say_as_app
    )
    made.bot = "4200"
    return made


def problem(status: int, message: str, **headers: str) -> HttpResponse:
    body = {"error": "Something", "status": status, "message": message}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, json.dumps(body).encode())


EXPIRED = problem(401, "Invalid OAuth token")


async def sent(http: Http, call: Call = SAY, made: Helix | None = None) -> Verdict:
    return await (made or helix()).send(call, PLACE, http, MemoryStore())


# -- requests ------------------------------------------------------------------------------------


def request(name: str, **params: Any) -> HttpRequest:
    return helix().request(name, params, PLACE)


def test_something_is_said_as_the_bot_in_the_channel() -> None:
    made = request("say", channel="777", text="hi", reply_to="p1")
    assert (made.method, made.url) == ("POST", "https://x.org/helix/chat/messages")
    assert made.headers == {"client-id": "client", "content-type": "application/json"}
    assert msgspec.json.decode(made.body) == {
        "broadcaster_id": "777",
        "sender_id": "4200",
        "message": "hi",
        "reply_parent_message_id": "p1",
    }
    assert "reply_parent_message_id" not in msgspec.json.decode(request("say", text="x").body)


@pytest.mark.parametrize(
    ("name", "params", "method", "url", "body"),
    [
        ("delete", {"channel": "777", "message_id": "m/1"}, "DELETE",
         "/moderation/chat?broadcaster_id=777&moderator_id=4200&message_id=m%2F1", None),
        ("get_users", {"login": ["a", "b c"]}, "GET", "/users?login=a&login=b%20c", None),
        ("get_users", {}, "GET", "/users", None),
        ("get_chatters", {"first": 5}, "GET",
         "/chat/chatters?broadcaster_id=777&moderator_id=4200&first=5", None),
        ("get_chatters", {"broadcaster_id": "9"}, "GET",
         "/chat/chatters?broadcaster_id=9&moderator_id=4200", None),
        ("ban_user", {"data": {"user_id": "5"}}, "POST",
         "/moderation/bans?broadcaster_id=777&moderator_id=4200", {"data": {"user_id": "5"}}),
        ("create_poll", {"title": "?", "duration": 15}, "POST", "/polls",
         {"broadcaster_id": "777", "title": "?", "duration": 15}),
        ("update_chat_settings", {"slow_mode": True}, "PATCH",
         "/chat/settings?broadcaster_id=777&moderator_id=4200", {"slow_mode": True}),
        ("send_a_shoutout", {"to_broadcaster_id": "9"}, "POST",
         "/chat/shoutouts?from_broadcaster_id=777&moderator_id=4200&to_broadcaster_id=9", None),
        ("get_clips", {"broadcaster_id": "9", "is_featured": False, "id": None}, "GET",
         "/clips?broadcaster_id=9&is_featured=false", None),
        ("snooze_next_ad", {}, "POST", "/channels/ads/schedule/snooze?broadcaster_id=777", None),
    ],
)  # fmt: skip
def test_parameters_stand_where_they_belong(
    name: str, params: dict[str, Any], method: str, url: str, body: Any
) -> None:
    made = request(name, **params)
    assert (made.method, made.url) == (method, f"https://x.org/helix{url}")
    assert (msgspec.json.decode(made.body) if made.body else None) == body


def test_every_method_of_the_list_can_be_called() -> None:
    names = [line.partition(" ")[0] for line in METHODS.splitlines()]
    assert len(names) == len(set(names)) > 140
    for name in names:
        method = method_of(name)
        assert method is not None
        assert method.path.startswith("/")
        assert request(name).method == method.verb


@pytest.mark.parametrize(
    "name", ["", "get", "users", "get_users GET", "get_user", "é", "GET /users"]
)
def test_what_is_no_method_is_refused(name: str) -> None:
    assert method_of(name) is None


async def test_an_unknown_method_or_a_parameter_that_is_no_json_is_refused() -> None:
    http = Http(HttpResponse(200))
    assert (await sent(http, Call("get_user"))).outcome == "refused"
    assert (await sent(http, Call("create_poll", {"x": object()}))).outcome == "refused"
    assert http.requests == []
    assert similar("send_chat_mesage") == "send_chat_message"
    assert similar("xyzzy") == ""


# -- tokens --------------------------------------------------------------------------------------


async def test_a_dead_token_is_renewed_once_and_the_request_repeated() -> None:
    http, tokens = Http(EXPIRED, HttpResponse(200, body=SENT)), Tokens()
    assert (await sent(http, made=helix(tokens))).outcome == "sent"
    assert tokens.refreshed == ["user1"]
    assert [r.headers["authorization"] for r in http.requests] == ["Bearer user1", "Bearer user2"]


async def test_a_new_token_that_is_refused_as_well_is_not_renewed_again() -> None:
    http, tokens = Http(EXPIRED), Tokens()
    assert (await sent(http, made=helix(tokens))).outcome == "refused"
    assert len(http.requests) == 2


@pytest.mark.parametrize(
    "message",
    [
        "Missing scope: moderator:manage:chat_messages",
        "The Client ID and OAuth token do not match",
        "The ID in sender_id must match the user ID found in the request's OAuth token.",
    ],
)
async def test_what_the_token_may_not_do_is_no_matter_of_its_age(message: str) -> None:
    http, tokens = Http(problem(401, message)), Tokens()
    verdict = await sent(http, made=helix(tokens))
    assert (verdict.outcome, verdict.code) == ("refused", 401)
    assert message in verdict.error
    assert tokens.refreshed == []


async def test_a_bot_of_webhooks_speaks_with_the_applications_token() -> None:
    http = Http(HttpResponse(200, body=SENT))
    await sent(http, made=helix(say_as_app=True))
    await sent(http, Call("get_users"), made=helix(say_as_app=True))
    await sent(http, Call("get_users", {"as_app": True}))
    assert [r.headers["authorization"] for r in http.requests] == [
        "Bearer app1",
        "Bearer user1",
        "Bearer app1",
    ]
    assert "as_app" not in http.requests[2].url


async def test_an_account_that_is_lost_keeps_messages_and_is_told() -> None:
    tokens = Tokens()
    made = helix(tokens)
    lost: list[BadToken] = []
    made.lost = lost.append
    tokens.failure = BadToken("log in again")
    verdict = await sent(Http(HttpResponse(200)), made=made)
    assert (verdict.outcome, verdict.whole_bot) == ("retry", True)
    assert verdict.retry_after_s >= 30
    assert [str(error) for error in lost] == ["log in again"]


async def test_a_login_service_that_is_away_delays() -> None:
    tokens = Tokens()
    tokens.failure = Unavailable("away", retry_after_s=3)
    verdict = await sent(Http(HttpResponse(200)), made=helix(tokens))
    assert (verdict.outcome, verdict.retry_after_s) == ("retry", 3)


# -- verdicts ------------------------------------------------------------------------------------


async def test_a_message_that_was_sent_has_an_id() -> None:
    verdict = await sent(Http(HttpResponse(200, body=SENT)))
    assert (verdict.outcome, verdict.message_id) == ("sent", "abc")


async def test_a_message_that_is_not_shown_is_an_error_with_its_reason() -> None:
    body = b'{"data":[{"message_id":"","is_sent":false,"drop_reason":{"code":"channel_settings",'
    body += b'"message":"followers only"}}]}'
    for call in (SAY, Call("send_chat_message", {"message": "hi"})):
        verdict = await sent(Http(HttpResponse(200, body=body)), call)
        assert verdict.outcome == "refused"
        assert "channel_settings" in verdict.error
        assert "followers only" in verdict.error
        assert code_of(verdict) == "channel_settings"
    bare = b'{"data":[{"message_id":"","is_sent":false}]}'
    assert (await sent(Http(HttpResponse(200, body=bare)))).outcome == "refused"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"data":[]}', b"<html>", b'{"data":[{}]}'])
async def test_an_answer_that_cannot_be_read_leaves_it_open(body: bytes) -> None:
    assert (await sent(Http(HttpResponse(200, body=body)))).outcome == "unknown"


async def test_what_is_asked_of_the_api_is_the_result() -> None:
    http = Http(HttpResponse(200, body=b'{"data":[{"id":"1"}]}'))
    assert (await sent(http, Call("get_users"))).result == {"data": [{"id": "1"}]}
    assert (await sent(Http(HttpResponse(204)), Call("snooze_next_ad"))).result is None
    odd = await sent(Http(HttpResponse(200, body=b"<")), Call("get_users"))
    assert (odd.outcome, odd.result) == ("sent", None)


@pytest.mark.parametrize(
    ("answer", "call", "outcome"),
    [
        (problem(400, "The broadcaster_id is not valid"), SAY, "refused"),
        (problem(403, "The sender is not permitted"), SAY, "gone"),
        (problem(403, "You are no moderator"), Call("get_chatters"), "refused"),
        (problem(404, "message not found"), Call("delete", {"message_id": "1"}), "sent"),
        (problem(404, "not found"), Call("get_users"), "refused"),
        (problem(409, "conflict"), Call("create_poll"), "refused"),
        (problem(422, "The message is too large"), SAY, "refused"),
        (problem(500, "Internal"), SAY, "retry"),
        (problem(503, "Unavailable"), SAY, "retry"),
        (HttpResponse(502, body=b"<html>"), SAY, "unknown"),
        (
            HttpResponse(504, body=b""),
            Call("delete", {"message_id": "1"}, idempotent=True),
            "retry",
        ),
        (HttpResponse(503, body=b"<html>"), SAY, "retry"),
        (HttpResponse(407, body=b"<html>"), SAY, "retry"),
        (HttpResponse(413, body=b"<html>"), SAY, "refused"),
        (NotSent("no route"), SAY, "retry"),
        (MaybeSent("cut"), SAY, "unknown"),
        (MaybeSent("cut"), Call("delete", {"message_id": "1"}, idempotent=True), "retry"),
    ],
)
async def test_answers_are_understood(
    answer: HttpResponse | Exception, call: Call, outcome: str
) -> None:
    verdict = await sent(Http(answer), call)
    assert verdict.outcome == outcome
    assert verdict.error or outcome == "sent"


@pytest.mark.parametrize(
    ("reset", "wait_s"),
    [(str(START_MS // 1000 + 17), 17.0), (str(START_MS // 1000 - 5), 1.0), ("x", 5.0), ("", 5.0),
     ("9" * 11, 3600.0)],
)  # fmt: skip
async def test_a_limit_says_when_to_try_again(reset: str, wait_s: float) -> None:
    verdict = await sent(Http(problem(429, "slow down", ratelimit_reset=reset)))
    assert (verdict.outcome, verdict.retry_after_s, verdict.whole_bot) == ("retry", wait_s, True)


async def test_what_the_adapter_asks_for_itself_is_unavailable_where_it_may_be_later() -> None:
    for answer in (NotSent("x"), MaybeSent("x"), HttpResponse(500), problem(429, "x")):
        with pytest.raises(Unavailable):
            await helix().ask("get_users", {}, Http(answer), MemoryStore())
    answer = await helix().ask("get_users", {}, Http(problem(400, "x")), MemoryStore())
    assert answer.status == 400


# -- drops and forms -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "verdict"),
    [
        ("msg_banned", "You are banned", ("gone", 0.0)),
        ("msg_channel_suspended", "x", ("gone", 0.0)),
        ("msg_timedout", "You are timed out for 90 more seconds.", ("retry", 90.0)),
        ("msg_slowmode", "You will be able to talk again in 7 seconds.", ("retry", 7.0)),
        ("msg_slowmode", "Slow mode.", ("retry", 30.0)),
        ("msg_ratelimit", "too quickly", ("retry", 5.0)),
        ("msg_duplicate", "identical, less than 30 seconds ago.", ("retry", 0.1)),
        ("invalid_parent", "x", ("retry", 0.1)),
        ("msg_rejected_mandatory", "moderators", ("refused", 0.0)),
        ("whatever", "x", ("refused", 0.0)),
    ],
)
def test_what_is_not_shown_says_what_follows(
    code: str, text: str, verdict: tuple[str, float]
) -> None:
    found = dropped(code, text)
    assert (found.outcome, found.retry_after_s) == verdict
    assert code_of(found) == code
    assert code in found.error


def test_only_some_notices_are_about_a_message() -> None:
    assert is_drop("msg_slowmode")
    assert is_drop("tos_ban")
    assert not is_drop("host_on")
    assert not is_drop("")
    assert code_of(Verdict("refused", error="no")) == ""


def test_a_reply_that_cannot_be_one_any_more_is_recognised() -> None:
    answer = problem(400, "The parameter reply_parent_message_id is not valid")
    assert code_of(interpret(SAY, answer, 0)) == "invalid_parent"


def test_where_a_repeated_text_was_dropped_they_get_an_invisible_sign() -> None:
    clock = FakeClock()
    forms = Forms(clock)
    forms.shown("1", "hi")
    assert forms.of(SAY, "1") == ("hi", "")  # nobody minds so far
    forms.dropped("1", "hi", "", "msg_duplicate")
    assert forms.of(SAY, "1") == (f"hi {INVISIBLE}", "")
    assert forms.of(SAY, "2") == ("hi", "")
    forms.shown("1", f"hi {INVISIBLE}")
    assert forms.of(SAY, "1") == (f"hi {INVISIBLE * 2}", "")
    clock.advance(32)
    assert forms.of(SAY, "1") == ("hi", "")
    forms.shown("1", "hi")
    assert forms.of(SAY, "1") == (f"hi {INVISIBLE}", "")


def test_what_was_dropped_has_another_form_next_time() -> None:
    forms = Forms(FakeClock())
    call = Call("say", {"text": "hi", "reply_to": "p1"})
    forms.dropped("1", "hi", "p1", "msg_duplicate")
    assert forms.of(call, "1") == (f"hi {INVISIBLE}", "p1")
    forms.dropped("1", "hi", "p1", "invalid_parent")
    assert forms.of(call, "1") == (f"hi {INVISIBLE}", "")
    forms.dropped("1", "hi", "p2", "msg_rejected")
    for n in range(200):
        forms.dropped("1", "hi", f"q{n}", "invalid_parent")
    assert forms.of(call, "1")[1] == "p1"  # forgotten: it would only be dropped once more
