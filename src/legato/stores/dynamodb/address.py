"""The address of the store: which table, where, and as whom."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct

from legato.aws.address import endpoint_of, parameters, region_of
from legato.errors import ConfigError

EXAMPLE = "dynamodb://my-bot?region=eu-central-1"
_TABLE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
MOST_SPREAD = 64


class Where(Struct, frozen=True):
    """An address taken apart. It holds no secret: those stand in the environment.

    Attributes:
        table: Name of the table: one for each app.
        region: "eu-central-1" ...
        endpoint: "https://dynamodb.eu-central-1.amazonaws.com", without a slash at its end.
        create: Whether the table is made if there is none.
        spread: Into how many partitions what workers look for is spread. Matters only when a table
            is used for the first time.
        pool: Requests under way at most.
        timeout_s: How long one try of a request may take.
        keep_days: After how many days DynamoDB deletes what is of no use any more. More than the
            eight for which an update is known to be a repeated one.
    """

    table: str
    region: str
    endpoint: str
    create: bool = False
    spread: int = 4
    pool: int = 32
    timeout_s: float = 5.0
    keep_days: int = 16

    @property
    def name(self) -> str:
        """For people."""
        return f"DynamoDB table {self.table} in {self.region}"


def where_is(url: str, environment: Mapping[str, str] = os.environ) -> Where:
    """Takes the address of a DynamoDB store apart.

    Args:
        url: "dynamodb://table?region=eu-central-1". Parameters: region (else AWS_REGION), endpoint (else
            AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL), create=1, spread, pool, timeout, keep.
        environment: Where the rest stands.

    Raises:
        ConfigError: It is none, or something is missing.
    """
    scheme, _, rest = url.partition("://")
    table, _, text = rest.partition("?")
    table = table.removesuffix("/")
    if scheme != "dynamodb" or not (3 <= len(table) <= 255 and _TABLE.issuperset(table)):
        raise ConfigError(
            f"LEGATO_STORE is no address of a DynamoDB table: write {EXAMPLE} (a name is 3 to 255 of "
            "letters, digits and _.-)"
        )
    query = parameters(text)
    region = region_of(query, environment)
    if not region:
        raise ConfigError(
            f"LEGATO_STORE: which region is the table {table} in? Write {EXAMPLE} or set AWS_REGION"
        )
    endpoint = endpoint_of(query, "dynamodb", region, environment)
    if not endpoint:
        raise ConfigError("LEGATO_STORE: endpoint= must look like http://127.0.0.1:4566")
    where = Where(
        table=table,
        region=region,
        endpoint=endpoint,
        create=_number(query, "create", 0, 0, 1) == 1,
        spread=_number(query, "spread", 4, 1, MOST_SPREAD),
        pool=_number(query, "pool", 32, 1, 1000),
        timeout_s=_number(query, "timeout", 5, 1, 60),
        keep_days=_number(query, "keep", 16, 9, 3650),
    )
    if where.spread & (where.spread - 1):
        raise ConfigError(f"LEGATO_STORE: spread= is a power of two, up to {MOST_SPREAD}")
    if query:
        raise ConfigError(f"LEGATO_STORE: {min(query)!r:.40} is no parameter of a DynamoDB store")
    return where


def _number(query: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.pop(name, str(default))
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ConfigError(
            f"LEGATO_STORE: {name}={text!r:.40} must be a whole number from {least} to {most}"
        )
    return int(text)
