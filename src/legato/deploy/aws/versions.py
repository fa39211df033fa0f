"""What was published of a bot, and which of it is live."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import ALIAS, Place

KEPT = 10
"""Versions that stay for `rollback`."""
LATEST = "$LATEST"
ABSENT = "ResourceNotFoundException"


class Published(Struct, frozen=True):
    """One version of the function.

    Attributes:
        number: Counts from 1; a number is never used again.
        sha256: Of its zip.
        entry: The bot in it.
        at: When it was published.
    """

    number: int
    sha256: str
    entry: str
    at: str


def published(cloud: Cloud, place: Place) -> list[Published]:
    """All versions, the oldest first."""
    pages = cloud("lambda").get_paginator("list_versions_by_function")
    found = []
    for page in pages.paginate(FunctionName=place.stack):
        for one in page["Versions"]:
            if one["Version"] != LATEST:
                sha256, _, entry = one.get("Description", "").partition(" ")
                found.append(Published(int(one["Version"]), sha256, entry, one["LastModified"]))
    return sorted(found, key=lambda one: one.number)


def live(cloud: Cloud, place: Place) -> int:
    """The number of the version that requests go to."""
    answer = cloud("lambda").get_alias(FunctionName=place.stack, Name=ALIAS)
    return int(answer["FunctionVersion"])


def move(cloud: Cloud, place: Place, number: int) -> None:
    """Lets requests go to another version, at once."""
    cloud("lambda").update_alias(FunctionName=place.stack, Name=ALIAS, FunctionVersion=str(number))


def variables(cloud: Cloud, place: Place, number: int) -> dict[str, str]:
    """The environment of a version."""
    found = cloud("lambda").get_function_configuration(
        FunctionName=place.stack, Qualifier=str(number)
    )
    return dict(found.get("Environment", {}).get("Variables", {}))


def prune(cloud: Cloud, place: Place, spared: Collection[int] = (), keep: int = KEPT) -> list[int]:
    """Deletes all but the newest versions, the live one and those that are spared; the numbers of what was deleted."""
    stay = {live(cloud, place), *spared}
    old = [one.number for one in published(cloud, place)[:-keep] if one.number not in stay]
    for number in old:
        cloud("lambda").delete_function(FunctionName=place.stack, Qualifier=str(number))
    return old


__all__ = ["Published", "live", "move", "prune", "published", "variables"]
