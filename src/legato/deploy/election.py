"""One of several processes does what only one may do at a time: it holds a lease, and renews it.

    won -> work, renewing each heartbeat -> over: the work is cancelled, and the name is asked for again

A process that was stopped (SIGSTOP, a machine that was frozen) finds by its own clock, before it does
anything, that its term is over. Whoever dies is followed within three heartbeats, whoever stops in order
gives the name up and is followed at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from legato.abc import Clock, HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.abc.leases import Leases
from legato.errors import StoreError, Unavailable

log: logging.Logger = logging.getLogger("legato.election")

TERM = 2.5
"""Heartbeats that a lease lasts: one renewal may fail."""
LOOK = 0.5
"""Heartbeats between two looks at a name that another one holds."""
RELEASE_S = 2.0
"""How long giving a name up may take: if it does not work the lease just ends."""
PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Pauses after work that failed for a while, from the first to the longest."""


class Term:
    """A time for which this process holds a name. It may be over at any moment.

    It is over when either clock says so: the monotonic one may stand still while a machine is suspended,
    and the wall clock may be set back.

    Args:
        clock: Measures it.
        seconds: How long it is, from now on.
    """

    __slots__ = ("_clock", "_until", "_until_ms")

    def __init__(self, clock: Clock, seconds: float = math.inf) -> None:
        self._clock = clock
        self._until = self._until_ms = math.inf
        self.last(seconds, clock.monotonic(), clock.now_ms())

    @property
    def left_s(self) -> float:
        """Seconds to its end, 0.0 once it is over."""
        left_s = self._until - self._clock.monotonic()
        return max(0.0, min(left_s, (self._until_ms - self._clock.now_ms()) / 1000))

    @property
    def good(self) -> bool:
        """Whether it goes on."""
        return self.left_s > 0

    def last(self, seconds: float, asked: float, asked_ms: int) -> None:
        """It lasts for `seconds` from when that was asked for, by both clocks."""
        self._until = asked + seconds
        self._until_ms = asked_ms + seconds * 1000

    def end(self) -> None:
        """It is over."""
        self._until = -math.inf


class Election:
    """Works under names that one process holds at a time. Belongs to one event loop.

    Args:
        leases: Where names are held; None: there is no other process, each name is ours.
        clock: Time.
        holder: This process: no other one, not even an earlier life of it, has this name.
        heartbeat_s: How often a lease is renewed.
    """

    __slots__ = ("_clock", "_heartbeat_s", "_holder", "_leases")

    def __init__(
        self, leases: Leases | None, clock: Clock, holder: str, heartbeat_s: float = 1.0
    ) -> None:
        self._leases = leases
        self._clock = clock
        self._holder = holder
        self._heartbeat_s = heartbeat_s

    async def serve(self, name: str, work: Callable[[Term], Awaitable[None]]) -> None:
        """Does the work whenever the name is ours, until it returns.

        What it raises ends this, except for Unavailable and StoreError: then another process may try,
        and this one again after a pause.

        Args:
            name: What to hold.
            work: Cancelled when the term is over. It must ask the term before it does what nobody
                else may do at the same time.
        """
        pause_s = PAUSE_S
        while True:
            term = await self._won(name)
            try:
                if await self._held(name, term, work):
                    return
            except (Unavailable, StoreError) as error:
                log.warning("%s: %s; again in %g s", name, error, pause_s)
                await self._clock.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            else:
                pause_s = PAUSE_S
                log.warning("%s: another process may have it now", name)

    # -- winning ------------------------------------------------------------------------------

    async def _won(self, name: str) -> Term:
        """Waits until the name is ours."""
        if self._leases is None:
            log.info("%s: held by this process", name)
            return Term(self._clock)
        told = ""
        while True:
            term = Term(self._clock, self._term_s)
            try:
                if name in await self._leases.hold(self._holder, (name,), self._term_s):
                    log.info("%s: held by this process, %s", name, self._holder)
                    return term
                now = (await self._leases.holders(name)).get(name, "")
                news = f"standing by while {now} holds it" if now else ""
            except StoreError as error:
                news = f"nobody knows who holds it: {error}"
            if news and news != told:
                log.info("%s: %s", name, news)
                told = news
            await self._clock.sleep(LOOK * self._heartbeat_s)

    @property
    def _term_s(self) -> float:
        return TERM * self._heartbeat_s

    # -- holding ------------------------------------------------------------------------------

    async def _held(self, name: str, term: Term, work: Callable[[Term], Awaitable[None]]) -> bool:
        """Works until the work ends (True) or the term is over (False)."""
        working = asyncio.ensure_future(work(term))
        keeping = [asyncio.create_task(one) for one in (self._renew(name, term), _over(term))]
        done = False
        try:
            await asyncio.wait((working, *keeping), return_when=asyncio.FIRST_COMPLETED)
            done = working.done()
        finally:
            await _ended(working)  # it may have something to finish: the name is still ours
            await _ended(*keeping)
            if term.good:
                await self._release(name)
            term.end()
        if done:
            working.result()
        return done

    async def _renew(self, name: str, term: Term) -> None:
        """Renews until the name is not ours any more."""
        if self._leases is None:
            await _over(term)
            return
        wait_s = self._heartbeat_s
        while True:
            await self._clock.sleep(wait_s)
            asked, asked_ms = self._clock.monotonic(), self._clock.now_ms()
            if not term.good:
                return  # somebody else may have had it since then
            try:
                held = await self._leases.hold(self._holder, (name,), self._term_s)
            except StoreError as error:
                log.warning("%s could not be renewed: %s", name, error)
                wait_s = self._heartbeat_s / 4
                continue
            if name not in held:
                term.end()
                return
            wait_s = self._heartbeat_s
            term.last(self._term_s, asked, asked_ms)

    async def _release(self, name: str) -> None:
        if self._leases is None:
            return
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._leases.release(self._holder, (name,))
        except (StoreError, TimeoutError) as error:
            log.warning("%s could not be given up, it ends by itself: %s", name, error)


async def _over(term: Term) -> None:
    """Returns once a term is over."""
    while term.good:
        # For ever is more than a timer can wait.
        await term._clock.sleep(min(term.left_s, 3600.0))  # noqa: SLF001 # of this module


async def _ended(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class TermHttp(HttpClient):
    """An HttpClient that sends nothing once a term is over, and passes on no answer that came later.

    Args:
        http: What sends; not closed here.
        term: While it is good.
    """

    __slots__ = ("_http", "_term")

    def __init__(self, http: HttpClient, term: Term) -> None:
        self._http = http
        self._term = term

    def _check(self) -> None:
        if not self._term.good:
            raise NotSent("another process holds this connection now")

    async def send(self, request: HttpRequest) -> HttpResponse:
        self._check()
        response = await self._http.send(request)
        if not self._term.good:  # what it says is the business of whoever asks now
            raise MaybeSent("another process holds this connection now")
        return response

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        self._check()
        return await self._http.download(request, path, limit)

    async def close(self) -> None:
        return


__all__ = ["Election", "Term", "TermHttp"]
