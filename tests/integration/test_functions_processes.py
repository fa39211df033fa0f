"""Processes of functions: unmodified awslambdaric under all that may happen to it."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from legato.functions.limits import Limits
from tests.integration.functions_kit import (
    BOTH,
    call,
    called,
    hosted,
    lives,
    may_limit,
    stands_still,
    until,
    write,
)

ECHO = """
import os
def handler(event, context):
    return {"event": event, "pid": os.getpid(), "left": context.get_remaining_time_in_millis()}
"""

TICKS = """
import threading, time
ticks = 0
def tick():
    global ticks
    while True:
        time.sleep(0.002)
        ticks += 1
threading.Thread(target=tick, daemon=True).start()
def handler(event, context):
    time.sleep(event)
    return ticks
"""

TROUBLE = """
import os, signal, subprocess, sys, time
def handler(event, context):
    if event == "exit":
        os._exit(3)
    if event == "raise":
        raise ValueError("no such luck")
    if event == "loop":
        while True: pass
    if event == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: time.sleep(1)
    if event == "leak":
        kept = []
        while True: kept.append(bytearray(1_000_000))
    if event == "fork":
        while True:
            try:
                if os.fork() == 0:
                    while True: time.sleep(0.01)
            except OSError:
                time.sleep(0.01)
    if event == "leave":
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return child.pid
    return os.getpid()
"""


async def test_a_process_answers_many_requests_one_after_another(tmp_path: Path) -> None:
    write(tmp_path, "echo", ECHO, timeout_s=20)
    async with hosted(tmp_path) as host:
        answers = [await call(host, "echo", {"n": n}) for n in range(20)]

        assert [answer["event"]["n"] for answer in answers] == list(range(20))
        assert len({answer["pid"] for answer in answers}) == 1
        assert all(0 < answer["left"] <= 20_000 for answer in answers)
        pool = host.pools["echo"]
        await until(lambda: pool.states()["frozen"] == 1)
        await until(lambda: stands_still(answers[0]["pid"]))
        assert host.meter.sums["echo"].cold_starts == 1
    assert not lives(answers[0]["pid"])


@pytest.mark.parametrize("limits", BOTH, ids=["best", "rlimits"])
async def test_nothing_ticks_while_it_stands_still(tmp_path: Path, limits: Limits | None) -> None:
    write(tmp_path, "clock", TICKS)
    async with hosted(tmp_path, limits=limits) as host:
        await call(host, "clock", 0)
        await until(lambda: host.pools["clock"].states()["frozen"] == 1)
        before = await call(host, "clock", 0)
        await until(lambda: host.pools["clock"].states()["frozen"] == 1)

        await asyncio.sleep(0.5)

        standing = await call(host, "clock", 0) - before
        running = await call(host, "clock", 0.5) - before - standing
        assert running > 10 * max(standing, 1)  # each 2 ms if the machine is free


async def test_requests_at_once_have_processes_of_their_own_up_to_the_limit(
    tmp_path: Path,
) -> None:
    code = "import os, time\ndef handler(e, c):\n    time.sleep(0.2)\n    return os.getpid()"
    write(tmp_path, "slow", code, concurrency=3)
    async with hosted(tmp_path) as host:
        pids = await asyncio.gather(*(call(host, "slow") for _ in range(9)))

        assert len(set(pids)) == 3
        await until(lambda: host.meter.sums["slow"].invocations == 9)


async def test_more_than_may_wait_are_refused(tmp_path: Path) -> None:
    code = "import time\ndef handler(e, c):\n    time.sleep(0.2)"
    write(tmp_path, "slow", code, concurrency=1, queue=2)
    async with hosted(tmp_path) as host:
        results = await asyncio.gather(
            *(called(host, "slow") for _ in range(6)), return_exceptions=True
        )

        assert [type(result).__name__ for result in results].count("Busy") == 3
        assert host.meter.sums["slow"].throttled == 3


async def test_functions_share_the_room_and_the_one_that_sleeps_gives_way(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path, name, ECHO)
    async with hosted(tmp_path, processes=2) as host:
        first = await call(host, "a")
        await call(host, "b")
        await asyncio.gather(*(call(host, "c") for _ in range(4)))

        await until(lambda: not lives(first["pid"]))
        assert sum(sum(pool.states().values()) for pool in host.pools.values()) <= 2
        assert (await call(host, "a"))["pid"] != first["pid"]


async def test_a_function_that_is_always_busy_does_not_keep_all_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.functions.room.FAIR_S", 0.05)
    write(tmp_path, "busy", "import time\ndef handler(e, c):\n    time.sleep(0.02)", concurrency=1)
    write(tmp_path, "other", ECHO)
    async with hosted(tmp_path, processes=1) as host:

        async def insists() -> None:
            while True:
                await called(host, "busy")

        crowd = [asyncio.create_task(insists()) for _ in range(3)]
        await until(lambda: host.meter.sums["busy"].invocations > 3)

        assert (await call(host, "other"))["pid"] > 0
        before = host.meter.sums["busy"].invocations
        await until(lambda: host.meter.sums["busy"].invocations > before)

        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)


async def test_a_silent_process_ends(tmp_path: Path) -> None:
    write(tmp_path, "echo", ECHO, idle_s=0.1)
    async with hosted(tmp_path) as host:
        pid = (await call(host, "echo"))["pid"]

        await until(lambda: not lives(pid))
        await until(lambda: sum(host.pools["echo"].states().values()) == 0)


@pytest.mark.parametrize("how", ["loop", "ignore"])
async def test_what_runs_too_long_is_killed_and_the_next_is_new(tmp_path: Path, how: str) -> None:
    write(tmp_path, "bot", TROUBLE, timeout_s=0.5)
    async with hosted(tmp_path) as host:
        pid = await call(host, "bot")

        outcome = await called(host, "bot", how)

        assert outcome.kind == "timeout"
        assert b"Task timed out after 0.50 seconds" in outcome.body
        await until(lambda: not lives(pid))
        assert await call(host, "bot") != pid
        await until(lambda: host.meter.sums["bot"].timeouts == 1)
        assert host.meter.sums["bot"].billed_ms >= 500
        assert any(
            line.startswith("ERROR RequestId: ") and "timed out after 0.50" in line
            for line in host.pools["bot"].output.lines
        )


async def test_what_ends_itself_is_told_and_the_next_is_new(tmp_path: Path) -> None:
    write(tmp_path, "bot", TROUBLE)
    async with hosted(tmp_path) as host:
        outcome = await called(host, "bot", "exit")

        assert outcome.kind == "crash"
        assert b"exit status 3" in outcome.body
        assert await call(host, "bot") > 0
        await until(lambda: host.meter.sums["bot"].crashes == 1)


async def test_an_exception_is_told_and_the_process_stays(tmp_path: Path) -> None:
    write(tmp_path, "bot", TROUBLE)
    async with hosted(tmp_path) as host:
        pid = await call(host, "bot")

        outcome = await called(host, "bot", "raise")

        error = json.loads(outcome.body)
        assert (outcome.kind, error["errorType"]) == ("error", "ValueError")
        assert error["errorMessage"] == "no such luck"
        assert await call(host, "bot") == pid


@pytest.mark.parametrize("limits", BOTH, ids=["best", "rlimits"])
async def test_what_leaks_is_stopped_and_the_others_do_not_notice(
    tmp_path: Path, limits: Limits | None
) -> None:
    write(tmp_path, "bot", TROUBLE, memory_mb=64)
    write(tmp_path, "other", ECHO)
    async with hosted(tmp_path, limits=limits) as host:
        other = await call(host, "other")

        outcome, same = await asyncio.gather(called(host, "bot", "leak"), call(host, "other"))

        assert outcome.kind in {"crash", "error"}
        assert any(word in outcome.body for word in (b"OutOfMemory", b"MemoryError"))
        assert same["pid"] == other["pid"]
        assert await call(host, "bot") > 0


async def test_what_forks_without_end_is_stopped_with_all_it_made(tmp_path: Path) -> None:
    if not may_limit() and os.getuid() == 0:
        pytest.skip("neither control groups nor a user whom RLIMIT_NPROC binds")
    write(tmp_path, "bot", TROUBLE, timeout_s=1, pids=20)
    async with hosted(tmp_path) as host:
        pid = await call(host, "bot")

        work = asyncio.create_task(called(host, "bot", "fork"))
        family: set[int] = set()
        while not work.done():
            family |= family_of(pid)
            await asyncio.sleep(0.02)

        assert (await work).kind == "timeout"
        # RLIMIT_NPROC counts the others of the same user, who come and go.
        assert 5 < len(family) <= (20 if may_limit() else 60)
        await until(lambda: not any(map(lives, family)))
        assert await call(host, "bot") > 0


def family_of(leader: int) -> set[int]:
    """The processes of its group."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(path.name)) == leader:
                found.add(int(path.name))
        except ProcessLookupError:
            continue
    return found


async def test_what_a_handler_leaves_behind_goes_with_it(tmp_path: Path) -> None:
    if not may_limit():
        pytest.skip("without control groups, who leaves the process group escapes")
    write(tmp_path, "bot", TROUBLE)
    async with hosted(tmp_path) as host:
        left = await call(host, "bot", "leave")
        await until(lambda: stands_still(left))  # it stands still, too

        await called(host, "bot", "exit")

        await until(lambda: not lives(left))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_module", b"Runtime.ImportModuleError"),
        ("def other(e, c): pass\nhandler = None\ndel handler", b"Runtime.HandlerNotFound"),
        ("1/0\ndef handler(e, c): pass", b"division by zero"),
        ("import os\nos._exit(7)\ndef handler(e, c): pass", b"exit status 7"),
        ("def handler(e, c:\n", b"Runtime.UserCodeSyntaxError"),
    ],
)
async def test_what_cannot_be_loaded_says_why_each_time(
    tmp_path: Path, code: str, says: bytes
) -> None:
    write(tmp_path, "bot", code, handler="bot.handler")
    async with hosted(tmp_path) as host:
        for _ in range(2):
            outcome = await called(host, "bot")

            assert outcome.kind == "init"
            assert says in outcome.body
        assert sum(host.pools["bot"].states().values()) == 0
        assert host.meter.sums["bot"].billed_ms >= 2  # as AWS bills what it has tried


async def test_who_is_killed_in_its_sleep_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, "echo", ECHO)
    async with hosted(tmp_path) as host:
        pid = (await call(host, "echo"))["pid"]
        await until(lambda: host.pools["echo"].states()["frozen"] == 1)

        os.kill(pid, signal.SIGKILL)
        await until(lambda: sum(host.pools["echo"].states().values()) == 0)

        assert (await call(host, "echo"))["pid"] != pid


async def test_who_has_died_a_moment_ago_is_not_given_anything(tmp_path: Path) -> None:
    write(tmp_path, "echo", ECHO)
    async with hosted(tmp_path, look_s=60) as host:
        pid = (await call(host, "echo"))["pid"]
        await until(lambda: host.pools["echo"].states()["frozen"] == 1)
        (container,) = host.pools["echo"]._free

        container._api._waiting.cut()  # type: ignore[union-attr] # the first sign of its death
        await asyncio.sleep(0)

        assert (await call(host, "echo"))["pid"] != pid
        await until(lambda: not lives(pid))


async def test_who_was_killed_and_not_yet_missed_is_not_given_anything(tmp_path: Path) -> None:
    write(tmp_path, "echo", ECHO)
    async with hosted(tmp_path, look_s=60) as host:
        for _ in range(5):
            pid = (await call(host, "echo"))["pid"]
            await until(lambda: host.pools["echo"].states()["frozen"] == 1)

            os.kill(pid, signal.SIGKILL)
            while lives(pid):
                time.sleep(0.001)  # noqa: ASYNC251 # the runtime is in this loop: it cannot see it

            assert (await call(host, "echo"))["pid"] != pid
        assert host.meter.sums["echo"].crashes == 0


async def test_new_code_runs_in_new_processes(tmp_path: Path) -> None:
    place = write(tmp_path, "bot", "def handler(e, c):\n    return 'old'")
    async with hosted(tmp_path) as host:
        assert await call(host, "bot") == "old"
        (pid,) = host.pools["bot"].pids()

        (place / "bot.py").write_text("def handler(e, c):\n    return 'new'  # longer")
        await until(lambda: not lives(pid))

        assert await call(host, "bot") == "new"


async def test_when_a_zygote_dies_its_children_go_and_the_next_request_has_a_new_one(
    tmp_path: Path,
) -> None:
    write(tmp_path, "echo", ECHO)
    async with hosted(tmp_path) as host:
        pid = (await call(host, "echo"))["pid"]
        (zygote,) = host.zygotes.pids()

        os.kill(zygote, signal.SIGKILL)
        await until(lambda: not lives(pid))
        await until(lambda: sum(host.pools["echo"].states().values()) == 0)

        answer = None
        while answer is None:  # the first may still meet the dead one
            outcome = await called(host, "echo")
            answer = json.loads(outcome.body) if outcome.kind == "ok" else None
        assert answer["pid"] != pid


async def test_bursts_on_several_functions_leave_nothing_behind(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, name, TROUBLE, timeout_s=5, concurrency=3)
    async with hosted(tmp_path) as host:
        events = ["", "exit", "raise", "", "exit", ""] * 4
        await asyncio.gather(
            *(called(host, name, event) for event in events for name in ("a", "b"))
        )
        pids = [pid for pool in host.pools.values() for pid in pool.pids()]
        assert len(pids) <= 6
    assert not any(map(lives, pids))
