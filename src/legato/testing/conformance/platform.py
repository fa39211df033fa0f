"""What every Platform must do, as tests: subclass `PlatformConformance` and say what is yours.

class TestTelegram(PlatformConformance):
    proofs = ("x-telegram-bot-api-secret-token",)

    def platform(self) -> Telegram:
        return Telegram("4200:token", secret="secret")

    ...
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

import msgspec
import pytest

from legato.abc import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent, Platform, Verdict
from legato.abc.redaction import redacted
from legato.errors import Forged, Malformed, Misuse, Unsupported
from legato.model.events import Address
from legato.model.messages import Button, Message, Pin, React, Send, Typing
from legato.model.records import Call
from legato.testing.conformance._outgoing import (
    OUTGOING,
    ROWS,
    long_texts,
    mutations,
)
from legato.testing.conformance.forgeries import FORGERIES, forge

OUTCOMES = frozenset(("sent", "retry", "unknown", "gone", "refused"))


class ScriptedHttp(HttpClient):
    """Answers every request with the same response, or raises the same exception.

    Attributes:
        answer: What `send` returns or raises.
        requests: What was sent.
    """

    def __init__(self, answer: HttpResponse | Exception) -> None:
        self.answer = answer
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise ValueError("nothing can be downloaded here")

    async def close(self) -> None:
        return


class PlatformConformance(ABC):
    """The suite. Its tests run without an event loop of the test runner.

    Attributes:
        place: A chat to send to.
        room: A group to send to, None where the platform has only private chats.
        proofs: The headers (lower case) by which a genuine request is known. () where there is no
            webhook.
    """

    place: Address = Address("test", "4200", "5001", "5001")
    room: Address | None = None
    proofs: tuple[str, ...] = ()

    @abstractmethod
    def platform(self) -> Platform:
        """A new platform, with secrets that are nowhere else."""

    @abstractmethod
    def payloads(self) -> dict[str, bytes]:
        """Real updates by name, of every kind that the platform has."""

    @abstractmethod
    def text_of(self, call: Call) -> str:
        """The text that a rendered call shows, "" if none."""

    @abstractmethod
    def answers(self) -> dict[str, HttpResponse]:
        """The platform's responses: "sent" (its call shows a message), "limited" (try again in some
        seconds), "broken" (its own failure: not carried out), "gone" and "refused".
        """

    def twins(self) -> list[tuple[bytes, ...]]:
        """Updates that tell of the same thing, where the platform has several ways to tell it."""
        return []

    def genuine(self) -> HttpRequest:
        """A webhook request that `platform()` accepts; only asked for where there are `proofs`."""
        raise AssertionError("say in `genuine` what an authentic request looks like")

    # -- in -----------------------------------------------------------------------------------

    def test_every_payload_parses_and_says_its_kind(self) -> None:
        platform = self.platform()
        for name, body in self.payloads().items():
            parsed = platform.parse(body)
            assert parsed.kind, f"{name}: no kind"
            assert msgspec.json.encode(parsed.events), name

    def test_most_payloads_give_events_that_know_where_they_happened(self) -> None:
        platform = self.platform()
        found = [e for body in self.payloads().values() for e in platform.parse(body).events]
        assert found
        for event in found:
            assert event.place.platform == platform.name
            assert event.place.bot == platform.bot
            assert event.place.chat
            if event.user is not None:
                assert event.user.id
                assert event.user.name

    def test_ids_are_unique_and_the_same_when_an_update_is_repeated(self) -> None:
        first = [
            e.id for body in self.payloads().values() for e in self.platform().parse(body).events
        ]
        again = [
            e.id for body in self.payloads().values() for e in self.platform().parse(body).events
        ]
        assert first == again
        assert len(set(first)) == len(first)
        prefix = f"{self.platform().name}:{self.platform().bot}:"
        assert all(event_id.startswith(prefix) for event_id in first)

    def test_the_same_thing_told_in_several_ways_is_the_same_event(self) -> None:
        for bodies in self.twins():
            told = [self.platform().parse(body).events for body in bodies]
            alike = [[msgspec.structs.replace(e, at_ms=0) for e in events] for events in told]
            assert told[0]
            assert all(events == alike[0] for events in alike)

    def test_what_answers_a_request_says_what_it_is(self) -> None:
        for name, body in self.payloads().items():
            parsed = self.platform().parse(body)
            if parsed.reply is not None:
                assert "/" in parsed.reply_type, name

    def test_a_hostile_body_is_malformed_or_an_event_and_nothing_else(self) -> None:
        platform = self.platform()
        for name, body in self.payloads().items():
            for what, hostile in mutations(body):
                try:
                    platform.parse(hostile)
                except Malformed as error:
                    if len(str(error)) > 2_000:
                        pytest.fail(f"{name} with {what}: the error repeats the body")
                except BaseException as error:  # noqa: BLE001 # that is what is tested
                    pytest.fail(f"{name} with {what} raised {error!r}")

    def test_a_genuine_request_is_accepted_and_one_without_proof_never(self) -> None:
        if self.proofs:
            self.platform().verify(self.genuine())
        with pytest.raises(Forged):
            self.platform().verify(HttpRequest("POST", f"/{self.platform().name}", body=b"{}"))

    @pytest.mark.parametrize("how", FORGERIES)
    def test_a_forged_request_is_refused(self, how: str) -> None:
        genuine = self.genuine()
        for header in self.proofs:
            forged = forge(how, genuine, header)
            if forged is not None:
                with pytest.raises(Forged):
                    self.platform().verify(forged)

    # -- out ----------------------------------------------------------------------------------

    def places(self) -> list[Address]:
        """Where things are sent."""
        found = [self.place] if self.room is None else [self.place, self.room]
        platform = self.platform()
        return [msgspec.structs.replace(p, platform=platform.name, bot=platform.bot) for p in found]

    @pytest.mark.parametrize("what", OUTGOING)
    def test_everything_renders_to_plain_calls_or_is_unsupported(self, what: str) -> None:
        for place in self.places():
            try:
                calls = self.platform().render(OUTGOING[what], place)
            except Unsupported as error:
                if not str(error):
                    pytest.fail("say what is not supported")
                continue
            assert calls or isinstance(OUTGOING[what], Typing)
            for call in calls:
                assert msgspec.json.decode(msgspec.json.encode(call), type=Call) == call
                assert bool(call.target) == bool(call.fill)
                assert not call.target or call.target.startswith("ref:")
            if isinstance(OUTGOING[what], Send):
                assert calls[-1].result == "message"

    @pytest.mark.parametrize("what", OUTGOING)
    def test_rendering_is_pure(self, what: str) -> None:
        def rendered(platform: Platform) -> list[Call] | str:
            try:
                return platform.render(OUTGOING[what], self.places()[0])
            except Unsupported as error:
                return str(error)

        platform = self.platform()
        assert rendered(platform) == rendered(platform) == rendered(self.platform())

    @pytest.mark.parametrize("format", ["", "markdown"])
    def test_a_long_text_loses_no_character(self, format: str) -> None:
        # Numbered buttons would stand behind the text.
        rows = ROWS[:1] if self.platform().capabilities.buttons else ()
        for text in long_texts():
            message = Message(text, format, buttons=rows)
            calls = self.platform().render(Send(message), self.places()[0])
            shown = "".join(self.text_of(call) for call in calls)
            assert "".join(shown.split()) == "".join(text.split())

    def shown(self, message: Message, place: Address) -> str:
        """All that a message shows."""
        calls = self.platform().render(Send(message), place)
        return "\n".join(self.text_of(call) for call in calls)

    def test_where_there_are_no_buttons_they_are_numbered(self) -> None:
        if self.platform().capabilities.buttons:
            return
        for place in self.places():
            shown = self.shown(Message("Sure?", buttons=ROWS), place)
            for words in ("Sure?", "1", "Yes", "2", "No", "Page", "https://example.org"):
                assert words in shown
                shown = shown.partition(words)[2]

    def test_in_a_loud_room_whom_it_is_for_is_named(self) -> None:
        if not self.platform().capabilities.public:
            return
        for place in self.places():
            assert self.shown(Message("Your turn", mention="@ann"), place).startswith("@ann")
            every = self.platform().render(Send(Message("word " * 5_000, mention="@ann")), place)
            assert all(self.text_of(call).startswith("@ann") for call in every)

    def test_what_the_platform_cannot_is_not_pretended(self) -> None:
        platform, place = self.platform(), self.places()[0]
        able = platform.capabilities
        for out, can in ((React("17", "👍"), able.react), (Pin("17"), able.pin)):
            if not can:
                with pytest.raises(Unsupported):
                    platform.render(out, place)
        if not able.typing:
            assert platform.render(Typing(), place) == []

    def test_a_limit_is_a_number_of_messages_within_a_time(self) -> None:
        platform = self.platform()
        for place in self.places():
            for call in platform.render(OUTGOING["a text"], place):
                count, seconds = platform.limit(call, place) or (1, 1.0)
                assert count > 0
                assert seconds > 0

    def test_it_says_how_it_hears(self) -> None:
        for public_url in ("", "https://bot.example.org"):
            assert self.platform().way(public_url)
        assert self.platform().listens("")

    def test_a_button_that_carries_too_much_is_refused_with_the_cure_or_fits(self) -> None:
        message = Message("Choose", buttons=((Button("A", data="x" * 5_000),),))
        try:
            self.platform().render(Send(message), self.places()[0])
        except (Misuse, Unsupported) as error:
            said = str(error)
        else:
            return
        assert "data" in said

    # -- verdicts -----------------------------------------------------------------------------

    def verdict(self, answer: HttpResponse | Exception, *, idempotent: bool = False) -> Verdict:
        """What sending a text comes to if HTTP ends like this."""
        platform, place = self.platform(), self.places()[0]
        call = platform.render(OUTGOING["a text"], place)[-1]
        call = msgspec.structs.replace(call, idempotent=idempotent)
        return asyncio.run(platform.send(call, place, ScriptedHttp(answer)))

    def test_a_message_sent_has_an_id(self) -> None:
        verdict = self.verdict(self.answers()["sent"])
        assert verdict.outcome == "sent"
        assert verdict.message_id

    def test_a_limit_says_how_long_to_wait(self) -> None:
        verdict = self.verdict(self.answers()["limited"])
        assert verdict.outcome == "retry"
        assert verdict.retry_after_s > 0

    @pytest.mark.parametrize(
        ("name", "outcome"), [("broken", "retry"), ("gone", "gone"), ("refused", "refused")]
    )
    def test_a_refusal_is_understood(self, name: str, outcome: str) -> None:
        answers = self.answers()
        if name in answers:
            verdict = self.verdict(answers[name])
            assert verdict.outcome == outcome
            assert verdict.error

    def test_what_was_not_sent_is_tried_again(self) -> None:
        assert self.verdict(NotSent("refused")).outcome == "retry"
        assert self.verdict(NotSent("refused"), idempotent=True).outcome == "retry"

    def test_what_may_have_been_sent_is_unknown_unless_twice_does_no_harm(self) -> None:
        assert self.verdict(MaybeSent("timed out")).outcome in ("unknown", "retry")
        assert self.verdict(MaybeSent("timed out"), idempotent=True).outcome == "retry"

    def test_no_answer_however_odd_makes_send_raise(self) -> None:
        bodies = (
            b"",
            b"<html>",
            b"[]",
            b"null",
            b"\xff",
            b"[" * 100_000,
            b'{"ok":1}',
            b"{}",
            b"x" * 10_000,
        )
        for status in (200, 204, 301, 400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504):
            for body in bodies:
                verdict = self.verdict(HttpResponse(status, body=body))
                assert verdict.outcome in OUTCOMES
                assert len(verdict.error) <= 500

    # -- secrets ------------------------------------------------------------------------------

    def test_no_secret_shows(self) -> None:
        platform = self.platform()
        assert platform.secrets, "name your secrets, so that they can be kept out of logs"
        secret = max(platform.secrets, key=len)
        shown = [repr(platform), str(platform)]
        shown.append(repr(platform.render(OUTGOING["a text"], self.places()[0])))
        leaking = f"cannot connect to https://example.org/bot{secret}/x"
        ends: list[HttpResponse | Exception] = [NotSent(leaking), MaybeSent(leaking)]
        shown += [repr(self.verdict(end)) for end in (*ends, *self.answers().values())]
        for header in self.proofs:
            for how in FORGERIES:
                forged = forge(how, self.genuine(), header)
                if forged is not None:
                    with pytest.raises(Forged) as caught:
                        platform.verify(forged)
                    shown.append(repr(caught.value))
        for text in shown:
            assert not [s for s in platform.secrets if s in text], redacted(text, platform.secrets)


__all__ = ["OUTGOING", "PlatformConformance", "ScriptedHttp"]
