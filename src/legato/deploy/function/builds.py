"""Versions of a function on AWS beside each other: requests have gone back to an older one, and conversations stay with
the one that can replay them.

    the older one, live   {"legato": "turn", "work": ..., "until_ms": ...} -> Invoke of the version that wrote the conversation
    that one              the Turn; what it said is delivered -> {"outcome": "taken", ...}

The older one waits for the answer, so what comes after is said after. What is not answered (the newer one has no time, is
throttled, dies) is not taken: the update comes again, and whatever was done of it is known by its id.

A version is called by its number, which no front and no trigger of ours does: those go to the alias. Only such a call can
bring a Turn, and only whoever may invoke the function can make one.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html (read 2026-11-29)
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from legato.abc.http import HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.aws.address import endpoint_of, region_of, who_asks
from legato.aws.signing import Signer
from legato.deploy.function.start import taken_over
from legato.deploy.function.tries import Failed, Tries
from legato.engine import journal
from legato.engine.outcomes import Handed, Outcome
from legato.errors import ConfigError, StoreError, Unavailable
from legato.model.ids import place_of
from legato.model.shards import ALL_SLOTS

if TYPE_CHECKING:
    from legato.abc import Clock
    from legato.app.runtime import Runtime
    from legato.deploy.function.core import Function
    from legato.deploy.function.invocation import Invocation

TURN = "turn"
AT_ONCE = 8
"""Conversations that are handed over at the same time: each needs another machine while ours waits."""
SPARE_S = 0.2
"""What an answer may take on its way, of the time that the other one is given."""
LAST_ID = 2**63 - 1
RESERVED = b"ReservedFunctionConcurrentInvocationLimitExceeded"
_NARROW = (
    "reserved concurrency is used up. Two machines are needed to hand a conversation over: with one it stands still "
    "until its version is live again, or more is reserved"
)
_CURES = {
    "AccessDenied": " (the role needs lambda:InvokeFunction on the function's versions)",
    "TooManyRequests": " (it has no concurrency left: two of it run while a conversation is handed over)",
}

log: logging.Logger = logging.getLogger("legato.function")


class Letter(Struct, frozen=True):
    """What one version sends to another.

    Attributes:
        legato: TURN.
        work: Encoded Handed, in base64.
        until_ms: When the answer must be there.
    """

    legato: str
    work: str
    until_ms: int


class Answer(Struct, frozen=True, omit_defaults=True):
    """What it gets back.

    Attributes:
        outcome: "taken", "ignored"; "later": it must be tried again.
        duplicate, reply: See Outcome; the reply in base64.
        why, after_s: Of "later".
        left: Whether something that was said could not be delivered: it is the caller's now.
    """

    outcome: str
    duplicate: bool = False
    reply: str = ""
    why: str = ""
    after_s: int = 1
    left: bool = False


_letter = msgspec.json.Decoder(Letter)
_answer = msgspec.json.Decoder(Answer)
_work = msgspec.json.Decoder(Handed)


# -- handing over ------------------------------------------------------------------------------


class Builds:
    """The other versions of this function. Belongs to one event loop.

    Args:
        clock, invocation: What time it is, and how much is left.
        environ: Says what the function is called, where the service is, and who asks.
    """

    def __init__(
        self, clock: Clock, invocation: Invocation, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._clock = clock
        self._invocation = invocation
        self._environ = environ
        self._room = asyncio.Semaphore(AT_ONCE)
        self._tries = Tries(clock)

    async def hand(self, runtime: Runtime, build: int, work: Handed) -> Outcome | None:
        """See Elsewhere.

        Raises:
            Unavailable: It is not known to be done, and must be tried again.
            GivenUp: That version has failed too often.
        """
        key, store, tries = work.key, runtime.store, self._tries
        lane = _lane_of(work)
        async with self._room:
            before = await tries.known(store, build, key)
            await self._said(runtime, lane)
            log.info("conversation %s goes on in version %d", key, build)
            try:
                answer = await self._asked(runtime, lane, build, work)
            except Failed as error:
                await tries.failed(store, build, key, before, str(error))
        if answer is None:
            return None
        await tries.done(store, build, key, before)
        if answer.left:
            await self._take_over(runtime, lane, work.key)
        if answer.outcome == "later":
            raise Unavailable(f"version {build}: {answer.why}", answer.after_s)
        reply = a2b_base64(answer.reply) or None
        return Outcome(taken=answer.outcome == "taken", duplicate=answer.duplicate, reply=reply)

    async def _take_over(self, runtime: Runtime, lane: str, key: str) -> None:
        """What it had said and not sent is ours: its invocation is over."""
        await taken_over(
            runtime,
            self._invocation,
            lambda item: item.lane == lane,
            ended=lambda item: item.key == key,
        )

    async def _said(self, runtime: Runtime, lane: str) -> None:
        """What we have said there goes before what the other one will say."""
        if not self._invocation.may_begin():
            raise Unavailable("no time left")
        if runtime.relay.idle(lane):
            return
        try:
            async with asyncio.timeout(self._invocation.left_s):
                await runtime.relay.delivered(lane, LAST_ID)
        except TimeoutError as error:
            raise Unavailable("messages before it could not be delivered in time") from error

    async def _asked(self, runtime: Runtime, lane: str, build: int, work: Handed) -> Answer | None:
        try:
            answer = await runtime.http.send(self._request(build, work))
        except (NotSent, MaybeSent) as error:
            if isinstance(error, MaybeSent) and self._invocation.left_s <= 2 * SPARE_S:
                raise Failed(f"it did not answer in time: {error}") from error
            raise Unavailable(f"version {build} was not reached: {error}") from error
        if answer.status == 200 and "x-amz-function-error" not in answer.headers:
            return _read(build, answer.body)
        if answer.status == 200:
            why = _text(answer)
            log.error("conversation %s ended the process of version %d: %s", work.key, build, why)
            # Nobody else delivers what it had said, and that goes before what is said now.
            await self._take_over(runtime, lane, work.key)
            await self._said(runtime, lane)
            raise Failed(why)
        kind = _kind(answer)
        if answer.status == 404 and kind == "ResourceNotFound":
            return None
        if answer.status == 429 and RESERVED in answer.body:
            log.error("version %d was not called: the function's %s", build, _NARROW)
        why = f"HTTP {answer.status} {kind} {_text(answer)}{_CURES.get(kind, '')}"
        if answer.status != 429 and answer.status < 500:
            log.error("version %d cannot be called: %s", build, why)
            raise Failed(f"it cannot be called: {why}")
        raise Unavailable(f"version {build} was not called: {why}")

    def _request(self, build: int, work: Handed) -> HttpRequest:
        region = region_of({}, self._environ)
        base = endpoint_of({}, "lambda", region, self._environ)
        name = self._environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        where = urlsplit(f"{base}/2015-03-31/functions/{name}/invocations?Qualifier={build}")
        left_s = self._invocation.left_s
        until_ms = self._clock.now_ms() + round(left_s * 1000)
        text = b2a_base64(journal.encode(work), newline=False).decode()
        body = journal.encode(Letter(TURN, text, until_ms))
        try:
            signer = Signer(who_asks(self._environ), region, "lambda")
        except ConfigError as error:
            raise Unavailable(str(error)) from error
        headers = {"host": where.netloc, "content-type": "application/json"}
        headers = signer.signed(headers, body, time.time(), where.path, where.query)
        timeout_s = max(SPARE_S, left_s - SPARE_S)
        return HttpRequest("POST", where.geturl(), headers, body, timeout_s=timeout_s)


def _read(build: int, body: bytes) -> Answer:
    try:
        return _answer.decode(body)
    except msgspec.MsgspecError as error:
        raise Failed(f"it knows of no other versions: {error}") from error


def _kind(answer: HttpResponse) -> str:
    """Which error it is: "ResourceNotFound" ..."""
    kind = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
    return kind.removesuffix("Exception")


def _text(answer: HttpResponse) -> str:
    return answer.body[:300].decode("utf-8", "replace")


# -- taking over -------------------------------------------------------------------------------


async def taken(function: Function, event: dict[str, Any], budget_s: float) -> dict[str, Any]:
    """Does what an older version hands over. Nothing else is looked for: that is for the version which is live."""
    letter = msgspec.convert(event, Letter)
    work = _work.decode(a2b_base64(letter.work))
    left_s = (letter.until_ms - function.clock.now_ms()) / 1000
    try:
        async with function.invoked(min(budget_s, left_s), quiet=True) as runtime:
            answer = await _worked(function, runtime, work)
    except (StoreError, Unavailable) as error:
        answer = _later(error)
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found


def _lane_of(work: Handed) -> str:
    """Where it is answered."""
    return (place_of(work.key) if work.event is None else work.event.place).lane


async def _worked(function: Function, runtime: Runtime, work: Handed) -> Answer:
    lane = _lane_of(work)
    try:
        async with asyncio.timeout(function.invocation.left_s):
            outcome = await runtime.lanes.run(
                runtime.router.lane_of(work.key), partial(runtime.turns.handed, work)
            )
    except (StoreError, Unavailable, TimeoutError) as error:
        answer = _later(error)
    else:
        answer = _answered(outcome)
    # Whoever had it first may have died before this was sent, or is at it.
    if answer.duplicate and await taken_over(
        runtime, function.invocation, lambda item: item.lane == lane
    ):
        answer = Answer("later", why="another process sends what it said")
    await function.delivered(runtime, lane)
    left = lane in runtime.relay.waiting()
    if left:
        runtime.relay.drop(ALL_SLOTS)
    return msgspec.structs.replace(answer, left=left)


def _answered(outcome: Outcome | None) -> Answer:
    if outcome is None:
        return Answer("later", why="it has gone on meanwhile")
    reply = b2a_base64(outcome.reply or b"", newline=False).decode()
    return Answer("taken" if outcome.taken else "ignored", outcome.duplicate, reply)


def _later(error: Exception) -> Answer:
    after_s = error.retry_after_s if isinstance(error, Unavailable) else 1
    return Answer("later", why=str(error) or "no time left", after_s=after_s)


__all__ = ["TURN", "Builds", "taken"]
