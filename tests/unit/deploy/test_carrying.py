"""Updates go into the queue, or to another process's webhook, and are safe once that returns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from legato import App, Chat
from legato.abc import HttpClient, HttpRequest, HttpResponse, Letter, MaybeSent, NotSent
from legato.app.router import Router
from legato.deploy.carrying import TRIES, ToQueue, ToWebhook
from legato.deploy.signature import check_request
from legato.errors import ConfigError, Unavailable
from legato.model.events import MessageReceived
from legato.platforms.telegram import Telegram
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.testing.clock import FakeClock
from tests.unit.deploy.test_http import update

KEY = "a passphrase of enough characters"
SECRET = "s3cret"
PRESS = json.dumps(
    {
        "update_id": 9,
        "callback_query": {"id": "77", "from": {"id": 5, "first_name": "A"}, "data": "x"},
    }
).encode()
Answer = HttpResponse | Exception


class Net(HttpClient):
    """Answers requests from a list, then with 200; keeps them."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else HttpResponse(200)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


def telegram(secret: str = SECRET) -> Telegram:
    return Telegram("123:abc", secret=secret, api="http://api", clock=FakeClock())


def router() -> Router:
    app = App("bot")

    @app.command("go")
    async def go(chat: Chat) -> None: ...

    app.finish()
    return Router(app.triggers, app.dialogs)


# -- into the queue --------------------------------------------------------------------------------


async def declared(broker: MemoryBroker) -> list[Letter]:
    """Letters as they come out of the queue."""
    queue = MemoryQueue(broker)
    await queue.open()
    await queue.declare(1, 1)
    found: list[Letter] = []
    await queue.consume(1, 0, lambda delivery: found.append(delivery.letter))
    return found


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come")


async def passing(clock: FakeClock, work: Coroutine[Any, Any, None]) -> None:
    """Does the work while time passes."""
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.sleep(0)
        clock.advance(clock.next_s() or 0.0)
    task.result()


async def test_an_update_is_published_and_a_button_is_acknowledged_after_that() -> None:
    broker, net = MemoryBroker(), Net()
    found = await declared(broker)
    published: list[int] = []

    def confirmed(letters: object) -> tuple[object, bool]:
        published.append(len(net.requests))
        return letters, True

    broker.meddle = confirmed  # type: ignore[assignment]
    carrier = ToQueue(MemoryQueue(broker), router(), net, FakeClock())
    await carrier.open()
    carrier.check(telegram())
    await carrier.carry(telegram(), PRESS)
    await carrier.carry(telegram(), update())
    await until(lambda: len(found) == 2 and len(net.requests) == 1)

    assert published == [0, 0]  # no acknowledgement before a confirm
    assert [letter.id for letter in found] == ["telegram:123:9", "telegram:123:1"]
    assert msgspec.json.decode(found[1].body, type=MessageReceived).text == "/start"
    assert "answerCallbackQuery" in net.requests[0].url
    await carrier.close()


async def test_without_a_confirm_it_is_to_be_offered_again_and_nothing_is_acknowledged() -> None:
    broker, net = MemoryBroker(), Net()
    carrier = ToQueue(MemoryQueue(broker), router(), net, FakeClock())
    await carrier.open()
    await declared(broker)
    broker.meddle = lambda letters: (letters, False)
    for body in (PRESS, update()):
        with pytest.raises(Unavailable):
            await carrier.carry(telegram(), body)
    assert net.requests == []
    await carrier.close()


async def test_what_cannot_be_read_is_published_as_dead_and_what_nobody_needs_not_at_all() -> None:
    broker = MemoryBroker()
    found = await declared(broker)
    carrier = ToQueue(MemoryQueue(broker), router(), Net(), FakeClock())
    await carrier.open()
    await carrier.carry(telegram(), b'{"update_id": 3, "poll": {}}')
    await carrier.carry(telegram(), b"{")
    await until(lambda: bool(found))
    assert [(letter.kind, letter.body) for letter in found] == [("dead", b"{")]
    await carrier.close()


# -- to a webhook ----------------------------------------------------------------------------------


def to_webhook(net: Net, key: str = "") -> ToWebhook:
    return ToWebhook("https://f.example/base/", key, net, FakeClock())


async def test_an_update_is_posted_unchanged_with_the_platforms_own_secret() -> None:
    net = Net()
    carrier = to_webhook(net)
    await carrier.open()
    await carrier.carry(telegram(), update())
    (request,) = net.requests
    assert (request.method, request.url) == ("POST", "https://f.example/base/telegram")
    assert request.body == update()
    assert request.headers["x-legato-reply"] == "none"
    assert "x-legato-signature" not in request.headers
    telegram().verify(request)
    await carrier.close()


async def test_with_a_key_it_is_signed_whatever_it_is() -> None:
    net = Net()
    await to_webhook(net, KEY).carry(telegram(""), b"@id=1 :ann PRIVMSG #ann :hi")
    (request,) = net.requests
    assert request.headers["content-type"] == "text/plain"
    check_request(telegram(""), request, KEY, FakeClock())


def test_what_would_be_refused_there_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="LEGATO_KEY or TELEGRAM_SECRET"):
        to_webhook(Net()).check(telegram(""))
    with pytest.raises(ConfigError, match="too short"):
        to_webhook(Net(), "short").check(telegram())
    to_webhook(Net()).check(telegram())
    to_webhook(Net(), KEY).check(telegram(""))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (HttpResponse(503, {"retry-after": "7"}), "503"),
        (HttpResponse(503, {"retry-after": "soon"}), "503"),
        (HttpResponse(401), "LEGATO_KEY"),
        (HttpResponse(404), "address"),
        (HttpResponse(302, {"location": "https://f.example/elsewhere"}), "302"),
        (NotSent("refused"), "refused"),
        (MaybeSent("cut"), "cut"),
    ],
)
async def test_only_2xx_means_that_it_was_taken(answer: Answer, told: str) -> None:
    with pytest.raises(Unavailable, match=told) as caught:
        await to_webhook(Net(answer)).carry(telegram(), update())
    assert caught.value.retry_after_s == (7 if "7" in str(answer) else 1)


CALL = {"method": "sendMessage", "chat_id": 5, "text": "hi"}
TAKEN = HttpResponse(200, {}, json.dumps(CALL).encode())
SENT = HttpResponse(200, {}, b'{"ok": true, "result": {"message_id": 1}}')
BUSY = HttpResponse(429, {}, b'{"ok": false, "error_code": 429, "parameters": {"retry_after": 3}}')
NEVER = HttpResponse(400, {}, b'{"ok": false, "error_code": 400, "description": "no"}')


async def test_a_call_that_rides_in_the_answer_none_the_less_is_carried_out() -> None:
    net = Net(TAKEN, SENT)
    await to_webhook(net).carry(telegram(), update())
    assert [request.url.rpartition("/")[2] for request in net.requests] == [
        "telegram",
        "sendMessage",
    ]
    assert json.loads(net.requests[1].body) == {"chat_id": 5, "text": "hi"}


async def test_it_is_tried_again_as_long_as_the_platform_says_so() -> None:
    clock = FakeClock()
    net = Net(TAKEN, BUSY, NotSent("away"), SENT)
    carrier = ToWebhook("https://f.example", "", net, clock)
    began = clock.monotonic()
    await passing(clock, carrier.carry(telegram(), update()))
    assert len(net.requests) == 4
    assert clock.monotonic() - began >= 4.0


async def test_what_the_platform_refuses_for_good_holds_nobody_up() -> None:
    net = Net(TAKEN, NEVER)
    await to_webhook(net).carry(telegram(), update())
    assert len(net.requests) == 2


async def test_a_call_that_cannot_be_sent_now_comes_again_with_the_update() -> None:
    clock = FakeClock()
    net = Net(TAKEN, *[NotSent("away")] * TRIES)
    carrier = ToWebhook("https://f.example", "", net, clock)
    with pytest.raises(Unavailable, match="sendMessage"):
        await passing(clock, carrier.carry(telegram(), update()))


async def test_an_answer_that_is_no_call_is_passed_over() -> None:
    net = Net(HttpResponse(200, {}, b"ok"))
    await to_webhook(net).carry(telegram(), update())
    assert len(net.requests) == 1
