"""What a version was given, what platforms are told when another one is to be live, and what is left to destroy."""

from __future__ import annotations

from typing import Any, cast

import pytest

from legato import App
from legato.app.settings import Settings
from legato.deploy.aws import given, steering
from legato.errors import ConfigError
from tests.unit.deploy.aws_script import PLACE, Scripted, clouded, refused, stacks

TOKEN = "4200:fake-token-for-tests"
STORED = {
    "TELEGRAM_TOKEN:1": TOKEN, "TELEGRAM_SECRET:1": "first", "TELEGRAM_SECRET:2": "second",
    "TELEGRAM_TOKEN:2": "4200:revoked-token-of-the-same",
}  # fmt: skip
OUTPUTS = {"Url": "https://own.example/", "Table": "t"}


class Function(Scripted):
    """A function whose versions read these secrets, from Parameter Store.

    Args:
        api: Where Telegram is.
        reads: LEGATO_SECRETS by the number of the version.
        stored: Names of what is there, for the path.
        script: Further answers.
    """

    def __init__(
        self,
        api: str = "http://127.0.0.1:1",
        reads: dict[str, str] | None = None,
        stored: tuple[str, ...] = (),
        **script: Any,
    ) -> None:
        super().__init__(
            get_function_configuration=[self._configured],
            get_parameters=[self._parameters],
            **script,
        )
        self._api, self._reads, self._stored = api, reads or {}, stored

    def _configured(self, **words: Any) -> dict[str, Any]:
        variables = {"LEGATO_SECRETS": self._reads[words["Qualifier"]], "TELEGRAM_API": self._api}
        return {"Environment": {"Variables": variables | {"GREETING": "of the bot's own"}}}

    def _parameters(self, **words: Any) -> dict[str, Any]:
        assert words["WithDecryption"]
        names = [name.removeprefix(PLACE.parameters) for name in words["Names"]]
        return {
            "Parameters": [
                {"Name": PLACE.parameters + name.partition(":")[0], "Value": STORED[name]}
                for name in names
                if name in STORED
            ]
        }

    def get_paginator(self, method: str) -> Any:
        listed = [
            {"Name": PLACE.parameters + name, "Value": "x", "Version": 1} for name in self._stored
        ]
        return Scripted(paginate=[cast("Any", [{"Parameters": listed}])])


FIRST, SECOND = "TELEGRAM_SECRET:1,TELEGRAM_TOKEN:1", "TELEGRAM_SECRET:2,TELEGRAM_TOKEN:1"


def test_a_versions_settings_are_those_that_it_reads_itself() -> None:
    script = Function(reads={"1": FIRST, "2": SECOND, "3": "TELEGRAM_SECRET:9"})

    first = given.settings_of(clouded(script), PLACE, 1)
    second = given.settings_of(clouded(script), PLACE, 2)

    assert (first.telegram_secret, second.telegram_secret) == ("first", "second")
    assert first.telegram_token == TOKEN
    assert first.telegram_api == "http://127.0.0.1:1"
    with pytest.raises(ConfigError, match="no /legato/adder/TELEGRAM_SECRET:9, which version 3"):
        given.settings_of(clouded(script), PLACE, 3)


def test_where_nothing_is_deployed_nothing_was_given() -> None:
    script = Scripted(get_alias=[refused("ResourceNotFoundException")])

    assert given.live(clouded(script), PLACE) is None


def test_versions_with_the_same_secrets_need_no_other_webhook() -> None:
    script = Function(reads={"1": FIRST, "2": FIRST})

    assert given.wiring(clouded(script), PLACE, None, OUTPUTS, (2, 1)) is None


def test_a_version_with_another_secret_needs_the_bots_code_for_its_webhook() -> None:
    script = Function(reads={"1": FIRST, "2": SECOND})

    with pytest.raises(ConfigError, match=r"version 1 has other tokens or secrets than 2.*--name"):
        given.wiring(clouded(script), PLACE, None, OUTPUTS, (2, 1))


def test_a_version_whose_secret_is_gone_or_telegram_far_is_no_way_back() -> None:
    script = Function(reads={"1": FIRST, "2": SECOND, "3": "TELEGRAM_TOKEN:9"})
    cloud = clouded(script)

    with pytest.raises(ConfigError, match="no /legato/adder/TELEGRAM_TOKEN:9"):
        given.wiring(cloud, PLACE, App("a"), OUTPUTS, (2, 3))
    with pytest.raises(ConfigError, match=r"cannot be asked .*: it must be told of another secret"):
        given.wiring(cloud, PLACE, App("a"), OUTPUTS, (3, 1))  # the live one is broken


def test_what_a_failed_deployment_has_left_is_destroyed_without_a_stack() -> None:
    told: list[str] = []
    script = Function(
        stored=("TELEGRAM_TOKEN", "TELEGRAM_SECRET"),
        describe_stacks=stacks(""),
        get_caller_identity=[{"Account": "1"}],
        list_objects_v2=[{"Contents": [{"Key": "legato-adder/a.zip"}]}, {}],
    )

    steering.destroy(clouded(script), PLACE, Settings(), told.append)

    assert told == ["deleted: 2 secrets, 1 zips"]
    assert len(script.words("delete_parameters")) == 1
    script = Function(describe_stacks=stacks(""), get_caller_identity=[{"Account": "1"}])
    with pytest.raises(ConfigError, match="there is no stack legato-adder in eu-central-1"):
        steering.destroy(clouded(script), PLACE, Settings(), told.append)


def test_a_stack_that_was_never_made_is_destroyed() -> None:
    unborn = {"StackStatus": "ROLLBACK_COMPLETE", "Tags": [{"Key": "legato:bot", "Value": "adder"}]}
    told: list[str] = []
    script = Function(
        describe_stacks=[{"Stacks": [unborn]}, refused("ValidationError")],
        get_caller_identity=[{"Account": "1"}],
    )

    steering.destroy(clouded(script), PLACE, Settings(), told.append)

    assert told == ["deleted: stack legato-adder"]


def test_a_token_that_is_not_valid_any_more_keeps_nothing_from_being_destroyed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: object) -> str:
        raise ConfigError("Telegram refused the token of bot 4200")

    monkeypatch.setattr(steering, "_disconnected", fails)
    told: list[str] = []
    script = Function(
        describe_stacks=stacks("UPDATE_COMPLETE", ""),
        describe_table=[{"Table": {"TableStatus": "ACTIVE"}}, refused("ResourceNotFoundException")],
        get_caller_identity=[{"Account": "1"}],
    )

    steering.destroy(clouded(script), PLACE, Settings(), told.append, force=True)

    assert told[0] == "the webhook stays: Telegram refused the token of bot 4200"
    assert told[-1] == "deleted: stack legato-adder"
