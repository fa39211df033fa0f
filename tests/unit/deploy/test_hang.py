"""A loop that stands still ends its process; a process that stood still does not."""

import asyncio
import signal
import subprocess
import sys
import threading

import pytest

from legato import App, Chat
from legato.deploy.hang import STATUS, Patience, Watch, report, watched
from tests.unit.app.kit import running

LIMIT_S = 30.0
LOOK_S = 1.0


def looked(patience: Patience, seconds: int, ticks: list[int], start_s: float = 0.0) -> list[bool]:
    """What it says second by second."""
    return [patience.ended(start_s + n, ticks[min(n, len(ticks) - 1)]) for n in range(seconds)]


def test_a_loop_that_ticks_never_hangs() -> None:
    assert not any(looked(Patience(LIMIT_S, LOOK_S), 500, list(range(500))))


def test_a_loop_that_does_not_tick_hangs_once_the_limit_is_over() -> None:
    said = looked(Patience(LIMIT_S, LOOK_S), 40, [7])
    assert said.index(True) == 30


def test_a_single_tick_begins_the_time_anew() -> None:
    said = looked(Patience(LIMIT_S, LOOK_S), 70, [7] * 25 + [8])
    assert said.index(True) == 25 + 30


def test_a_process_that_was_stopped_has_not_waited() -> None:
    patience = Patience(LIMIT_S, LOOK_S)
    assert not any(looked(patience, 20, [7]))
    assert not patience.ended(3600, 7)  # SIGCONT: the thread may look before the loop ticks
    assert not any(looked(patience, 20, [8], start_s=3601))


def test_a_process_that_hangs_is_found_even_if_it_is_stopped_now_and_then() -> None:
    patience = Patience(LIMIT_S, LOOK_S)
    assert any(patience.ended(n * 600.0, 7) for n in range(20))


async def test_whoever_does_not_let_the_loop_go_on_is_found_and_named() -> None:
    app = App("hangs", apology="", help=False)
    ended = threading.Event()
    found: list[str] = []

    def end(ident: int) -> None:
        found.append(report(ident))
        ended.set()

    @app.message()
    async def spins(chat: Chat) -> None:
        while not ended.is_set():
            pass

    watch = Watch(0.2, end)
    watch.start()
    async with running(app) as world:
        await world.says("hello")
    watch.stop()
    assert found[0].startswith("the event loop hangs in conversation test:bot:")
    assert "in spins" in found[0]
    assert "thread legato-hang:" in found[0]


async def test_a_loop_that_is_let_go_on_is_left_in_peace() -> None:
    ended: list[int] = []
    watch = Watch(0.5, ended.append)
    watch.start()
    for _ in range(20):
        await asyncio.sleep(0.05)  # longer than the limit, in all
    watch.stop()
    assert ended == []


async def test_no_limit_means_no_thread() -> None:
    before = threading.active_count()
    with watched(0):
        assert threading.active_count() == before


PROGRAM = """
import asyncio, logging, re
from legato.deploy.hang import watched

async def main():
    with watched(0.5):
        await asyncio.sleep(0)
        {what}

logging.basicConfig(format="%(levelname)s %(message)s")
asyncio.run(main())
"""


def ran(what: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(what=what)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_process_ends_and_says_where_it_hung() -> None:
    done = ran("while True: pass")
    assert done.returncode == STATUS
    assert done.stderr.startswith("CRITICAL the event loop hangs: the process ends")
    assert "in main" in done.stderr


def test_a_log_that_hangs_too_holds_nothing_up() -> None:
    done = ran("logging.getLogger().handlers[0].acquire()\n        while True: pass")
    assert done.returncode == STATUS
    assert "in main" in done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGVTALRM"), reason="the system has no such timers")
def test_a_regular_expression_that_lets_no_thread_run_ends_the_process() -> None:
    done = ran('re.match("(a+)+$", "a" * 50 + "b")')
    assert done.returncode == -signal.SIGVTALRM
    assert "in main" in done.stderr
