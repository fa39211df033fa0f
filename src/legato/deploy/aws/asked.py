"""What a bot was deployed with: options that were said once hold until something else is said.

They stand in the stack, as metadata of the function, so an update from another machine knows them. What is not in
them is the usual.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-metadata.html (read 2026-11-29)
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from legato.deploy.aws import stack
from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place

NAME = "legato:asked"
"""Of the metadata."""


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


__all__ = ["Asked", "asked_of"]
