"""The page of promises names tests that there are, and leaves no promise out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.repo.files import ROOT

PAGES = (
    "docs/targets.md",
    "docs/cluster.md",
    "docs/gateway.md",
    "docs/postgres.md",
    "docs/scale.md",
)
TEST = re.compile(r"`(tests/[\w./-]+\.py)::(\w+)`")
COMMAND = re.compile(r"`python -m ((?:bench|tests)[\w.]+)")
ROWS = range(1, 23)


@cache
def names_of(file: str) -> frozenset[str]:
    """Names of its tests, those of classes included."""
    tree = ast.parse((ROOT / file).read_bytes())
    found = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(n.name for n in found if n.name.startswith("test_"))


def missing(text: str) -> list[str]:
    """What a text names and there is not."""
    named = [
        f"{file}::{test}"
        for file, test in TEST.findall(text)
        if not (ROOT / file).is_file() or test not in names_of(file)
    ]
    modules = [Path(*name.split(".")).with_suffix(".py") for name in COMMAND.findall(text)]
    return named + [str(module) for module in modules if not (ROOT / module).is_file()]


@pytest.mark.parametrize("page", PAGES)
def test_every_test_and_command_that_is_named_exists(page: str) -> None:
    assert missing((ROOT / page).read_text(encoding="utf-8")) == []


def test_a_name_that_is_none_is_found() -> None:
    text = "`tests/repo/test_targets_page.py::test_none` and `python -m bench.nothing --x`"
    assert missing(text) == ["tests/repo/test_targets_page.py::test_none", "bench/nothing.py"]


def test_every_promise_has_a_row() -> None:
    page = (ROOT / "docs/targets.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    assert numbers == list(ROWS)
    assert len(TEST.findall(page)) > 40
