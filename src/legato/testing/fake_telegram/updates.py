"""Updates on their way to the bot: kept, fetched by long polling or posted to a webhook."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from random import Random

import msgspec
from msgspec import Struct

from legato.testing._http import Poster
from legato.testing.fake_telegram.forms import Params
from legato.testing.fake_telegram.world import ApiError, Json, World

_UNASKED = frozenset(("chat_member", "message_reaction", "message_reaction_count"))
"""Kinds that must be named in allowed_updates."""
LONGEST_S = 50


class Update(Struct, eq=False):
    """One update that the bot has not confirmed."""

    id: int
    lane: str
    body: bytes


class Webhook(Struct):
    """What setWebhook set."""

    url: str
    secret: str
    max_connections: int


class Updates:
    """The queue of one bot.

    Attributes:
        pending: Not confirmed or delivered yet, by id.
        repeats: The answers to so many requests per update get lost, so that it is posted again.
        repeat_polls: So many coming getUpdates repeat what is confirmed already.
        deliveries: (update id, status or 0 if there was no answer) of each webhook request.
        answer_within_s: Real seconds that a webhook request may take.
        second: How long a second takes here, in seconds.
    """

    def __init__(
        self, world: World, carry_out: Callable[[str, bytes], None], second: float
    ) -> None:
        self.pending: dict[int, Update] = {}
        self.webhook: Webhook | None = None
        self.repeats: int = 0
        self.repeat_polls: int = 0
        self.deliveries: list[tuple[int, int]] = []
        self.answer_within_s: float = 60.0
        self.second: float = second
        self._world = world
        self._carry_out = carry_out
        self._next = 100_000
        self._allowed: list[str] = []
        self._recent: deque[Update] = deque(maxlen=100)
        self._poller: asyncio.Future[None] | None = None
        self._poster = Poster()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(40)
        self._held: list[str] | None = None
        self._error: Json = {}

    def add(self, kind: str, payload: Json, lane: str) -> int:
        """Queues an update, if the bot asked for this kind; returns its id, 0 if it did not."""
        wanted = kind in self._allowed if self._allowed else kind not in _UNASKED
        if not wanted:
            return 0
        self._next += 1
        body = msgspec.json.encode({"update_id": self._next, kind: payload})
        self.pending[self._next] = Update(self._next, lane, body)
        if self._poller is not None and self.polling:
            self._poller.set_result(None)
        self._start(lane)
        return self._next

    @property
    def polling(self) -> bool:
        """Whether a getUpdates waits for updates."""
        return self._poller is not None and not self._poller.done()

    def allow(self, params: Params) -> None:
        """Takes over allowed_updates where a call has it."""
        kinds = params.get("allowed_updates")
        if isinstance(kinds, list):
            self._allowed = [str(kind) for kind in kinds]

    # -- long polling -------------------------------------------------------------------------

    async def poll(self, params: Params) -> list[msgspec.Raw]:
        """The result of getUpdates."""
        self.refuse_poll_with_webhook()
        self.allow(params)
        if self._poller is not None and self.polling:
            self._poller.set_exception(
                ApiError(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot "
                    "instance is running",
                )
            )
        offset, limit = _int(params, "offset", 0), _int(params, "limit", 100)
        self._confirm(offset)
        batch = list(self.pending.values())
        if self.repeat_polls > 0:
            self.repeat_polls -= 1
            batch = [*self._recent, *batch]
        timeout = min(_int(params, "timeout", 0), LONGEST_S)
        if not batch and timeout > 0:
            batch = await self._await_updates(timeout)
        return [msgspec.Raw(update.body) for update in batch[: min(max(limit, 1), 100)]]

    def refuse_poll_with_webhook(self) -> None:
        """Raises the 409 of getUpdates beside a webhook."""
        if self.webhook is not None:
            raise ApiError(
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook "
                "to delete the webhook first",
            )

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            offset = sorted(self.pending)[offset:][0] if self.pending else 0
        for update_id in [i for i in self.pending if i < offset]:
            self._recent.append(self.pending.pop(update_id))

    async def _await_updates(self, timeout: int) -> list[Update]:
        poller = self._poller = asyncio.get_running_loop().create_future()
        self._world.changed()
        try:
            async with asyncio.timeout(timeout * self.second):
                await poller
        except TimeoutError:
            pass
        finally:
            if self._poller is poller:
                self._poller = None
        return list(self.pending.values())

    # -- webhook ------------------------------------------------------------------------------

    def set_webhook(self, params: Params) -> None:
        """Begins to post (or, without an url, ends it)."""
        url = str(params.get("url", ""))
        if params.get("drop_pending_updates"):
            self.pending.clear()
        self.allow(params)
        if not url:
            self.webhook = None
            return
        loopback = url.startswith(("http://127.0.0.1", "http://localhost"))
        if not url.startswith("https://") and not loopback:
            raise ApiError(
                400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"
            )
        secret = str(params.get("secret_token", ""))
        if not all(c.isascii() and (c.isalnum() or c in "_-") for c in secret) or len(secret) > 256:
            raise ApiError(400, "Bad Request: secret token contains unallowed characters")
        if self._poller is not None and self.polling:
            self._poller.set_exception(ApiError(409, "Conflict: terminated by setWebhook request"))
        connections = _int(params, "max_connections", 40)
        self.webhook = Webhook(url, secret, connections)
        self._slots = asyncio.Semaphore(connections)
        for lane in {update.lane for update in self.pending.values()}:
            self._start(lane)

    def info(self) -> Json:
        """The result of getWebhookInfo."""
        found: Json = {
            "url": self.webhook.url if self.webhook else "",
            "has_custom_certificate": False,
            "pending_update_count": len(self.pending),
        }
        if self.webhook is not None:
            found["max_connections"] = self.webhook.max_connections
        if self._allowed:
            found["allowed_updates"] = self._allowed
        return found | self._error

    def hold(self) -> None:
        """Posts nothing until `release`."""
        self._held = []

    def release(self, seed: int = 0) -> None:
        """Posts what was held; the chats come in an order by `seed`, each in its own order."""
        lanes = self._held or []
        self._held = None
        Random(seed).shuffle(lanes)  # nosec B311
        for lane in lanes:
            self._start(lane)

    def _start(self, lane: str) -> None:
        if self.webhook is None or lane in self._lanes:
            return
        if self._held is not None:
            if lane not in self._held:
                self._held.append(lane)
            return
        self._lanes[lane] = asyncio.get_running_loop().create_task(self._serve(lane))

    async def _serve(self, lane: str) -> None:
        """Posts the updates of one lane, one at a time, each until it is answered with 2xx."""
        failures = 0
        try:
            while self.webhook is not None:
                update = next((u for u in self.pending.values() if u.lane == lane), None)
                if update is None:
                    return
                async with self._slots:
                    retry_after = await self._deliver(self.webhook, update)
                if retry_after is None:
                    failures = 0
                    continue
                wait = retry_after or min(60.0, 2.0 ** max(0, failures - 1))
                failures += 1
                await asyncio.sleep(wait * self.second)
        finally:
            del self._lanes[lane]

    async def _deliver(self, webhook: Webhook, update: Update) -> float | None:
        """None once it is delivered, else the seconds of Retry-After (0: none)."""
        headers = {"content-type": "application/json", "user-agent": "TelegramBot (fake)"}
        if webhook.secret:
            headers["x-telegram-bot-api-secret-token"] = webhook.secret
        wait: float | None = 0.0
        for left in range(self.repeats, -1, -1):
            wait = await self._post(webhook, headers, update, lost=left > 0)
            self._world.changed()
        return wait

    async def _post(
        self, webhook: Webhook, headers: dict[str, str], update: Update, *, lost: bool
    ) -> float | None:
        """One request. If `lost`, its answer does not reach Telegram."""
        try:
            async with asyncio.timeout(self.answer_within_s):
                status, answer, body = await self._poster.post(webhook.url, headers, update.body)
        except (OSError, TimeoutError) as error:
            self._failed(f"Connection failed: {type(error).__name__}")
            self.deliveries.append((update.id, 0))
            return 0.0
        self.deliveries.append((update.id, status))
        if lost:
            return 0.0
        if 200 <= status < 300:
            self.pending.pop(update.id, None)
            if body:
                self._carry_out(answer.get("content-type", ""), body)
            return None
        self._failed(f"Wrong response from the webhook: {status}")
        after = answer.get("retry-after", "")
        return float(after) if after.isdigit() else 0.0

    def _failed(self, why: str) -> None:
        self._error = {"last_error_date": int(time.time()), "last_error_message": why}

    async def close(self) -> None:
        """Stops posting."""
        tasks = list(self._lanes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._poster.close()


def _int(params: Params, name: str, default: int) -> int:
    value = params.get(name, default)
    try:
        return int(str(value))
    except ValueError:
        raise ApiError(400, f"Bad Request: {name} must be an integer") from None
