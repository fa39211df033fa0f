"""A later deployment has what the one before it was given, but for what is said now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from legato.cli.main import _parser
from legato.cli.planning import plan_of
from legato.deploy.aws.asked import NAME
from legato.deploy.aws.deploying import Plan
from legato.errors import ConfigError
from tests.unit.deploy.aws_script import Scripted, clouded
from tests.unit.deploy.package_kit import bot_in

DEPLOYED = {
    "GREETING": "hello", "TWITCH_CLIENT_ID": "abc", "TELEGRAM_API": "https://a.example",
    "LEGATO_CACHE": "5", "LEGATO_TRACING": "on", "LEGATO_STORE": "dynamodb://t",
}  # fmt: skip
ASKED: dict[str, Any] = {
    "queue": True, "memory": 1024, "schedule": "off", "arch": "x86_64", "python": "3.13",
    "public_url": "https://b.example",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*DEPLOYED, "TELEGRAM_TOKEN", "TELEGRAM_SECRET"):
        monkeypatch.delenv(name, raising=False)
    bot_in(tmp_path, name="planned_bot.py")


def planned(*words: str) -> Plan:
    """What a command line means for a bot that is deployed already."""
    options = _parser().parse_args(["deploy", "aws", "planned_bot.py", *words])
    options.action, options.target = "", "planned_bot.py"
    outputs = {"Table": "t", "Version": "7", "Queue": "q"}
    listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    script = Scripted(
        describe_stacks=[{"Stacks": [{"StackStatus": "UPDATE_COMPLETE", "Outputs": listed}]}],
        describe_stack_resource=[{"StackResourceDetail": {"Metadata": json.dumps({NAME: ASKED})}}],
        get_function_configuration=[{"Environment": {"Variables": DEPLOYED}}],
    )
    return plan_of(options, clouded(script))


def test_what_is_left_out_stays(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned("--memory", "256")

    assert (plan.queue, plan.timers, plan.memory, plan.timeout) == (True, False, 256, 30)
    assert (plan.schedule, plan.public_url) == ("", "https://b.example")
    assert (plan.target.arch, plan.target.python) == ("x86_64", "3.13")
    assert plan.asked.said == ASKED | {"memory": 256}
    assert plan.variables == {"GREETING": "hello", "LEGATO_TRACING": "on"}
    settings = plan.settings
    assert (settings.cache, settings.twitch_client_id) == (5, "abc")
    assert settings.telegram_api == "https://a.example", "the webhook is set there, too"
    assert capsys.readouterr().err == (
        "as before: --arch x86_64, --python 3.13, --schedule off, --queue, --public-url https://b.example, --env "
        "GREETING, --env LEGATO_CACHE, --env LEGATO_TRACING, --env TELEGRAM_API, --env TWITCH_CLIENT_ID (another value "
        "changes one, --no-queue and the like end it)\n"
    )


def test_what_is_said_goes_before_what_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "legato.toml").write_text("cache = 2000\n")  # the usual, said explicitly
    monkeypatch.setenv("TELEGRAM_API", "https://c.example")
    words = ["--no-queue", "--no-public-url", "--schedule", "5m", "--arch", "arm64"]

    plan = planned(*words, "--env", "GREETING=bye", "--secret", "TWITCH_CLIENT_ID=x")

    assert (plan.queue, plan.public_url, plan.schedule) == (False, "", "5m")
    assert "queue" not in plan.asked.said
    assert plan.variables == {"GREETING": "bye", "LEGATO_TRACING": "on"}
    assert (plan.settings.cache, plan.settings.twitch_client_id) == (2000, "")
    assert plan.settings.telegram_api == "https://c.example"
    told = capsys.readouterr().err
    assert "--env LEGATO_TRACING (" in told
    assert not [name for name in ("GREETING", "CACHE", "TELEGRAM_API") if name in told]


def test_a_setting_of_the_command_line_is_the_one_that_platforms_are_asked_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TELEGRAM_API", "https://c.example")
    monkeypatch.setenv("TELEGRAM_TOKEN", "42:of-the-environment")
    said = ["--env", "TELEGRAM_API=https://d.example", "--secret", "TELEGRAM_TOKEN=42:said"]

    settings = planned(*said).settings

    assert (settings.telegram_api, settings.telegram_token) == ("https://d.example", "42:said")


def test_variables_go_when_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned("--no-env", "GREETING", "--no-env", "TWITCH_CLIENT_ID")

    assert plan.variables == {"LEGATO_TRACING": "on"}
    assert plan.settings.twitch_client_id == ""
    with pytest.raises(ConfigError, match="--no-env GREETIN: the bot is deployed with GREETING, "):
        planned("--no-env", "GREETIN")
    with pytest.raises(ConfigError, match="--no-env GREETING: it is set here, by --env"):
        planned("--no-env", "GREETING", "--env", "GREETING=hello")
    monkeypatch.setenv("TWITCH_CLIENT_ID", "abc")
    with pytest.raises(ConfigError, match="--no-env TWITCH_CLIENT_ID: it is set here"):
        planned("--no-env", "TWITCH_CLIENT_ID")
    options = _parser().parse_args(["deploy", "aws", "planned_bot.py", "--no-env", "GREETING"])
    options.target = "planned_bot.py"
    with pytest.raises(ConfigError, match="--eject knows nothing of earlier variables"):
        plan_of(options)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--public-url", "bot.example.org"], "--public-url 'bot.example.org': write an address"),
        (["--bucket", "Bad Bucket!"], "--bucket 'Bad Bucket!' is no name of a bucket: 3 to 63"),
        (["--env", "LEGATO_CACHE=many"], "LEGATO_CACHE='many': write a whole number"),
        (["--memory", "0", "--env", "LEGATO_QUEUE=x"], "LEGATO_QUEUE is set by the stack"),
    ],
)
def test_what_would_fail_in_the_function_is_refused_here(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        planned(*words)
