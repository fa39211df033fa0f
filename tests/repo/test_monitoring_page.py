"""The page on monitoring says what there is."""

import re

import yaml

from legato.app.settings import VARIABLES
from legato.deploy.catalogue import CATALOGUE
from tests.repo.files import ROOT

PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")


def rows(first: str) -> list[list[str]]:
    """Cells of the rows that begin with a name in backquotes, or plain."""
    lines = re.findall(rf"^\| (`?{first}\w*`? \|.*) \|$", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" |")] for line in lines]


def test_its_table_of_metrics_is_the_catalogue() -> None:
    expected = [
        [
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        ]
        for metric in CATALOGUE.values()
    ]

    assert rows("legato_") == expected


def test_its_table_of_alerts_is_the_file_of_alerts() -> None:
    groups = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())["groups"]
    names = [rule["alert"] for group in groups for rule in group["rules"]]

    assert [row[0] for row in rows("Legato")] == names


def test_it_names_settings_that_there_are() -> None:
    assert set(re.findall(r"`(LEGATO_\w+)`", PAGE)) <= VARIABLES.keys()
