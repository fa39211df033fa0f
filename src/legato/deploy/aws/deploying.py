"""`legato deploy aws bot.py`: package, stack, webhook, probe."""

from __future__ import annotations

import asyncio
import secrets as chance
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from legato.app.app import App
from legato.app.settings import VARIABLES, Settings
from legato.deploy.aws import code, concurrency, secrets, stack, talks, versions, webchat, webhook
from legato.deploy.aws.asked import Asked
from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place
from legato.deploy.aws.queues import letters
from legato.deploy.aws.template import Wanted, template, text_of
from legato.deploy.package.build import build
from legato.deploy.package.carried import carried
from legato.deploy.package.entry import Entry
from legato.deploy.package.target import Target
from legato.errors import ConfigError, Unavailable

Say = Callable[[str], None]


class Plan(Struct, frozen=True, kw_only=True):
    """What is to be deployed, and how.

    Attributes:
        entry: The bot.
        place: Its names.
        target: Machine and Python.
        settings: Of the bot.
        variables: More of the function's environment.
        secrets: More secrets.
        public_url: Where platforms send to instead of the function's own address; "{id}" in it stands
            for the first label of that.
        bucket: Where zips are put, "" = one of our own.
        force: Whether open conversations that the code cannot replay are no reason to refuse.
        memory, timeout, schedule, front, queue, timers, retention, web_socket, public_socket, asked: See Wanted.
    """

    entry: Entry
    place: Place
    target: Target
    settings: Settings
    variables: dict[str, str] = {}
    secrets: dict[str, str] = {}
    public_url: str = ""
    bucket: str = ""
    force: bool = False
    memory: int = 512
    timeout: int = 30
    schedule: str = "1m"
    front: str = "url"
    queue: bool = False
    timers: bool = False
    retention: int = 30
    web_socket: bool = False
    public_socket: str = ""
    asked: Asked = Asked()


class Deployed(Struct, frozen=True):
    """What came of it.

    Attributes:
        url: Of the function.
        version: The live version's number.
        changed: Whether anything was.
        sha256: Of the zip.
        tried: What the platforms were found to be.
    """

    url: str
    version: int
    changed: bool
    sha256: str
    tried: list[webhook.Tried]


# -- what is wanted --------------------------------------------------------------------------------


def completed(settings: Settings, stored: dict[str, secrets.Kept]) -> Settings:
    """The settings, with secrets that are set nowhere but in Parameter Store."""
    found = {}
    for name, variable in VARIABLES.items():
        if variable.secret and name in stored and not getattr(settings, variable.field):
            found[variable.field] = variable.read(stored[name].value)
    return msgspec.structs.replace(settings, **found)


def with_secret(settings: Settings) -> Settings:
    """The settings, with a webhook secret where Telegram's is set nowhere."""
    if settings.telegram_token and not settings.telegram_secret:
        return msgspec.structs.replace(settings, telegram_secret=chance.token_urlsafe(32))
    return settings


def wanted_of(plan: Plan, sha256: str, settings: Settings, kept: dict[str, int]) -> Wanted:
    """The stack that a plan asks for, with the package of that sum."""
    plain, _ = carried(settings)
    return Wanted(
        place=plan.place,
        target=plan.target,
        sha256=sha256,
        entry=plan.entry.target,
        variables=plain | plan.variables,
        secrets=kept,
        memory=plan.memory,
        timeout=plan.timeout,
        schedule=plan.schedule,
        front=plan.front,
        queue=plan.queue,
        timers=plan.timers,
        retention=plan.retention,
        web_socket=plan.web_socket,
        public_socket=plan.public_socket,
        asked=plan.asked,
    )


def _parts(plan: Plan, cloud: Cloud) -> tuple[Settings, dict[str, secrets.Kept], dict[str, str]]:
    """Settings, what is stored, and all secrets that are wanted."""
    stored = secrets.stored(cloud, plan.place)
    settings = with_secret(completed(plan.settings, stored))
    _, secret = carried(settings)
    if not secret and not settings.twitch_client_id and not plan.web_socket:
        raise ConfigError(
            "no platform has a token: set TELEGRAM_TOKEN here, it goes to Parameter Store; or --web-socket, for "
            "the web chat"
        )
    return settings, stored, secret | plan.secrets


# -- showing ---------------------------------------------------------------------------------------


def diff(plan: Plan, cloud: Cloud, say: Say) -> bool:
    """Says what a deployment would change, and changes nothing; whether there is anything."""
    settings, stored, secret = _parts(plan, cloud)
    after = secrets.versions_after(stored, secret)
    made = build(plan.entry, plan.target)
    for name in sorted(secret):
        if name not in stored or stored[name].value != secret[name]:
            say(f"secret  {name} ({'changed' if name in stored else 'new'})")
    old = stack.found(cloud, plan.place)
    if old is not None and "Table" in old.outputs:
        reports = asyncio.run(talks.misfits(cloud, old.outputs["Table"], plan.entry.app))
        if reports:
            say(f"this code cannot replay open conversations: {talks.told(reports)}")
    wanted = wanted_of(plan, made.sha256, settings, after)
    changes = _prepared(plan, cloud, wanted, _bucket(plan, cloud, old))
    for one in changes.found:
        say(one.text)
    if changes.found or changes.new:
        stack.drop(cloud, plan.place, changes)
    return bool(changes.found) or _says_live(plan, cloud, old, say)


def _says_live(plan: Plan, cloud: Cloud, old: stack.Stack | None, say: Say) -> bool:
    """Says, after a rollback, that a deployment takes it back; whether it does."""
    if old is None or "Version" not in old.outputs:
        return False
    number, live = int(old.outputs["Version"]), versions.live(cloud, plan.place)
    if number != live:
        say(f"live    version {number} again, after a rollback to {live}")
    return number != live


# -- doing -----------------------------------------------------------------------------------------


def deploy(plan: Plan, cloud: Cloud, say: Say) -> Deployed:
    """Makes or changes the stack, lets the platforms send to it, and tries the way.

    Raises:
        ConfigError: It cannot be deployed; what was there is as it was, if the message does not say
            otherwise.
    """
    place = plan.place
    settings, stored, secret = _parts(plan, cloud)
    old = stack.settled(cloud, place, say)
    bucket = _bucket(plan, cloud, old)
    _check(plan, settings, stored, old, cloud, say=say)
    made = build(plan.entry, plan.target)
    say(f"package {made.size.text}, sha256 {made.sha256[:12]}")
    kept = secrets.store(cloud, place, stored, secret)
    code.ensure_bucket(cloud, bucket)
    code.upload(cloud, bucket, place.key(made.sha256), made.archive)
    changes = _prepared(plan, cloud, wanted_of(plan, made.sha256, settings, kept), bucket)
    before = versions.live(cloud, place) if _works(old) else 0
    if changes.found:
        ready = _carried_out(cloud, place, changes, before, say)
    else:
        stack.drop(cloud, place, changes)
        ready = stack.known(cloud, place)
        say("the stack is as it should be")
    number = int(ready.outputs["Version"])
    if versions.live(cloud, place) != number:
        versions.move(cloud, place, number)  # after a rollback
        say(f"version {number} is live again")
    if narrow := concurrency.trouble(cloud, place):
        say(narrow)
    _prune(cloud, place, bucket, ready.outputs["Table"], say)
    url = url_of(ready.outputs["Url"], plan.public_url)
    try:
        tried = asyncio.run(connected(plan.entry.app, settings, cloud, ready.outputs, url))
    except (ConfigError, Unavailable) as error:
        back = "; `legato deploy aws rollback` goes back" if before not in (0, number) else ""
        raise ConfigError(f"version {number} is live, but {error} (deploy again{back})") from error
    return Deployed(url, number, bool(changes.found), made.sha256, tried)


def _carried_out(
    cloud: Cloud, place: Place, changes: stack.Changes, before: int, say: Say
) -> stack.Stack:
    """Changes the stack. If that fails, the version that was live before is live after it as well: CloudFormation
    knows nothing of a rollback of ours, and takes its alias back to where it had put it.
    """
    for one in changes.found:
        say(one.text)
    say("CloudFormation is at work: that may take some minutes")
    try:
        return stack.carry_out(cloud, place, changes)
    except KeyboardInterrupt:
        say(
            "CloudFormation goes on by itself; the same command again waits for its end, and goes on"
        )
        raise
    except ConfigError:
        now = stack.found(cloud, place)
        ended = now is not None and not now.status.endswith("_IN_PROGRESS")
        if before and ended and versions.live(cloud, place) != before:
            versions.move(cloud, place, before)
            say(f"version {before} is live, as it was")
        raise


# -- what is looked at first -----------------------------------------------------------------------


def _works(old: stack.Stack | None) -> bool:
    return old is not None and "Table" in old.outputs


def _check(
    plan: Plan,
    settings: Settings,
    stored: dict[str, secrets.Kept],
    old: stack.Stack | None,
    cloud: Cloud,
    *,
    say: Say,
) -> None:
    """Finds out before anything is changed what would fail, or would be regretted."""
    template(wanted_of(plan, "", settings, {}))
    webhook.platforms_of(plan.entry.app, settings)
    asyncio.run(_check_tokens(settings, say))
    if old is None or not _works(old) or plan.force:
        return
    _check_bot(plan, settings, stored)
    if "Queue" in old.outputs and not plan.queue:
        waiting = letters(cloud, old.outputs["Queue"])
        if waiting:
            raise ConfigError(
                f"{waiting} updates lie in the queue, which --no-queue deletes: leave that out, or wait until they are "
                "worked on, or --force"
            )
    reports = asyncio.run(talks.misfits(cloud, old.outputs["Table"], plan.entry.app))
    if reports:
        raise ConfigError(
            f"this code cannot replay {len(reports)} open conversations, which would begin anew or stand still: "
            f"{talks.told(reports)}. Change it so that it can (docs: Changing code), or --force"
        )


async def _check_tokens(settings: Settings, say: Say) -> None:
    from legato.deploy.transport import Transport

    http = Transport()
    try:
        if settings.telegram_token:
            await webhook.webhook_info(settings, http)
    except Unavailable as error:
        say(f"{error}; without it the webhook cannot be set, but the function can be changed")
    finally:
        await http.close()


def _check_bot(plan: Plan, settings: Settings, stored: dict[str, secrets.Kept]) -> None:
    """Two bots may have the same name: the second must not take the place of the first by mistake."""
    kept = stored.get("TELEGRAM_TOKEN")
    old = kept.value.partition(":")[0] if kept else ""
    new = settings.telegram_token.partition(":")[0]
    if old and new and old != new:
        raise ConfigError(
            f"{plan.place.stack} is the bot {old} of Telegram, and the token here is of the bot {new}: give this one a "
            "--name of its own, or --force it into the other's place"
        )


# -- after it --------------------------------------------------------------------------------------


def _prune(cloud: Cloud, place: Place, bucket: str, table: str, say: Say) -> None:
    if len(versions.published(cloud, place)) <= versions.KEPT:
        return
    # After a rollback, whoever stands in a version's dialogs goes on in it.
    spared = set(asyncio.run(talks.seen(cloud, table)).builds.values())
    old = versions.prune(cloud, place, spared)
    if old:
        code.keep(cloud, bucket, place, {one.sha256 for one in versions.published(cloud, place)})
        say(f"forgotten: version {', '.join(map(str, old))}")


async def connected(
    app: App, settings: Settings, cloud: Cloud, outputs: Mapping[str, str], url: str
) -> list[webhook.Tried]:
    """Lets the platforms send to the function, and tries the way; that of the web chat, too."""
    from legato.deploy.transport import Transport

    http = Transport()
    try:
        async with talks.opened(cloud, outputs["Table"]) as store:
            platforms = webhook.platforms_of(app, settings)
            tried = await webhook.connect(platforms, settings, store, http, url)
            if "WebSocket" in outputs:
                tried.append(await webchat.tried(store, http, url, outputs["WebSocket"]))
            return tried
    finally:
        await http.close()


def url_of(own: str, public_url: str) -> str:
    """Where platforms send to, without a slash at its end."""
    label = own.partition("://")[2].partition(".")[0]
    return (public_url.replace("{id}", label) or own).rstrip("/")


def _bucket(plan: Plan, cloud: Cloud, old: stack.Stack | None) -> str:
    """Where zips go: as it is said, else where they went before."""
    return plan.bucket or (old.outputs.get("Bucket", "") if old else "") or code.bucket_of(cloud)


def _prepared(plan: Plan, cloud: Cloud, wanted: Wanted, bucket: str) -> stack.Changes:
    return stack.prepare(
        cloud,
        plan.place,
        text_of(template(wanted)),
        {"CodeBucket": bucket, "CodeKey": plan.place.key(wanted.sha256)},
        {stack.TAG: plan.place.name},
    )


__all__ = [
    "Deployed",
    "Plan",
    "completed",
    "connected",
    "deploy",
    "diff",
    "url_of",
    "wanted_of",
    "with_secret",
]
