"""Where a listener's updates go: into the queue, or to the webhook of another process.

Both return only once somebody else has the update safely, and raise Unavailable otherwise: the platform's
adapter then offers it again, after a pause, before anything later of the same chat.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

from legato.abc import Clock, HttpClient, HttpRequest, MaybeSent, NotSent, Platform, Queue
from legato.abc.observer import current_trace
from legato.app.letters import letters
from legato.app.router import Router
from legato.deploy.signature import HEADER, REPLY, signature
from legato.errors import ConfigError, Unavailable
from legato.outbox.acks import Acks
from legato.outbox.settings import RelaySettings

log: logging.Logger = logging.getLogger("legato.listen")

AT_ONCE = 40
"""Requests to a webhook at the same time: so many Telegram makes, if nobody says otherwise."""
TIMEOUT_S = 60.0
"""For an answer, which comes when the Turn is committed."""
TRIES = 5
"""How often a call that came in an answer is tried before the update is forwarded again."""
BACKOFF_S = 0.5


class Carrier(ABC):
    """Takes raw updates to where they are worked on."""

    __slots__ = ()

    @abstractmethod
    async def open(self) -> None:
        """Connects. Idempotent.

        Raises:
            Unavailable: Not now.
        """

    @property
    def ready(self) -> bool:
        """Whether updates are taken now, as far as is known without asking."""
        return True

    @abstractmethod
    def check(self, platform: Platform) -> None:
        """Raises ConfigError if updates of this platform would not be taken."""

    @abstractmethod
    async def carry(self, platform: Platform, body: bytes) -> None:
        """Returns once the update is safe.

        Raises:
            Unavailable: It is to be offered again.
        """

    @abstractmethod
    async def close(self) -> None:
        """Disconnects. Idempotent."""


class ToQueue(Carrier):
    """Publishes letters, with confirm; then acknowledges pressed buttons.

    Args:
        queue: Opened and closed here.
        router: Of the App.
        http: What acknowledgements are sent with.
        clock: Time.
    """

    __slots__ = ("_acks", "_clock", "_queue", "_router")

    def __init__(self, queue: Queue, router: Router, http: HttpClient, clock: Clock) -> None:
        self._queue = queue
        self._router = router
        self._clock = clock
        self._acks = Acks(http, clock, RelaySettings().acks, _nothing)

    async def open(self) -> None:
        await self._queue.open()

    @property
    def ready(self) -> bool:
        """See Carrier: whether there is a connection that takes letters."""
        return self._queue.ready

    def check(self, platform: Platform) -> None:
        """Every platform's updates are taken."""

    async def carry(self, platform: Platform, body: bytes) -> None:
        found, parsed = letters(platform, self._router, body, self._clock.now_ms(), current_trace())
        if found:
            await self._queue.publish(found)
        if parsed is not None:
            self._acks.send_all(platform, parsed)

    async def close(self) -> None:
        await self._acks.close()
        await self._queue.close()


def _nothing() -> None:
    """Nobody waits for acknowledgements."""


class ToWebhook(Carrier):
    """Posts updates to a function's URL, or to any other webhook endpoint of Legato.

    The request is authentic to the endpoint by the platform's own secret, where the platform has a webhook
    form, and by LEGATO_KEY. The endpoint is asked to send all by itself; if a call rides in its answer
    none the less it is carried out here.

    Args:
        url: Updates go to "{url}/{platform}".
        key: LEGATO_KEY, "" for none.
        http: What requests are sent with; not closed here.
        clock: Time.
    """

    __slots__ = ("_clock", "_gate", "_http", "_key", "_url")

    def __init__(self, url: str, key: str, http: HttpClient, clock: Clock) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._http = http
        self._clock = clock
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def open(self) -> None:
        """There is nothing to connect to before the first update."""

    async def close(self) -> None:
        """There is nothing to disconnect from."""

    def check(self, platform: Platform) -> None:
        if self._key:
            signature(platform.name, b"", self._key, 0)
        elif not platform.forwarding():
            secret = f"or {platform.name.upper()}_SECRET " if platform.name == "telegram" else ""
            raise ConfigError(
                f"updates of {platform.name} cannot be forwarded: set LEGATO_KEY {secret}to the same "
                "value here and where they go"
            )

    async def carry(self, platform: Platform, body: bytes) -> None:
        async with self._gate:
            answer = await self._post(platform, body)
            if answer:
                await self._carry_out(platform, answer)

    async def _post(self, platform: Platform, body: bytes) -> bytes:
        """The body of the answer to an update that was taken."""
        kind = "application/json" if body[:1] == b"{" else "text/plain"
        headers = {"content-type": kind, REPLY: "none"} | platform.forwarding()
        if self._key:
            headers[HEADER] = signature(platform.name, body, self._key, self._clock.now_ms())
        url = f"{self._url}/{platform.name}"
        request = HttpRequest("POST", url, headers, body, timeout_s=TIMEOUT_S)
        try:
            response = await self._http.send(request)
        except (NotSent, MaybeSent) as error:
            raise Unavailable(f"the webhook cannot be reached: {error}") from None
        if 200 <= response.status < 300:
            return response.body
        cure = {
            401: ": is the secret (or LEGATO_KEY) the same there?",
            404: f": is {platform.name} set up there, and the address right?",
        }
        why = f"the webhook answered HTTP {response.status}{cure.get(response.status, '')}"
        raise Unavailable(why, _seconds(response.headers.get("retry-after", "")))

    async def _carry_out(self, platform: Platform, answer: bytes) -> None:
        """Sends the call that came in an answer, as the platform would have done."""
        replied = platform.replied(answer)
        if replied is None:
            return
        call, place = replied
        error = ""
        for attempt in range(TRIES):
            verdict = await platform.send(call, place, self._http)
            if verdict.outcome not in ("retry", "unknown"):
                if verdict.outcome != "sent":
                    log.error("%s in an answer was not taken: %s", call.method, verdict.error)
                return
            error = verdict.error
            wait_s = max(verdict.retry_after_s, BACKOFF_S * 2**attempt)
            log.warning("%s in an answer is tried again in %g s: %s", call.method, wait_s, error)
            await self._clock.sleep(wait_s)
        raise Unavailable(f"{call.method} in an answer could not be sent: {error}")


def _seconds(text: str) -> int:
    """Of a Retry-After header; 1 if it does not tell."""
    return max(1, min(int(text), 60)) if text.isascii() and text.isdigit() else 1


__all__ = ["Carrier", "ToQueue", "ToWebhook"]
