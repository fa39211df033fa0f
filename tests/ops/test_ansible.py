"""The playbook passes its linter, and provisions scratch folders, twice with the same result."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.repo.files import ROOT
from tests.servers import Nginx

OPS = ROOT / "ops"
BIN = Path(sys.executable).parent
SECRET = 'canary\'of "the" $vault'
READY = "import ansible.module_utils.basic"
"""What each task imports from a zip, and so compiles anew: half of its time."""


def ansible(command: str, *arguments: str, folder: Path, home: Path) -> str:
    ready = home / "ready/sitecustomize.py"
    ready.parent.mkdir(exist_ok=True)
    ready.write_text(READY)
    done = subprocess.run(
        [str(BIN / command), *arguments],
        cwd=folder,
        env={
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "PYTHONPATH": str(ready.parent),
            "ANSIBLE_HOME": str(home),
            "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


GROUPS = ("nginx", "gateways", "workers", "listeners", "postgres", "rabbitmq")


class Site:
    """Hosts in scratch folders, and a playbook run over them."""

    def __init__(self, folder: Path, groups: dict[str, list[str]], **settings: Any) -> None:
        self._folder = folder
        self.said = ""
        names = {name for members in groups.values() for name in members}
        self.roots = {name: folder / name for name in sorted(names)}
        for root in self.roots.values():
            for path in (
                "etc/postgresql/15/main/conf.d",
                "etc/rabbitmq/conf.d",
                "etc/nginx/conf.d",
            ):
                (root / path).mkdir(parents=True)
            (root / "etc/postgresql/15/main/pg_hba.conf").write_text("local all all peer\n")
        self.bot = folder / "bot"
        self.bot.mkdir()
        (self.bot / "bot.py").write_bytes((ROOT / "examples/adder.py").read_bytes())
        (self.bot / "requirements.txt").write_text("legato[cluster]\n")
        settings = {
            "legato_system": False, "legato_become": False, "legato_source": str(self.bot),
            "legato_owner": os.getuid(), "legato_group": os.getgid(),
            "legato_domain": "adder.example.net", "legato_password": SECRET, "legato_key": SECRET,
            "telegram_token": "1:t", "telegram_secret": "s",
        } | settings  # fmt: skip
        hosts = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "legato_root": str(root),
                "ansible_host": f"10.0.0.{number}",
            }
            for number, (name, root) in enumerate(self.roots.items(), 1)
        }
        children: Any = {name: {"hosts": {one: {} for one in groups[name]}} for name in GROUPS}
        inventory = folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "children": children}}))
        self._run = ("-i", str(inventory), "-e", json.dumps(settings), "site.yml")

    def play(self) -> dict[str, dict[str, str]]:
        """What became of each host."""
        text = ansible("ansible-playbook", *self._run, folder=OPS / "ansible", home=self._folder)
        self.said = text
        recaps = re.findall(r"^(\w+) +: (ok=.*)$", text, re.MULTILINE)
        return {name: dict(pair.split("=") for pair in recap.split()) for name, recap in recaps}

    def read(self, host: str, path: str) -> str:
        return (self.roots[host] / path).read_text()

    def environment(self, host: str) -> dict[str, str]:
        """What systemd reads in the file of settings: its quoting is the shell's."""
        file = self.roots[host] / "etc/legato/legato.env"
        assert file.stat().st_mode & 0o777 == 0o600
        done = subprocess.run(
            ["env", "-i", "/bin/sh", "-c", 'set -a; . "$0"; exec env -0', str(file)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)


def test_the_playbook_passes_its_linter(tmp_path):
    copy = tmp_path / "ops"
    shutil.copytree(OPS / "ansible", copy / "ansible")
    ansible(
        "ansible-lint", "--offline", "--profile", "production", ".",
        folder=copy / "ansible", home=tmp_path,
    )  # fmt: skip


@pytest.mark.timeout(240)
def test_one_host_is_provisioned_and_a_second_run_changes_nothing(tmp_path):
    site = Site(tmp_path, {name: ["here"] for name in GROUPS}, legato_gateways=3)
    first = site.play()["here"]
    assert (int(first["changed"]) > 5, first["failed"]) == (True, "0")
    second = site.play()["here"]
    assert (second["changed"], second["failed"]) == ("0", "0"), site.said

    settings = site.environment("here")
    assert (settings["BOT"], settings["ADDRESS"]) == ("bot.py", "127.0.0.1")
    assert settings["LEGATO_KEY"] == SECRET
    for name, server in (("LEGATO_STORE", "postgresql"), ("LEGATO_QUEUE", "amqp")):
        login = f"legato:{quote(SECRET, safe='')}@127.0.0.1"
        assert settings[name] == f"{server}://{login}/legato"
    for name in ("srv/legato", "srv/legato.next"):
        assert site.read("here", f"{name}/bot.py") == (ROOT / "examples/adder.py").read_text()
    for part in ("gateway", "worker", "listen"):
        unit = f"legato-{part}@.service"
        assert (
            site.read("here", f"etc/systemd/system/{unit}") == (OPS / "systemd" / unit).read_text()
        )
    front = site.read("here", "etc/nginx/conf.d/legato.conf")
    assert re.findall(r"server 127.0.0.1:(\d+)", front) == ["8081", "8082", "8083"]
    assert "server_name adder.example.net;" in front
    assert "bot.example.org" not in front
    hba = site.read("here", "etc/postgresql/15/main/pg_hba.conf")
    assert re.findall("^host .*", hba, re.MULTILINE) == [
        "host legato legato 127.0.0.1/32 scram-sha-256"
    ]
    database = site.read("here", "etc/postgresql/15/main/conf.d/legato.conf")
    assert "synchronous_commit = on" in database
    assert "listen_addresses = '127.0.0.1'" in database
    with Nginx(tls_free(front)):
        pass  # it starts with it


@pytest.mark.timeout(240)
def test_several_hosts_find_each_other(tmp_path):
    groups = {
        "nginx": ["a"], "gateways": ["a", "b"], "workers": ["b", "c"], "listeners": [],
        "postgres": ["d"], "rabbitmq": ["d"],
    }  # fmt: skip
    site = Site(tmp_path, groups, legato_bot="shop.py")
    (site.bot / "bot.py").rename(site.bot / "shop.py")
    assert {name: end["failed"] for name, end in site.play().items()} == dict.fromkeys("abcd", "0")
    front = site.read("a", "etc/nginx/conf.d/legato.conf")
    expected = [f"10.0.0.{host}:808{n}" for host in (1, 2) for n in (1, 2)]
    assert re.findall(r"^    server ([\d.:]+) max", front, re.MULTILINE) == expected
    for host, number in (("a", 1), ("b", 2), ("c", 3)):
        settings = site.environment(host)
        assert (settings["BOT"], settings["ADDRESS"]) == ("shop.py", f"10.0.0.{number}")
        assert "@10.0.0.4/legato" in settings["LEGATO_STORE"]
        assert "@10.0.0.4/legato" in settings["LEGATO_QUEUE"]
    hba = site.read("d", "etc/postgresql/15/main/pg_hba.conf")
    assert re.findall(r"legato (10\S+)/32 scram", hba) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    database = site.read("d", "etc/postgresql/15/main/conf.d/legato.conf")
    assert "listen_addresses = '127.0.0.1, 10.0.0.4'" in database
    assert "= 10.0.0.4:5672" in site.read("d", "etc/rabbitmq/conf.d/50-legato.conf")
    assert not (site.roots["d"] / "srv").exists()


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["gateways", "workers"], "gateway@1 gateway@2 worker@1 worker@2 worker@3"),
        (["listeners"], "listen@1"),
    ],
)
def test_the_units_of_a_host_are_those_of_its_groups(groups, expected, tmp_path):
    play = [
        {
            "hosts": "localhost", "gather_facts": False,
            "vars_files": [str(OPS / "ansible/group_vars/all.yml"),
                           str(OPS / "ansible/roles/legato/defaults/main.yml")],
            "vars": {"legato_workers": 3},
            "tasks": [{"debug": {"msg": "units={{ legato_units | join(' ') }}"}}],
        }
    ]  # fmt: skip
    (tmp_path / "play.json").write_text(json.dumps(play))
    children: Any = {name: {"hosts": {"localhost": {}}} for name in groups}
    hosts = {"localhost": {"ansible_connection": "local"}}
    (tmp_path / "hosts.json").write_text(
        json.dumps({"all": {"hosts": hosts, "children": children}})
    )
    said = ansible(
        "ansible-playbook", "-i", "hosts.json", "-e", "legato_workers=3", "play.json",
        folder=tmp_path, home=tmp_path,
    )  # fmt: skip
    units = re.search(r"units=([^\"]*)", said)
    assert units is not None
    assert units[1].replace("legato-", "").replace(".service", "") == expected


def tls_free(configuration: str) -> str:
    """The configuration without its certificate, and on a free port."""
    plain = re.sub(r"\s*ssl_\w+ [^;]*;", "", configuration)
    plain = plain.replace("listen 443 ssl http2", "listen 127.0.0.1:{port}")
    return plain.replace("listen 80", "listen 127.0.0.1:{port}")
