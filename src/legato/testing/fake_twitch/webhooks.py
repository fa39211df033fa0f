"""EventSub over webhooks: signed requests, repeated until they are answered.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events (read 2026-11-29).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from legato.testing._http import Poster
from legato.testing._stage import inside
from legato.testing.fake_twitch.payloads import timestamp
from legato.testing.fake_twitch.world import Json, World

if TYPE_CHECKING:
    from legato.testing.fake_twitch.eventsub import Subscription

CONNECTIONS = 40
ATTEMPTS = 8


class Delivery(Struct, eq=False):
    """One request to a callback.

    Attributes:
        message_id: Twitch-Eventsub-Message-Id.
        kind: "notification", "webhook_callback_verification" or "revocation".
        body: Its body.
        status: What it was answered with; 0: not (yet) at all.
        answer: Body of the answer.
    """

    message_id: str
    kind: str
    body: bytes
    status: int = 0
    answer: bytes = b""


class _Message(Struct, eq=False):
    subscription: Subscription
    kind: str
    message_id: str
    body: bytes
    sent_at: str


def signature(secret: str, message_id: str, sent_at: str, body: bytes) -> str:
    """The header Twitch-Eventsub-Message-Signature."""
    digest = hmac.new(secret.encode(), f"{message_id}{sent_at}".encode() + body, "sha256")
    return f"sha256={digest.hexdigest()}"


class Webhooks:
    """Sends to callbacks: what one person said in order, what several said at the same time.

    Attributes:
        deliveries: Every request, in order.
        answer_within_s: Real seconds that a request may take.
        attempts: How often a notification is sent before it is given up.
        failures_allowed: So many notifications in a row may be given up before the subscription is
            revoked.
        loses: The answers to so many requests per message get lost, so that it comes again.
        sent_at: What Twitch-Eventsub-Message-Timestamp says; "" = the truth.
    """

    def __init__(self, world: World, end: Callable[[Subscription, str], None]) -> None:
        self.world: World = world
        self._end = end
        self.deliveries: list[Delivery] = []
        self.answer_within_s: float = 10.0
        self.attempts: int = ATTEMPTS
        self.failures_allowed: int = 3
        self.loses: int = 0
        self.sent_at: str = ""
        self._poster = Poster()
        self._lanes: dict[tuple[str, str], list[_Message]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._failures: dict[str, int] = {}
        self._held: list[tuple[str, str]] | None = None

    @inside
    def hold(self) -> None:
        """Sends nothing until `release`."""
        self._held = []

    @inside
    def release(self) -> None:
        """Sends what was held."""
        lanes, self._held = self._held or [], None
        for lane in lanes:
            self._start(lane)

    @property
    def idle(self) -> bool:
        """Whether everything is delivered or given up."""
        return not self._lanes

    def post(
        self,
        subscription: Subscription,
        kind: str,
        message_id: str,
        body: Json,
        lane: str,
    ) -> None:
        """Queues one message."""
        raw, sent_at = msgspec.json.encode(body), self.sent_at or timestamp()
        message = _Message(subscription, kind, message_id, raw, sent_at)
        key = (subscription.id, lane)
        begun = key in self._lanes
        self._lanes.setdefault(key, []).append(message)
        if not begun:
            self._start(key)

    def verify(self, subscription: Subscription) -> None:
        """Asks the callback whether it wants a new subscription."""
        challenge = f"challenge-{self.world.uuid()}"
        body: Json = {"challenge": challenge, "subscription": subscription.json()}
        kind = "webhook_callback_verification"
        self.post(subscription, kind, self.world.uuid(), body, "verify")

    def _start(self, lane: tuple[str, str]) -> None:
        if self._held is not None:
            self._held.append(lane)
            return
        task = asyncio.get_running_loop().create_task(self._serve(lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, lane: tuple[str, str]) -> None:
        queue = self._lanes[lane]
        while queue:
            message = queue[0]
            if message.kind == "webhook_callback_verification":
                await self._challenge(message)
            else:
                await self._notify(message)
            queue.pop(0)
        del self._lanes[lane]
        self.world.changed()

    async def _challenge(self, message: _Message) -> None:
        delivery, headers = await self._send(message, 0)
        wanted = msgspec.json.decode(message.body)["challenge"].encode()
        answered = 200 <= delivery.status < 300 and delivery.answer == wanted
        kind = headers.get("content-type", "text/plain")
        if answered and not kind.startswith("text/plain"):
            self.world.violated(f"a challenge was answered as {kind}, not as plain text")
        if message.subscription.status == "webhook_callback_verification_pending":
            failed = "webhook_callback_verification_failed"
            message.subscription.status = "enabled" if answered else failed

    async def _notify(self, message: _Message) -> None:
        subscription = message.subscription
        for attempt in range(self.attempts):
            if message.kind == "notification" and not subscription.enabled:
                return
            delivery, _ = await self._send(message, attempt)
            if 200 <= delivery.status < 300 and attempt >= self.loses:
                self._failures[subscription.id] = 0
                return
            if message.kind == "revocation":
                return
            await asyncio.sleep(min(60.0, 2.0**attempt) * self.world.second)
        failures = self._failures[subscription.id] = self._failures.get(subscription.id, 0) + 1
        if failures >= self.failures_allowed and subscription.enabled:
            self._end(subscription, "notification_failures_exceeded")

    async def _send(self, message: _Message, attempt: int) -> tuple[Delivery, dict[str, str]]:
        subscription = message.subscription
        signed = signature(subscription.secret, message.message_id, message.sent_at, message.body)
        headers = {
            "content-type": "application/json",
            "twitch-eventsub-message-id": message.message_id,
            "twitch-eventsub-message-retry": str(attempt),
            "twitch-eventsub-message-type": message.kind,
            "twitch-eventsub-message-signature": signed,
            "twitch-eventsub-message-timestamp": message.sent_at,
            "twitch-eventsub-subscription-type": subscription.type,
            "twitch-eventsub-subscription-version": subscription.version,
        }
        delivery = Delivery(message.message_id, message.kind, message.body)
        self.deliveries.append(delivery)
        answer: dict[str, str] = {}
        async with self._slots:
            try:
                async with asyncio.timeout(self.answer_within_s):
                    url = str(subscription.transport["callback"])
                    found = await self._poster.post(url, headers, message.body)
                    delivery.status, answer, delivery.answer = found
            except (OSError, TimeoutError):
                delivery.status = 0
        self.world.changed()
        return delivery, answer

    async def close(self) -> None:
        """Stops sending."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._poster.close()
