"""Knobs of the runtime."""

from __future__ import annotations

from msgspec import Struct

from legato.abc.observer import NOBODY, Observer
from legato.engine.outcomes import Elsewhere
from legato.engine.term import FOREVER, Term
from legato.outbox.relay import RelaySettings

KEEP_IDS_MS = 8 * 24 * 3600 * 1000
"""Consumed update ids are kept for 8 days: longer than any platform repeats one."""
PURGE_EVERY_S = 3600.0
RESCAN_PAGES = 4
"""Of the outbox, read by one rescan: the next one reads on. Answers wait for it, and a broadcast to
everybody lies there for hours."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""Between tries of an update that was acknowledged already."""


class RuntimeSettings(Struct, frozen=True):
    """Knobs.

    Attributes:
        cache: Live conversations kept in memory; 0 replays every Turn.
        ack_after_s: A Turn that takes longer is acknowledged early, its update put in the mailbox.
        tick_s: How often due timers are looked for.
        rescan_s: How often the store is asked for deliveries that somebody else queued.
        webhook_reply: Whether the only call of a Turn may ride in the webhook's answer.
        reply_last: The last of several may, too: the shell answers only after it has delivered
            all others.
        step_timeout_s: Limit of one try of a step that has none of its own, 0 = none; None = the
            App's.
        relay: Of the relay.
        observer: Is told what happens: metrics, traces.
        term: How long Turns may go on: a cloud function's invocation ends.
        build: Number of this code; a newer one has a higher number. 0 = builds have none.
        elsewhere: Runs Turns under the code of another build, which wrote their conversations; None = only
            ours runs.
    """

    cache: int = 2000
    ack_after_s: float = 1.0
    tick_s: float = 0.2
    rescan_s: float = 5.0
    webhook_reply: bool = True
    reply_last: bool = False
    step_timeout_s: float | None = None
    relay: RelaySettings | None = None
    observer: Observer = NOBODY
    term: Term = FOREVER
    build: int = 0
    elsewhere: Elsewhere | None = None

    def limit_s(self, apps: float) -> float:
        """The limit of a step: as set here, else the App's."""
        return apps if self.step_timeout_s is None else self.step_timeout_s
