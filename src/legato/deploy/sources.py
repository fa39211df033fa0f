"""Numbers that the parts of a process keep anyway, read when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from legato.deploy.measures import Sample

if TYPE_CHECKING:
    from legato.app.actors import Actors
    from legato.app.membership import Membership
    from legato.app.runtime import Runtime


def of_runtime(runtime: Runtime, elsewhere: int = 0) -> Iterator[Sample]:
    """What a runtime, its Turns and its relay have counted.

    Of counters with labels, those that alerts look at begin at 0: one that first appears as 1 has not
    grown, to Prometheus.

    Args:
        runtime: What is looked at.
        elsewhere: Updates being worked on that the runtime does not know of, as letters are.
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
    yield Sample("legato_poison_updates_total", runtime.trials.given_up)
    yield Sample("legato_busy_updates", runtime.busy + elsewhere)
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


def of_worker(actors: Actors, membership: Membership) -> Iterator[Sample]:
    """What a worker has counted beside its runtime."""
    stats = actors.stats
    yield Sample("legato_update_retries_total", stats["again"])
    yield Sample("legato_dead_letters_total", stats["dead"])
    yield Sample("legato_shards_held", len(membership.units))
    yield Sample("legato_shards_gained_total", membership.stats["gained"])
    yield Sample("legato_shards_lost_total", membership.stats["lost"])


__all__ = ["of_runtime", "of_worker"]
