"""The platforms that need no network pass the suite, save what only a network can do."""

import pytest

from legato.abc import HttpRequest, HttpResponse
from legato.errors import Forged
from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.console import Console
from legato.platforms.web import Web
from legato.testing.clock import FakeClock
from legato.testing.conformance.platform import PlatformConformance


class LocalConformance(PlatformConformance):
    """A platform that shows things itself: nothing is sent over HTTP, so nothing can be limited, lost
    or refused on the way."""

    def answers(self) -> dict[str, HttpResponse]:
        return {"sent": HttpResponse(200)}

    def text_of(self, call: Call) -> str:
        return str(call.params.get("text", ""))

    def test_a_genuine_request_is_accepted(self) -> None:
        with pytest.raises(Forged):  # there is none: these have no webhook
            self.platform().verify(HttpRequest("POST", "/"))

    @pytest.mark.parametrize("proof", ["", "anything"])
    def test_a_forged_request_is_refused(self, proof: str) -> None:
        with pytest.raises(Forged):
            self.platform().verify(HttpRequest("POST", "/", {"x-legato-chat": proof}))

    def test_no_secret_shows(self) -> None:
        assert self.platform().secrets == ()

    def test_a_limit_says_how_long_to_wait(self) -> None:
        assert self.platform().limits.private is None

    def test_what_was_not_sent_is_tried_again(self) -> None:
        assert self.verdict(OSError("there is no network")).outcome == "sent"

    def test_what_may_have_been_sent_is_unknown_unless_twice_does_no_harm(self) -> None:
        assert self.verdict(OSError("there is no network"), idempotent=True).outcome == "sent"


class TestConsole(LocalConformance):
    place = Address("console", "terminal", "you", "you")

    def platform(self) -> Console:
        return Console(FakeClock(), write=lambda text: None)

    def payloads(self) -> dict[str, bytes]:
        return {
            "text": b'{"id":"1-1","at_ms":1,"text":"/start now"}',
            "button": b'{"id":"1-2","at_ms":2,"data":"yes","message":"1-1"}',
            "photo": b'{"id":"1-3","text":"[photo: a.jpg] [location: 1, 2] hi"}',
        }


class TestWeb(LocalConformance):
    place = Address("web", "page", "v1", "v1")

    def platform(self) -> Web:
        return Web(FakeClock())

    def payloads(self) -> dict[str, bytes]:
        return {
            "text": b'{"id":"1-1","user":"v1","at_ms":1,"text":"/start now"}',
            "button": b'{"id":"1-2","user":"v1","at_ms":2,"data":"yes","message":"1-1"}',
            "place": b'{"id":"1-3","user":"v1","location":[1.5,2]}',
            "contact": b'{"id":"1-4","user":"v1","phone":"+1"}',
        }

    def text_of(self, call: Call) -> str:
        runs = call.params.get("runs", [])
        assert isinstance(runs, list)
        return "".join(run[0] for run in runs)
