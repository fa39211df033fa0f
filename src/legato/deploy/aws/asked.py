"""What a bot was deployed with: options and variables that were said once hold until something else is said.

Options stand in the stack, as metadata of the function, so an update from another machine knows them. What is not
in them is the usual.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-metadata.html (read 2026-11-29)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Struct

from legato.deploy.aws import stack, versions
from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place
from legato.deploy.function.aws import HANDOVER
from legato.deploy.function.parameters import WHERE, WHICH

NAME = "legato:asked"
"""Of the metadata."""
OWN = frozenset(
    {"LEGATO_STORE", "LEGATO_QUEUE", "LEGATO_TIMERS", "LEGATO_WEB_SOCKET", HANDOVER, WHERE, WHICH}
)
"""Variables that the stack sets."""


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Options that were said; None = not said. See Plan."""

    arch: str | None = None
    python: str | None = None
    memory: int | None = None
    timeout: int | None = None
    schedule: str | None = None
    front: str | None = None
    queue: bool | None = None
    timers: bool | None = None
    web_socket: bool | None = None
    retention: int | None = None
    public_url: str | None = None
    public_socket: str | None = None

    @property
    def said(self) -> dict[str, Any]:
        """Those that were, by name."""
        return {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }

    @property
    def metadata(self) -> dict[str, Any]:
        """As it stands in the template."""
        return {NAME: self.said}


class Before(Struct, frozen=True):
    """What the last deployment was given.

    Attributes:
        asked: Options.
        variables: Settings and variables of the bot's own, without those that the stack sets.
    """

    asked: Asked = Asked()
    variables: dict[str, str] = {}


def before(cloud: Cloud, place: Place, deployed: stack.Stack | None) -> Before:
    """What a stack was deployed with; nothing if there is none that works."""
    if deployed is None or "Table" not in deployed.outputs:
        return Before()
    number = int(deployed.outputs["Version"])
    found = cloud.maybe(lambda: versions.variables(cloud, place, number), versions.ABSENT) or {}
    own = OWN if "WebSocket" in deployed.outputs else OWN - {"LEGATO_WEB_SOCKET"}
    variables = {name: value for name, value in found.items() if name not in own}
    return Before(asked_of(cloud, place, deployed), variables)


def merged(old: Asked, new: Asked) -> Asked:
    """Options of an update: what is said now, else what holds. An empty one (--no-queue) ends."""
    said = {
        name: value
        for name, value in (old.said | new.said).items()
        if value is not False and value != ""
    }
    if "web_socket" not in said and new.public_socket is None:
        said.pop("public_socket", None)
    return msgspec.convert(said, Asked)


def told(kept: Asked, variables: Collection[str]) -> str:
    """Says what holds though it was not said again, "" for nothing."""
    pieces, ends, ways = [], [], []
    for name, value in kept.said.items():
        flag = name.replace("_", "-")
        pieces.append(f"--{flag}" if value is True else f"--{flag} {value}")
        if value is True or name.startswith("public_"):
            ends.append(f"--no-{flag}")
    if len(pieces) > len(ends):
        ways.append("another value changes one")
    pieces += [f"--env {name}" for name in variables]
    ends += [f"--no-env {name}" for name in variables]
    if ends:
        ways.append(f"{ends[0]} and the like end it" if ends[1:] else f"{ends[0]} ends it")
    return f"as before: {', '.join(pieces)} ({', '.join(ways)})" if pieces else ""


def asked_of(cloud: Cloud, place: Place, deployed: stack.Stack | None) -> Asked:
    """What a stack was deployed with; nothing if there is none that works."""
    if deployed is None or "Table" not in deployed.outputs:
        return Asked()
    formation = cloud("cloudformation")
    answer = cloud.maybe(
        lambda: formation.describe_stack_resource(
            StackName=place.stack, LogicalResourceId="Function"
        ),
        stack.ABSENT,
    )
    text = (answer or {}).get("StackResourceDetail", {}).get("Metadata")
    try:
        return msgspec.convert(msgspec.json.decode(text or "{}")[NAME], Asked)
    except (msgspec.MsgspecError, KeyError):  # from before stacks told, or changed by hand
        pieces = {"queue": "Queue", "timers": "Timers", "web_socket": "WebSocket"}
        found = {name: True for name, output in pieces.items() if output in deployed.outputs}
        return msgspec.convert(found, Asked)


__all__ = ["Asked", "Before", "asked_of", "before", "merged", "told"]
