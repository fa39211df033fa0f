"""A bot's secrets in Parameter Store, encrypted with the account's own key for it.

They stand at /legato/<name>/<VARIABLE>; a version of the function reads the versions of them that it was deployed
with, at a cold start (legato.deploy.function.parameters). Parameter Store keeps a hundred of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place

AT_ONCE = 10
"""Names in one request, by the API."""


class Kept(Struct, frozen=True):
    """A secret that is stored. Its text does not show it.

    Attributes:
        value: The secret.
        version: Counts its changes, from 1.
    """

    value: str
    version: int

    def __repr__(self) -> str:
        return f"<secret, version {self.version}>"


def stored(cloud: Cloud, place: Place) -> dict[str, Kept]:
    """The bot's secrets by the names of variables."""
    pages = cloud("ssm").get_paginator("get_parameters_by_path")
    found = {}
    for page in pages.paginate(Path=place.parameters, WithDecryption=True):
        for one in page["Parameters"]:
            name = one["Name"].removeprefix(place.parameters)
            found[name] = Kept(one["Value"], one["Version"])
    return found


def read(cloud: Cloud, place: Place, wanted: Sequence[str]) -> dict[str, str]:
    """Secrets by name, of the versions that are named: ["TELEGRAM_TOKEN:3"]. What is gone is not in it."""
    found = {}
    for start in range(0, len(wanted), AT_ONCE):
        names = [place.parameters + one for one in wanted[start : start + AT_ONCE]]
        answer = cloud("ssm").get_parameters(Names=names, WithDecryption=True)
        for one in answer["Parameters"]:
            name = one["Name"].removeprefix(place.parameters).partition(":")[0]
            found[name] = one["Value"]
    return found


def versions_after(kept: Mapping[str, Kept], wanted: Mapping[str, str]) -> dict[str, int]:
    """The version that each secret will have when it is stored. What is only stored stays."""
    versions = {name: one.version for name, one in kept.items()}
    for name, value in wanted.items():
        known = kept.get(name)
        if known is None or known.value != value:
            versions[name] = versions.get(name, 0) + 1
    return versions


def store(
    cloud: Cloud, place: Place, kept: Mapping[str, Kept], wanted: Mapping[str, str]
) -> dict[str, int]:
    """Stores what is new or changed; the versions of all."""
    versions = versions_after(kept, wanted)
    for name, value in wanted.items():
        known = kept.get(name)
        if known is None or known.value != value:
            answer = cloud("ssm").put_parameter(
                Name=place.parameters + name, Value=value, Type="SecureString", Overwrite=True
            )
            versions[name] = answer["Version"]
    return versions


def forget(cloud: Cloud, place: Place) -> int:
    """Deletes all of them; how many there were."""
    names = [place.parameters + name for name in stored(cloud, place)]
    for start in range(0, len(names), AT_ONCE):
        cloud("ssm").delete_parameters(Names=names[start : start + AT_ONCE])
    return len(names)


__all__ = ["Kept", "forget", "read", "store", "stored", "versions_after"]
