"""What is left to the user by --eject, and what the command line refuses before AWS is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from legato.app.settings import Settings
from legato.cli.main import main
from legato.deploy.aws.deploying import completed, url_of, with_secret
from legato.deploy.aws.secrets import Kept, versions_after
from tests.unit.deploy.package_kit import ARCH, BOT, HERE, bot_in, by_uv

AWS = f"""#!{sys.executable}
# Parameter Store, and an AWS CLI that writes down what else it is told.
import json, os, sys
from pathlib import Path
words, here = sys.argv[1:], Path(os.environ["HERE"])
told = dict(zip(words, words[1:]))
with (here / "calls").open("a") as calls:
    print("aws", *words, file=calls)
if words[0] == "ssm":
    file = here / told["--name"].replace("/", "_")
    old = json.loads(file.read_text()) if file.exists() else None
    if words[1] == "put-parameter":
        value = Path(told["--value"].removeprefix("file://")).read_text()
        file.write_text(json.dumps([value, (old or ["", 0])[1] + 1]))
    elif old is None:
        sys.exit("ParameterNotFound")
    else:
        print(old["Version" in told["--query"]])
if words[1] == "describe-stacks":
    print("https://abc.example/")
"""


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    by_uv(monkeypatch)


def ejected(tmp_path: Path, *options: str) -> Path:
    """What --eject writes for a bot, beside stand-ins for the tools that it calls."""
    file = bot_in(tmp_path / "bot", name="ejected_bot.py")
    out = tmp_path / "out"
    machine = ["--arch", ARCH, "--python", HERE, "--region", "eu-west-3"]
    assert main(["deploy", "aws", str(file), "--eject", str(out), *machine, *options]) == 0
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "curl").write_text(
        '#!/bin/sh\necho "curl $*" >> "$HERE/calls"\necho \'{"ok":true}\'\n'
    )
    for tool in ("aws", "curl"):
        (tmp_path / tool).chmod(0o700)
    return out


def called(out: Path, **environment: str) -> list[str]:
    """Runs the script from another folder; what it told the tools."""
    calls = out.parent / "calls"
    calls.unlink(missing_ok=True)
    tools = {"PATH": f"{out.parent}:{os.environ['PATH']}", "HERE": str(out.parent), "BUCKET": "b1"}
    subprocess.run(["sh", str(out / "deploy.sh")], env=tools | environment, check=True)
    return calls.read_text().splitlines()


def test_eject_writes_all_that_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "42:very-secret")
    monkeypatch.setenv("API_KEY", "also-secret")

    out = ejected(tmp_path, "--env", "GREETING=hello", "--secret", "API_KEY", "--name", "mine")

    template = json.loads((out / "template.json").read_text())
    variables = template["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["GREETING"] == "hello"
    assert variables["LEGATO_SECRETS"] == {
        "Fn::Sub": "API_KEY:${Secret1},TELEGRAM_SECRET:${Secret2},TELEGRAM_TOKEN:${Secret3}"
    }
    assert template["Parameters"]["CodeKey"]["Default"].startswith("legato-mine/")
    with zipfile.ZipFile(out / "bot.zip") as archive:
        assert "ejected_bot.py" in archive.namelist()
    script = (out / "deploy.sh").read_text()
    for text in (script, json.dumps(template)):
        assert "very-secret" not in text
        assert "also-secret" not in text


def test_the_ejected_script_deploys_a_changed_secret_as_a_version_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_API", "https://bots.example")
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)
    out = ejected(tmp_path)  # the token is nowhere here: the script asks for it

    first = called(out, TELEGRAM_TOKEN="42:canary", TELEGRAM_SECRET="canary")
    again = called(out, TELEGRAM_TOKEN="42:canary", TELEGRAM_SECRET="canary", REGION="us-east-1")
    other = called(out, TELEGRAM_TOKEN="42:canary", TELEGRAM_SECRET="another")

    def versions(calls: list[str]) -> str:
        (deployed,) = [call for call in calls if "cloudformation deploy" in call]
        return deployed[deployed.index("Secret1") :]

    found = [versions(calls) for calls in (first, again, other)]
    assert found == ["Secret1=1 Secret2=1", "Secret1=1 Secret2=1", "Secret1=2 Secret2=1"]
    for calls, region in ((first, "eu-west-3"), (again, "us-east-1")):
        assert all(f"--region {region}" in call for call in calls if call.startswith("aws "))
    assert "--data-urlencode url=https://abc.example/telegram" in first[-1]
    assert "canary" not in str(first)  # others of this machine see the words of commands


def test_the_ejected_script_asks_for_no_token_that_the_bot_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)

    out = ejected(tmp_path, "--web-socket", "--public-url", "https://{id}.example/x/")

    calls = called(out)
    assert "s3://b1/" in "".join(calls)
    assert [call for call in calls if call.startswith("curl") or " ssm " in call] == []
    assert "base='https://'\"$id\"'.example/x'" in (out / "deploy.sh").read_text()


def test_the_ejected_script_has_the_bucket_that_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)

    out = ejected(tmp_path, "--web-socket", "--bucket", "of-a-company")

    assert "s3://of-a-company/" in "".join(called(out, BUCKET=""))
    assert "s3://b1/" in "".join(called(out))


def test_a_folder_that_cannot_be_written_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bot_in(tmp_path, name="bot.py")

    assert main(["deploy", "aws", "bot.py", "--web-socket", "--eject", "bot.py"]) == 2

    assert capsys.readouterr().err == "legato: bot.py cannot be written: File exists\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rollback"], "say which bot"),
        (["a.py", "b.py"], "say which bot"),
        (["--name", "x", "logs", "a.py", "b.py"], "say which bot"),
        (["lgos", "bot.py"], "there is no command lgos: did you mean logs?"),
        (["lgos", "--name", "x"], "there is no command lgos: did you mean logs?"),
        (["bot.py", "logs", "status"], "say which bot"),
        (["deploy", "bot.py"], "there is no command deploy: there are rollback, status, logs"),
        (["absent"], "there is no module 'absent'"),
        (["bot.py", "--env", "A B"], "no name of a variable"),
        (["bot.py", "--secret", "NOT_SET"], "NOT_SET is not set"),
        (["bot.py", "--env", "LEGATO_STORE=memory://"], "LEGATO_STORE is set by the stack"),
        (
            ["bot.py", "--web-socket", "--env", "LEGATO_WEB_SOCKET=wss://a"],
            "LEGATO_WEB_SOCKET is set by the stack",
        ),
        (["bot.py", "--public-socket", "wss://a"], "--web-socket"),
        (["bot.py", "--env", "TELEGRAM_TOKEN"], "TELEGRAM_TOKEN is a secret: set it here"),
        (["bot.py", "--env", "A=1", "--secret", "A=2"], "A is given by --env and by --secret"),
        (["bot.py", "--python", "3.2"], "--python 3.2: aws has"),
        (["bot.py", "--name", "-"], "'-' is no name of a stack: write lower-case letters"),
        (["bot.py", "--name", "bad name!"], "a letter first, up to 40 of them, as in bad-name"),
        (["bot.py", "--name", "Adder"], "--name 'Adder' is no name of a stack"),
        (["bot.py", "--name", "4" * 3], "'444' is no name of a stack"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    bot_in(tmp_path, name="bot.py")
    monkeypatch.setenv("TELEGRAM_TOKEN", "42:very-secret")

    assert main(["deploy", "aws", "--eject", str(tmp_path / "out"), *words]) == 2

    assert told in capsys.readouterr().err


def test_a_name_of_an_app_that_no_stack_can_have_is_told_with_what_it_became(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bot_in(tmp_path, BOT.replace('App("parcel")', 'App("My parcel!")'), name="bot.py")

    assert main(["deploy", "aws", "bot.py", "--eject", "out", "--web-socket"]) == 0

    said = "the App's name is 'My parcel!', its stack's legato-my-parcel\n"
    assert capsys.readouterr().err.startswith(said)


def test_a_command_may_stand_behind_the_bot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_REGION", "none-of-these")
    bot_in(tmp_path, name="bot.py")

    assert main(["deploy", "aws", "bot.py", "status"]) == 2

    assert "AWS has no region" in capsys.readouterr().err


def test_a_secret_is_kept_where_it_did_not_change() -> None:
    kept = {"TELEGRAM_TOKEN": Kept("1:a", 3), "TELEGRAM_SECRET": Kept("s", 1), "KEY": Kept("k", 2)}
    settings = with_secret(completed(Settings(telegram_token="1:b"), kept))

    assert (settings.telegram_token, settings.telegram_secret) == ("1:b", "s")
    assert versions_after(kept, {"TELEGRAM_TOKEN": "1:b", "TELEGRAM_SECRET": "s", "NEW": "n"}) == {
        "TELEGRAM_TOKEN": 4,
        "TELEGRAM_SECRET": 1,
        "KEY": 2,
        "NEW": 1,
    }
    assert len(with_secret(Settings(telegram_token="1:b")).telegram_secret) > 30
    assert with_secret(Settings()).telegram_secret == ""
    assert "1:a" not in repr(kept)


def test_an_address_of_ones_own_goes_before_the_functions() -> None:
    own = "https://abc.lambda-url.eu-central-1.on.aws/"

    assert url_of(own, "") == "https://abc.lambda-url.eu-central-1.on.aws"
    assert url_of(own, "https://bot.example/x/") == "https://bot.example/x"
    assert url_of(own, "http://127.0.0.1:1/{id}") == "http://127.0.0.1:1/abc"
