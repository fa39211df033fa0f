"""What is read, as SQL for one schema. Each is one statement, so each sees one moment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from legato.errors import Misuse
from legato.model.records import DEAD, QUEUED, SENDING, UNKNOWN, WAITING
from legato.stores.postgres.rows import COLUMNS, ITEM_COLUMNS, to_bytes

Query = tuple[str, list[Any]]
_STATES = (QUEUED, SENDING, UNKNOWN, DEAD)


class Queries:
    """SQL over the tables of one schema. Limits stand in the text, so that a plan is made for a page and not
    for a tenth of the table.

    Attributes:
        load: By key and slot: a row of `rows.COLUMNS` and the journal's data.
        get, consumed: A value by space and name; an update's reply by its id.
        hold, release, holders: Of leases. Times are the server's.
    """

    __slots__ = ("_schema", "consumed", "get", "hold", "holders", "load", "release")

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self.load: str = (
            f"SELECT {COLUMNS}, ARRAY(SELECT j.data FROM {schema}.journal j "
            "WHERE j.conversation = c.number AND j.slot = $2 ORDER BY j.seq) "
            f"FROM {schema}.conversation c WHERE c.key = $1 AND c.slot = $2"
        )
        self.get: str = f"SELECT value FROM {schema}.kept WHERE space = $1 AND name = $2"
        self.consumed: str = f"SELECT reply FROM {schema}.inbox WHERE id = $1 AND payload IS NULL"
        # In the order of names, as all do it: nobody waits for one who waits for him.
        self.hold: str = (
            f"INSERT INTO {schema}.lease AS l (name, holder, until) "
            "SELECT n, $1, clock_timestamp() + $3 * interval '1 second' FROM unnest($2::bytea[]) n "
            "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until "
            "WHERE l.holder = excluded.holder OR l.until <= clock_timestamp() RETURNING l.name"
        )
        self.release: str = (
            f"DELETE FROM {schema}.lease WHERE name IN (SELECT l.name FROM {schema}.lease l "
            "WHERE l.holder = $1 AND l.name = ANY ($2::bytea[]) ORDER BY l.name FOR UPDATE)"
        )
        self.holders: str = (
            f"SELECT name, holder FROM {schema}.lease "
            "WHERE substring(name FOR length($1::bytea)) = $1 AND until > clock_timestamp()"
        )

    def due(self, now_ms: int, limit: int, slots: Collection[int] | None) -> Query:
        """Conversations whose time has come."""
        args: list[Any] = [now_ms]
        where = (
            f"wake_ms > 0 AND wake_ms <= $1 AND status NOT IN ('failed', 'held'){_of(slots, args)}"
        )
        return self._conversations(where, "wake_ms, key", limit), args

    def find(
        self, status: str, dialog: str, after: str, limit: int, slots: Collection[int] | None
    ) -> Query:
        """Conversations by key."""
        args: list[Any] = [to_bytes(after)]
        where = "key > $1"
        if status:
            args.append(status)
            # The second term lets the index of the few that do not wait be used.
            where += f" AND status = ${len(args)}"
            where += "" if status == WAITING else " AND status <> 'waiting'"
        if dialog:
            args.append(to_bytes(dialog))
            where += f" AND dialog = ${len(args)}"
        return self._conversations(where + _of(slots, args), "key", limit), args

    def _conversations(self, where: str, order: str, limit: int) -> str:
        return f"SELECT {COLUMNS} FROM {self._schema}.conversation WHERE {where} ORDER BY {order} LIMIT {limit:d}"

    def outbox(
        self, states: Sequence[str], after: int, limit: int, key: str, slots: Collection[int] | None
    ) -> Query:
        """Items by id."""
        # Written out: the indexes are for some states each, and a plan must be sure of it.
        wanted = ", ".join(f"'{state}'" for state in _STATES if state in states)
        if not wanted:
            raise Misuse(f"an outbox item is in one of the states {', '.join(_STATES)}")
        args: list[Any] = [after]
        where = f"id > $1 AND state IN ({wanted})"
        if key:
            args.append(to_bytes(key))
            where += f" AND key = ${len(args)}"
        where += _of(slots, args)
        sql = f"SELECT {ITEM_COLUMNS} FROM {self._schema}.outbox WHERE {where} ORDER BY id LIMIT {limit:d}"
        return sql, args

    def mail(self, key: str, after: str, limit: int, slots: Collection[int] | None) -> Query:
        """Mail by the order of deposit, after that of an id."""
        args: list[Any] = [to_bytes(after)]
        seen = f"coalesce((SELECT seq FROM {self._schema}.inbox WHERE id = $1), 0)"
        where = f"payload IS NOT NULL AND seq > {seen}"
        if key:
            args.append(to_bytes(key))
            where += f" AND key = ${len(args)}"
        where += _of(slots, args)
        sql = f"SELECT id, key, payload FROM {self._schema}.inbox WHERE {where} ORDER BY seq LIMIT {limit:d}"
        return sql, args


def _of(slots: Collection[int] | None, args: list[Any]) -> str:
    """The condition on slots, whose argument is added to `args`."""
    if slots is None:
        return ""
    args.append(list(slots))
    return f" AND slot = ANY (${len(args)}::smallint[])"
