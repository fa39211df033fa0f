"""What Turns are given: store, relay, clock, the dialogs, and the platforms' pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from legato.abc import Clock, Platform, Store, Verdict
from legato.abc.observer import NOBODY, Observer, traced
from legato.engine import outgoing
from legato.engine.dialog import Dialogs
from legato.engine.outcomes import Elsewhere
from legato.engine.term import FOREVER, Term
from legato.engine.watchdog import DEFAULT_S, Watchdog
from legato.errors import StepError, StepInterrupted, UserGone
from legato.model.events import Address, File, Photo
from legato.model.messages import Raw, Typing
from legato.model.records import Call, OutboxItem


class Deliverer(Protocol):
    """The relay, as far as Turns know it (`legato.outbox.relay.Relay`)."""

    def offer(self, items: Sequence[OutboxItem]) -> None: ...

    def hold(self, lane: str) -> None: ...

    def idle(self, lane: str) -> bool: ...

    def ack(self, call: Call, place: Address) -> None: ...

    async def delivered(self, lane: str, up_to_id: int) -> None: ...

    async def call(self, call: Call, place: Address) -> Verdict: ...


class Services:
    """The surroundings of all Turns of one process.

    Args:
        store, relay, clock: The parts.
        dialogs: Of the App.
        platform: Finds the adapter for a place.
        apology: Said once when a dialog fails, "" for nothing.
        download: Saves a received file: (place, file, path) -> path.
        observer: Is told what happens.
        step_timeout_s: Limit of one try of a step that has none of its own, 0 = none.
        term: How long Turns may go on.
        build: Number of our code; a newer one has a higher number. 0 = builds have none.
        elsewhere: Runs Turns under the code of another build, None = there is only ours.

    Attributes:
        watchdog: Runs the steps, and knows how many were given up.
    """

    def __init__(
        self,
        *,
        store: Store,
        relay: Deliverer,
        clock: Clock,
        dialogs: Dialogs,
        platform: Callable[[Address], Platform],
        apology: str,
        download: Callable[[Address, Photo | File, str], Any],
        observer: Observer = NOBODY,
        step_timeout_s: float = DEFAULT_S,
        term: Term = FOREVER,
        build: int = 0,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.store = store
        self.relay = relay
        self.clock = clock
        self.dialogs = dialogs
        self.platform = platform
        self.apology = apology
        self.watchdog: Watchdog = Watchdog(step_timeout_s)
        self.observer = observer
        self.term = term
        self.build = build
        self.elsewhere = elsewhere
        self._download = download
        self._chat_services: dict[tuple[str, str], outgoing.Services] = {}

    def chat_services(self, place: Address) -> outgoing.Services:
        """What chat handles of one bot share."""
        known = self._chat_services.get((place.platform, place.bot))
        if known is None:
            known = outgoing.Services(
                capabilities=self.platform(place).capabilities,
                random=_random,
                uuid=_uuid,
                logger=_logger,
                download=lambda file, path: self._download(place, file, path),
            )
            self._chat_services[place.platform, place.bot] = known
        return known

    def show_typing(self, place: Address) -> None:
        """Shows the typing sign for some seconds, if there is one. Nobody waits for it."""
        platform = self.platform(place)
        if platform.capabilities.typing:
            for call in platform.render(Typing(), place):
                self.relay.ack(call, place)

    async def call(self, raw: Raw, place: Address) -> object:
        """Performs a call of the platform's own API; returns its answer (JSON builtins).

        Raises:
            UserGone, StepError, StepInterrupted: By the verdict.
        """
        calls = self.platform(place).render(raw, place)
        verdict = await self.relay.call(traced(calls[0]), place)
        if verdict.outcome == "sent":
            return verdict.result
        if verdict.outcome == "gone":
            raise UserGone(verdict.error)
        if verdict.outcome == "unknown":
            raise StepInterrupted(f"{raw.method}: {verdict.error}")
        raise StepError(f"{place.platform} {verdict.code or ''}".strip(), verdict.error)


def _random(seed: str) -> Any:
    from random import Random

    return Random(seed)  # nosec B311  # chance for dialogs, not for secrets


def _uuid(seed: str) -> Any:
    from uuid import NAMESPACE_OID, uuid5

    return uuid5(NAMESPACE_OID, seed)


def _logger(key: str, *, hidden: bool) -> Any:
    import logging

    if hidden:
        return _SILENT
    return logging.LoggerAdapter(logging.getLogger("legato.dialog"), {"conversation": key})


class _Silent:
    """A logger that says nothing: the dialog is being replayed."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


_SILENT = _Silent()
