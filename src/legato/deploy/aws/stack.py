"""Change sets: what a template would change, and the change itself."""

from __future__ import annotations

from collections.abc import Callable
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
STUCK = {
    "UPDATE_ROLLBACK_FAILED": "`aws cloudformation continue-update-rollback --stack-name {name}` frees it",
    "DELETE_FAILED": "`legato deploy aws destroy` again deletes the rest",
}
"""States from which nothing can be changed, and what can be done."""
GONE = ("ChangeSetNotFound", "InvalidChangeSetStatus")
"""How a change set is refused that another change has made void."""
MEANWHILE = "{name} was changed by somebody else at the same time: try again"
TAG = "legato:bot"
"""Of our stacks."""


class Stack(Struct, frozen=True):
    """A stack that there is.

    Attributes:
        status: As CloudFormation says.
        outputs: By name.
        ours: Whether we made it.
    """

    status: str
    outputs: dict[str, str]
    ours: bool = True


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
        if (self.action, self.kind) == ("Remove", "AWS::Lambda::Version"):
            more = ", stays for rollback"
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
    ours = "Table" in outputs or TAG in {tag["Key"] for tag in stacks[0].get("Tags", ())}
    return Stack(stacks[0]["StackStatus"], outputs, ours)


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


def settled(cloud: Cloud, place: Place, say: Callable[[str], None]) -> Stack | None:
    """The bot's stack as one that can be changed, None if there is none.

    Raises:
        ConfigError: It cannot be changed.
    """
    stack = at_rest(cloud, place, say)
    _check(place, stack)
    return stack


def at_rest(cloud: Cloud, place: Place, say: Callable[[str], None]) -> Stack | None:
    """The bot's stack when nothing is under way, by a command that was stopped or by somebody else."""
    stack = found(cloud, place)
    if stack is None or not _busy(stack):
        return stack
    say(f"{place.stack} is being changed ({stack.status}): waiting for the end of that")
    watched(lambda: not _busy(found(cloud, place)), f"the change of {place.stack}")
    return found(cloud, place)


def _busy(stack: Stack | None) -> bool:
    return (
        stack is not None and stack.status.endswith("_IN_PROGRESS") and stack.status not in UNBORN
    )


def _check(place: Place, stack: Stack | None) -> None:
    if stack is None:
        return
    if not stack.ours:
        raise ConfigError(
            f"there is a stack {place.stack} that Legato did not make: --name gives the bot another one"
        )
    if _busy(stack):
        raise ConfigError(
            f"{place.stack} is being changed ({stack.status}): wait for the end of that"
        )
    if stack.status in STUCK:
        cure = STUCK[stack.status].format(name=place.stack)
        raise ConfigError(f"{place.stack} cannot be changed ({stack.status}): {cure}")


def prepare(
    cloud: Cloud, place: Place, body: str, parameters: dict[str, str], tags: dict[str, str]
) -> Changes:
    """Makes a change set; nothing is changed yet.

    Raises:
        ConfigError: The template cannot be used, or the stack is in no state to be changed.
    """
    stack = found(cloud, place)
    _check(place, stack)
    if stack is not None and stack.status in UNBORN:
        remove(cloud, place)  # it never worked, so there is nothing in it
        stack = None
    formation = cloud("cloudformation")
    name = f"legato-{token_hex(8)}"  # another one's, at the same time, is not ours
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
        described = cloud.maybe(
            lambda: formation.describe_change_set(StackName=place.stack, ChangeSetName=name), *GONE
        )
        if described is None:
            raise ConfigError(MEANWHILE.format(name=place.stack))
        answer.update(described)
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
        *GONE,
    )
    left = found(cloud, place) if changes.new else None
    if (
        left is not None and left.status == "REVIEW_IN_PROGRESS"
    ):  # nobody else has made it meanwhile
        formation.delete_stack(StackName=place.stack)


def carry_out(cloud: Cloud, place: Place, changes: Changes) -> Stack:
    """Carries a change set out, and waits for its end.

    Raises:
        ConfigError: It failed, and was taken back; the message says why.
    """
    token = (
        f"legato-{token_hex(8)}"  # events carry it: the state of before is not taken for the end
    )
    formation = cloud("cloudformation")
    refused = cloud.refused(
        lambda: formation.execute_change_set(
            StackName=place.stack, ChangeSetName=changes.name, ClientRequestToken=token
        ),
        *GONE,
    )
    if refused:
        raise ConfigError(MEANWHILE.format(name=place.stack))
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
    """What happened to the stack last, the newest first; all of one operation, if it is named."""
    formation = cloud("cloudformation")
    ask = {"StackName": place.stack}
    events: list[dict[str, Any]] = []
    while True:
        answer = formation.describe_stack_events(**ask)
        page = answer["StackEvents"]
        mine = [one for one in page if one.get("ClientRequestToken") == operation]
        events += mine if operation else page
        if not operation or len(mine) < len(page) or not answer.get("NextToken"):
            return events
        ask["NextToken"] = answer["NextToken"]


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


__all__ = [
    "TAG",
    "Change",
    "Changes",
    "Stack",
    "at_rest",
    "carry_out",
    "drop",
    "found",
    "known",
    "prepare",
    "remove",
    "settled",
]
