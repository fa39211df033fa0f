"""The gateway: what is answered, when, and what is in the queue by then."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from legato.abc import Letter, Parsed
from legato.app.settings import Settings
from legato.deploy.gateway import Gateway
from legato.deploy.http import BODY_LIMIT, Message
from legato.deploy.ingress import Limits
from legato.deploy.monitoring import Monitoring
from legato.deploy.signature import HEADER, signature
from legato.errors import Unavailable
from legato.model.events import AnyEvent
from legato.model.shards import slot_of_key
from legato.platforms.telegram import Telegram
from legato.testing.clock import FakeClock
from tests.unit.deploy.asgi_kit import Answer, request, scope_of
from tests.unit.deploy.gateway_kit import (
    HASTY,
    PROOF,
    SECRET,
    Gate,
    Hasty,
    opened,
    press,
    until,
    update,
)

KEY = "a-key-of-sixteen-characters"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_an_update_becomes_a_letter_and_is_answered_with_nothing() -> None:
    async with opened() as gate:
        answer = await gate.post(update())

        assert (answer.status, answer.body, answer.done) == (200, b"", True)
        [letter] = gate.stored.letters
        assert (letter.id, letter.kind) == ("telegram:4200:1", "event")
        assert letter.slot == slot_of_key("telegram:4200:5:5:")
        event: Any = msgspec.json.decode(letter.body, type=AnyEvent)
        assert (event.id, event.command) == ("telegram:4200:1", "start")


async def test_an_update_that_comes_again_becomes_the_same_letter() -> None:
    async with opened() as gate:
        for _ in range(3):
            assert (await gate.post(update())).status == 200
        assert gate.stored.ids == ["telegram:4200:1"] * 3


async def test_events_of_one_update_are_published_together() -> None:
    seen: list[int] = []

    class Counting(Gateway):
        async def _confirmed(self, found: Sequence[Letter]) -> None:
            seen.append(len(found))
            await super()._confirmed(found)

    people = [{"id": n, "is_bot": False, "first_name": "P"} for n in (11, 12, 13)]
    async with opened(kind=Counting) as gate:
        assert (await gate.post(update(7, new_chat_members=people))).status == 200
        assert seen == [3]
        assert gate.stored.ids == ["telegram:4200:7", "telegram:4200:7.1", "telegram:4200:7.2"]


# -- never before the confirm ----------------------------------------------------------------------


class Held(Gateway):
    """Its queue confirms when it is told to."""

    confirm: asyncio.Event
    asked: int = 0

    async def _confirmed(self, found: Sequence[Letter]) -> None:
        self.asked += 1
        await self.confirm.wait()


async def answered_before_the_confirm(kind: type[Gateway]) -> bool:
    """Whether a gateway answers while its broker has not stored a thing."""
    async with opened(kind=kind) as gate:
        gate.broker.block()
        gate.queue.timeout_s = 3600
        asked = asyncio.ensure_future(gate.post(update()))
        for _ in range(50):
            await asyncio.sleep(0)
        early = asked.done() and asked.result().status == 200
        assert gate.broker.depth("bot", 1, 0).ready == 0
        gate.broker.unblock()
        assert (await asked).status == 200
        await until(lambda: not HASTY)
        assert gate.stored.ids == ["telegram:4200:1"]
        return early


async def test_nothing_is_answered_before_the_confirm() -> None:
    assert not await answered_before_the_confirm(Gateway)


async def test_the_control_answers_before_the_confirm_and_is_caught() -> None:
    assert await answered_before_the_confirm(Hasty)


async def test_a_lost_confirm_is_no_confirm() -> None:
    async with opened() as gate:
        gate.stored.confirms = False
        refused = await gate.post(update())
        gate.stored.confirms = True

        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert (await gate.post(update())).status == 200
        assert gate.stored.ids == ["telegram:4200:1"] * 2


async def test_a_broker_that_is_away_or_has_no_queue_is_no_confirm_either() -> None:
    gate = Gate()
    assert (await gate.post(update())).status == 503  # not connected yet
    await gate.queue.open()
    assert (await gate.post(update())).status == 503  # nothing is declared: unroutable
    await gate.queue.declare(1, 1)
    gate.broker.stop()
    assert (await gate.post(update())).status == 503
    gate.broker.start()
    assert (await gate.post(update())).status == 200
    await gate.close()


async def test_how_long_to_wait_is_said_by_whoever_knows() -> None:
    class Tired(Gateway):
        async def _confirmed(self, found: Sequence[Letter]) -> None:
            raise Unavailable("tired", retry_after_s=7)

    async with opened(kind=Tired) as gate:
        assert (await gate.post(update())).headers["retry-after"] == "7"


# -- who is not heard ------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"X-Telegram-Bot-Api-Secret-Token": "wrong"}])
async def test_a_forged_request_is_refused_before_it_is_parsed(headers: dict[str, str]) -> None:
    class Watched(Telegram):
        def parse(self, body: bytes) -> Parsed:
            raise AssertionError("it was parsed")

    platform = Watched("4200:token", secret=SECRET, clock=FakeClock())
    async with opened(platforms=[platform]) as gate:
        assert (await gate.post(update(), headers=headers)).status == 401
        assert gate.stored.letters == []
        assert gate.asgi.updates == 0


async def test_what_a_listener_forwards_is_taken_if_it_is_signed_with_our_key() -> None:
    clock = FakeClock()
    body = update()
    signed = {HEADER: signature("telegram", body, KEY, clock.now_ms())}
    async with opened(clock=clock, key=KEY) as gate:
        assert (await gate.post(body, headers=signed)).status == 200
        assert (await gate.post(body + b" ", headers=signed)).status == 401
        assert (await gate.post(body, headers=PROOF)).status == 200
    async with opened(clock=clock) as gate:
        assert (await gate.post(body, headers=signed)).status == 401


async def test_other_paths_and_methods_are_refused_and_their_bodies_not_read() -> None:
    async def never() -> Message:
        raise AssertionError("the body was read")

    async with opened() as gate:
        for method, path, status in (
            ("POST", "/nothing", 404),
            ("POST", "/", 404),
            ("POST", "/telegram/", 404),
            ("GET", "/telegram", 405),
            ("PUT", "/telegram", 405),
            ("GET", "/healthz", 200),
        ):
            answer = Answer()
            await gate.asgi(scope_of(method, path), never, answer.send)
            assert answer.status == status, path


async def test_other_protocols_are_refused() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async with opened() as gate:
        await gate.asgi(scope_of("GET", "/telegram", type="websocket"), receive, send)
        assert [message["type"] for message in sent] == ["websocket.close"]
        with pytest.raises(RuntimeError, match="no such thing is served"):
            await gate.asgi(scope_of("GET", "/x", type="telepathy"), receive, send)


async def test_a_bot_whose_secret_is_not_known_yet_asks_for_its_updates_again() -> None:
    async with opened() as gate:
        gate.asgi.waiting.add("telegram")
        assert (await gate.post(update())).status == 503
        gate.asgi.waiting.clear()
        assert (await gate.post(update())).status == 200


# -- what is in it ---------------------------------------------------------------------------------


async def test_a_kind_that_nobody_needs_is_acknowledged_and_counted() -> None:
    async with opened() as gate:
        assert (await gate.post(b'{"update_id": 1, "poll": {}}')).status == 200
        assert gate.stored.letters == []
        assert gate.asgi.ignored == 1


async def test_what_cannot_be_read_is_kept_and_acknowledged() -> None:
    async with opened() as gate:
        assert (await gate.post(b"{")).status == 200
        [letter] = gate.stored.letters
        assert (letter.kind, letter.body) == ("dead", b"{")
        assert gate.asgi.malformed == 1


async def test_a_challenge_is_answered_in_the_platforms_form() -> None:
    class Asking(Telegram):
        def parse(self, body: bytes) -> Parsed:
            return Parsed(reply=b"who-knows", reply_type="text/plain", kind="challenge")

    platform = Asking("4200:token", secret=SECRET, clock=FakeClock())
    async with opened(platforms=[platform]) as gate:
        answer = await gate.post(update())
        assert (answer.status, answer.body) == (200, b"who-knows")
        assert answer.headers["content-type"] == "text/plain"
        assert gate.stored.letters == []


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (TRACE, TRACE),
        (TRACE + "-future", TRACE),
        ("", ""),
        ("00-xyz", ""),
        (TRACE.upper(), ""),
        ("ff" + TRACE[2:], ""),
        ("x" * 1000, ""),
    ],
)
async def test_a_trace_goes_along_if_it_is_one(header: str, trace: str) -> None:
    async with opened() as gate:
        await gate.post(update(), headers=PROOF | {"traceparent": header})
        assert [letter.trace for letter in gate.stored.letters] == [trace]


# -- buttons ---------------------------------------------------------------------------------------


async def test_a_pressed_button_is_acknowledged_at_once_but_after_the_confirm() -> None:
    async with opened() as gate:
        gate.stored.confirms = False
        assert (await gate.post(press())).status == 503
        await asyncio.sleep(0)
        assert gate.http.calls == []
        gate.stored.confirms = True
        gate.http.gate.clear()  # nobody waits for Telegram
        assert (await gate.post(press())).status == 200
        await asyncio.sleep(0)
        assert gate.http.calls == [("answerCallbackQuery", {"callback_query_id": "q1"})]
        gate.http.gate.set()


async def test_an_acknowledgement_that_fails_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened() as gate:
        gate.http.calls = None  # type: ignore[assignment] # whatever is sent now raises
        with caplog.at_level(logging.DEBUG, "legato"):
            assert (await gate.post(press())).status == 200
            await until(lambda: not gate.acks.busy)
        assert "answerCallbackQuery was not taken" in caplog.text


# -- how much --------------------------------------------------------------------------------------


async def test_a_body_that_is_or_claims_to_be_too_long_is_refused() -> None:
    async with opened() as gate:
        answers = [
            await gate.post(*[b"x" * 300_000] * 5),
            await gate.post(b"x" * (BODY_LIMIT + 1)),
            await gate.post(b"{", headers=PROOF | {"content-length": str(BODY_LIMIT + 1)}),
            await gate.post(b"{", headers=PROOF | {"content-length": "9" * 5000}),
        ]
        assert [answer.status for answer in answers] == [413] * 4
        assert gate.stored.letters == []
        assert (await gate.post(b" " * (BODY_LIMIT - 2) + b"{}")).status == 200


async def test_more_requests_at_once_than_allowed_are_asked_to_come_again() -> None:
    async with opened(kind=Held, limits=Limits(requests=2)) as gate:
        held: Any = gate.asgi
        held.confirm = asyncio.Event()
        asked = [asyncio.ensure_future(gate.post(update(n))) for n in (1, 2)]
        await until(lambda: held.asked == 2)
        assert (await gate.post(update(3))).status == 503
        assert held.busy == 2
        held.confirm.set()
        assert [(await one).status for one in asked] == [200, 200]
        assert (await gate.post(update(3))).status == 200
        assert held.busy == 0


async def test_more_bytes_at_once_than_allowed_are_asked_to_come_again() -> None:
    async with opened(kind=Held, limits=Limits(unsafe_bytes=len(update()) + 10)) as gate:
        held: Any = gate.asgi
        held.confirm = asyncio.Event()
        asked = asyncio.ensure_future(gate.post(update(1)))
        await until(lambda: held.asked == 1)
        assert (await gate.post(update(2))).status == 503
        assert (await gate.post(b"x" * 1000, headers={})).status == 401  # forged: it costs nothing
        held.confirm.set()
        assert (await asked).status == 200
        assert (await gate.post(update(2))).status == 200


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing() -> None:
    async with opened() as gate:
        assert (await gate.post(update(), cut=True)).status == 0
        assert gate.stored.letters == []
        assert gate.asgi.busy == 0


async def test_a_flood_of_refusals_is_no_flood_of_log_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    async with opened(clock=clock) as gate:
        for _ in range(100):
            await gate.post(update(), headers={})
        clock.advance(2)
        await gate.post(update(), headers={})
    assert len(caplog.records) == 3
    assert "99 times more" in caplog.text


# -- its state -------------------------------------------------------------------------------------


async def test_it_is_ready_while_letters_are_taken() -> None:
    async with opened() as gate:
        watch = Monitoring(Settings(), FakeClock(), "gateway", "bot")
        ready = True

        async def taken() -> bool:
            return ready

        watch.health.add("queue", taken)
        front = watch.asgi(gate.asgi, ["telegram"])
        assert (await request(front, "GET", "/readyz")).status == 200
        assert (await request(front, "GET", "/healthz")).body == b"ok"
        watch.health.draining = True
        assert (await request(front, "GET", "/readyz")).status == 503
        assert (await request(front, "GET", "/healthz")).status == 200


async def test_it_counts_what_it_takes() -> None:
    async with opened() as gate:
        for body in (update(1), update(2), b"{", b'{"update_id": 3}'):
            await gate.post(body)
        found = {sample.name: sample.value for sample in gate.asgi.samples()}
    assert found["legato_updates_total"] == 4
    assert found["legato_ignored_updates_total"] == 1
    assert found["legato_malformed_updates_total"] == 1
    assert found["legato_busy_updates"] == 0


def test_the_kit_makes_json() -> None:
    assert json.loads(update(3, "x", 9))["message"]["from"]["id"] == 9
