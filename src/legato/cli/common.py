"""What the commands share."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from legato.abc import Store
from legato.app.settings import Settings, load_settings
from legato.deploy.loader import folder_of
from legato.deploy.parts import make_store
from legato.errors import ConfigError

FLAGS = ("store", "queue", "shards", "listen", "public_url", "cache")


def settings_of(options: argparse.Namespace, target: str = "") -> Settings:
    """The settings for a bot, by flags, environment and its legato.toml. From here on the command line
    knows the secrets that it must not print.

    Raises:
        ConfigError: A value cannot be used.
    """
    target = target or getattr(options, "target", "")
    flags = {name: getattr(options, name, None) for name in FLAGS}
    folders = [folder_of(target), Path.cwd()] if target else [Path.cwd()]
    settings = load_settings(flags, folders=folders)
    options.secrets = settings.secrets
    return settings


@asynccontextmanager
async def opened(
    options: argparse.Namespace, target: str = "", *, create: bool = False
) -> AsyncIterator[Store]:
    """The bot's store, opened beside the bot that may be running on it.

    Args:
        options: What was given on the command line.
        target: The bot, "" for none.
        create: Whether it is made if there is none.

    Raises:
        ConfigError, StoreError: There is none, or it cannot be read.
    """
    store = _found(options, target, create=create)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _found(options: argparse.Namespace, target: str, *, create: bool) -> Store:
    settings = settings_of(options, target)
    folder = folder_of(target) if target else Path.cwd()
    url = settings.store or f"sqlite:///{folder / 'legato.db'}"
    if url.startswith("memory:"):
        raise ConfigError("a store in memory is seen by its own process only: set LEGATO_STORE")
    store = make_store(url, shared=True, create=create)
    path = getattr(store, "path", None)
    if path is not None and not create and not Path(path).exists():
        raise ConfigError(
            f"there is no store {path}: name it with --store, or the bot with --bot bot.py"
        )
    return store


def moment(ms: int) -> str:
    """A stored time as a person reads it, "-" for none."""
    if not ms:
        return "-"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def printed(text: str) -> str:
    """A text in one line, without what would act on the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
