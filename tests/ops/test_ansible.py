"""The playbook passes its linter, and provisions a scratch folder twice with the same result."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.repo.files import ROOT
from tests.servers import Nginx

OPS = ROOT / "ops"
BIN = Path(sys.executable).parent
SECRET = 'canary\'of "the" $vault'


def ansible(command: str, *arguments: str, folder: Path, home: Path) -> str:
    done = subprocess.run(
        [str(BIN / command), *arguments],
        cwd=folder,
        env={
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "ANSIBLE_HOME": str(home),
            "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture
def provisioned(tmp_path):
    """A host in a scratch folder, and what a second run changed in it."""
    root = tmp_path / "root"
    for path in ("etc/postgresql/15/main/conf.d", "etc/rabbitmq/conf.d", "etc/nginx/conf.d"):
        (root / path).mkdir(parents=True)
    (root / "etc/postgresql/15/main/pg_hba.conf").write_text("local all all peer\n")
    bot = tmp_path / "bot"
    bot.mkdir()
    (bot / "bot.py").write_bytes((ROOT / "examples/adder.py").read_bytes())
    (bot / "requirements.txt").write_text("legato[cluster]\n")
    settings = {
        "legato_root": str(root), "legato_system": False, "legato_become": False,
        "legato_owner": os.getuid(), "legato_group": os.getgid(), "legato_source": str(bot),
        "legato_domain": "adder.example.net", "legato_gateways": 3,
        "legato_password": SECRET, "legato_key": "k", "telegram_token": "1:t", "telegram_secret": "s",
    }  # fmt: skip
    names = ("nginx", "gateways", "workers", "listeners", "postgres", "rabbitmq")
    inventory = tmp_path / "inventory.json"
    python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    groups: dict[str, Any] = {name: {"hosts": {"here": {}}} for name in names}
    inventory.write_text(json.dumps({"all": {"hosts": {"here": python}, "children": groups}}))
    run = ("-i", str(inventory), "-e", json.dumps(settings), "site.yml")
    folder = OPS / "ansible"
    ansible("ansible-playbook", *run, folder=folder, home=tmp_path)
    again = ansible("ansible-playbook", *run, folder=folder, home=tmp_path)
    recap = re.search(r"^here +: (.*)$", again, re.MULTILINE)
    assert recap is not None
    return root, dict(pair.split("=") for pair in recap[1].split())


def test_the_playbook_passes_its_linter(tmp_path):
    copy = tmp_path / "ops"
    shutil.copytree(OPS / "ansible", copy / "ansible")
    ansible(
        "ansible-lint", "--offline", "--profile", "production", ".",
        folder=copy / "ansible", home=tmp_path,
    )  # fmt: skip


@pytest.mark.timeout(240)
def test_a_second_run_changes_nothing_and_the_files_are_right(provisioned):
    root, second = provisioned
    assert (second["changed"], second["failed"]) == ("0", "0")
    env = (root / "etc/legato/legato.env").read_text()
    assert "TELEGRAM_TOKEN=" in env
    assert (root / "etc/legato/legato.env").stat().st_mode & 0o777 == 0o600
    assert (root / "srv/legato/bot.py").read_bytes() == (ROOT / "examples/adder.py").read_bytes()
    for part in ("gateway", "worker", "listen"):
        unit = f"legato-{part}@.service"
        assert (root / "etc/systemd/system" / unit).read_bytes() == (
            OPS / "systemd" / unit
        ).read_bytes()
    front = (root / "etc/nginx/conf.d/legato.conf").read_text()
    assert re.findall(r"server 127.0.0.1:(\d+)", front) == ["8081", "8082", "8083"]
    assert "server_name adder.example.net;" in front
    assert "bot.example.org" not in front
    hba = (root / "etc/postgresql/15/main/pg_hba.conf").read_text()
    assert hba.count("host legato legato") == 1
    assert (
        "synchronous_commit = on"
        in (root / "etc/postgresql/15/main/conf.d/legato.conf").read_text()
    )
    with Nginx(tls_free(front)):
        pass  # it starts with it


def tls_free(configuration: str) -> str:
    """The configuration without its certificate, and on a free port."""
    plain = re.sub(r"\s*ssl_\w+ [^;]*;", "", configuration)
    plain = plain.replace("listen 443 ssl http2", "listen 127.0.0.1:{port}")
    return plain.replace("listen 80", "listen 127.0.0.1:{port}")
