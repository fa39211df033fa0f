"""What a deployment looks at before it changes anything, and what it leaves when it fails."""

from __future__ import annotations

from typing import Any, cast

import pytest

from legato.app.settings import Settings
from legato.deploy.aws import deploying, stack
from legato.deploy.aws.secrets import Kept
from legato.errors import ConfigError
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.aws_script import PLACE, Scripted, clouded, stacks

CHANGES = stack.Changes("c", (stack.Change("Modify", "Function", "T", ""),), new=False)


class Planned:
    """As much of a plan as is looked at."""

    place = PLACE


def fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Lets each change of a stack end so."""

    def carry_out(*_: object) -> None:
        raise error

    monkeypatch.setattr(stack, "carry_out", carry_out)


@pytest.mark.parametrize(
    ("state", "now", "moved"),
    [
        ("UPDATE_ROLLBACK_COMPLETE", "2", ["1"]),
        ("UPDATE_ROLLBACK_FAILED", "2", ["1"]),
        ("UPDATE_ROLLBACK_COMPLETE", "1", []),  # the alias was not reached
        (
            "UPDATE_ROLLBACK_IN_PROGRESS",
            "2",
            [],
        ),  # it takes too long: CloudFormation still moves it
    ],
)
def test_after_a_change_that_failed_the_version_is_live_that_was(
    state: str, now: str, moved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, ConfigError("Broken: no"))
    script = Scripted(describe_stacks=stacks(state), get_alias=[{"FunctionVersion": now}])
    told: list[str] = []

    with pytest.raises(ConfigError, match="Broken: no"):
        deploying._carried_out(clouded(script), PLACE, CHANGES, 1, told.append)

    assert [words["FunctionVersion"] for words in script.words("update_alias")] == moved
    assert ("version 1 is live, as it was" in told) == bool(moved)


def test_who_stops_the_command_is_told_that_the_cloud_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fails(monkeypatch, KeyboardInterrupt())
    told: list[str] = []

    with pytest.raises(KeyboardInterrupt):
        deploying._carried_out(clouded(Scripted()), PLACE, CHANGES, 1, told.append)

    assert told[0] == "modify  Function (T)"
    assert "goes on by itself" in told[-1]


def test_two_bots_of_one_name_do_not_take_each_others_place() -> None:
    plan = cast("Any", Planned())
    kept = {"TELEGRAM_TOKEN": Kept("4200:old", 1)}
    deploying._check_bot(plan, Settings(telegram_token="4200:new"), kept)
    deploying._check_bot(plan, Settings(telegram_token="4201:x"), {})
    deploying._check_bot(plan, Settings(), kept)

    with pytest.raises(ConfigError, match=r"legato-adder is the bot 4200 .* of the bot 4201: give"):
        deploying._check_bot(plan, Settings(telegram_token="4201:x"), kept)


async def test_a_token_is_tried_before_anything_is_changed() -> None:
    told: list[str] = []
    async with FakeTelegram() as telegram:
        good = Settings(telegram_token=telegram.token, telegram_api=telegram.api)
        await deploying._check_tokens(good, told.append)
        wrong = Settings(telegram_token="4201:x", telegram_api=telegram.api)
        with pytest.raises(ConfigError, match="refuses the token of bot 4201"):
            await deploying._check_tokens(wrong, told.append)
        assert telegram.called("setWebhook") == []
    assert told == []
    await deploying._check_tokens(Settings(), told.append)  # the web chat alone
    away = Settings(telegram_token="4200:x", telegram_api="http://127.0.0.1:1")
    await deploying._check_tokens(away, told.append)
    assert "without it the webhook cannot be set, but the function can be changed" in told[0]


def test_a_rollback_shows_in_what_would_change() -> None:
    ready = stack.Stack("UPDATE_COMPLETE", {"Version": "2"})
    plan, told = cast("Any", Planned()), list[str]()

    for live, changes in (("1", True), ("2", False)):
        cloud = clouded(Scripted(get_alias=[{"FunctionVersion": live}]))
        assert deploying._says_live(plan, cloud, ready, told.append) is changes

    assert told == ["live    version 2 again, after a rollback to 1"]
    assert not deploying._says_live(plan, clouded(Scripted()), None, told.append)


def test_zips_go_where_they_went_before() -> None:
    old = stack.Stack("UPDATE_COMPLETE", {"Bucket": "b1"})
    cloud = clouded(Scripted(get_caller_identity=[{"Account": "7"}]))

    class Mine(Planned):
        bucket = "mine"

    class Usual(Planned):
        bucket = ""

    found = [
        deploying._bucket(cast("Any", plan), cloud, known)
        for plan, known in ((Mine(), old), (Usual(), old), (Usual(), None))
    ]
    assert found == ["mine", "b1", "legato-7-eu-central-1"]
