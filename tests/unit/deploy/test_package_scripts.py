"""Scripts for Yandex and Google: what they tell the tools of these clouds, and what the documentation says of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from legato.deploy.package.build import Manifest
from legato.deploy.package.configs import config_of
from legato.deploy.package.target import MB, target_of
from tests.unit.deploy.package_kit import bot_in, uv_finds

DOCS = Path(__file__).parents[3] / "docs" / "deploy-aws.md"
TOOL = """#!/bin/sh
printf '%s' "${0##*/}" >> "$CALLS"
for word; do printf ' [%s]' "$word" >> "$CALLS"; done
echo >> "$CALLS"
case "${0##*/} $*" in
    *json) printf '{\\n  "id": "f1",\\n  "http_invoke_url": "https://f.example/f1"\\n}\\n' ;;
    *value*) echo https://f.example ;;
    curl*) cat >> "$CALLS.in"; echo "${TELEGRAM_SAYS:-{\\"ok\\":true}}" ;;
    *tick*) [ -z "${NEW-}" ] || case "$*" in *get*|*describe*) exit 1 ;; esac ;;
esac
"""
CURL = "curl [-sS] [--config] [-] [--data-urlencode] "
KINDS = (
    '[--data-urlencode] [allowed_updates=["message","edited_message","channel_post","edited_channel_post",'
    '"callback_query","my_chat_member","message_reaction"]]'
)
CALLED = {
    "yandex": [
        "[--runtime] [python312] [--entrypoint] [legato_handler.handler]",
        '[--environment] [GREETING=it\'s me] [--environment] ["LIST=a=1,b=""2"""] [--secret]',
        "[--secret] [environment-variable=LEGATO_STORE,id=l1,key=LEGATO_STORE]",
        "[--secret] [environment-variable=TELEGRAM_SECRET,id=l1,key=TELEGRAM_SECRET]",
        "[--secret] [environment-variable=TELEGRAM_TOKEN,id=l1,key=TELEGRAM_TOKEN]",
        "[--source-path] [build/it's.zip]",
        "yc [serverless] [trigger] [create] [timer]",
        f"{CURL}[url=https://f.example/f1?to=telegram] {KINDS}",
    ],
    "google": [
        "[--runtime] [python312] [--entry-point] [handler]",
        '[--set-env-vars] [^|^GREETING=it\'s me|LIST=a=1,b="2"]',
        "[--set-secrets] [LEGATO_STORE=LEGATO_STORE:latest,TELEGRAM_SECRET=TELEGRAM_SECRET:latest,TELEGRAM_TOKEN=TELEGRAM_TOKEN:latest]",
        "unzip [-q] [build/it's.zip]",
        "gcloud [scheduler] [jobs] [create] [http]",
        f"{CURL}[url=https://f.example/telegram] {KINDS}",
    ],
}
SET = {
    "REGION": "r1", "SERVICE_ACCOUNT_ID": "a1", "LOCKBOX_SECRET_ID": "l1", "BUCKET": "b1",
    "LEGATO_STORE": "postgresql://a:canary@c/d", "TELEGRAM_TOKEN": "1:canary", "TELEGRAM_SECRET": "canary",
}  # fmt: skip


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with stand-ins for the tools; they write down what they are told."""
    for name in ("yc", "gcloud", "curl", "unzip"):
        (tmp_path / name).write_text(TOOL)
        (tmp_path / name).chmod(0o700)
    return tmp_path


def script_of(service: str, *, zipped: int = 0) -> str:
    """The script of a bot with settings that must be quoted."""
    target = target_of(service, python="3.12")
    manifest = Manifest(
        "Adder", "bot.py:app", service, target.arch, "3.12", {}, {}, (), compiled=True
    )
    here = [] if service == "google" else ["TELEGRAM_TOKEN"]  # what is set on this machine
    variables = {"GREETING": "it's me", "LIST": 'a=1,b="2"'}
    return config_of(manifest, "build/it's.zip", variables, here, zipped=zipped)


def called(tools: Path, script: str, **environment: str) -> str:
    """What the tools are told by a script."""
    (tools / "deploy.sh").write_text(script)
    calls = {"PATH": f"{tools}:/usr/bin:/bin", "CALLS": str(tools / "calls")}
    subprocess.run(
        ["sh", str(tools / "deploy.sh")], env=SET | calls | environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return (tools / "calls").read_text()


@pytest.mark.parametrize("service", CALLED)
def test_other_services_get_a_script_for_their_tools(service: str, tools: Path) -> None:
    calls = called(tools, script_of(service), NEW="1")

    for words in CALLED[service]:
        assert words in calls, calls
    assert "canary" not in calls  # others of this machine see the words of commands
    told = (tools / "calls.in").read_text()
    assert told == (
        'url = "https://api.telegram.org/bot1:canary/setWebhook"\ndata = "secret_token=canary"\n'
    )


@pytest.mark.parametrize("service", CALLED)
def test_a_timer_that_is_there_is_not_made_again(service: str, tools: Path) -> None:
    calls = called(tools, script_of(service))

    assert "-tick]" in calls
    assert "[create] [timer]" not in calls
    assert "[create] [http]" not in calls


def test_a_webhook_that_telegram_does_not_take_fails_the_script(tools: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        called(tools, script_of("google"), TELEGRAM_SAYS='{"ok":false,"description":"no"}')

    assert 'Telegram: {"ok":false,"description":"no"}' in failed.value.stdout


def test_what_is_too_large_to_be_sent_to_yandex_goes_by_a_bucket(tools: Path) -> None:
    calls = called(tools, script_of("yandex", zipped=4 * MB))

    assert "yc [storage] [s3] [cp] [build/it's.zip] [s3://b1/legato-adder.zip]" in calls
    assert "[--package-bucket-name] [b1] [--package-object-name] [legato-adder.zip]" in calls
    assert "--source-path" not in calls


@pytest.mark.parametrize("service", CALLED)
def test_the_commands_of_the_documentation_deploy_and_name_all_that_is_wanted(
    service: str, tools: Path
) -> None:
    bot = bot_in(tools / "mine", name="bot.py").parent
    (bot / "requirements.txt").write_text("legato[postgres]\n")
    without_pip = "import sys; sys.modules['pip'] = None; " if uv_finds() else ""  # it is slow
    command = f"{without_pip}from legato.cli.main import main; main()"
    (tools / "legato").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{command}" "$@"\n')
    (tools / "legato").chmod(0o700)
    section = (
        DOCS.read_text(encoding="utf-8").partition("## Yandex and Google")[2].split("\n## ")[0]
    )
    blocks = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    (commands,) = [block for block in blocks if f"--target {service}" in block]
    set_here = {name: value for name, value in os.environ.items() if name not in SET}
    known = {"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(tools / "calls")}

    done = subprocess.run(
        ["sh", "-euc", commands.replace("...", "1:canary")], cwd=bot, env=set_here | known, check=False,
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "bot1:canary/setWebhook" in (tools / "calls.in").read_text()
    script = (bot / "build" / "deploy.sh").read_text()
    stored = re.search(r"^# (LEGATO_\w+(?:, \w+)*)", script, re.MULTILINE)
    assert stored is not None
    for name in stored[1].split(", "):
        assert f"`{name}`" in section, f"{name} must be stored, says the script"
