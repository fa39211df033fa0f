"""Every metric by its name: what it counts, in which unit, with which labels.

The one list that the exposition, the documentation and the dashboards are checked against. A label never
holds who wrote, or where: its values are as few as there are dialogs, shards, platforms.
"""

from __future__ import annotations

from msgspec import Struct

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"


class Metric(Struct, frozen=True):
    """One metric.

    Attributes:
        name: As it is exposed; a counter ends in "_total".
        kind: COUNTER, GAUGE or HISTOGRAM.
        help: What it is, in one line.
        labels: Names of its labels.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


_SHARD = ("generation", "shard")

_METRICS = (
    # -- the process
    Metric("legato_info", GAUGE, "1; says what runs.", ("version", "role", "app")),
    Metric("legato_ready", GAUGE, "1 while it can do its work, else 0.", ("role",)),
    # -- coming in
    Metric(
        "legato_webhooks_total",
        COUNTER,
        "Webhook requests answered, by HTTP status.",
        ("platform", "status"),
    ),
    Metric(
        "legato_webhook_seconds",
        HISTOGRAM,
        "From the head of a webhook request to its answer: in a gateway to the queue's confirm, in "
        "one process to the commit.",
        ("platform",),
    ),
    Metric("legato_published_letters_total", COUNTER, "Letters that the queue has confirmed."),
    Metric("legato_publish_seconds", HISTOGRAM, "From publishing letters to the queue's confirm."),
    Metric(
        "legato_publish_errors_total",
        COUNTER,
        "Publishes that were not confirmed; the platform sends the update again.",
    ),
    Metric("legato_updates_total", COUNTER, "Raw updates taken by this process itself."),
    Metric(
        "legato_refused_updates_total",
        COUNTER,
        "Updates that a listener could not make safe (the broker or webhook is away), and offers again.",
    ),
    Metric(
        "legato_held_connections",
        GAUGE,
        "1 while this listener holds the platform's connection, 0 while another one does.",
        ("platform",),
    ),
    Metric(
        "legato_ignored_updates_total", COUNTER, "Updates that no dialog waited for, or began with."
    ),
    Metric(
        "legato_duplicate_updates_total", COUNTER, "Updates that came again after their commit."
    ),
    Metric(
        "legato_malformed_updates_total",
        COUNTER,
        "Authentic updates that could not be read; they are kept as dead.",
    ),
    # -- the queue, at a worker
    Metric("legato_queue_depth", GAUGE, "Letters that wait in the queue of a shard.", _SHARD),
    Metric("legato_queue_consumers", GAUGE, "Subscriptions to the queue of a shard.", _SHARD),
    Metric(
        "legato_queue_wait_seconds",
        HISTOGRAM,
        "From taking an update in to the begin of the work on it.",
    ),
    Metric("legato_taken_letters_total", COUNTER, "Letters that came from a shard.", _SHARD),
    Metric("legato_acked_letters_total", COUNTER, "Letters done with, by shard.", _SHARD),
    Metric(
        "legato_redelivered_letters_total",
        COUNTER,
        "Letters that were handed out before and came again.",
    ),
    Metric(
        "legato_shard_letters", GAUGE, "Letters of a shard taken and not done with yet.", _SHARD
    ),
    Metric(
        "legato_shard_oldest_seconds",
        GAUGE,
        "Age of the oldest of them, 0 if there is none.",
        _SHARD,
    ),
    Metric("legato_shards_held", GAUGE, "Shards whose leases this worker holds."),
    Metric("legato_shards_gained_total", COUNTER, "Shards that came to this worker."),
    Metric("legato_shards_lost_total", COUNTER, "Shards that left this worker."),
    Metric(
        "legato_update_retries_total",
        COUNTER,
        "Updates tried again, since the store or the queue was out of reach.",
    ),
    Metric(
        "legato_poison_updates_total",
        COUNTER,
        "Updates given up after workers died of them, or failed at them: they are parked as failed.",
    ),
    Metric("legato_dead_letters_total", COUNTER, "Unreadable updates that came out of the queue."),
    # -- Turns
    Metric("legato_turns_total", COUNTER, "Turns, by how they ended.", ("dialog", "outcome")),
    Metric("legato_turn_seconds", HISTOGRAM, "A Turn, with its steps and commits.", ("dialog",)),
    Metric("legato_replayed_records", HISTOGRAM, "Records that a conversation was rebuilt from."),
    Metric("legato_cache_hits_total", COUNTER, "Conversations that were still in memory."),
    Metric("legato_cache_misses_total", COUNTER, "Conversations that were rebuilt from the store."),
    Metric("legato_cached_conversations", GAUGE, "Conversations in memory."),
    Metric("legato_conflicts_total", COUNTER, "Turns that another process was faster with."),
    Metric(
        "legato_mismatches_total",
        COUNTER,
        "Conversations whose journal today's code cannot follow.",
    ),
    Metric("legato_late_steps_total", COUNTER, "Tries of steps given up after their deadline."),
    Metric("legato_stuck_steps", GAUGE, "Steps that run on though nobody waits for them."),
    Metric("legato_timer_late_seconds", HISTOGRAM, "How long after its time a timer fires."),
    Metric("legato_busy_updates", GAUGE, "Updates being worked on."),
    Metric(
        "legato_conversations",
        GAUGE,
        "Conversations that do not wait, by status; 1000 stands for all above.",
        ("status",),
    ),
    # -- the store
    Metric("legato_store_seconds", HISTOGRAM, "One call of the store.", ("operation",)),
    Metric("legato_store_errors_total", COUNTER, "Calls of the store that failed.", ("operation",)),
    # -- going out
    Metric(
        "legato_relay_wait_seconds", HISTOGRAM, "From the commit of a message to its first try."
    ),
    Metric("legato_send_seconds", HISTOGRAM, "One call of a platform.", ("platform",)),
    Metric(
        "legato_sends_total",
        COUNTER,
        "Calls of a platform, by what it made of them.",
        ("platform", "outcome"),
    ),
    Metric(
        "legato_rate_limited_total",
        COUNTER,
        "Calls that were answered with a time to wait (429).",
        ("platform",),
    ),
    Metric(
        "legato_deliveries_total",
        COUNTER,
        "Messages done with: sent, dead, unknown or expired.",
        ("fate",),
    ),
    Metric("legato_retried_sends_total", COUNTER, "Tries that failed and are followed by another."),
    Metric("legato_gone_users_total", COUNTER, "Conversations whose user cannot be reached."),
    Metric("legato_outbox_pending", GAUGE, "Messages that this process has still to deliver."),
    Metric(
        "legato_outbox_items",
        GAUGE,
        "Messages that wait for an operator, by state; 1000 stands for all above.",
        ("state",),
    ),
)

CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in _METRICS}

__all__ = ["CATALOGUE", "COUNTER", "GAUGE", "HISTOGRAM", "Metric"]
