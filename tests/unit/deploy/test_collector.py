"""The collector's settings come back."""

import gc

from legato.deploy.collector import THRESHOLDS, rare_collections


def test_collections_are_rare_while_it_runs_and_as_before_afterwards() -> None:
    before = gc.get_threshold()
    try:
        with rare_collections():
            assert gc.get_threshold() == THRESHOLDS
            assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == before
        assert gc.get_freeze_count() == 0
    finally:
        gc.freeze()  # as the other tests have it
