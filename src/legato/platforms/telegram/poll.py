"""Long polling: every update reaches the sink, per chat in order, and is confirmed after that."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from legato.abc.clock import Clock
from legato.abc.http import HttpClient, HttpRequest, MaybeSent, NotSent
from legato.abc.platform import Sink
from legato.errors import BadToken, Malformed, StoreUnavailable, Unavailable
from legato.platforms.telegram.wire import Id, Parameters

_log = logging.getLogger("legato.telegram")

GRACE_S = 0.05
"""How long updates may take before the next request goes out; Telegram then repeats the unfinished
ones, so it doubles up to `GRACE_LIMIT_S` while nothing new comes."""
GRACE_LIMIT_S = 1.0
BACKOFF_S = 0.5
BACKOFF_LIMIT_S = 30.0
OFFERS = 3
"""The pause before an update is offered again grows no further than for so many failures (4 s): it waits
for something of our own, and whoever wrote it waits, too."""


class _Where(Struct):
    id: Id = 0


class _Message(Struct):
    chat: _Where | None = None


class _Press(Struct, rename={"from_": "from"}):
    message: _Message | None = None
    from_: _Where | None = None


class _Peek(Struct):
    """Of an update, which chat it belongs to."""

    message: _Message | None = None
    edited_message: _Message | None = None
    channel_post: _Message | None = None
    edited_channel_post: _Message | None = None
    my_chat_member: _Message | None = None
    chat_member: _Message | None = None
    message_reaction: _Message | None = None
    callback_query: _Press | None = None


class _Numbered(Struct):
    update_id: Id


class _Updates(Struct):
    ok: bool
    result: list[Raw] = []
    description: str = ""
    parameters: Parameters | None = None


_peek = msgspec.json.Decoder(_Peek)
_number = msgspec.json.Decoder(_Numbered)
_updates = msgspec.json.Decoder(_Updates)
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Counting(Protocol):
    """What the poller counts into."""

    malformed: int


class Poller:
    """One bot's long polling.

    Telegram forgets an update once a higher `offset` is asked for. So the offset never passes an
    update that the sink has not taken; meanwhile later ones (at most 100, Telegram's page) go on to
    the sink, each chat in its order. Whatever a crash leaves unconfirmed comes again, and the ids
    of the events tell.
    """

    __slots__ = (
        "_clock",
        "_counts",
        "_failure",
        "_http",
        "_lanes",
        "_offset",
        "_request",
        "_settled",
        "_sink",
        "_tasks",
        "_window",
    )

    def __init__(
        self,
        counts: Counting,
        request: Callable[[int], HttpRequest],
        sink: Sink,
        http: HttpClient,
        clock: Clock,
    ) -> None:
        self._counts = counts
        self._request = request
        self._sink = sink
        self._http = http
        self._clock = clock
        self._offset = 0
        self._window: dict[int, bool] = {}  # id of each unconfirmed update -> whether it is taken
        self._lanes: dict[int, deque[tuple[int, bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()  # all of the window is taken, or a lane failed
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Polls until cancelled.

        Raises:
            BadToken: Telegram refused the token.
        """
        failures, grace_s = 0, GRACE_S
        try:
            while self._failure is None:
                self._confirm()
                found = await self._poll(failures)
                if found is None:
                    failures += 1
                    continue
                failures = 0
                fresh = self._hand_out(found)
                if not self._window and not found:
                    # All is confirmed. After a week without updates Telegram counts from another
                    # number, and an offset above it would hide the new ones.
                    self._offset = 0
                grace_s = GRACE_S if fresh else min(GRACE_LIMIT_S, grace_s * 2)
                await self._wait(grace_s)
            raise self._failure
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _confirm(self) -> None:
        """Moves the offset past the updates that are taken, up to the first that is not."""
        for update_id, taken in list(self._window.items()):
            if not taken:
                break
            del self._window[update_id]
            self._offset = update_id + 1

    async def _wait(self, grace_s: float) -> None:
        if self._window and not self._settled.is_set():
            try:
                # Not wait_for: before Python 3.12 it may swallow a cancellation.
                async with asyncio.timeout(grace_s):
                    await self._settled.wait()
            except TimeoutError:
                pass

    # -- asking -------------------------------------------------------------------------------

    async def _poll(self, failures: int) -> list[Raw] | None:
        """One request; None if it failed, after the pause that this calls for."""
        try:
            response = await self._http.send(self._request(self._offset))
        except (NotSent, MaybeSent) as error:
            await self._pause(failures, f"Telegram cannot be reached ({error})")
            return None
        try:
            answer = _updates.decode(response.body)
        except _UNREADABLE:
            answer = None
        if answer is not None and answer.ok:
            return answer.result
        if answer is not None and response.status in (401, 404):
            raise BadToken("Telegram refused the token: check TELEGRAM_TOKEN")
        if response.status == 409:
            said = answer.description if answer is not None else ""
            await self._conflict(failures, webhook="webhook" in said)
            return None
        wait = answer.parameters.retry_after if answer and answer.parameters else 0.0
        await self._pause(failures, f"Telegram answered HTTP {response.status}", wait)
        return None

    async def _conflict(self, failures: int, *, webhook: bool) -> None:
        cause = (
            "a webhook is set for this bot: set LEGATO_PUBLIC_URL to use it, or restart to remove it"
            if webhook
            else "another process polls with this bot's token: stop one of them"
        )
        _log.error("no updates from Telegram: %s", cause)
        await self._pause(failures + 3, "")

    async def _pause(self, failures: int, why: str, least_s: float = 0.0) -> None:
        from random import uniform  # jitter, so that a fleet does not come back at once

        wait = min(BACKOFF_LIMIT_S, BACKOFF_S * 2.0 ** min(failures, 10))
        wait = max(least_s, uniform(wait / 2, wait))  # nosec B311
        if why:
            _log.warning("%s; asking again in %.1f s", why, wait)
        await self._clock.sleep(wait)

    # -- handing out --------------------------------------------------------------------------

    def _hand_out(self, updates: list[Raw]) -> int:
        """Gives new updates to their chats' lanes; returns how many there were."""
        fresh = 0
        for raw in updates:
            body = bytes(raw)
            try:
                update_id = _number.decode(body).update_id
            except _UNREADABLE:
                self._malformed("it has no update_id")
                continue
            if update_id in self._window:
                continue
            fresh += 1
            self._window[update_id] = False
            self._settled.clear()
            chat = _chat(body)
            lane = self._lanes.get(chat)
            if lane is not None:
                lane.append((update_id, body))
                continue
            self._lanes[chat] = deque([(update_id, body)])
            task = asyncio.create_task(self._serve(chat))
            self._tasks.add(task)
            task.add_done_callback(self._served)
        return fresh

    async def _serve(self, chat: int) -> None:
        """Offers the updates of one chat, one after another, until there are no more."""
        lane = self._lanes[chat]
        while lane:
            update_id, body = lane[0]
            await self._offer(body)
            lane.popleft()
            self._window[update_id] = True
            if all(self._window.values()):
                self._settled.set()
        del self._lanes[chat]

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
            self._settled.set()

    async def _offer(self, body: bytes) -> None:
        failures = 0
        while True:
            try:
                await self._sink(body)
            except Malformed as error:
                self._malformed(str(error))
                return
            except Unavailable as error:
                await self._pause(failures, f"an update waits ({error})", error.retry_after_s)
            except StoreUnavailable as error:
                await self._pause(failures, f"an update waits ({error})")
            else:
                return
            failures = min(failures + 1, OFFERS)

    def _malformed(self, why: str) -> None:
        self._counts.malformed += 1
        _log.error("an update of Telegram cannot be read and is passed over: %s", why)


def _chat(body: bytes) -> int:
    """The chat whose order binds this update, 0 if none can be told."""
    try:
        peek = _peek.decode(body)
    except _UNREADABLE:
        return 0
    press = peek.callback_query
    if press is not None and (press.message is None or press.message.chat is None):
        return press.from_.id if press.from_ is not None else 0
    about = (
        peek.message
        or (press.message if press is not None else None)
        or peek.edited_message
        or peek.channel_post
        or peek.edited_channel_post
        or peek.my_chat_member
        or peek.chat_member
        or peek.message_reaction
    )
    return about.chat.id if about is not None and about.chat is not None else 0
