"""Numbers that the parts of a process keep anyway, read when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator

from legato.app.runtime import Runtime
from legato.deploy.measures import Sample


def of_runtime(runtime: Runtime) -> Iterator[Sample]:
    """What a runtime, its Turns and its relay have counted.

    Of counters with labels, those that alerts look at begin at 0: one that first appears as 1 has not
    grown, to Prometheus.
    """
    for dialog in runtime.app.dialogs:
        yield Sample("legato_turns_total", 0, (dialog.name, "failed"))
    for platform, _ in runtime.platforms:
        yield Sample("legato_rate_limited_total", 0, (platform,))
    stats, turns, relay = runtime.stats, runtime.turns.stats, runtime.relay.stats
    yield Sample("legato_updates_total", stats["updates"])
    yield Sample("legato_ignored_updates_total", stats["ignored"])
    yield Sample("legato_duplicate_updates_total", stats["duplicates"])
    yield Sample("legato_malformed_updates_total", stats["malformed"])
    yield Sample("legato_busy_updates", runtime.busy)
    yield Sample("legato_cache_hits_total", turns["cached"])
    yield Sample("legato_cache_misses_total", turns["replayed"])
    yield Sample("legato_cached_conversations", len(runtime.turns.cache))
    yield Sample("legato_conflicts_total", turns["conflicts"])
    yield Sample("legato_mismatches_total", turns["mismatches"])
    yield Sample("legato_late_steps_total", runtime.services.watchdog.late)
    yield Sample("legato_stuck_steps", runtime.services.watchdog.stuck)
    for fate in ("sent", "dead", "unknown", "expired"):
        yield Sample("legato_deliveries_total", getattr(relay, fate), (fate,))
    yield Sample("legato_retried_sends_total", relay.retried)
    yield Sample("legato_gone_users_total", relay.gone)
    yield Sample("legato_outbox_pending", runtime.relay.left)


__all__ = ["of_runtime"]
