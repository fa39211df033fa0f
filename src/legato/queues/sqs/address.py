"""The address of a queue of SQS."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct

from legato.aws.address import endpoint_of, parameters, region_of
from legato.errors import ConfigError

FIFO = ".fifo"
ENDPOINTS = ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL")
"""What is set here goes before the host of a queue's URL, as in AWS's own clients."""
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-:")


class Where(Struct, frozen=True):
    """An address taken apart. It holds no secret: those stand in the environment.

    Attributes:
        name: Of the queue.
        url: Of the queue, "" if the service must be asked for it.
        account: Its owner's number, "" if that is not known.
        region: "eu-central-1" ...
        endpoint: "https://sqs.eu-central-1.amazonaws.com", without a slash at its end.
        variable: Where it was set, for people.
    """

    name: str
    url: str
    account: str
    region: str
    endpoint: str
    variable: str

    def is_of(self, arn: str) -> bool:
        """Whether it is the queue that an event source names: arn:aws:sqs:region:account:name."""
        parts = arn.split(":")
        return (
            len(parts) == 6
            and (parts[2], parts[3], parts[5]) == ("sqs", self.region, self.name)
            and self.account in ("", parts[4])
        )


def where_is(
    address: str, variable: str, *, fifo: bool, environment: Mapping[str, str] = os.environ
) -> Where:
    """Takes the address of a queue apart.

    Args:
        address: The queue's URL with "sqs" in the place of "https", or "sqs://name?region=eu-central-1".
            Parameters: region (else of the host, else AWS_REGION), endpoint (else AWS_ENDPOINT_URL_SQS or
            AWS_ENDPOINT_URL).
        variable: Where it was set, for the error.
        fifo: Which kind it must be of.
        environment: Where the rest stands.

    Raises:
        ConfigError: It is none, or of the other kind, or something is missing.
    """
    example = f"sqs://my-bot{FIFO if fifo else '-timers'}?region=eu-central-1"
    scheme, _, rest = address.partition("://")
    place, _, text = rest.partition("?")
    parts = place.split("/")
    name = parts[-1]
    bare = name.removesuffix(FIFO)
    whole = len(parts) == 3 and _HOST.issuperset(parts[0]) and parts[1].isdigit()
    if scheme != "sqs" or not (len(parts) == 1 or whole) or not bare or not _NAME.issuperset(bare):
        raise ConfigError(
            f"{variable} is no address of a queue: write its URL with sqs:// instead of https://, or {example}"
        )
    if name.endswith(FIFO) is not fifo:
        raise ConfigError(f"{variable}: {_WRONG_KIND[fifo]}, as in {example}")
    query = parameters(text)
    labels = parts[0].split(".") if whole else []
    if len(labels) > 2 and labels[0] in ("sqs", "sqs-fips") and "region" not in query:
        query["region"] = labels[1]
    region = region_of(query, environment)
    if not region:
        raise ConfigError(
            f"{variable}: which region is the queue {name} in? Write {example} or set AWS_REGION"
        )
    if whole and not any(environment.get(name) for name in ENDPOINTS):
        query.setdefault("endpoint", f"https://{parts[0]}")
    endpoint = endpoint_of(query, "sqs", region, environment)
    if not endpoint:
        raise ConfigError(f"{variable}: endpoint= must look like http://127.0.0.1:4566")
    if query:
        raise ConfigError(f"{variable}: {min(query)!r:.40} is no parameter of a queue")
    return Where(
        name=name,
        url=f"https://{place}" if whole else "",
        account=parts[1] if whole else "",
        region=region,
        endpoint=endpoint,
        variable=variable,
    )


_WRONG_KIND = {
    True: "letters need a FIFO queue, which keeps their order: its name ends with .fifo",
    False: "timers need a standard queue, since a FIFO queue delays no single message",
}

__all__ = ["Where", "where_is"]
