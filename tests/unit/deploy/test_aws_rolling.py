"""Back to an older version: what stays with which version, and what is a reason to refuse."""

from __future__ import annotations

import subprocess
from collections import Counter
from typing import Any, cast

import pytest

from legato.deploy.aws import code, talks, versions
from legato.deploy.aws.place import Place
from legato.deploy.aws.rolling import Rolled, rollback
from legato.errors import ConfigError
from tests.unit.deploy.aws_script import Answer, Scripted, clouded, refused

PLACE = Place("adder")
NEW = {"LEGATO_HANDOVER": "on", "LEGATO_QUEUE": "sqs://q"}


class Versions(Scripted):
    """A function with these versions, the last of which is live.

    Attributes:
        builds: Which version wrote each open conversation.
        misfits: Those that older code cannot replay; None: its zip is gone.
    """

    def __init__(
        self,
        numbers: tuple[int, ...] = (1, 2),
        variables: dict[str, str] = NEW,
        outputs: tuple[str, ...] = ("Table",),
    ) -> None:
        told = [{"OutputKey": name, "OutputValue": name.lower()} for name in outputs]
        stacks: list[Answer] = [{"Stacks": [{"StackStatus": "UPDATE_COMPLETE", "Outputs": told}]}]
        super().__init__(
            describe_stacks=stacks,
            get_alias=[{"FunctionVersion": str(numbers[-1])}],
            get_function_configuration=[{"Environment": {"Variables": variables}}],
            get_caller_identity=[{"Account": "1"}],
        )
        self._numbers = numbers
        self.builds: dict[str, int] = {}
        self.misfits: set[str] | None = set()

    def get_paginator(self, method: str) -> Any:
        listed = [
            {"Version": str(n), "Description": f"sha{n} bot.py:app", "LastModified": "now"}
            for n in self._numbers
        ]
        return Scripted(paginate=[cast("Any", [{"Versions": listed}])])

    @property
    def moved(self) -> list[str]:
        return [words["FunctionVersion"] for words in self.words("update_alias")]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes versions whose conversations and zips are those that it says."""

    def make(*words: Any, **named: Any) -> Versions:
        script = Versions(*words, **named)

        async def seen(*_: object) -> talks.Seen:
            return talks.Seen(Counter(), script.builds)

        monkeypatch.setattr(talks, "seen", seen)
        monkeypatch.setattr(code, "download", lambda *_: None if script.misfits is None else b"zip")
        monkeypatch.setattr(talks, "packed_misfits", lambda *_: script.misfits)
        return script

    return make


def test_what_the_older_version_can_replay_goes_on_in_it(made: Any) -> None:
    script = made()
    script.builds = {"a": 2, "b": 1}
    assert rollback(clouded(script), PLACE) == Rolled(2, 1)
    assert script.moved == ["1"]


def test_what_it_cannot_stays_with_the_version_that_wrote_it(made: Any) -> None:
    script = made((1, 2, 3))
    script.builds = {"a": 3, "b": 3, "c": 2, "d": 1, "e": 3}
    script.misfits = {"a", "b", "c", "over by now"}
    assert rollback(clouded(script), PLACE, to=1) == Rolled(3, 1, {2: 1, 3: 2})
    assert script.moved == ["1"]


@pytest.mark.parametrize(
    ("number", "why"), [(1, "reserved concurrency of 1.*takes two"), (0, "0, so nothing runs")]
)
def test_where_two_versions_cannot_run_at_the_same_time_nobody_can_stay(
    made: Any, number: int, why: str
) -> None:
    script = made()
    script._answers["get_function_concurrency"] = [{"ReservedConcurrentExecutions": number}]
    script.builds = {"a": 2}
    assert rollback(clouded(script), PLACE) == Rolled(2, 1)  # nobody needs to
    script.misfits = {"a"}
    with pytest.raises(ConfigError, match=f"{why}.*delete-function-concurrency.*--force"):
        rollback(clouded(script), PLACE)
    assert rollback(clouded(script), PLACE, force=True) == Rolled(2, 1)


@pytest.mark.parametrize(
    "answer", [{}, {"ReservedConcurrentExecutions": 2}, refused("AccessDeniedException")]
)
def test_where_they_can_or_nobody_may_know_they_stay(made: Any, answer: Any) -> None:
    script = made()
    script._answers["get_function_concurrency"] = [answer]
    script.builds, script.misfits = {"a": 2}, {"a"}
    assert rollback(clouded(script), PLACE) == Rolled(2, 1, {2: 1})


@pytest.mark.parametrize(
    ("builds", "numbers", "why"),
    [
        ({"a": 0}, (1, 2), "no newer version has written them"),
        ({"a": 1}, (1, 2), "no newer version has written them"),
        ({"a": 3}, (1, 2), "version 3, which wrote them, is gone"),
    ],
)
def test_what_would_stay_with_nobody_is_a_reason_to_refuse(
    made: Any, builds: dict[str, int], numbers: tuple[int, ...], why: str
) -> None:
    script = made(numbers)
    script.builds, script.misfits = builds, {"a"}
    with pytest.raises(ConfigError, match=why):
        rollback(clouded(script), PLACE)
    assert script.moved == []
    assert rollback(clouded(script), PLACE, force=True) == Rolled(2, 1)
    assert script.moved == ["1"]


@pytest.mark.parametrize("misfits", [None, {"a"}])
def test_a_version_that_knows_of_no_others_must_replay_all(
    made: Any, misfits: set[str] | None
) -> None:
    script = made(variables={})
    script.builds, script.misfits = {"a": 2}, misfits
    with pytest.raises(ConfigError, match="from before versions hand conversations"):
        rollback(clouded(script), PLACE)
    script.builds, script.misfits = {"a": 1}, set()
    assert rollback(clouded(script), PLACE) == Rolled(2, 1)


def test_where_the_zip_is_gone_as_many_may_stay_as_were_written_by_newer_versions(
    made: Any,
) -> None:
    script = made()
    script.builds, script.misfits = {"a": 2, "b": 2, "c": 1}, None
    assert rollback(clouded(script), PLACE) == Rolled(2, 1, {2: 2}, unsure=True)
    script.builds = {"c": 1}
    assert rollback(clouded(script), PLACE) == Rolled(2, 1)
    script.builds = {f"{n}": 0 for n in range(9)}
    with pytest.raises(ConfigError, match=r"9 open conversations \(0, 1, 2, 3, 4 \.\.\.\)"):
        rollback(clouded(script), PLACE)


def test_a_version_from_before_the_queue_is_no_way_back(made: Any) -> None:
    script = made(variables={"LEGATO_HANDOVER": "on"}, outputs=("Table", "Queue"))
    with pytest.raises(ConfigError, match="from before --queue"):
        rollback(clouded(script), PLACE)


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (0, "nothing is older than 1"),
        (1, "version 1 is live already"),
        (7, r"there is no version 7 \(there is: 1\)"),
    ],
)
def test_there_must_be_such_a_version(made: Any, to: int, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        rollback(clouded(made((1,))), PLACE, to=to)


def test_versions_in_whose_dialogs_somebody_stands_are_kept() -> None:
    script = Versions((1, 2, 3, 4))
    assert versions.prune(clouded(script), PLACE, {1}, keep=1) == [2, 3]
    assert [words["Qualifier"] for words in script.words("delete_function")] == ["2", "3"]


def test_the_answer_of_older_code_is_read_whatever_it_prints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[tuple[int, str]] = [
        (0, "hello\n{}\n"),
        (1, 'hello\n{"problems": [{"key": "a:b", "verdict": "mismatch"}]}\n'),
        (2, "hello\n"),
        (1, "{}"),
    ]

    class Done:
        def __init__(self, code: int, text: str) -> None:
            self.returncode, self.stdout, self.stderr = code, text, "no such module"

    monkeypatch.setattr(talks, "unpack_own", lambda *_: type("M", (), {"entry": "bot.py"}))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Done(*answers.pop(0)))
    cloud = clouded(Scripted())
    monkeypatch.setattr(cloud, "export", lambda: None)
    assert talks.packed_misfits(cloud, "t", b"") == set()
    assert talks.packed_misfits(cloud, "t", b"") == {"a:b"}
    for _ in range(2):
        with pytest.raises(ConfigError, match="cannot be tried here: no such module"):
            talks.packed_misfits(cloud, "t", b"")
