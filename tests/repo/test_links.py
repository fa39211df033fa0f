"""What the pages point at is there. (Sphinx checks the links between its own pages.)"""

import re

import pytest

from tests.repo.files import ROOT

LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)")
FILE = re.compile(r"`((?:bench|docs|examples|src|tests)/[\w./-]+\.\w+)`")
PAGES = ["README.md", "CONTRIBUTING.md", "newsfragments/README.md"]
DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("[!_]*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    missing = [to for to in LINK.findall(text) if not (ROOT / page).parent.joinpath(to).exists()]
    assert not missing


@pytest.mark.parametrize("page", ["README.md", *DOCS])
def test_every_file_that_is_named_exists(page: str) -> None:
    named = FILE.findall((ROOT / page).read_text(encoding="utf-8"))
    assert not [file for file in named if not (ROOT / file).exists()]
