"""What CloudFormation and its neighbours answer on a bad day, which no cloud of this machine plays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, cast

import pytest

from legato.app.settings import Settings
from legato.deploy.aws import cloud as cloud_module
from legato.deploy.aws import code, stack, steering, versions
from legato.errors import ConfigError
from tests.unit.deploy.aws_script import PLACE, Answer, Scripted, clouded, refused, stacks


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_module, "SHORTEST_S", 0.0)
    monkeypatch.setattr(cloud_module, "LONGEST_S", 0.0)
    monkeypatch.setattr(steering, "PAUSE_S", 0.0)


def prepared(script: Scripted) -> stack.Changes:
    return stack.prepare(clouded(script), PLACE, "{}", {"A": "b"}, {})


CREATED: list[Answer] = [{"Status": "CREATE_PENDING"}, {"Status": "CREATE_COMPLETE", "Changes": []}]


@pytest.mark.parametrize("state", ["", "DELETE_COMPLETE"])
def test_where_there_is_no_stack_one_is_made(state: str) -> None:
    script = Scripted(describe_stacks=stacks(state), describe_change_set=list(CREATED))

    assert prepared(script).new
    assert script.words("create_change_set")[0]["ChangeSetType"] == "CREATE"
    assert not script.words("delete_stack")


@pytest.mark.parametrize("state", ["ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"])
def test_a_stack_that_never_worked_is_made_anew(state: str) -> None:
    script = Scripted(
        describe_stacks=stacks(state, state, "DELETE_IN_PROGRESS", ""),
        describe_change_set=list(CREATED),
    )

    assert prepared(script).new
    assert len(script.words("delete_stack")) == 1


def test_a_stack_that_is_being_changed_is_left_alone() -> None:
    script = Scripted(describe_stacks=stacks("UPDATE_ROLLBACK_IN_PROGRESS"))

    with pytest.raises(ConfigError, match="is being changed"):
        prepared(script)
    assert not script.words("create_change_set")


def test_what_is_under_way_is_waited_for_before_anything_is_changed() -> None:
    told: list[str] = []
    states = ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"]
    script = Scripted(describe_stacks=stacks(*states))

    ready = stack.settled(clouded(script), PLACE, told.append)

    assert ready == stack.Stack("CREATE_COMPLETE", {"Table": "t"})
    assert told == [
        "legato-adder is being changed (CREATE_IN_PROGRESS): waiting for the end of that"
    ]
    script = Scripted(describe_stacks=stacks("DELETE_IN_PROGRESS", "DELETE_IN_PROGRESS", ""))
    assert stack.settled(clouded(script), PLACE, told.append) is None
    script = Scripted(describe_stacks=stacks("REVIEW_IN_PROGRESS"))  # it is made anew
    assert stack.settled(clouded(script), PLACE, told.append) is not None


@pytest.mark.parametrize(
    ("state", "cure"),
    [
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name legato-adder` frees it"),
        ("DELETE_FAILED", "destroy` again deletes the rest"),
    ],
)
def test_a_stack_that_is_stuck_is_told_with_what_frees_it(state: str, cure: str) -> None:
    script = Scripted(describe_stacks=stacks(state))

    with pytest.raises(ConfigError, match=f"cannot be changed .{state}.: .*{cure}"):
        stack.settled(clouded(script), PLACE, lambda text: None)


def test_a_stack_of_our_name_that_somebody_else_made_is_left_alone() -> None:
    theirs = {
        "Stacks": [{"StackStatus": "ROLLBACK_COMPLETE", "Tags": [{"Key": "x", "Value": "y"}]}]
    }
    script = Scripted(describe_stacks=[theirs])

    with pytest.raises(ConfigError, match="legato-adder that Legato did not make: --name"):
        prepared(script)

    assert [name for name, _ in script.calls] == ["describe_stacks"]
    ours = {"Stacks": [theirs["Stacks"][0] | {"Tags": [{"Key": stack.TAG, "Value": "adder"}]}]}
    found = stack.found(clouded(Scripted(describe_stacks=[ours])), PLACE)
    assert found is not None
    assert found.ours


def test_a_change_of_somebody_else_at_the_same_time_is_told() -> None:
    changes = stack.Changes("c", (), new=False)
    script = Scripted(execute_change_set=[refused("InvalidChangeSetStatus", "is OBSOLETE")])
    with pytest.raises(ConfigError, match="by somebody else at the same time: try again"):
        stack.carry_out(clouded(script), PLACE, changes)
    script = Scripted(
        describe_stacks=stacks("UPDATE_COMPLETE"),
        describe_change_set=[refused("ChangeSetNotFound")],
    )
    with pytest.raises(ConfigError, match="by somebody else at the same time: try again"):
        prepared(script)


@pytest.mark.parametrize(
    ("state", "deleted"), [("REVIEW_IN_PROGRESS", 1), ("CREATE_IN_PROGRESS", 0)]
)
def test_a_look_at_a_new_stack_does_not_delete_what_somebody_makes_meanwhile(
    state: str, deleted: int
) -> None:
    script = Scripted(describe_stacks=stacks(state))

    stack.drop(clouded(script), PLACE, stack.Changes("c", (), new=True))

    assert len(script.words("delete_stack")) == deleted


def test_a_change_set_tells_all_its_pages_and_why_it_failed() -> None:
    one = {"ResourceChange": {"Action": "Add", "LogicalResourceId": "A", "ResourceType": "T"}}
    two = {"ResourceChange": one["ResourceChange"] | {"Replacement": "True", "Action": "Modify"}}
    old = {"Action": "Remove", "ResourceType": "AWS::Lambda::Version", "LogicalResourceId": "V"}
    script = Scripted(
        describe_stacks=stacks("UPDATE_COMPLETE"),
        describe_change_set=[
            {"Status": "CREATE_COMPLETE", "Changes": [one], "NextToken": "n"},
            {"Status": "CREATE_COMPLETE", "Changes": [two, {"ResourceChange": old}]},
        ],
    )
    assert [one.text for one in prepared(script).found] == [
        "add     A (T)",
        "modify  A (T, replaced)",
        "remove  V (AWS::Lambda::Version, stays for rollback)",
    ]
    nothing = {
        "Status": "FAILED",
        "StatusReason": "The submitted information didn't contain changes.",
    }
    script = Scripted(describe_stacks=stacks("UPDATE_COMPLETE"), describe_change_set=[nothing])
    assert prepared(script).found == ()
    wrong = {"Status": "FAILED", "StatusReason": "Unresolved resource"}
    script = Scripted(describe_stacks=stacks("UPDATE_COMPLETE"), describe_change_set=[wrong])
    with pytest.raises(ConfigError, match="does not take the template: Unresolved resource"):
        prepared(script)


def events(script: Scripted, *found: tuple[str, str, str]) -> dict[str, Any]:
    """Events of the operation under way, the newest first, after those of an older one."""
    (asked,) = script.words("execute_change_set")
    token = asked["ClientRequestToken"]
    mine = [
        {
            "LogicalResourceId": name,
            "ResourceStatus": status,
            "ResourceStatusReason": why,
            "ClientRequestToken": token,
        }
        for name, status, why in found
    ]
    old = {"LogicalResourceId": PLACE.stack, "ResourceStatus": "UPDATE_COMPLETE"}
    return {"StackEvents": [*mine, old | {"ClientRequestToken": "older"}]}


def test_a_change_that_fails_tells_what_failed_first() -> None:
    script = Scripted()
    script._answers["describe_stack_events"] = [
        lambda **words: events(script),
        lambda **words: events(script, (PLACE.stack, "UPDATE_IN_PROGRESS", "")),
        lambda **words: events(
            script,
            (PLACE.stack, "UPDATE_ROLLBACK_COMPLETE", ""),
            ("Role", "UPDATE_FAILED", "cancelled"),
            ("Queue", "CREATE_FAILED", "a queue of this name was just deleted"),
            (PLACE.stack, "UPDATE_IN_PROGRESS", ""),
        ),
    ]

    with pytest.raises(
        ConfigError, match="ROLLBACK_COMPLETE: Queue: a queue of this name was just"
    ):
        stack.carry_out(clouded(script), PLACE, stack.Changes("c", (), new=False))


def test_what_failed_first_is_found_however_much_has_happened_since() -> None:
    script = Scripted()

    def page(*found: tuple[str, str, str]) -> Callable[..., dict[str, Any]]:
        def mine(**words: Any) -> dict[str, Any]:
            answer = events(script, *found)
            answer["StackEvents"] = answer["StackEvents"][: len(found)]
            return answer | {"NextToken": f"after {words.get('NextToken', '')}"}

        return mine

    def last(**words: Any) -> dict[str, Any]:
        assert words["NextToken"] == "after after "
        return events(
            script, ("Queue", "CREATE_FAILED", "it is there"), ("Queue", "CREATE_IN_PROGRESS", "")
        )

    ended = page((PLACE.stack, "ROLLBACK_COMPLETE", ""))
    cancelled = page(("Role", "CREATE_FAILED", "cancelled"))
    script._answers["describe_stack_events"] = [ended, cancelled, last] * 2

    with pytest.raises(ConfigError, match="ROLLBACK_COMPLETE: Queue: it is there"):
        stack.carry_out(clouded(script), PLACE, stack.Changes("c", (), new=True))


def test_the_end_of_an_older_change_is_not_taken_for_that_of_this_one() -> None:
    script = Scripted(describe_stacks=stacks("UPDATE_COMPLETE"))
    script._answers["describe_stack_events"] = [
        lambda **words: events(script),
        lambda **words: events(script, (PLACE.stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "")),
        lambda **words: events(script, (PLACE.stack, "UPDATE_COMPLETE", "")),
    ]

    done = stack.carry_out(clouded(script), PLACE, stack.Changes("c", (), new=False))

    assert done.outputs == {"Table": "t"}
    assert len(script.words("describe_stack_events")) == 3


def test_a_stack_that_cannot_be_deleted_says_why() -> None:
    failed = {
        "LogicalResourceId": "Logs",
        "ResourceStatus": "DELETE_FAILED",
        "ResourceStatusReason": "no",
    }
    script = Scripted(
        describe_stacks=stacks("DELETE_IN_PROGRESS", "DELETE_FAILED"),
        describe_stack_events=[{"StackEvents": [failed]}],
    )

    with pytest.raises(ConfigError, match="could not be deleted: Logs: no"):
        stack.remove(clouded(script), PLACE)


@pytest.mark.parametrize(
    ("region", "where"),
    [
        ("us-east-1", {}),
        ("eu-west-1", {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}),
    ],
)
def test_a_bucket_is_made_closed_to_the_public(region: str, where: dict[str, Any]) -> None:
    script = Scripted(head_bucket=[refused("404")])

    code.ensure_bucket(clouded(script, region), "b")

    assert script.words("create_bucket") == [{"Bucket": "b"} | where]
    (closed,) = script.words("put_public_access_block")
    assert set(closed["PublicAccessBlockConfiguration"].values()) == {True}


def test_a_bucket_of_our_name_that_is_somebody_elses_is_not_used() -> None:
    mine = {"Account": "123456789012"}
    script = Scripted(
        get_caller_identity=[mine], head_bucket=[refused("403")], get_object=[refused("404")]
    )
    bucket = "legato-123456789012-eu-central-1"

    with pytest.raises(ConfigError, match="belongs to another account"):
        code.ensure_bucket(clouded(script), bucket)

    code.upload(clouded(script), bucket, "k", b"zip")
    code.download(clouded(script), "of-a-company", "k")
    named = {"Bucket": bucket, "ExpectedBucketOwner": "123456789012"}
    assert script.words("head_bucket") == [named]
    assert script.words("head_object") == [named | {"Key": "k"}]
    assert script.words("get_object") == [{"Bucket": "of-a-company", "Key": "k"}]
    assert not script.words("create_bucket")


def test_what_was_not_all_destroyed_can_be_destroyed_again() -> None:
    class Pages(Scripted):
        def get_paginator(self, method: str) -> Any:
            return Scripted(paginate=[cast("Any", [])])

    script = Pages(
        describe_stacks=stacks("CREATE_COMPLETE", "CREATE_COMPLETE", "DELETE_COMPLETE"),
        describe_table=[refused("ResourceNotFoundException")],
        delete_table=[refused("ResourceNotFoundException")],
        get_caller_identity=[{"Account": "1"}],
        delete_stack=[RuntimeError("the machine is gone"), {}],
    )
    told: list[str] = []
    cloud = clouded(script)

    for end in ("the machine is gone", ""):
        with pytest.raises(RuntimeError, match=end) if end else nullcontext():
            steering.destroy(cloud, PLACE, Settings(), told.append)

    assert told[-1] == "deleted: stack legato-adder"
    ends = [name for name, _ in script.calls if name.startswith("delete_")]
    assert ends[-1] == "delete_stack"


def test_zips_of_versions_that_are_gone_are_deleted_page_by_page() -> None:
    script = Scripted(
        list_objects_v2=[
            {"Contents": [{"Key": "legato-adder/a.zip"}, {"Key": "legato-adder/b.zip"}]},
            {"Contents": [{"Key": "legato-adder/c.zip"}]},
            {},
        ]
    )

    assert code.keep(clouded(script), "b", PLACE, {"a"}) == 2

    deleted = [one["Delete"]["Objects"] for one in script.words("delete_objects")]
    assert deleted == [[{"Key": "legato-adder/b.zip"}], [{"Key": "legato-adder/c.zip"}]]
    asked = [one["StartAfter"] for one in script.words("list_objects_v2")]
    assert asked == ["", "legato-adder/b.zip", "legato-adder/c.zip"]


def test_only_the_newest_versions_and_the_live_one_stay() -> None:
    class Pages(Scripted):
        def get_paginator(self, method: str) -> Any:
            listed = [
                {"Version": str(n), "Description": f"sha{n} bot.py:app", "LastModified": "now"}
                for n in (3, 1, 2, 4)
            ]
            latest = {"Version": "$LATEST", "LastModified": "now"}
            return Scripted(paginate=[cast("Any", [{"Versions": [latest, *listed]}])])

    script = Pages(get_alias=[{"FunctionVersion": "2"}])

    assert versions.prune(clouded(script), PLACE, keep=2) == [1]

    assert script.words("delete_function") == [{"FunctionName": PLACE.stack, "Qualifier": "1"}]
    assert [one.sha256 for one in versions.published(clouded(script), PLACE)][-1] == "sha4"


def test_the_log_is_followed_without_a_line_twice() -> None:
    def event(at: int, text: str) -> dict[str, Any]:
        return {"timestamp": at, "eventId": text, "message": f"{text}\n"}

    script = Scripted(
        filter_log_events=[
            {"events": [event(1000, "a"), event(50_000, "c")], "nextToken": "n"},
            {"events": [event(49_000, "b")]},
            {"events": [event(50_000, "c"), event(49_500, "late")]},
            {"events": [event(60_000, "d")]},
        ]
    )
    lines: Iterator[tuple[int, str]] = steering.lines(clouded(script), PLACE, since_ms=7, tail=True)

    assert [next(lines)[1] for _ in range(5)] == ["a", "b", "c", "late", "d"]
    since = [words["startTime"] for words in script.words("filter_log_events")]
    assert since == [7, 7, 40_000, 40_000]
