"""SQLite: one file beside the bot, and nothing to install. The default store.

What it rests on (https://sqlite.org/wal.html, https://sqlite.org/atomiccommit.html): in WAL mode with
synchronous=FULL a transaction is on the disk when COMMIT returns, readers never wait for the writer, and
an interrupted write is undone when the file is next opened. synchronous=NORMAL, SQLite's advice for WAL,
would lose acknowledged commits in a power cut; the test suite shows it.

    store.py       the Store's methods
    writer.py      concurrent commits share one transaction and one fsync
    statements.py  what one commit does to the tables
    schema.py      the tables, as a list of migrations
    files.py       opening, the lock against a second process, the driver's errors in our words
"""

from legato.stores.sqlite.store import SQLiteStore as SQLiteStore

__all__ = ["SQLiteStore"]
