"""From settings to the parts that a shell runs: store and platforms.

On the way of a cloud function's cold start: adapters are imported when they are wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from legato.errors import BadToken, ConfigError

if TYPE_CHECKING:
    from legato.abc import Clock, HttpClient, Platform, Queue, Store
    from legato.app.settings import Settings
    from legato.queues.sqs import SqsSender

STORES = (
    "sqlite:///bot.db, postgresql://user:password@host/database, dynamodb://table?region=eu-central-1 or "
    "memory://"
)
QUEUES = "amqp://user:password@host"


def make_store(
    url: str, *, threads: bool = True, shared: bool = False, create: bool = True
) -> Store:
    """The store of an address; not opened yet.

    Args:
        url: "sqlite:///bot.db" (relative to the working directory), "sqlite:////data/bot.db"
            (absolute), "postgresql://user:password@host/database" (see PostgresStore),
            "dynamodb://table?region=eu-central-1" (see DynamoDBStore) or "memory://".
        threads, shared: See SQLiteStore.
        create: See PostgresStore; a SQLite file is made in any case, a DynamoDB table only where the
            address says so, too.

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
    if scheme in ("postgres", "postgresql"):
        from legato.stores.postgres import PostgresStore

        return PostgresStore(url, create=create)
    if scheme == "dynamodb":
        from legato.deploy.transport import Transport
        from legato.stores.dynamodb import DynamoDBStore

        return DynamoDBStore(url, http=Transport, create=None if create else False)
    shown = (
        f"{scheme}://{rest.rpartition('@')[2]}" if sep else url
    )  # what stands before may be a password
    raise ConfigError(f"LEGATO_STORE={shown!r:.80} is no store: write {STORES}")


def is_shared(url: str) -> bool:
    """Whether a store is one that cloud functions can use beside a server: no file, which one process holds."""
    return url.partition(":")[0] in ("postgres", "postgresql", "dynamodb")


def make_queue(url: str, app: str) -> Queue:
    """The queue of an address; not opened yet.

    Args:
        url: "amqp://user:password@host" (see RabbitQueue), or "memory://" (which no other process sees).
        app: Name of the bot: its queues are its own.

    Raises:
        ConfigError: There is no such queue.
    """
    scheme, sep, rest = url.partition("://")
    if scheme == "memory" and sep and not rest:
        from legato.queues.memory import MemoryQueue

        return MemoryQueue(app=app)
    if scheme in ("amqp", "amqps"):
        from legato.queues.rabbitmq import RabbitQueue

        return RabbitQueue(url, app)
    if scheme == "sqs":
        raise ConfigError(
            f"LEGATO_QUEUE: a queue of SQS is for cloud functions; a cluster's processes share {QUEUES}"
        )
    # The address may hold a password: it is not shown.
    raise ConfigError(f"LEGATO_QUEUE is no queue: write {QUEUES}")


def make_sender(url: str, variable: str, http: HttpClient, *, fifo: bool) -> SqsSender:
    """What puts messages into a queue of SQS: the one before a cloud function, or the one of its timers.

    Args:
        url: "sqs://my-bot.fifo?region=eu-central-1"; see legato.queues.sqs.address.
        variable: Where it was set.
        http: Carries its requests.
        fifo: Which kind of queue it must be.

    Raises:
        ConfigError: It is no such queue, or there are no credentials.
    """
    scheme = url.partition("://")[0]
    if scheme != "sqs":
        # The address may hold a password: it is not shown.
        raise ConfigError(
            f"{variable} is no queue for a cloud function: write sqs://my-bot{'.fifo' if fifo else '-timers'}"
        )
    from legato.queues.sqs import SqsSender
    from legato.queues.sqs.address import where_is

    return SqsSender(where_is(url, variable, fifo=fifo), http)


def make_platforms(settings: Settings, prefixes: tuple[str, ...], clock: Clock) -> list[Platform]:
    """An adapter for every bot whose token is set.

    Args:
        settings: The tokens.
        prefixes: What commands begin with.
        clock: Time.

    Raises:
        ConfigError: A token cannot be one, or is missing beside what belongs to it.
    """
    found: list[Platform] = []
    if settings.telegram_token:
        from legato.platforms.telegram import Telegram
        from legato.platforms.telegram.platform import API

        try:
            telegram = Telegram(
                settings.telegram_token,
                api=settings.telegram_api or API,
                secret=settings.telegram_secret,
                prefixes=prefixes,
                clock=clock,
            )
        except BadToken as error:
            raise BadToken(f"TELEGRAM_TOKEN: {error}") from None
        except ConfigError as error:
            raise ConfigError(f"TELEGRAM_SECRET: {error}") from None
        found.append(telegram)
    elif settings.telegram_secret:
        raise ConfigError("TELEGRAM_SECRET is set, but TELEGRAM_TOKEN is not: set both or none")
    if settings.twitch_client_id or settings.twitch_channels:
        found.append(_twitch(settings, prefixes, clock))
    return found


def hosted_platforms(settings: Settings, prefixes: tuple[str, ...], clock: Clock) -> list[Platform]:
    """The same for a shell that others send requests to: without a platform it would refuse them all.

    Raises:
        ConfigError: As above, or no token is set.
    """
    found = make_platforms(settings, prefixes, clock)
    if not found:
        raise ConfigError(
            "no platform has a token: set TELEGRAM_TOKEN (or TELEGRAM_TOKEN_FILE) where the bot runs"
        )
    return found


def _twitch(settings: Settings, prefixes: tuple[str, ...], clock: Clock) -> Platform:
    for field in ("client_id", "client_secret", "channels"):
        if not getattr(settings, f"twitch_{field}"):
            raise ConfigError(
                f"TWITCH_{field.upper()} is not set: a bot on Twitch needs TWITCH_CLIENT_ID and "
                "TWITCH_CLIENT_SECRET of an application, and the names of its TWITCH_CHANNELS"
            )
    from legato.platforms.twitch import Twitch
    from legato.platforms.twitch.auth import AUTH
    from legato.platforms.twitch.helix import API

    return Twitch(
        settings.twitch_client_id,
        settings.twitch_client_secret,
        settings.twitch_channels,
        clock=clock,
        transport=settings.twitch_transport,
        irc=settings.twitch_irc,
        api=settings.twitch_api or API,
        auth=settings.twitch_auth or AUTH,
        eventsub=settings.twitch_eventsub,
        secret=settings.twitch_secret,
        key=settings.key,
        prefixes=prefixes,
    )


__all__ = ["is_shared", "make_platforms", "make_queue", "make_sender", "make_store"]
