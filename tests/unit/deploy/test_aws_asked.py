"""What a bot was deployed with is known later, from the stack alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from legato.deploy.aws.asked import NAME, Asked, Before, asked_of, before, merged
from legato.deploy.aws.asked import told as said
from legato.deploy.aws.stack import Stack
from legato.deploy.aws.template import template
from tests.unit.deploy.aws_script import PLACE, Scripted, clouded, refused
from tests.unit.deploy.test_aws_template import WANTED, changed

WORKS = Stack("UPDATE_COMPLETE", {"Table": "t", "Queue": "q"})


def told(metadata: str | None) -> Scripted:
    """A cloud whose stack has this metadata."""
    detail = {} if metadata is None else {"Metadata": metadata}
    return Scripted(describe_stack_resource=[{"StackResourceDetail": detail}])


def test_what_was_said_stands_in_the_template_and_is_read_from_the_stack() -> None:
    asked = Asked(memory=1024, timers=True, public_url="https://bot.example")

    found = changed(asked=asked)["Resources"]["Function"]["Metadata"]

    assert found == {NAME: {"memory": 1024, "timers": True, "public_url": "https://bot.example"}}
    assert asked_of(clouded(told(json.dumps(found))), PLACE, WORKS) == asked


def test_what_is_only_remembered_is_no_other_version() -> None:
    def versions(found: dict[str, Any]) -> list[str]:
        return [name for name in found["Resources"] if name.startswith("Version")]

    assert versions(changed(asked=Asked(public_url="https://a.example"))) == versions(
        template(WANTED)
    )


@pytest.mark.parametrize("metadata", [None, "{}", "no json", f'{{"{NAME}": {{"queue": "x"}}}}'])
def test_of_a_stack_that_tells_nothing_the_pieces_are_known(metadata: str | None) -> None:
    assert asked_of(clouded(told(metadata)), PLACE, WORKS) == Asked(queue=True)


def test_options_of_a_later_legato_are_passed_over() -> None:
    script = told(f'{{"{NAME}": {{"memory": 256, "flavour": 7}}}}')

    assert asked_of(clouded(script), PLACE, WORKS) == Asked(memory=256)


def test_where_nothing_works_nothing_was_asked() -> None:
    script = Scripted(describe_stack_resource=[refused("ValidationError")])

    assert asked_of(clouded(script), PLACE, None) == Asked()
    assert asked_of(clouded(script), PLACE, Stack("ROLLBACK_COMPLETE", {})) == Asked()
    assert script.calls == []


def test_what_was_said_once_holds_until_something_else_is_said() -> None:
    old = Asked(queue=True, timers=True, memory=1024, public_url="https://a.example", arch="arm64")

    assert merged(old, Asked()) == old
    changes = Asked(queue=False, memory=512, public_url="", web_socket=True)
    after = Asked(timers=True, memory=512, web_socket=True, arch="arm64")
    assert merged(old, changes) == after
    web = Asked(web_socket=True, public_socket="wss://a.example")
    assert merged(web, Asked(web_socket=False)) == Asked()
    assert merged(web, Asked(memory=0)).memory == 0, "refused later, not passed over"


def test_what_holds_is_told_with_how_it_ends() -> None:
    assert said(Asked(), []) == ""
    assert said(Asked(memory=256), []) == "as before: --memory 256 (another value changes one)"
    assert said(Asked(queue=True), []) == "as before: --queue (--no-queue ends it)"
    assert said(Asked(timers=True, public_url="https://a.example"), ["A"]) == (
        "as before: --timers, --public-url https://a.example, --env A (--no-timers and the like end it)"
    )


def test_the_variables_of_a_deployment_are_those_that_the_stack_does_not_set() -> None:
    own = {"LEGATO_STORE": "dynamodb://t", "LEGATO_SECRETS": "A:1", "LEGATO_HANDOVER": "on"}
    web = {"LEGATO_WEB_SOCKET": "wss://b.example"}
    mine = {"GREETING": "hello", "TELEGRAM_API": "https://a.example"}
    script = told("{}")
    script._answers["get_function_configuration"] = [
        {"Environment": {"Variables": own | web | mine}}
    ]
    outputs = {"Table": "t", "Version": "7"}

    found = before(clouded(script), PLACE, Stack("UPDATE_COMPLETE", outputs))
    chatting = Stack("UPDATE_COMPLETE", outputs | {"WebSocket": "wss://b.example"})

    assert found == Before(Asked(), mine | web)
    assert before(clouded(script), PLACE, chatting) == Before(Asked(web_socket=True), mine)
    assert script.words("get_function_configuration")[0]["Qualifier"] == "7"
    assert before(clouded(script), PLACE, None) == Before()
