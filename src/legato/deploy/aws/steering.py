"""What is done with a bot that is deployed: status, logs, destroy."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

from msgspec import Struct

from legato.app.app import App
from legato.app.settings import Settings
from legato.deploy.aws import code, secrets, stack, talks, versions, webhook
from legato.deploy.aws.asked import asked_of
from legato.deploy.aws.cloud import Cloud, watched
from legato.deploy.aws.deploying import url_of
from legato.deploy.aws.place import Place
from legato.deploy.aws.queues import letters
from legato.errors import ConfigError, Unavailable

PAUSE_S = 2.0
"""Between two looks at the log."""
LATE_MS = 10_000
"""Lines may come so much after later ones."""


# -- status ----------------------------------------------------------------------------------------


class Status(Struct, frozen=True):
    """A bot that is deployed.

    Attributes:
        stack: Its status.
        url: Of the function.
        live: Number of the version that requests go to.
        versions: All that there are.
        conversations: How many there are in each status.
        written: How many of them were written last by which version; 0 = by one from before they told.
        webhook: What Telegram says, {} for another platform.
        table: Of its conversations.
        web_chat: Address of the web chat's page, "" if there is none.
        web_socket: What the page connects to.
        trouble: Why Telegram could not be asked, "" if it could.
        public_url: Where platforms and people come to: what --public-url said, or the same as `url`.
    """

    stack: str
    url: str
    live: int
    versions: list[versions.Published]
    conversations: dict[str, int]
    written: dict[int, int]
    webhook: dict[str, object]
    table: str
    web_chat: str = ""
    web_socket: str = ""
    trouble: str = ""
    public_url: str = ""


def status(cloud: Cloud, place: Place, settings: Settings) -> Status:
    """Looks at everything."""
    ready = stack.known(cloud, place)
    table = ready.outputs["Table"]

    async def asked() -> tuple[talks.Seen, dict[str, object], str]:
        info: dict[str, object] = {}
        trouble = ""
        if settings.telegram_token:
            from legato.deploy.transport import Transport

            http = Transport()
            try:
                info = await webhook.webhook_info(settings, http)
            except (ConfigError, Unavailable) as error:
                trouble = str(error)
            finally:
                await http.close()
        return await talks.seen(cloud, table), info, trouble

    seen, info, trouble = asyncio.run(asked())
    web_socket = ready.outputs.get("WebSocket", "")
    public = asked_of(cloud, place, ready).public_url or ""
    base = url_of(ready.outputs["Url"], public)
    return Status(
        ready.status,
        ready.outputs["Url"],
        versions.live(cloud, place),
        versions.published(cloud, place),
        dict(seen.statuses),
        dict(Counter(seen.builds.values())),
        info,
        table,
        f"{base}/" if web_socket else "",
        web_socket,
        trouble,
        base,
    )


# -- logs ------------------------------------------------------------------------------------------


def lines(cloud: Cloud, place: Place, *, since_ms: int, tail: bool) -> Iterator[tuple[int, str]]:
    """Lines of the function's log as (time in ms, text), the oldest first.

    Args:
        cloud: Where.
        place: Which bot.
        since_ms: From when on.
        tail: Whether to go on with what comes, for ever.
    """
    logs = cloud("logs")
    seen: dict[str, int] = {}
    while True:
        events = _events(cloud, logs, place, since_ms)
        for event in sorted(events, key=lambda one: one["timestamp"]):
            name = event.get("eventId") or f"{event['timestamp']} {event['message']}"
            if name not in seen:
                seen[name] = event["timestamp"]
                yield event["timestamp"], event["message"].rstrip("\n")
        if not tail:
            return
        since_ms = max([since_ms, *(at - LATE_MS for at in seen.values())])
        seen = {name: at for name, at in seen.items() if at >= since_ms}
        time.sleep(PAUSE_S)


def _events(cloud: Cloud, logs: Any, place: Place, since_ms: int) -> list[dict[str, Any]]:
    ask: dict[str, Any] = {"logGroupName": f"/aws/lambda/{place.stack}", "startTime": since_ms}
    found: list[dict[str, Any]] = []
    while True:
        answer = cloud.maybe(lambda: logs.filter_log_events(**ask), "ResourceNotFoundException")
        if answer is None:
            raise ConfigError(f"there is no log of {place.stack} in {cloud.region}")
        found += answer["events"]
        token = answer.get("nextToken")
        if not token or token == ask.get("nextToken"):
            return found
        ask["nextToken"] = token


# -- destroy ---------------------------------------------------------------------------------------


def destroy(
    cloud: Cloud,
    place: Place,
    settings: Settings,
    say: Callable[[str], None],
    *,
    force: bool = False,
) -> None:
    """Deletes everything of a bot: webhook, secrets, zips, table, stack. The stack goes last: it knows where
    the rest is, so that what was begun and not ended can be begun again.

    Args:
        cloud: Where.
        place: Which bot.
        settings: Its tokens.
        say: Told of each part.
        force: Whether open conversations are no reason to refuse.

    Raises:
        ConfigError: Conversations are open, or something could not be deleted.
    """
    ready = stack.at_rest(cloud, place, say)
    if ready is None or not ready.ours:
        if not _rest_deleted(cloud, place, "", say):
            stack.known(cloud, place)  # says that there is none
        return
    table = ready.outputs.get("Table", "")  # there is none if it was never made
    there = bool(table) and _is_there(cloud, table)
    if there and not force:
        counted = asyncio.run(talks.seen(cloud, table)).statuses
        if counted:
            told = ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
            raise ConfigError(
                f"{place.stack} has open conversations ({told}): let them end, or --force, which deletes them"
            )
    if (
        "Queue" in ready.outputs
        and not force
        and (waiting := letters(cloud, ready.outputs["Queue"]))
    ):
        raise ConfigError(
            f"{waiting} updates lie in the queue of {place.stack}: wait until they are worked on, or --force"
        )
    if there:
        try:
            own = ready.outputs.get("Url", "")
            ours = {own, url_of(own, asked_of(cloud, place, ready).public_url or "")}
            away = asyncio.run(_disconnected(cloud, place, settings, table, ours))
            say(f"the webhook stays: Telegram sends to {away} now" if away else "deleted: webhook")
        except (ConfigError, Unavailable) as error:  # a token that is not valid any more, say
            say(f"the webhook stays: {error}")
    _rest_deleted(cloud, place, ready.outputs.get("Bucket", ""), say)
    if table:
        _delete_table(cloud, table)
        say(f"deleted: table {table}")
    stack.remove(cloud, place)
    say(f"deleted: stack {place.stack}")


def _rest_deleted(cloud: Cloud, place: Place, bucket: str, say: Callable[[str], None]) -> bool:
    """Deletes what is not in the stack; whether there was anything."""
    kept = secrets.forget(cloud, place)
    zips = code.forget(cloud, bucket or code.bucket_of(cloud), place)
    if kept or zips:
        say(f"deleted: {kept} secrets, {zips} zips")
    return bool(kept or zips)


async def _disconnected(
    cloud: Cloud, place: Place, settings: Settings, table: str, ours: Collection[str]
) -> str:
    """Lets platforms send nowhere; where Telegram sends to if the bot has moved: that is left to it."""
    from legato.deploy.transport import Transport

    http = Transport()
    try:
        async with talks.opened(cloud, table) as store:
            nothing = App(place.name)  # its menu of commands goes, too
            away = await webhook.elsewhere(settings, http, ours)
            platforms = webhook.platforms_of(nothing, settings)
            gone = [one for one in platforms if not away or one.name != "telegram"]
            await webhook.disconnect(gone, store, http)
            return away
    finally:
        await http.close()


def _is_there(cloud: Cloud, table: str) -> bool:
    dynamodb = cloud("dynamodb")
    absent = "ResourceNotFoundException"
    answer = cloud.maybe(lambda: dynamodb.describe_table(TableName=table), absent)
    return answer is not None and answer["Table"]["TableStatus"] != "DELETING"


def _delete_table(cloud: Cloud, table: str) -> None:
    dynamodb = cloud("dynamodb")
    absent = "ResourceNotFoundException"
    cloud.maybe(lambda: dynamodb.delete_table(TableName=table), absent)
    watched(
        lambda: cloud.maybe(lambda: dynamodb.describe_table(TableName=table), absent) is None,
        f"the end of the table {table}",
        300,
    )


__all__ = ["Status", "destroy", "lines", "status"]
