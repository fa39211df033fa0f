"""What one write does, as functions in the database: a batch of any size is one call and one round trip.

They are named by the version that brought them and stay until a later one drops them, so that during a
rolling upgrade the processes of the older Legato go on.

Everything runs at READ COMMITTED: each statement inside sees what was committed before it. A commit is
checked before its first write, so what is refused has touched nothing. Rows of conversations are locked in
the order of their keys. What another process does in the tiny gaps (the insertion of a key or id that was
not there yet) raises, and the client runs the commits of the batch again, one by one.
"""

from __future__ import annotations

LOST = "LG001"
"""SQLSTATE: this number of the session was used, or given up, before."""
OVERTAKEN = "LG002"
"""SQLSTATE: another process began the same conversation at this moment. Try again."""

COMMITS = (
    ("at_ms", "bigint"),
    ("key", "bytea"),
    ("slot", "smallint"),
    ("old_epoch", "bigint"),
    ("old_head", "integer"),
    ("dialog", "bytea"),
    ("version", "bytea"),
    ("epoch", "bigint"),
    ("head", "integer"),
    ("status", "text"),
    ("wake_ms", "bigint"),
    ("updated_ms", "bigint"),
    ("state", "bytea"),
    ("birth", "bytea"),
    ("segment", "bytea"),
    ("aside", "bytea"),
    ("aside_slot", "smallint"),
    ("update_id", "bytea"),
    ("reply", "bytea"),
    ("purge_ms", "bigint"),
)
"""One element a commit. `key` NULL: none; `old_epoch` NULL: expects no row; `epoch` NULL: no new row."""
MAILS = (
    ("of", "integer"),
    ("id", "bytea"),
    ("key", "bytea"),
    ("slot", "smallint"),
    ("payload", "bytea"),
)
"""`of` is the commit, from 1."""
ITEMS = (
    ("of", "integer"),
    ("lane", "bytea"),
    ("key", "bytea"),
    ("epoch", "bigint"),
    ("ref", "bytea"),
    ("delivery", "text"),
    ("state", "text"),
    ("attempts", "bigint"),
    ("not_before_ms", "bigint"),
    ("error", "bytea"),
    ("created_ms", "bigint"),
    ("place", "bytea"),
    ("call", "bytea"),
    ("slot", "smallint"),
)
PUTS = (("of", "integer"), ("space", "bytea"), ("name", "bytea"), ("value", "bytea"))
FATES = (
    ("id", "bigint"),
    ("state", "text"),
    ("attempts", "bigint"),
    ("not_before_ms", "bigint"),
    ("error", "bytea"),
)
SENT_IDS = (("id", "bigint"),)
KEEPS = (("id", "bigint"), ("name", "bytea"), ("value", "bytea"))

GROUPS = (
    ("c", COMMITS),
    ("m", MAILS),
    ("o", ITEMS),
    ("p", PUTS),
    ("f", FATES),
    ("s", SENT_IDS),
    ("k", KEEPS),
)
"""Parameters of the function, after session, number and mode: an array for each column."""


def _parameters() -> str:
    return ", ".join(f"{g}_{name} {kind}[]" for g, columns in GROUPS for name, kind in columns)


def _rows(group: str) -> str:
    """The rows of a group, in a FROM."""
    columns = dict(GROUPS)[group]
    arrays = ", ".join(f"{group}_{name}" for name, _ in columns)
    return f"unnest({arrays}) AS {group} ({', '.join(name for name, _ in columns)})"


_WRITE = f"""
CREATE FUNCTION {{s}}.write_1(session bytea, batch bigint, mode text, {_parameters()})
RETURNS TABLE (results smallint[], replies bytea[], ids bigint[]) LANGUAGE plpgsql AS $$
DECLARE
    c record;
    i integer := 0;
    now_number bigint;
    now_epoch bigint;
    now_head integer;
    seen bytea;
BEGIN
    results := '{{}}';
    replies := '{{}}';
    -- Whatever the server's default is: an acknowledged commit must be on the disk.
    IF mode = 'off' OR current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', mode, true);
    END IF;
    IF batch = 1 THEN
        INSERT INTO {{s}}.writer (id, number, at) VALUES (session, 0, now()) ON CONFLICT DO NOTHING;
    END IF;
    PERFORM 1 FROM {{s}}.writer w WHERE w.id = session AND w.number = batch - 1 FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'transaction % of this session was given up', batch USING ERRCODE = '{LOST}';
    END IF;

    FOR c IN SELECT k.id, k.name, k.value FROM {_rows("k")} LOOP
        -- Dated by its item: the store has no clock, and a purge goes by age.
        INSERT INTO {{s}}.kept AS t (space, name, value, at_ms)
            SELECT 'sent', c.name, c.value, o.created_ms FROM {{s}}.outbox o WHERE o.id = c.id
            ON CONFLICT (space, name) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms;
    END LOOP;
    IF s_id IS NOT NULL THEN
        DELETE FROM {{s}}.outbox WHERE id = ANY (s_id);
    END IF;
    FOR c IN SELECT * FROM {_rows("f")} LOOP
        UPDATE {{s}}.outbox o SET state = c.state, attempts = c.attempts,
            not_before_ms = c.not_before_ms, error = c.error WHERE o.id = c.id;
    END LOOP;

    IF cardinality(c_key) > 1 THEN
        PERFORM 1 FROM {{s}}.conversation t WHERE t.key = ANY (c_key) AND t.slot = ANY (c_slot)
            ORDER BY t.key FOR UPDATE;
    END IF;
    FOR c IN SELECT * FROM {_rows("c")} LOOP
        i := i + 1;
        results[i] := 0;
        replies[i] := NULL;
        now_number := NULL;
        IF c.key IS NOT NULL THEN
            SELECT t.number, t.epoch, t.head INTO now_number, now_epoch, now_head
                FROM {{s}}.conversation t WHERE t.key = c.key AND t.slot = c.slot FOR UPDATE;
            IF (now_number IS NULL) <> (c.old_epoch IS NULL)
                OR now_epoch <> c.old_epoch OR now_head <> c.old_head
                OR c.aside IS NOT NULL AND EXISTS (SELECT FROM {{s}}.conversation t
                    WHERE t.key = c.aside AND t.slot = c.aside_slot)
            THEN
                SELECT n.reply INTO seen FROM {{s}}.inbox n
                    WHERE n.id = c.update_id AND n.payload IS NULL;
                results[i] := CASE WHEN FOUND THEN 1 ELSE 2 END;
                replies[i] := seen;
                CONTINUE;
            END IF;
        END IF;
        IF c.update_id IS NOT NULL THEN
            -- Changes no row if it is consumed already; takes the event out of the mailbox if it waits.
            INSERT INTO {{s}}.inbox AS n (id, reply, at_ms, slot)
                VALUES (c.update_id, c.reply, c.at_ms, c.slot)
                ON CONFLICT (id) DO UPDATE SET payload = NULL, key = NULL, reply = excluded.reply,
                    at_ms = excluded.at_ms WHERE n.payload IS NOT NULL;
            IF NOT FOUND THEN
                SELECT n.reply INTO seen FROM {{s}}.inbox n WHERE n.id = c.update_id;
                results[i] := 1;
                replies[i] := seen;
                CONTINUE;
            END IF;
        END IF;

        IF now_number IS NOT NULL AND c.aside IS NOT NULL THEN
            UPDATE {{s}}.conversation t SET key = c.aside, slot = c.aside_slot
                WHERE t.key = c.key AND t.slot = c.slot;
            IF c.slot <> c.aside_slot THEN
                UPDATE {{s}}.journal j SET slot = c.aside_slot
                    WHERE j.conversation = now_number AND j.slot = c.slot;
            END IF;
            now_number := NULL;
        END IF;
        IF c.key IS NULL THEN
            NULL;
        ELSIF c.epoch IS NULL THEN
            IF now_number IS NOT NULL THEN
                DELETE FROM {{s}}.conversation t WHERE t.key = c.key AND t.slot = c.slot;
                DELETE FROM {{s}}.journal j WHERE j.conversation = now_number AND j.slot = c.slot;
            END IF;
        ELSIF now_number IS NOT NULL THEN
            UPDATE {{s}}.conversation t SET dialog = c.dialog, version = c.version, epoch = c.epoch,
                head = c.head, status = c.status, wake_ms = c.wake_ms, updated_ms = c.updated_ms,
                state = c.state WHERE t.key = c.key AND t.slot = c.slot;
            IF c.epoch <> c.old_epoch THEN
                DELETE FROM {{s}}.journal j
                    WHERE j.conversation = now_number AND j.slot = c.slot AND j.seq >= 0;
            END IF;
            IF c.birth IS NOT NULL THEN
                UPDATE {{s}}.journal j SET data = c.birth
                    WHERE j.conversation = now_number AND j.seq = -1 AND j.slot = c.slot;
            END IF;
        ELSE
            INSERT INTO {{s}}.conversation AS t
                (key, slot, dialog, version, epoch, head, status, wake_ms, updated_ms, state)
                VALUES (c.key, c.slot, c.dialog, c.version, c.epoch, c.head, c.status, c.wake_ms,
                    c.updated_ms, c.state)
                ON CONFLICT (key, slot) DO NOTHING RETURNING t.number INTO now_number;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'another process began it' USING ERRCODE = '{OVERTAKEN}';
            END IF;
            INSERT INTO {{s}}.journal (conversation, seq, slot, data)
                VALUES (now_number, -1, c.slot, coalesce(c.birth, ''));
        END IF;
        IF c.segment IS NOT NULL AND c.epoch IS NOT NULL THEN
            INSERT INTO {{s}}.journal (conversation, seq, slot, data)
                VALUES (now_number, c.head, c.slot, c.segment);
        END IF;

        IF m_of IS NOT NULL THEN
            INSERT INTO {{s}}.inbox (id, key, slot, payload, at_ms, seq)
                SELECT m.id, m.key, m.slot, m.payload, c.at_ms, nextval('{{s}}.inbox_seq')
                FROM {_rows("m")} WHERE m.of = i ON CONFLICT (id) DO NOTHING;
        END IF;
        IF p_of IS NOT NULL THEN
            DELETE FROM {{s}}.kept t USING {_rows("p")}
                WHERE p.of = i AND p.value IS NULL AND t.space = p.space AND t.name = p.name;
            INSERT INTO {{s}}.kept (space, name, value, at_ms)
                SELECT p.space, p.name, p.value, c.at_ms FROM {_rows("p")}
                WHERE p.of = i AND p.value IS NOT NULL
                ON CONFLICT (space, name) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms;
        END IF;
        IF c.purge_ms IS NOT NULL THEN
            PERFORM {{s}}.purge_1(c.purge_ms, 1000);
        END IF;
    END LOOP;

    IF o_of IS NOT NULL THEN
        WITH queued AS (
            INSERT INTO {{s}}.outbox AS t (lane, key, epoch, ref, delivery, state, attempts,
                not_before_ms, error, created_ms, place, call, slot)
            SELECT o.lane, o.key, o.epoch, o.ref, o.delivery, o.state, o.attempts, o.not_before_ms,
                o.error, o.created_ms, o.place, o.call, o.slot
            FROM {_rows("o")} WHERE results[o.of] = 0
            RETURNING t.id
        ) SELECT array_agg(queued.id ORDER BY queued.id) INTO ids FROM queued;
    END IF;
    UPDATE {{s}}.writer w SET number = batch, at = now(), results = write_1.results,
        replies = write_1.replies, ids = write_1.ids WHERE w.id = session;
    RETURN NEXT;
END $$"""

_CHECK = """
CREATE FUNCTION {s}.check_1(the_key bytea, the_slot smallint, old_epoch bigint, old_head integer,
    the_aside bytea, aside_slot smallint, the_update bytea)
RETURNS TABLE (result smallint, reply bytea) LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    SELECT n.reply INTO reply FROM {s}.inbox n WHERE n.id = the_update AND n.payload IS NULL;
    result := CASE WHEN FOUND THEN 1 ELSE 0 END;
    IF result = 0 AND the_key IS NOT NULL THEN
        SELECT c.epoch, c.head INTO t FROM {s}.conversation c
            WHERE c.key = the_key AND c.slot = the_slot FOR UPDATE;
        IF FOUND <> (old_epoch IS NOT NULL) OR t.epoch <> old_epoch OR t.head <> old_head
            OR the_aside IS NOT NULL AND EXISTS (SELECT FROM {s}.conversation c
                WHERE c.key = the_aside AND c.slot = aside_slot)
        THEN
            -- It may have been consumed while we waited for the row.
            SELECT n.reply INTO reply FROM {s}.inbox n WHERE n.id = the_update AND n.payload IS NULL;
            result := CASE WHEN FOUND THEN 1 ELSE 2 END;
        END IF;
    END IF;
    RETURN NEXT;
END $$"""

_RECOVER = """
CREATE FUNCTION {s}.recover_1(session bytea, batch bigint)
RETURNS TABLE (results smallint[], replies bytea[], ids bigint[]) LANGUAGE plpgsql AS $$
DECLARE
    w record;
BEGIN
    -- Waits for the transaction in question if it still runs, and keeps it from beginning later.
    INSERT INTO {s}.writer (id, number, at) VALUES (session, batch, now()) ON CONFLICT DO NOTHING;
    SELECT * INTO w FROM {s}.writer t WHERE t.id = session FOR UPDATE;
    IF w.number = batch THEN
        results := w.results;
        replies := w.replies;
        ids := w.ids;
    ELSE
        UPDATE {s}.writer t SET number = batch, at = now(), results = NULL, replies = NULL,
            ids = NULL WHERE t.id = session;
    END IF;
    RETURN NEXT;
END $$"""

# By pages, so that neither a transaction nor the caller is kept for long; two purgers pass each other by.
_PURGE = """
CREATE FUNCTION {s}.purge_1(before_ms bigint, page integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    gone integer;
    most integer := 0;
BEGIN
    DELETE FROM {s}.inbox WHERE id = ANY (ARRAY(SELECT n.id FROM {s}.inbox n
        WHERE n.payload IS NULL AND n.at_ms < before_ms ORDER BY n.at_ms LIMIT page
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    DELETE FROM {s}.kept WHERE space = 'sent' AND name = ANY (ARRAY(SELECT t.name FROM {s}.kept t
        WHERE t.space = 'sent' AND t.at_ms < before_ms ORDER BY t.at_ms LIMIT page
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    DELETE FROM {s}.writer WHERE id = ANY (ARRAY(SELECT w.id FROM {s}.writer w
        WHERE w.at < now() - interval '1 day' FOR UPDATE SKIP LOCKED));
    DELETE FROM {s}.lease WHERE name = ANY (ARRAY(SELECT l.name FROM {s}.lease l
        WHERE l.until < now() - interval '1 day' FOR UPDATE SKIP LOCKED));
    RETURN most;
END $$"""

FUNCTIONS_1 = (_PURGE, _WRITE, _CHECK, _RECOVER)
