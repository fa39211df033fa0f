"""What is left to the user by --eject, and what the command line refuses before AWS is asked."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from legato.app.settings import Settings
from legato.cli.main import main
from legato.deploy.aws.deploying import completed, url_of, with_secret
from legato.deploy.aws.secrets import Kept, versions_after
from tests.unit.deploy.package_kit import ARCH, HERE, bot_in


def test_eject_writes_all_that_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bot_in(tmp_path / "bot", name="ejected_bot.py")
    monkeypatch.setenv("TELEGRAM_TOKEN", "42:very-secret")
    monkeypatch.setenv("API_KEY", "also-secret")
    out = tmp_path / "out"

    options = ["--env", "GREETING=hello", "--secret", "API_KEY", "--name", "mine"]
    machine = ["--arch", ARCH, "--python", HERE]
    code = main(["deploy", "aws", str(file), "--eject", str(out), *machine, *options])

    assert code == 0, capsys.readouterr().err
    template = json.loads((out / "template.json").read_text())
    variables = template["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["GREETING"] == "hello"
    assert variables["LEGATO_SECRETS"] == "API_KEY:1,TELEGRAM_SECRET:1,TELEGRAM_TOKEN:1"
    assert template["Parameters"]["CodeKey"]["Default"].startswith("legato-mine/")
    with zipfile.ZipFile(out / "bot.zip") as archive:
        assert "ejected_bot.py" in archive.namelist()
    script = (out / "deploy.sh").read_text()
    subprocess.run(["sh", "-n", str(out / "deploy.sh")], check=True)
    assert '/legato/mine/API_KEY --type SecureString --overwrite --value "${API_KEY:?}"' in script
    for text in (script, json.dumps(template)):
        assert "very-secret" not in text
        assert "also-secret" not in text


def test_a_web_chat_needs_no_other_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bot_in(tmp_path / "bot", name="chatting_bot.py")
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)
    monkeypatch.setenv("LEGATO_WEB_SOCKET", "wss://made-by-hand.example")
    out = tmp_path / "out"

    options = ["--web-socket", "--arch", ARCH, "--python", HERE]
    code = main(["deploy", "aws", str(file), "--eject", str(out), *options])

    assert code == 0, capsys.readouterr().err
    template = json.loads((out / "template.json").read_text())
    variables = template["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["LEGATO_WEB_SOCKET"] == template["Outputs"]["WebSocket"]["Value"]
    assert "made-by-hand" not in json.dumps(template)
    script = (out / "deploy.sh").read_text()
    subprocess.run(["sh", "-n", str(out / "deploy.sh")], check=True)
    assert 'echo "web chat: $' in script
    assert "TELEGRAM" not in script


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
        (["bot.py", "--python", "3.2"], "--python 3.2: aws has"),
        (["bot.py", "--name", "-"], "makes no name of a stack"),
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
