"""Units, images and manifests: checked by their own tools, and their commands by Legato's parser."""

import itertools
import re
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from legato.app.settings import VARIABLES
from legato.cli.main import _parser
from tests.repo.files import ROOT

OPS = ROOT / "ops"
UNITS = sorted((OPS / "systemd").glob("*.service"))
MANIFESTS = sorted((OPS / "kubernetes").glob("*.yaml"))
MOST_EXPOSED = 2.5
"""Of 10, by systemd's own count; a unit without any hardening has 9.6."""


def compose() -> Any:
    return yaml.safe_load((OPS / "docker/compose.yaml").read_text())


def manifests() -> list[Any]:
    return list(
        itertools.chain.from_iterable(yaml.safe_load_all(path.read_text()) for path in MANIFESTS)
    )


def containers() -> list[Any]:
    return [
        container
        for one in manifests()
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    ]


def commands() -> dict[str, list[str]]:
    found = {}
    for unit in UNITS:
        line = re.search(r"^ExecStart=\S+/legato (.*)$", unit.read_text(), re.MULTILINE)
        assert line is not None
        words = line[1].replace("%i", "1").replace("%H", "host")
        words = words.replace("${ADDRESS}", "127.0.0.1").replace("${BOT}", "bot.py")
        found[unit.name] = words.split()
    services = compose()["services"].items()
    found |= {f"compose {name}": one["command"] for name, one in services if "command" in one}
    found |= {f"kubernetes {one['name']}": one["args"] for one in containers()}
    return found


@pytest.mark.parametrize("where", commands())
def test_every_command_is_one_that_legato_understands(where):
    options = _parser().parse_args(commands()[where])
    assert options.command in ("gateway", "worker", "listen")


def test_every_variable_is_one_that_legato_knows():
    lines = (OPS / "systemd/legato.env.example").read_text().splitlines()
    named = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert named >= {"BOT", "ADDRESS"}  # of the units' own
    named -= {"BOT", "ADDRESS"}
    named |= set(compose()["services"]["worker"]["environment"])
    for one in manifests():
        named |= set(one.get("data", {})) | set(one.get("stringData", {}))
    named |= set(
        yaml.safe_load((OPS / "ansible/group_vars/all.yml").read_text())["legato_environment"]
    )
    assert named <= set(VARIABLES), named - set(VARIABLES)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_every_manifest_follows_the_schema_of_kubernetes(path, version):
    for one in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(one, version, strict=True)


def test_every_container_may_do_as_little_as_it_needs():
    for container in containers():
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert {"livenessProbe", "readinessProbe", "startupProbe"} <= set(container)
    for name in ("gateway", "worker", "listen"):
        service = compose()["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_everything_in_the_manifests_refers_to_something_that_is_there():
    found: dict[str, dict[str, Any]] = {}
    for one in manifests():
        found.setdefault(one["kind"], {})[one["metadata"]["name"]] = one
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] in found["Namespace"]
    deployments = found["Deployment"].values()
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in deployments]
    for one in deployments:
        assert one["spec"]["selector"]["matchLabels"] in labels
    for budget in found["PodDisruptionBudget"].values():
        assert budget["spec"]["selector"]["matchLabels"] in labels
    for scaler in found["HorizontalPodAutoscaler"].values():
        assert scaler["spec"]["scaleTargetRef"]["name"] in found["Deployment"]
    for service in found["Service"].values():
        assert service["spec"]["selector"] in labels
    for rule in found["Ingress"]["legato"]["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            assert path["backend"]["service"]["name"] in found["Service"]
    for container in containers():
        named = [next(iter(one.values()))["name"] for one in container["envFrom"]]
        assert named == ["legato", "legato"]
        assert {"ConfigMap", "Secret"} <= set(found)
        (port,) = container["ports"]
        listens = container["args"][container["args"].index("--listen") + 1]
        assert listens == f"0.0.0.0:{port['containerPort']}"
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            assert container[probe]["httpGet"]["port"] == port["name"]


def test_everything_in_the_compose_file_refers_to_something_that_is_there():
    file = compose()
    services = file["services"]
    port = "8080"
    for name in ("gateway", "worker", "listen"):
        command = services[name]["command"]
        assert command[command.index("--listen") + 1] == f"0.0.0.0:{port}"
    assert f"http://gateway:{port}" in (OPS / "docker/nginx.conf").read_text()
    assert f"127.0.0.1:{port}/healthz" in (OPS / "docker/Dockerfile").read_text()
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            known = source in file["volumes"] or (OPS / "docker" / source).is_file()
            assert known, source
    for name, path in (("LEGATO_STORE", "postgres"), ("LEGATO_QUEUE", "rabbitmq")):
        address = services["worker"]["environment"][name]
        assert f"@{path}/" in address
        assert path in services


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not on this machine"
)
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_every_unit_is_one_and_hardened(unit, tmp_path):
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/legato/bin/legato", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name.split("@")[0] in line]
    assert not complaints
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(copy)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None, done.stdout + done.stderr
    assert float(level[1]) <= MOST_EXPOSED


def test_the_image_runs_as_nobody_and_asks_for_its_health():
    text = (OPS / "docker/Dockerfile").read_text()
    assert re.search(r"^USER 65532", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", text, re.MULTILINE)
    assert text.count("\nFROM ") == 2 or text.count("FROM ") == 2
    assert ".env" in (OPS / "docker/.dockerignore").read_text().split()
