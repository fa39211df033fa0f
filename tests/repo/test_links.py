"""Links between the pages that Sphinx does not build lead somewhere. (Sphinx checks its own.)"""

import re

import pytest

from tests.repo.files import ROOT

LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)")
PAGES = ["README.md", "CONTRIBUTING.md", "newsfragments/README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    missing = [to for to in LINK.findall(text) if not (ROOT / page).parent.joinpath(to).exists()]
    assert not missing
