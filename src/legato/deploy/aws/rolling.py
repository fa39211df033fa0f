"""Back to an older version: requests go there at once, and conversations that it cannot replay stay with the version
that wrote them (legato.deploy.function.builds).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection

from msgspec import Struct

from legato.app.app import App
from legato.deploy.aws import code, concurrency, given, stack, talks, versions
from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place
from legato.deploy.function.aws import HANDOVER
from legato.errors import ConfigError

BEFORE = "Deploy its code instead, or --force"
WAYS = {
    "Queue": ("LEGATO_QUEUE", "--queue", "what lies in the queue would not be worked on"),
    "WebSocket": ("LEGATO_WEB_SOCKET", "--web-socket", "pages of the web chat would hear nothing"),
}
"""What a version must know of, by the outputs of the stack: a variable, the option that brings it, and what
becomes of people otherwise."""


class Rolled(Struct, frozen=True):
    """What became of it.

    Attributes:
        old, new: Numbers of the versions that were and are live.
        stay: How many open conversations stay with which newer version.
        unsure: Whether it could not be tried, and those are as many as may stay.
    """

    old: int
    new: int
    stay: dict[int, int] = {}
    unsure: bool = False


def rollback(
    cloud: Cloud, place: Place, app: App | None = None, *, to: int = 0, force: bool = False
) -> Rolled:
    """Lets requests go to an older version at once.

    The stack stays as it is: the next deployment of today's code makes its version live again.

    Args:
        cloud: Where.
        place: Which bot.
        app: The bot, None if its code is not here: then its webhook stays as it is.
        to: Number of the version, 0 for the one before the live one.
        force: Whether open conversations that nobody could go on with are no reason to refuse.

    Raises:
        ConfigError: There is no such version, or what is open would be lost.
    """
    ready = stack.known(cloud, place)
    current = versions.live(cloud, place)
    known = versions.published(cloud, place)
    older = [one for one in known if (one.number == to if to else one.number < current)]
    if not older:
        numbers = ", ".join(str(one.number) for one in known)
        what = (
            f"there is no version {to}" if to else f"nothing is older than {current}, the live one"
        )
        raise ConfigError(f"{place.stack}: {what} (there is: {numbers or 'none'})")
    if to == current:
        raise ConfigError(f"{place.stack}: version {to} is live already")
    chosen = older[-1]
    done = Rolled(current, chosen.number)
    if not force:
        variables = versions.variables(cloud, place, chosen.number)
        _check_ways(ready, chosen.number, variables)
        found = _staying(cloud, place, ready, chosen)
        if found is not None:
            keys, unsure = found
            if variables.get(HANDOVER) != "on":
                raise ConfigError(
                    f"version {chosen.number} cannot replay {_some(keys)}, and is from before versions hand "
                    f"conversations to each other, so they would begin anew or stand still. {BEFORE}"
                )
            if narrow := concurrency.trouble(cloud, place):
                raise ConfigError(f"{narrow}, or --force")
            kept = Counter(_kept(keys, chosen.number, {one.number for one in known}))
            done = Rolled(current, chosen.number, dict(sorted(kept.items())), unsure)
    wire = given.wiring(cloud, place, app, ready.outputs, (current, chosen.number))
    versions.move(cloud, place, chosen.number)
    if wire is not None:
        wire()
    return done


def _check_ways(ready: stack.Stack, number: int, variables: dict[str, str]) -> None:
    """A version that knows nothing of a way by which people come would leave them without an answer."""
    for output, (variable, option, lost) in WAYS.items():
        if output in ready.outputs and variable not in variables:
            raise ConfigError(f"version {number} is from before {option}: {lost}. {BEFORE}")


def _staying(
    cloud: Cloud, place: Place, ready: stack.Stack, chosen: versions.Published
) -> tuple[dict[str, int], bool] | None:
    """{key: build} of what the chosen version cannot replay, and whether that could only be guessed; None if it can
    replay all.
    """
    table = ready.outputs["Table"]
    bucket = ready.outputs.get("Bucket", "") or code.bucket_of(cloud)
    archive = code.download(cloud, bucket, place.key(chosen.sha256))
    misfits = None if archive is None else talks.packed_misfits(cloud, table, archive)
    if misfits is not None and not misfits:
        return None
    builds = asyncio.run(talks.seen(cloud, table)).builds
    if misfits is None:  # the zip is gone: what it wrote itself is what it can replay
        keys = {key: build for key, build in builds.items() if build != chosen.number}
    else:
        keys = {key: build for key, build in builds.items() if key in misfits}
    return (keys, misfits is None) if keys else None


def _kept(keys: dict[str, int], chosen: int, there: Collection[int]) -> list[int]:
    """The versions that conversations stay with.

    Raises:
        ConfigError: Some would stay with none.
    """
    lost = {key: build for key, build in keys.items() if build <= chosen or build not in there}
    if lost:
        why = "no newer version has written them"
        gone = sorted({build for build in lost.values() if build > chosen})
        if gone:
            why = f"version {', '.join(map(str, gone))}, which wrote them, is gone"
        raise ConfigError(
            f"version {chosen} may not be able to replay {_some(lost)}, and {why}. Let them end, cancel them, or "
            "--force: then they begin anew or stand still"
        )
    return list(keys.values())


def _some(keys: Collection[str]) -> str:
    shown = ", ".join(sorted(keys)[: talks.MOST_SHOWN])
    more = "" if len(keys) <= talks.MOST_SHOWN else " ..."
    return f"{len(keys)} open conversations ({shown}{more})"


__all__ = ["Rolled", "rollback"]
