"""From settings to the parts that a shell runs: store and platforms.

On the way of a cloud function's cold start: adapters are imported when they are wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.abc import Store

STORES = "sqlite:///bot.db or memory://"


def make_store(url: str, *, threads: bool = True, shared: bool = False) -> Store:
    """The store of an address; not opened yet.

    Args:
        url: "sqlite:///bot.db" (relative to the working directory), "sqlite:////data/bot.db"
            (absolute) or "memory://".
        threads, shared: See SQLiteStore.

    Raises:
        ConfigError: There is no such store.
    """
    scheme, sep, rest = url.partition("://")
    if scheme == "sqlite":
        path = rest.removeprefix("/") if sep else ""
        if not path or not rest.startswith("/"):
            raise ConfigError(
                f"LEGATO_STORE={url}: a SQLite store is sqlite:///bot.db (in this folder) or "
                "sqlite:////data/bot.db (four slashes: from the root)"
            )
        from legato.stores.sqlite import SQLiteStore

        return SQLiteStore(path, threads=threads, shared=shared)
    if scheme == "memory" and sep and not rest:
        from legato.stores.memory import MemoryStore

        return MemoryStore()
    if scheme in ("postgres", "postgresql", "dynamodb"):
        raise ConfigError(f"LEGATO_STORE: this version has no {scheme} store: use {STORES}")
    raise ConfigError(f"LEGATO_STORE={url!r:.80} is no store: write {STORES}")


__all__ = ["make_store"]
