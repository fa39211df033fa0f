"""How many machines a function may have at once, where somebody has reserved them: a template of ours does not."""

from __future__ import annotations

from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place

HANDOVER = 2
"""A version that hands a Turn over runs while the other one does it."""


def reserved(cloud: Cloud, place: Place) -> int | None:
    """That number; None: nothing is reserved, or it may not be asked for."""
    found = cloud.maybe(
        lambda: cloud("lambda").get_function_concurrency(FunctionName=place.stack),
        "AccessDeniedException",
        "ResourceNotFoundException",
    )
    number = (found or {}).get("ReservedConcurrentExecutions")
    return None if number is None else int(number)


def trouble(cloud: Cloud, place: Place) -> str:
    """What becomes of a function that has too few of them, and the cure; "" if it has enough."""
    number = reserved(cloud, place)
    if number is None or number >= HANDOVER:
        return ""
    cure = f"aws lambda delete-function-concurrency --function-name {place.stack} --region {cloud.region}"
    what = (
        "so nothing runs"
        if number == 0
        else "so after a rollback no conversation can stay with the version that it was begun in: that takes two"
    )
    return f"the function has a reserved concurrency of {number}, {what} ({cure})"


__all__ = ["reserved", "trouble"]
