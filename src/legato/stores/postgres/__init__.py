"""PostgreSQL: the store that the workers of a cluster share. Needs the extra "postgres" (asyncpg).

What it rests on (https://www.postgresql.org/docs/current/mvcc.html, read 2026-11): at READ COMMITTED a row
that is locked FOR UPDATE is read as it was last committed; INSERT ... ON CONFLICT waits for the transaction
that inserts the same key; with synchronous_commit on, what was committed is on the disk.

    store.py      the Store's and the Leases' methods
    writer.py     concurrent commits share one transaction and one round trip
    functions.py  what one batch does to the tables, as functions in the database
    schema.py     the tables, as migrations;  migrate.py makes them
    rows.py       between records and rows;  queries.py  what is read
    within.py     the app's own SQL in a commit's transaction
    links.py      connections;  address.py  the URL;  failures.py  errors in our words
"""

from legato.stores.postgres.store import PostgresStore as PostgresStore

__all__ = ["PostgresStore"]
