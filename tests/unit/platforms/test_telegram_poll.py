"""What the poller does with answers that Telegram would hardly give."""

import asyncio

import msgspec
import pytest

from legato.abc import HttpRequest, HttpResponse
from legato.errors import BadToken
from legato.platforms.telegram import Telegram
from legato.stores.memory import MemoryStore
from legato.testing.conformance.platform import ScriptedHttp

REFUSED = HttpResponse(401, body=b'{"ok":false,"error_code":401,"description":"Unauthorized"}')


class Pages(ScriptedHttp):
    """Answers with one page after another, and refuses the token after the last."""

    def __init__(self, *pages: bytes) -> None:
        super().__init__(REFUSED)
        self._pages = list(pages)

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if not self._pages:
            return REFUSED
        return HttpResponse(200, body=b'{"ok":true,"result":%b}' % self._pages.pop(0))


def polled(*pages: bytes) -> tuple[list[bytes], list[int], int]:
    """(what the sink got, offsets asked for, unreadable updates)."""
    taken: list[bytes] = []

    async def sink(body: bytes) -> None:
        taken.append(body)

    http, telegram = Pages(*pages), Telegram("4200:abcdef")
    with pytest.raises(BadToken):
        asyncio.run(telegram.listen(sink, http, MemoryStore()))
    offsets = [msgspec.json.decode(request.body).get("offset", 0) for request in http.requests]
    return taken, offsets, telegram.malformed


def test_an_update_without_a_number_is_passed_over_and_the_next_confirmed() -> None:
    taken, offsets, malformed = polled(b'[{"x":1}, 5, {"update_id":7,"message":{"chat":{"id":1}}}]')

    assert taken == [b'{"update_id":7,"message":{"chat":{"id":1}}}']
    assert offsets == [0, 8]
    assert malformed == 2


@pytest.mark.parametrize(
    "update",
    [
        b'{"update_id":7}',
        b'{"update_id":7,"message":"odd"}',
        b'{"update_id":7,"message":{"chat":{"id":"x"}}}',
        b'{"update_id":7,"callback_query":{}}',
        b'{"update_id":7,"callback_query":{"from":{"id":5}}}',
        b'{"update_id":7,"inline_query":{"id":"1"}}',
    ],
)
def test_an_update_of_no_chat_reaches_the_sink_all_the_same(update: bytes) -> None:
    assert polled(b"[%b]" % update) == ([update], [0, 8], 0)


def test_an_update_that_is_still_being_worked_on_is_not_handed_out_twice() -> None:
    one, two = b'{"update_id":1,"message":{"chat":{"id":1}}}', b'{"update_id":2}'
    taken, offsets, _ = polled(b"[%b]" % one, b"[%b,%b]" % (two, two))

    assert taken == [one, two]
    assert offsets == [0, 2, 3]


def test_what_is_asked_for_is_said_with_every_request() -> None:
    http = Pages()
    with pytest.raises(BadToken):
        asyncio.run(
            Telegram("4200:abcdef", poll_s=25, updates=("message",)).listen(
                lambda _body: asyncio.sleep(0), http, MemoryStore()
            )
        )
    (request,) = http.requests
    assert msgspec.json.decode(request.body) == {"timeout": 25, "allowed_updates": ["message"]}
    assert request.timeout_s == 35
