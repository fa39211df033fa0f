"""Change sets: what a template would change, and the change itself."""

from __future__ import annotations

import hashlib
from secrets import token_hex
from typing import Any

from msgspec import Struct

from legato.deploy.aws.cloud import Cloud, watched
from legato.deploy.aws.place import Place
from legato.errors import ConfigError

ABSENT = "ValidationError"
GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
ENDED = ("_COMPLETE", "_FAILED")
UNBORN = ("REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED")
NOTHING = ("didn't contain changes", "No updates are to be performed")


class Stack(Struct, frozen=True):
    """A stack that there is.

    Attributes:
        status: As CloudFormation says.
        outputs: By name.
    """

    status: str
    outputs: dict[str, str]


class Change(Struct, frozen=True):
    """What becomes of one resource.

    Attributes:
        action: "Add", "Modify", "Remove" ...
        name: In the template.
        kind: "AWS::Lambda::Function" ...
        replaced: Whether another one takes its place: "", "True" or "Conditional".
    """

    action: str
    name: str
    kind: str
    replaced: str

    @property
    def text(self) -> str:
        """In a line."""
        more = {"True": ", replaced", "Conditional": ", may be replaced"}.get(self.replaced, "")
        return f"{self.action.lower():8}{self.name} ({self.kind}{more})"


class Changes(Struct, frozen=True):
    """A change set.

    Attributes:
        name: Of the set.
        found: What would change; () for nothing.
        new: Whether it makes the stack.
    """

    name: str
    found: tuple[Change, ...]
    new: bool


def found(cloud: Cloud, place: Place) -> Stack | None:
    """The bot's stack, None if there is none."""
    formation = cloud("cloudformation")
    answer = cloud.maybe(lambda: formation.describe_stacks(StackName=place.stack), ABSENT)
    stacks = [
        one for one in (answer or {}).get("Stacks", ()) if one["StackStatus"] != "DELETE_COMPLETE"
    ]
    if not stacks:
        return None
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stacks[0].get("Outputs", ())}
    return Stack(stacks[0]["StackStatus"], outputs)


def known(cloud: Cloud, place: Place) -> Stack:
    """The bot's stack.

    Raises:
        ConfigError: There is none that works.
    """
    stack = found(cloud, place)
    if stack is None or "Table" not in stack.outputs:
        raise ConfigError(
            f"there is no stack {place.stack} in {cloud.region}: `legato deploy aws bot.py` makes it (--name and "
            "--region say another one)"
        )
    return stack


def prepare(
    cloud: Cloud, place: Place, body: str, parameters: dict[str, str], tags: dict[str, str]
) -> Changes:
    """Makes a change set; nothing is changed yet.

    Raises:
        ConfigError: The template cannot be used, or the stack is in no state to be changed.
    """
    stack = found(cloud, place)
    if stack is not None and stack.status in UNBORN:
        remove(cloud, place)  # it never worked, so there is nothing in it
        stack = None
    if stack is not None and stack.status.endswith("_IN_PROGRESS"):
        raise ConfigError(
            f"{place.stack} is being changed ({stack.status}): wait for the end of that"
        )
    formation = cloud("cloudformation")
    name = f"legato-{hashlib.sha256((body + repr(parameters)).encode()).hexdigest()[:16]}"
    cloud.maybe(
        lambda: formation.delete_change_set(StackName=place.stack, ChangeSetName=name),
        ABSENT,
        "ChangeSetNotFound",
    )
    formation.create_change_set(
        StackName=place.stack,
        ChangeSetName=name,
        ChangeSetType="CREATE" if stack is None else "UPDATE",
        TemplateBody=body,
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
        Tags=[{"Key": k, "Value": v} for k, v in tags.items()],
    )
    return Changes(name, _changes(cloud, place, name), stack is None)


def _changes(cloud: Cloud, place: Place, name: str) -> tuple[Change, ...]:
    """Waits until the set is made; what is in it."""
    formation = cloud("cloudformation")
    answer: dict[str, Any] = {}

    def made() -> bool:
        answer.update(formation.describe_change_set(StackName=place.stack, ChangeSetName=name))
        return answer["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS")

    watched(made, "the change set", 300)
    if answer["Status"] == "FAILED":
        reason = str(answer.get("StatusReason", ""))
        if any(text in reason for text in NOTHING):
            return ()
        raise ConfigError(f"CloudFormation does not take the template: {reason}")
    listed = list(answer.get("Changes", ()))
    while answer.get("NextToken"):
        answer = formation.describe_change_set(
            StackName=place.stack, ChangeSetName=name, NextToken=answer["NextToken"]
        )
        listed += answer.get("Changes", ())
    changes = [one["ResourceChange"] for one in listed if "ResourceChange" in one]
    return tuple(
        Change(
            one["Action"],
            one["LogicalResourceId"],
            one["ResourceType"],
            "" if one.get("Replacement") in (None, "False") else str(one["Replacement"]),
        )
        for one in changes
    )


def drop(cloud: Cloud, place: Place, changes: Changes) -> None:
    """Forgets a change set, and the empty stack that stands for one that is not made."""
    formation = cloud("cloudformation")
    cloud.maybe(
        lambda: formation.delete_change_set(StackName=place.stack, ChangeSetName=changes.name),
        ABSENT,
        "ChangeSetNotFound",
    )
    if changes.new:
        formation.delete_stack(StackName=place.stack)


def carry_out(cloud: Cloud, place: Place, changes: Changes) -> Stack:
    """Carries a change set out, and waits for its end.

    Raises:
        ConfigError: It failed, and was taken back; the message says why.
    """
    token = (
        f"legato-{token_hex(8)}"  # events carry it: the state of before is not taken for the end
    )
    cloud("cloudformation").execute_change_set(
        StackName=place.stack, ChangeSetName=changes.name, ClientRequestToken=token
    )
    ends: list[str] = []

    def ended() -> bool:
        ends[:] = [
            one["ResourceStatus"]
            for one in _events(cloud, place, token)
            if one["LogicalResourceId"] == place.stack and one["ResourceStatus"].endswith(ENDED)
        ]
        return bool(ends)

    watched(ended, f"the change of {place.stack}")
    if ends[0] not in GOOD:
        raise ConfigError(f"{place.stack}: {ends[0]}: {_reason(_events(cloud, place, token))}")
    return known(cloud, place)


def _events(cloud: Cloud, place: Place, operation: str = "") -> list[dict[str, Any]]:
    """What happened to the stack last, the newest first; of one operation, if it is named."""
    answer = cloud("cloudformation").describe_stack_events(StackName=place.stack)
    return [
        one
        for one in answer["StackEvents"]
        if not operation or one.get("ClientRequestToken") == operation
    ]


def _reason(events: list[dict[str, Any]]) -> str:
    """What failed first."""
    reasons = [
        f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason', '')}"
        for one in events
        if one["ResourceStatus"].endswith("_FAILED")
    ]
    return reasons[-1] if reasons else "no resource says why"


def remove(cloud: Cloud, place: Place) -> None:
    """Deletes the stack, and waits for its end. The table stays.

    Raises:
        ConfigError: Something could not be deleted.
    """
    formation = cloud("cloudformation")
    formation.delete_stack(StackName=place.stack)

    def gone() -> bool:
        stack = found(cloud, place)
        if stack is not None and stack.status == "DELETE_FAILED":
            why = _reason(_events(cloud, place))
            raise ConfigError(f"{place.stack} could not be deleted: {why}")
        return stack is None

    watched(gone, f"the end of {place.stack}")


__all__ = ["Change", "Changes", "Stack", "carry_out", "drop", "found", "known", "prepare", "remove"]
