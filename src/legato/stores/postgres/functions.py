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

SETTINGS = "SET plan_cache_mode = force_generic_plan SET enable_seqscan = off"
"""Everything is found by an index, whatever the statistics of a table that was small a minute ago say; and
planning it anew for each call would take longer than doing it."""
N, J, S, B, T = "bigint", "integer", "smallint", "bytea", "text"
COMMITS = (
    ("at_ms", N),
    ("slot", S),
    ("old_epoch", N),
    ("old_head", J),
    ("epoch", N),
    ("head", J),
    ("wake_ms", N),
    ("updated_ms", N),
    ("aside_slot", S),
    ("purge_ms", N),
    ("key", B),
    ("dialog", B),
    ("version", B),
    ("state", B),
    ("birth", B),
    ("segment", B),
    ("aside", B),
    ("update_id", B),
    ("reply", B),
    ("status", T),
)
"""A row for each commit. `key` NULL: none; `old_epoch` NULL: expects no row; `epoch` NULL: no new row."""
MAILS = (("of", J), ("slot", S), ("id", B), ("key", B), ("payload", B))
"""`of` is the commit, from 1."""
ITEMS = (
    ("of", J),
    ("epoch", N),
    ("attempts", N),
    ("not_before_ms", N),
    ("created_ms", N),
    ("slot", S),
    ("lane", B),
    ("key", B),
    ("ref", B),
    ("error", B),
    ("place", B),
    ("call", B),
    ("delivery", T),
    ("state", T),
)
PUTS = (("of", J), ("space", B), ("name", B), ("value", B))
FATES = (("id", N), ("attempts", N), ("not_before_ms", N), ("error", B), ("state", T))
SENT_IDS = (("id", N),)
KEEPS = (("id", N), ("name", B), ("value", B))

GROUPS = (
    ("c", COMMITS),
    ("m", MAILS),
    ("o", ITEMS),
    ("p", PUTS),
    ("f", FATES),
    ("s", SENT_IDS),
    ("k", KEEPS),
)
_WIRES = {N: "i", J: "i", S: "i", B: "b", T: "t"}
"""All numbers of a group go in one array, row after row, and so do all bytes and all texts: what a driver
spends is spent on each array, not on each element."""
_ARRAYS = {"i": "bigint[]", "b": "bytea[]", "t": "text[]"}


def _wires(group: str) -> dict[str, int]:
    """The arrays of a group, and how many elements a row has in each."""
    found: dict[str, int] = {}
    for _, kind in dict(GROUPS)[group]:
        found[_WIRES[kind]] = found.get(_WIRES[kind], 0) + 1
    return found


PARAMETERS = tuple(f"{group}_{wire}" for group, _ in GROUPS for wire in _wires(group))
"""Of write_1, after session, batch and mode."""


def _parameters() -> str:
    return ", ".join(f"{name} {_ARRAYS[name[-1]]}" for name in PARAMETERS)


def _rows(group: str) -> str:
    """The rows of a group, in a FROM."""
    sizes = _wires(group)
    taken = dict.fromkeys(sizes, 0)
    columns = []
    for name, kind in dict(GROUPS)[group]:
        wire = _WIRES[kind]
        taken[wire] += 1
        cast = "" if kind in (N, B, T) else f"::{kind}"
        columns.append(f"({group}_{wire}[g * {sizes[wire]} + {taken[wire]}]){cast} AS {name}")
    return (
        f"(SELECT {', '.join(columns)} "
        f"FROM generate_series(0, cardinality({group}_i) / {sizes['i']} - 1) AS g) AS {group}"
    )


_WRITE = f"""
CREATE FUNCTION {{s}}.write_1(session bytea, batch bigint, mode text, {_parameters()})
RETURNS TABLE (results smallint[], replies bytea[], ids bigint[]) LANGUAGE plpgsql
{SETTINGS} AS $$
DECLARE
    r record;
    put record;
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
    IF k_i IS NOT NULL THEN FOR r IN SELECT * FROM {_rows("k")} LOOP
        -- Dated by its item: the store has no clock, and a purge goes by age.
        INSERT INTO {{s}}.kept AS t (space, name, value, at_ms)
            SELECT 'sent', r.name, r.value, o.created_ms FROM {{s}}.outbox o WHERE o.id = r.id
            ON CONFLICT (space, name) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms;
    END LOOP; END IF;
    IF s_i IS NOT NULL THEN
        DELETE FROM {{s}}.outbox WHERE id = ANY (s_i);
    END IF;
    IF f_i IS NOT NULL THEN FOR r IN SELECT * FROM {_rows("f")} LOOP
        UPDATE {{s}}.outbox o SET state = r.state, attempts = r.attempts,
            not_before_ms = r.not_before_ms, error = r.error WHERE o.id = r.id;
    END LOOP; END IF;
    IF c_i IS NULL THEN
        RETURN NEXT;  -- fates may be written again: nobody needs to know which transaction it was
        RETURN;
    END IF;

    IF cardinality(c_i) > {_wires("c")["i"]} THEN
        PERFORM 1 FROM (SELECT c.key, c.slot FROM {_rows("c")} ORDER BY c.key) AS k
            CROSS JOIN LATERAL (SELECT FROM {{s}}.conversation t
                WHERE t.key = k.key AND t.slot = k.slot FOR UPDATE) AS locked;
    END IF;
    FOR r IN SELECT * FROM {_rows("c")} LOOP
        i := i + 1;
        results[i] := 0;
        replies[i] := NULL;
        now_number := NULL;
        IF r.key IS NOT NULL THEN
            SELECT t.number, t.epoch, t.head INTO now_number, now_epoch, now_head
                FROM {{s}}.conversation t WHERE t.key = r.key AND t.slot = r.slot FOR UPDATE;
            IF (now_number IS NULL) <> (r.old_epoch IS NULL)
                OR now_epoch <> r.old_epoch OR now_head <> r.old_head
                OR r.aside IS NOT NULL AND EXISTS (SELECT FROM {{s}}.conversation t
                    WHERE t.key = r.aside AND t.slot = r.aside_slot)
            THEN
                SELECT n.reply INTO seen FROM {{s}}.inbox n
                    WHERE n.id = r.update_id AND n.payload IS NULL;
                results[i] := CASE WHEN FOUND THEN 1 ELSE 2 END;
                replies[i] := seen;
                CONTINUE;
            END IF;
        END IF;
        IF r.update_id IS NOT NULL THEN
            -- Changes no row if it is consumed already; takes the event out of the mailbox if it waits.
            INSERT INTO {{s}}.inbox AS n (id, reply, at_ms, slot)
                VALUES (r.update_id, r.reply, r.at_ms, r.slot)
                ON CONFLICT (id) DO UPDATE SET payload = NULL, key = NULL, reply = excluded.reply,
                    at_ms = excluded.at_ms WHERE n.payload IS NOT NULL;
            IF NOT FOUND THEN
                SELECT n.reply INTO seen FROM {{s}}.inbox n WHERE n.id = r.update_id;
                results[i] := 1;
                replies[i] := seen;
                CONTINUE;
            END IF;
        END IF;

        IF now_number IS NOT NULL AND r.aside IS NOT NULL THEN
            UPDATE {{s}}.conversation t SET key = r.aside, slot = r.aside_slot
                WHERE t.key = r.key AND t.slot = r.slot;
            IF r.slot <> r.aside_slot THEN
                UPDATE {{s}}.journal j SET slot = r.aside_slot
                    WHERE j.conversation = now_number AND j.slot = r.slot;
            END IF;
            now_number := NULL;
        END IF;
        IF r.key IS NULL THEN
            NULL;
        ELSIF r.epoch IS NULL THEN
            IF now_number IS NOT NULL THEN
                DELETE FROM {{s}}.conversation t WHERE t.key = r.key AND t.slot = r.slot;
                DELETE FROM {{s}}.journal j WHERE j.conversation = now_number AND j.slot = r.slot;
            END IF;
        ELSIF now_number IS NOT NULL THEN
            UPDATE {{s}}.conversation t SET dialog = r.dialog, version = r.version, epoch = r.epoch,
                head = r.head, status = r.status, wake_ms = r.wake_ms, updated_ms = r.updated_ms,
                state = r.state WHERE t.key = r.key AND t.slot = r.slot;
            IF r.epoch <> r.old_epoch THEN
                DELETE FROM {{s}}.journal j
                    WHERE j.conversation = now_number AND j.slot = r.slot AND j.seq >= 0;
            END IF;
            IF r.birth IS NOT NULL THEN
                UPDATE {{s}}.journal j SET data = r.birth
                    WHERE j.conversation = now_number AND j.seq = -1 AND j.slot = r.slot;
            END IF;
        ELSE
            INSERT INTO {{s}}.conversation AS t
                (key, slot, dialog, version, epoch, head, status, wake_ms, updated_ms, state)
                VALUES (r.key, r.slot, r.dialog, r.version, r.epoch, r.head, r.status, r.wake_ms,
                    r.updated_ms, r.state)
                ON CONFLICT (key, slot) DO NOTHING RETURNING t.number INTO now_number;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'another process began it' USING ERRCODE = '{OVERTAKEN}';
            END IF;
            INSERT INTO {{s}}.journal (conversation, seq, slot, data)
                VALUES (now_number, -1, r.slot, coalesce(r.birth, ''));
        END IF;
        IF r.segment IS NOT NULL AND r.epoch IS NOT NULL THEN
            INSERT INTO {{s}}.journal (conversation, seq, slot, data)
                VALUES (now_number, r.head, r.slot, r.segment);
        END IF;

        IF m_i IS NOT NULL THEN
            INSERT INTO {{s}}.inbox (id, key, slot, payload, at_ms, seq)
                SELECT m.id, m.key, m.slot, m.payload, r.at_ms, nextval('{{s}}.inbox_seq')
                FROM {_rows("m")} WHERE m.of = i ON CONFLICT (id) DO NOTHING;
        END IF;
        IF p_i IS NOT NULL THEN FOR put IN SELECT * FROM {_rows("p")} WHERE p.of = i LOOP
            IF put.value IS NULL THEN
                DELETE FROM {{s}}.kept t WHERE t.space = put.space AND t.name = put.name;
            ELSE
                INSERT INTO {{s}}.kept (space, name, value, at_ms)
                    VALUES (put.space, put.name, put.value, r.at_ms)
                    ON CONFLICT (space, name) DO UPDATE SET value = excluded.value,
                        at_ms = excluded.at_ms;
            END IF;
        END LOOP; END IF;
        IF r.purge_ms IS NOT NULL THEN
            PERFORM {{s}}.purge_1(r.purge_ms, 1000);
        END IF;
    END LOOP;

    IF o_i IS NOT NULL THEN
        WITH queued AS (
            INSERT INTO {{s}}.outbox AS t (lane, key, epoch, ref, delivery, state, attempts,
                not_before_ms, error, created_ms, place, call, slot)
            SELECT o.lane, o.key, o.epoch, o.ref, o.delivery, o.state, o.attempts, o.not_before_ms,
                o.error, o.created_ms, o.place, o.call, o.slot
            FROM {_rows("o")} WHERE results[o.of] = 0
            RETURNING t.id
        ) SELECT array_agg(queued.id ORDER BY queued.id) INTO ids FROM queued;
    END IF;
    IF batch = 1 THEN
        INSERT INTO {{s}}.writer (id, number, at) VALUES (session, 0, now()) ON CONFLICT DO NOTHING;
    END IF;
    -- Serialised with recover_1 by the row: either this is seen by it, or it is seen here.
    UPDATE {{s}}.writer w SET number = batch, at = now(), results = write_1.results,
        replies = write_1.replies, ids = write_1.ids WHERE w.id = session AND w.number = batch - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'transaction % of this session was given up', batch USING ERRCODE = '{LOST}';
    END IF;
    RETURN NEXT;
END $$"""

_CHECK = """
CREATE FUNCTION {s}.check_1(the_key bytea, the_slot smallint, old_epoch bigint, old_head integer,
    the_aside bytea, aside_slot smallint, the_update bytea)
RETURNS TABLE (result smallint, reply bytea) LANGUAGE plpgsql {settings} AS $$
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
CREATE FUNCTION {s}.purge_1(before_ms bigint, page integer) RETURNS integer LANGUAGE plpgsql
{settings} AS $$
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

FUNCTIONS_1 = tuple(
    function.replace("{settings}", SETTINGS) for function in (_PURGE, _WRITE, _CHECK, _RECOVER)
)
