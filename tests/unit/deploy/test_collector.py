"""The collector's settings come back."""

import gc

import pytest

from legato.deploy.collector import THRESHOLDS, rare_collections


def test_collections_are_rare_while_it_runs_and_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = gc.get_threshold()
    done: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(gc, "unfreeze", lambda: done.append("unfreeze"))
    with rare_collections():
        assert gc.get_threshold() == THRESHOLDS
        assert done == ["freeze"]
    assert gc.get_threshold() == before
    assert done == ["freeze", "unfreeze"]
