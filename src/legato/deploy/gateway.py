"""The gateway: from webhook requests to letters in the queue.

    verify (raw bytes) -> parse -> one letter an event -> publish -> confirm -> 200 -> acknowledge buttons

It works on nothing and keeps nothing, so there can be as many as wanted. A gateway that dies on the way has
answered nothing, and the platform repeats the update; if its letter was in the queue none the less, the
worker finds the repeated one to be a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from legato.abc import Clock, HttpRequest, Letter, Platform, Queue
from legato.app.letters import letters
from legato.app.router import Router
from legato.deploy.ingress import OK, Ingress, Limits, Reply, trace_of
from legato.outbox.acks import Acks


class Gateway(Ingress):
    """The ASGI application.

    Args:
        platforms: Of the bots; each at "/<name>".
        router: Of the App: says to which lane an event belongs.
        queue: Open, or being opened.
        acks: Sends acknowledgements of buttons, which wait for nobody's turn.
        clock: Time.
        key: LEGATO_KEY; if it is set, updates that a listener forwards are taken, too.
        limits: See there.
    """

    def __init__(
        self,
        platforms: Iterable[Platform],
        router: Router,
        queue: Queue,
        acks: Acks,
        clock: Clock,
        *,
        key: str = "",
        limits: Limits | None = None,
    ) -> None:
        super().__init__(platforms, clock, key=key, limits=limits)
        self._router = router
        self._queue = queue
        self._acks = acks

    async def _safe(self, platform: Platform, request: HttpRequest) -> Reply:
        at_ms, trace = self._clock.now_ms(), trace_of(request)
        found, parsed = letters(platform, self._router, request.body, at_ms, trace)
        if found:
            await self._confirmed(found)
        else:
            self._count_ignored()
        if parsed is None:
            self._count_malformed()
            return OK
        self._acks.send_all(platform, parsed)
        return OK if parsed.reply is None else Reply(parsed.reply, parsed.reply_type)

    async def _confirmed(self, found: Sequence[Letter]) -> None:
        """Returns once the queue has the letters safely."""
        await self._queue.publish(found)


__all__ = ["Gateway"]
