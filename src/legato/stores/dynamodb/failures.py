"""The service's errors in our words: what happened, and what to do.

Kinds: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
"""

from __future__ import annotations

from legato.aws.service import Refused
from legato.errors import ConfigError, LegatoError, StoreCorrupt, StoreError, StoreUnavailable

CANCELED = "TransactionCanceledException"
NO_TABLE = "ResourceNotFoundException"
IN_USE = "ResourceInUseException"
CONDITION = "ConditionalCheckFailedException"
AGAIN = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ReplicatedWriteConflictException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ThrottledException",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""What may go well a moment later: load, or another who writes the same."""
LATER = frozenset(
    {
        "DuplicateItem",
        "ProvisionedThroughputExceeded",
        "ThrottlingError",
        "TransactionConflict",
    }
)
"""The same as reasons of a canceled transaction."""

ACTIONS = (
    "dynamodb:GetItem, BatchGetItem, Query, PutItem, UpdateItem, DeleteItem, BatchWriteItem and "
    "DescribeTable on the table, and Query on its index/*"
)
_NOT_LET_IN = frozenset(
    {
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)


class Unknown(StoreUnavailable):
    """A write was sent, and whether it took place was not to be learned in time."""


def explained(error: Refused, name: str) -> LegatoError:
    """The error as ours, for `name`."""
    what = f"{name}: {error.text or error.kind}"
    if error.kind == NO_TABLE:
        return StoreCorrupt(
            f"{what}. The table, or an index of it, is not there (any more): was it deleted?"
        )
    if error.kind == "AccessDeniedException":
        return StoreUnavailable(f"{what}. The role needs {ACTIONS}.")
    if error.kind in _NOT_LET_IN:
        return StoreUnavailable(
            f"{what}. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, the region, "
            "and this machine's clock."
        )
    return StoreError(f"{what} ({error.kind})")


def refused_at_start(error: Refused, name: str) -> LegatoError:
    """The same while the store is opened, when a person can still mend the settings."""
    what = f"{name}: {error.text or error.kind}"
    if error.kind == NO_TABLE:
        return ConfigError(
            f"{name}: there is no such table. Check name and region in LEGATO_STORE, or let it be made: add "
            "create=1 to the address (the role needs dynamodb:CreateTable and UpdateTimeToLive then)"
        )
    if error.kind == "AccessDeniedException":
        return ConfigError(f"{what}. The role needs {ACTIONS}.")
    ours = explained(error, name)
    return ConfigError(str(ours)) if error.kind in _NOT_LET_IN else ours
