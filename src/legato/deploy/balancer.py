"""The balancer: a gateway without a queue, in front of several `legato run`, each with a store of its own.

    verify -> parse -> room -> shard -> the request as it came -> the shard's answer as it comes

A room belongs to one shard for ever, since its conversations are in that shard's store. Which one that is
follows from the room and the list of shards alone (rendezvous hashing: the shard whose hash together with
the room's slot is highest), so any number of balancers agree, and one more shard takes 1/n of the rooms from
the others and moves none between them. What is taken so begins anew: its conversations stay behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from hashlib import blake2b, sha256

from legato.abc import Clock, HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent, Platform
from legato.app.router import Router
from legato.deploy.ingress import OK, Ingress, Limits, Reply, trace_of
from legato.deploy.signature import HEADER, signature
from legato.errors import ConfigError, Malformed, Unavailable
from legato.model.shards import SLOTS, slot_of_key

LIMITS = Limits(answer_s=30.0)
"""A shard answers when the Turn is committed, or after a second or so if a step takes longer."""

HEALTH_S = 1.5
_OURS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer"}
    | {"proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"transfer-encoding", "upgrade"}
)
"""Headers about the connection to us."""


class Shards:
    """Which shard each slot belongs to.

    Args:
        urls: Of the shards; the order does not matter, the spelling does.

    Attributes:
        urls: Without "/" at their ends.

    Raises:
        ConfigError: There is none, or one is named twice.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls: tuple[str, ...] = tuple(url.rstrip("/") for url in urls)
        if not self.urls or len(set(self.urls)) < len(self.urls):
            raise ConfigError("name each shard once, as in --shards http://w0:8080,http://w1:8080")
        self._table = [max(self.urls, key=lambda url: _weight(url, n)) for n in range(SLOTS)]

    def of(self, slot: int) -> str:
        """The shard's address."""
        return self._table[slot]


def _weight(url: str, slot: int) -> bytes:
    return blake2b(f"{slot}:{url}".encode(), digest_size=16).digest()


class Balancer(Ingress):
    """The ASGI application.

    Args:
        platforms: Of the bots; each at "/<name>", here as at the shards.
        router: Of the App: says to which lane an event belongs.
        shards: Where updates go.
        http: What they are sent with.
        clock: Time.
        key: LEGATO_KEY; if it is set, requests are signed with it, too.
        limits: See there.
    """

    def __init__(
        self,
        platforms: Iterable[Platform],
        router: Router,
        shards: Shards,
        http: HttpClient,
        clock: Clock,
        *,
        key: str = "",
        limits: Limits = LIMITS,
    ) -> None:
        super().__init__(platforms, clock, key=key, limits=limits)
        self._router = router
        self._shards = shards
        self._http = http

    async def _safe(self, platform: Platform, request: HttpRequest) -> Reply:
        to = self._aim(platform, request.body)
        if isinstance(to, Reply):
            return to
        response = await self._forward(to, platform, request)
        status = response.status
        if status == 200:
            kind = response.headers.get("content-type", "application/json")
            return Reply(response.body, kind) if response.body else OK
        retry_s = response.headers.get("retry-after", "")
        cure = ": do both have the same secret (or LEGATO_KEY)?" if status == 401 else ""
        raise Unavailable(
            f"shard {to} answered HTTP {status}{cure}",
            min(60, int(retry_s)) if retry_s.isascii() and retry_s.isdigit() else 1,
        )

    def _aim(self, platform: Platform, body: bytes) -> str | Reply:
        """The shard that an update is for, or the answer to one that is for none.

        An update with several events goes to the shard of the first one as a whole. All of them are of
        one chat, so that is everybody's, but where a dialog's scope is "user" and several people join by
        one message: those who are not of this shard are greeted there, and answer elsewhere. To split an
        update would take a request that the platform has not signed; to refuse it would hold the chat up
        for a day.
        """
        try:
            parsed = platform.parse(body)
        except Malformed:
            # Any shard can keep it for the operator, but always the same one.
            self._count_malformed()
            return self._shards.of(int.from_bytes(sha256(body).digest()[:4]) % SLOTS)
        if parsed.events:
            lane = self._router.lane(parsed.events[0])  # type: ignore[arg-type] # platforms give AnyEvent
            return self._shards.of(slot_of_key(lane))
        self._count_ignored()
        return OK if parsed.reply is None else Reply(parsed.reply, parsed.reply_type)

    async def _forward(self, to: str, platform: Platform, request: HttpRequest) -> HttpResponse:
        headers = {name: value for name, value in request.headers.items() if name not in _OURS}
        if trace := trace_of(request):
            headers["traceparent"] = trace
        if self._key:
            now_ms = self._clock.now_ms()
            headers[HEADER] = signature(platform.name, request.body, self._key, now_ms)
        url, timeout_s = f"{to}{request.url}", self._limits.answer_s
        try:
            # Never to another shard: what this one knows of the room is nowhere else.
            return await self._http.send(
                HttpRequest("POST", url, headers, request.body, timeout_s=timeout_s)
            )
        except (NotSent, MaybeSent) as error:
            raise Unavailable(f"shard {to} is away: {error}") from None
        except ValueError as error:
            raise Unavailable(f"the request cannot be passed on: {error}") from None

    async def healthy(self) -> list[str]:
        """The shards that answer."""
        good = await asyncio.gather(*map(self._answers, self._shards.urls))
        return [url for url, answers in zip(self._shards.urls, good, strict=True) if answers]

    async def _answers(self, url: str) -> bool:
        try:
            request = HttpRequest("GET", f"{url}/healthz", timeout_s=HEALTH_S)
            return (await self._http.send(request)).status == 200
        except (NotSent, MaybeSent):
            return False


__all__ = ["LIMITS", "Balancer", "Shards"]
