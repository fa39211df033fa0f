"""The garbage collector in a process that runs for long.

Nearly everything that an update makes goes when its last reference does. The collector looks for cycles
all the same, every 700 objects, which is every seventh update: a tenth of the CPU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (10_000, 20, 50)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collects seldom, and looks no more at what exists now: modules, code, the bot's own tables."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


__all__ = ["rare_collections"]
