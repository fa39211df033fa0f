"""The tables, as migrations: step n leads from version n to n + 1. `{s}` is the schema's name.

All steps that are missing run in one transaction. A step is never changed once released; a change of the
tables is a step appended. Whatever text may come from a person or a platform (keys, ids, names, refs)
stands in bytea columns, since text refuses NUL and lone surrogates and depends on the database's encoding;
the view `dialogs` shows it readably.

`slot` (model/shards.py) stands in every row that belongs to a room, so that workers read their share, and
so that rows can be parted: by `LIST (slot)` here, or over several databases later.
"""

from __future__ import annotations

from legato.model.shards import SLOTS
from legato.stores.postgres.functions import FUNCTIONS_1

PROGRAM = "legato"
TABLES = ("meta", "conversation", "journal", "inbox", "outbox", "kept", "lease", "writer")

_TABLES_1 = """
CREATE TABLE {s}.meta (
    program text NOT NULL,
    version integer NOT NULL,
    partitions integer NOT NULL
);

-- (epoch, head) is the fence. `number` is what the journal knows a conversation by: shorter than the key, and
-- the same when the conversation is parked under another. Wide columns first: no padding.
CREATE SEQUENCE {s}.conversation_number;
CREATE TABLE {s}.conversation (
    number bigint NOT NULL DEFAULT nextval('{s}.conversation_number'),
    epoch bigint NOT NULL,
    wake_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    head integer NOT NULL,
    slot smallint NOT NULL,
    status text NOT NULL,
    key bytea NOT NULL,
    dialog bytea NOT NULL,
    version bytea NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (key, slot)
){by_slot};
-- With the slot, a worker passes over what is due elsewhere without reading its rows.
CREATE INDEX conversation_due ON {s}.conversation (wake_ms, slot, key)
    WHERE wake_ms > 0 AND status NOT IN ('failed', 'held');
-- Nearly all wait; the others are few, looked for at every start, and cost the rest nothing.
CREATE INDEX conversation_status ON {s}.conversation (status, key) WHERE status <> 'waiting';

-- One row a commit, of the current epoch only; `seq` is the head that the commit led to, and -1 is the birth.
CREATE TABLE {s}.journal (
    conversation bigint NOT NULL,
    seq integer NOT NULL,
    slot smallint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (conversation, seq, slot)
){by_slot};

-- An update id, waiting (with a payload) or consumed (payload NULL). `seq` counts deposits, and outlives the
-- consumption, so that a reader can page on after mail that is consumed meanwhile.
CREATE SEQUENCE {s}.inbox_seq;
CREATE TABLE {s}.inbox (
    at_ms bigint NOT NULL,
    seq bigint,
    slot smallint,
    id bytea NOT NULL,
    key bytea,
    payload bytea,
    reply bytea,
    PRIMARY KEY (id)
){by_id};
CREATE INDEX inbox_order ON {s}.inbox (seq) WHERE payload IS NOT NULL;
CREATE INDEX inbox_waiting ON {s}.inbox (key, seq) WHERE payload IS NOT NULL;
CREATE INDEX inbox_consumed ON {s}.inbox (at_ms) WHERE payload IS NULL;

CREATE SEQUENCE {s}.outbox_id;
CREATE TABLE {s}.outbox (
    id bigint NOT NULL DEFAULT nextval('{s}.outbox_id') PRIMARY KEY,
    epoch bigint NOT NULL,
    attempts bigint NOT NULL,
    not_before_ms bigint NOT NULL,
    created_ms bigint NOT NULL,
    slot smallint NOT NULL,
    state text NOT NULL,
    delivery text NOT NULL,
    lane bytea NOT NULL,
    key bytea NOT NULL,
    ref bytea NOT NULL,
    error bytea NOT NULL,
    place bytea NOT NULL,
    call bytea NOT NULL
);
-- What is stuck may pile up for months, and must not be in the way of what is to be sent.
CREATE INDEX outbox_open ON {s}.outbox (id) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_stuck ON {s}.outbox (id) WHERE state IN ('unknown', 'dead');

CREATE TABLE {s}.kept (
    at_ms bigint NOT NULL,
    space bytea NOT NULL,
    name bytea NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (space, name)
);
CREATE INDEX kept_sent ON {s}.kept (at_ms) WHERE space = 'sent';

CREATE TABLE {s}.lease (
    name bytea PRIMARY KEY,
    holder bytea NOT NULL,
    until timestamptz NOT NULL
);

-- The last transaction of every connection, and what it gave: how a client learns whether a transaction whose
-- answer was lost took place.
CREATE TABLE {s}.writer (
    id bytea PRIMARY KEY,
    number bigint NOT NULL,
    at timestamptz NOT NULL,
    results smallint[],
    replies bytea[],
    ids bigint[]
);

CREATE VIEW {s}.dialogs AS
    SELECT encode(key, 'escape') AS key, encode(dialog, 'escape') AS dialog,
        encode(version, 'escape') AS version, status, epoch, head,
        CASE WHEN wake_ms > 0 THEN to_timestamp(wake_ms / 1000.0) END AS wakes,
        to_timestamp(updated_ms / 1000.0) AS updated, slot, number
    FROM {s}.conversation;
"""

# Free room lets an update stay in its page and touch no index (HOT), as long as wake_ms does not change.
_ROOMY = "fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05"
_SETTINGS_1: dict[str, str] = {
    "conversation": _ROOMY,
    # A row lives for milliseconds: vacuumed by count, not by share, or the index fills with the dead.
    "outbox": "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,"
    " autovacuum_vacuum_cost_delay = 0",
    "inbox": "autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05",
    "writer": "fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000",
    "lease": "fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000",
}


def _first(schema: str, partitions: int) -> list[str]:
    """Version 1: everything."""
    tables = _TABLES_1.replace("{by_slot}", " PARTITION BY LIST (slot)" if partitions else "")
    tables = tables.replace("{by_id}", " PARTITION BY HASH (id)" if partitions else "")
    statements = [tables.replace("{s}", schema)]
    for part in range(partitions):
        # As shards take slots: a shard lies in one partition, if there are at least as many shards.
        slots = ", ".join(map(str, range(part, SLOTS, partitions)))
        statements += [
            f"CREATE TABLE {schema}.{table}_{part} PARTITION OF {schema}.{table} FOR VALUES {values}"
            for table, values in (
                ("conversation", f"IN ({slots})"),
                ("journal", f"IN ({slots})"),
                ("inbox", f"WITH (MODULUS {partitions}, REMAINDER {part})"),
            )
        ]
    for table, settings in _SETTINGS_1.items():
        parted = partitions and table in ("conversation", "inbox")
        names = [f"{table}_{part}" for part in range(partitions)] if parted else [table]
        statements += [f"ALTER TABLE {schema}.{name} SET ({settings})" for name in names]
    return statements + [function.replace("{s}", schema) for function in FUNCTIONS_1]


MIGRATIONS = (_first,)
"""Step n gives the statements that lead from version n to n + 1, of a schema and its partitions."""
