"""The alerts, the scrape and the dashboard speak of metrics that there are, and of all of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from legato.deploy.catalogue import CATALOGUE, HISTOGRAM
from tests.ops.everything import at_rest
from tests.repo.files import ROOT
from tests.servers._process import program

RULES = ROOT / "ops/prometheus/alerts.yml"
TESTS = ROOT / "ops/prometheus/alerts_test.yml"
SCRAPE = ROOT / "ops/prometheus/prometheus.yml"
DASHBOARD = ROOT / "ops/grafana/legato.json"
OTHERS = {
    "up",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
}
"""Metrics of Prometheus and of its client library."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries() -> list[str]:
    """Every expression of the dashboard."""
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def metrics_of(expression: str) -> set[str]:
    """Names of the metrics that a PromQL expression reads."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}", "{}", bare)
    names = re.findall(r"\b[a-z_]+(?![a-z_]*\s*\()\b", bare)
    return {name for name in names if name not in ("or", "and", "unless", "e")}


def base(name: str) -> str:
    """The metric in the catalogue that a name belongs to."""
    for suffix in ("_bucket", "_sum", "_count"):
        short = name.removesuffix(suffix)
        if short != name and short in CATALOGUE and CATALOGUE[short].kind == HISTOGRAM:
            return short
    return name


def labels_of(expression: str) -> set[str]:
    """Labels that an expression selects or groups by."""
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression)
    return {*selected, *(label.strip() for group in grouped for label in group.split(",")), ""}


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in alerts()), *queries()])
def test_an_expression_reads_only_what_is_exposed(expression: str) -> None:
    names = {base(name) for name in metrics_of(expression)}
    assert names, "the test found no metric in it"
    assert names <= {*CATALOGUE, *OTHERS}

    known = {label for name in names & {*CATALOGUE} for label in CATALOGUE[name].labels}
    assert labels_of(expression) <= {*known, "instance", "job", "le", ""}


def test_the_dashboard_shows_every_metric() -> None:
    shown = {base(name) for expression in queries() for name in metrics_of(expression)}

    assert {*CATALOGUE} - shown == set()


def test_the_dashboard_has_one_place_for_each_panel() -> None:
    found = list(panels())
    places = [tuple(panel["gridPos"].values()) for panel in found]
    variables = {v["name"] for v in json.loads(DASHBOARD.read_text())["templating"]["list"]}

    assert len({panel["id"] for panel in found}) == len(found)
    assert len(set(places)) == len(found)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in found)
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) - {"__rate_interval", "__all"}
    assert used == variables


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule
        assert rule["annotations"]["summary"], rule


async def test_what_alerts_count_from_nothing_begins_at_nothing() -> None:
    """A counter that first appears as 1 has not grown, to Prometheus."""
    lines = await at_rest()
    for rule in alerts():
        for name in re.findall(r"(?:increase|rate)\((legato_\w+_total)", rule["expr"]):
            assert any(line.startswith(name) for line in lines), name


class TestPromtool:
    def promtool(self, *arguments: str | Path, folder: Path = RULES.parent) -> tuple[int, str]:
        run = subprocess.run(
            [program("promtool"), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return run.returncode, run.stdout + run.stderr

    def test_the_rules_and_the_sample_scrape_are_valid(self) -> None:
        assert self.promtool("check", "rules", RULES)[0] == 0
        assert self.promtool("check", "config", SCRAPE)[0] == 0

    def test_the_alerts_fire_when_they_should_and_only_then(self) -> None:
        code, output = self.promtool("test", "rules", TESTS)

        assert code == 0, output

    @pytest.mark.parametrize(
        ("name", "sabotage"),
        [
            ("too late", lambda text: text.replace("[15s]", "[60s]")),
            ("too eager", lambda text: text.replace("min_over_time", "max_over_time")),
            ("whatever is done", lambda text: text.replace("unless on", "or on")),
            ("never", lambda text: text.replace("vector(0)", "vector(1)")),
        ],
    )
    def test_the_tests_of_the_alerts_can_fail(self, tmp_path: Path, name: str, sabotage) -> None:
        changed = sabotage(RULES.read_text())
        assert changed != RULES.read_text()
        (tmp_path / "alerts.yml").write_text(changed)
        (tmp_path / "alerts_test.yml").write_text(TESTS.read_text())

        assert self.promtool("test", "rules", "alerts_test.yml", folder=tmp_path)[0] != 0, name

    def test_every_alert_but_the_plainest_has_a_test(self) -> None:
        tested = set(re.findall(r"alertname: (\w+)", TESTS.read_text()))
        plain = {
            "LegatoDown",
            "LegatoUnknownDeliveries",
            "LegatoCodeDoesNotFit",
            "LegatoMalformedUpdates",
        }

        assert {rule["alert"] for rule in alerts()} - tested == plain


def test_every_metric_of_an_expression_is_found_by_these_tests() -> None:
    expression = 'sum by (a_b) (rate(legato_x_total{y="legato_z"}[5m])) > 0 or on () legato_w == 1'

    assert metrics_of(expression) == {"legato_x_total", "legato_w"}
    assert labels_of(expression) == {"a_b", "y", ""}
