"""The public names change on purpose only."""

import legato
from tests.repo.files import ROOT

RECORDED = ROOT / "docs" / "api.txt"
RENEW = "if the change is meant: .venv/bin/python -m tests.repo.test_public_api"


def _names() -> str:
    return "".join(f"{name}\n" for name in sorted(legato.__all__))


def test_the_public_names_are_the_recorded_ones() -> None:
    assert _names() == RECORDED.read_text(encoding="utf-8"), RENEW


def test_the_public_names_are_listed_in_order_and_exist() -> None:
    assert list(legato.__all__) == sorted(set(legato.__all__))
    assert [name for name in legato.__all__ if not hasattr(legato, name)] == []


if __name__ == "__main__":
    RECORDED.write_text(_names(), encoding="utf-8")
