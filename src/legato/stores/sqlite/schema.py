"""The tables, as migrations: step n leads from `PRAGMA user_version` n to n + 1.

Each step runs in a transaction of its own and is never changed once released; a change of the tables is a
step appended. Text that a person wrote stands in BLOBs only, so that no NUL and no lone surrogate can
stop it; the TEXT columns hold ids and names.
"""

from __future__ import annotations

APPLICATION_ID = 0x4C47544F  # "LGTO": tells our files from other people's

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # (epoch, head) is the fence. `birth` and `state` are encoded structs. `number` is what the journal
        # knows it by: shorter than the key, and the same when the conversation is parked under another.
        """CREATE TABLE conversation (
            number INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            dialog TEXT NOT NULL,
            version TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            head INTEGER NOT NULL,
            status TEXT NOT NULL,
            wake_ms INTEGER NOT NULL,
            updated_ms INTEGER NOT NULL,
            state BLOB NOT NULL,
            birth BLOB NOT NULL
        )""",
        "CREATE INDEX conversation_due ON conversation (wake_ms) WHERE wake_ms > 0",
        # Nearly all wait; the others are few, looked for at every start, and cost the rest nothing.
        """CREATE INDEX conversation_status ON conversation (status, key)
            WHERE status <> 'waiting'""",
        # One row a commit, of the current epoch only. `seq` is the head that the commit led to.
        """CREATE TABLE journal (
            conversation INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            data BLOB NOT NULL,
            PRIMARY KEY (conversation, seq)
        ) WITHOUT ROWID""",
        # An update id, waiting (with a payload) or consumed (payload NULL). `seq` counts deposits, and
        # outlives the consumption, so that a reader can page on after mail that is consumed meanwhile.
        """CREATE TABLE inbox (
            id TEXT NOT NULL PRIMARY KEY,
            key TEXT,
            payload BLOB,
            reply BLOB,
            at_ms INTEGER NOT NULL,
            seq INTEGER
        ) WITHOUT ROWID""",
        "CREATE INDEX inbox_order ON inbox (seq) WHERE seq IS NOT NULL",
        "CREATE INDEX inbox_waiting ON inbox (key, seq) WHERE payload IS NOT NULL",
        "CREATE INDEX inbox_consumed ON inbox (at_ms) WHERE payload IS NULL",
        # AUTOINCREMENT: an id is never given twice, or a late settle would hit a stranger's item.
        """CREATE TABLE outbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            lane TEXT NOT NULL,
            key TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            ref TEXT NOT NULL,
            delivery TEXT NOT NULL,
            state TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            not_before_ms INTEGER NOT NULL,
            error TEXT NOT NULL,
            created_ms INTEGER NOT NULL,
            place BLOB NOT NULL,
            call BLOB NOT NULL
        )""",
        """CREATE TABLE kept (
            space TEXT NOT NULL,
            name TEXT NOT NULL,
            value BLOB NOT NULL,
            at_ms INTEGER NOT NULL,
            PRIMARY KEY (space, name)
        ) WITHOUT ROWID""",
        "CREATE INDEX kept_sent ON kept (at_ms) WHERE space = 'sent'",
    ),
)
