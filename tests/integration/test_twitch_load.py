"""100 channels full of viewers, each in a dialog, at the pace that Twitch allows.

LEGATO_SOAK=10: 5,000 viewers.
"""

import asyncio
import gc
import math
import os
import tracemalloc
from pathlib import Path

import pytest

from legato.model.records import WAITING
from tests.integration.crowd_in_memory import CHANNELS, FEW, SPAN_S, Crowd

SOAK = int(os.environ.get("LEGATO_SOAK", "1"))
VIEWERS = 500 * SOAK
pytestmark = pytest.mark.timeout(120 * SOAK)


async def round_of_dialogs(crowd: Crowd) -> int:
    """Lets everybody add two numbers; returns the bytes held when all dialogs wait at once."""
    begun = crowd.clock.monotonic()
    before = {room: room.count for room in crowd.api.rooms.values()}
    crowd.start()
    patient = crowd.patient = []
    await crowd.play(lambda: len(patient) == VIEWERS)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    crowd.patient = None
    for viewer in patient:
        crowd.say(viewer, str(viewer.number + 1))
    await crowd.play(crowd.all_done)
    most = max(room.count - count for room, count in before.items())
    # The fullest channel always had something to say, and said it as soon as it was allowed.
    assert crowd.clock.monotonic() - begun == pytest.approx(SPAN_S * (math.ceil(most / FEW) - 1))
    return held


async def test_the_pace_is_kept_and_all_of_it_used_and_memory_stays_flat(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path / "crowd.db", VIEWERS, cache=VIEWERS // 2)
    held = []
    tracemalloc.start()
    try:
        async with crowd.bot():
            for _ in range(3):
                held.append(await round_of_dialogs(crowd))
                crowd.clock.advance(SPAN_S)
    finally:
        tracemalloc.stop()
    assert crowd.api.too_fast == 0
    assert (crowd.wrong, crowd.repeats) == ([], 0)
    assert held[2] - held[1] < 50 * VIEWERS, f"{held}: it grows by dialogs that are over"


async def test_every_open_dialog_goes_on_after_a_crash_in_the_middle(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path / "crowd.db", VIEWERS, cache=VIEWERS // 2)
    middle = asyncio.Event()
    crowd.seen = lambda count: middle.set() if count == VIEWERS * 3 // 2 else None
    async with crowd.bot():
        crowd.start()
        playing = asyncio.create_task(crowd.play(crowd.all_done))
        await middle.wait()
    playing.cancel()
    await asyncio.wait([playing])
    async with crowd.bot() as runtime:
        open_ones = await runtime.store.find(status=WAITING, limit=VIEWERS)
        assert len(open_ones) > VIEWERS // 3
        await crowd.play(crowd.all_done)
        assert await runtime.store.find(limit=1) == []
    # Over the crash as well; and only what was on its way just then was said again.
    assert crowd.api.too_fast == 0
    assert crowd.wrong == []
    assert crowd.repeats <= CHANNELS
