"""What functions on one machine notice of each other: nothing, whatever one of them does."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from legato.functions import limits, zygote
from legato.functions.container import Container
from legato.functions.limits import Limits
from legato.functions.peers import Address
from tests.integration.functions_kit import (
    BOTH,
    call,
    called,
    hosted,
    lives,
    may_freeze,
    may_limit,
    stands_still,
    until,
    write,
)

ECHO = "import os\ndef handler(e, c):\n    return {'event': e, 'pid': os.getpid()}"
ASKS = """
import http.client, sys
link = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
link.request("GET", "/2018-06-01/runtime/" + sys.argv[2])
answer = link.getresponse()
print(answer.status, answer.read().decode())
"""
CHILD = f"""
import os, subprocess, sys
def handler(event, context):
    port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")[2]
    asks = [sys.executable, "-c", {ASKS!r}, str(event or port), "invocation/none"]
    return subprocess.run(asks, capture_output=True, text=True).stdout.split()[0]
"""
CHAIN = """
import os, time
def handler(event, context):
    if event and os.fork() == 0:
        while True:  # each link is another process
            if os.fork():
                os._exit(0)
            with open("links", "ab") as file:
                file.write(b"x")
    while not os.path.exists("links"):
        time.sleep(0.001)
    return os.getpid()
"""
TROUBLE = """
import os
def handler(event, context):
    while event == "loop":
        pass
    kept = []
    while event == "leak":
        kept.append(bytearray(1_000_000))
    while event == "fork":
        try:
            if os.fork() == 0:
                while True: pass
        except OSError:
            pass
    return os.getpid()
"""


async def asks(port: int, what: str = "invocation/next") -> str:
    """What a process of ours is told at a function's port: the status, and the body."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASKS, str(port), what, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize("limits", BOTH, ids=["best", "rlimits"])
async def test_nobody_else_on_the_machine_is_given_a_functions_events(
    tmp_path: Path, limits: Limits | None, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "bot", ECHO)
    write(tmp_path, "child", CHILD, timeout_s=20)
    async with hosted(tmp_path, limits=limits) as host:
        bot = await call(host, "bot")
        (container,) = host.pools["bot"]._all
        port = container.api_port

        assert (await asks(port)).startswith("403 ")
        assert await call(host, "child", port) == "403"  # another function
        assert await call(host, "child") == "404"  # what a function starts may ask its own port
        assert await call(host, "bot", "a secret") == bot | {"event": "a secret"}

    assert f"not its function's is refused at 127.0.0.1:{port}" in caplog.text


async def test_whoever_asks_would_be_given_events_if_nobody_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_its(one: Container, ours: Address, theirs: Address) -> bool:
        return True

    monkeypatch.setattr(Container, "_is_its", is_its)
    write(tmp_path, "bot", ECHO, timeout_s=0.5)
    async with hosted(tmp_path) as host:
        await call(host, "bot")
        await until(lambda: host.pools["bot"].states()["frozen"] == 1)
        (container,) = host.pools["bot"]._free
        before = container._api._waiting
        thief = asyncio.create_task(asks(container.api_port))
        await until(lambda: container._api._waiting is not before)

        lost = asyncio.create_task(called(host, "bot", "a secret"))

        assert await thief == '200 "a secret"\n'
        await lost


@pytest.mark.skipif(not may_freeze(), reason="no cgroup.freeze here")
async def test_what_forks_all_the_time_stands_still_all_the_same(tmp_path: Path) -> None:
    place = write(tmp_path, "bot", CHAIN)
    links = place / "links"
    async with hosted(tmp_path) as host:
        pid = await call(host, "bot", 1)
        for _ in range(10):
            await until(lambda: stands_still(pid))
            before = links.stat().st_size
            await asyncio.sleep(0.05)
            assert links.stat().st_size == before
            assert await call(host, "bot") == pid


@pytest.mark.skipif(not may_limit(), reason="no control groups here")
@pytest.mark.parametrize("what", ["members_of", "is_removed"])
async def test_a_process_that_does_not_go_away_keeps_no_other_function_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    stays, rounds = True, 0

    def sees(group: str) -> list[int]:
        nonlocal rounds
        found = members_of(group)
        if stays and "/bot-" in group:
            rounds += 1
            return [*found, 999_999_999]
        return found

    def removes(folder: str) -> bool:
        nonlocal rounds
        if stays and "/bot-" in folder:
            rounds += 1
            return False
        return is_removed(folder)

    members_of, is_removed = zygote.members_of, zygote.is_removed
    monkeypatch.setattr(limits, "ROUNDS", 1_000_000)
    monkeypatch.setattr(limits, "is_removed", removes if what == "is_removed" else is_removed)
    monkeypatch.setattr(zygote, "members_of", sees if what == "members_of" else members_of)
    write(tmp_path, "bot", TROUBLE, timeout_s=0.3)
    write(tmp_path, "other", ECHO)
    async with hosted(tmp_path) as host:
        other = await call(host, "other")
        assert (await called(host, "bot", "loop")).kind == "timeout"
        await until(lambda: rounds > 0)

        for number in range(10):
            assert await call(host, "other", number) == other | {"event": number}
        assert sum(host.pools["bot"].states().values()) == 1

        stays = False
        await until(lambda: sum(host.pools["bot"].states().values()) == 0)


@pytest.mark.parametrize(
    ("does", "kinds"), [("loop", {"timeout"}), ("leak", {"crash", "error"}), ("fork", {"timeout"})]
)
async def test_whatever_one_does_the_others_answer_as_before(
    tmp_path: Path, does: str, kinds: set[str]
) -> None:
    if does == "fork" and not may_limit():
        pytest.skip("without control groups a fork bomb takes what its user may have")
    write(tmp_path, "bad", TROUBLE, timeout_s=1, memory_mb=64, pids=16, cpus=0.5)
    for name in ("one", "two"):
        write(tmp_path, name, ECHO, timeout_s=10)
    async with hosted(tmp_path) as host:
        before = {name: await call(host, name) for name in ("one", "two")}
        bad = await call(host, "bad")

        work = asyncio.create_task(called(host, "bad", does))
        answers = 0
        while not work.done() or answers < 10:
            for name, first in before.items():
                assert await call(host, name, answers) == first | {"event": answers}
            answers += 1
            await asyncio.sleep(0.005)

        outcome = await work
        assert outcome.kind in kinds, outcome
        if does == "leak":
            assert any(word in outcome.body for word in (b"OutOfMemory", b"MemoryError"))
        await until(lambda: not lives(bad) or outcome.kind == "error")
        for name in before:
            sums = host.meter.sums[name]
            assert (sums.cold_starts, sums.errors, sums.timeouts, sums.crashes) == (1, 0, 0, 0)
            assert sums.throttled == 0
        assert json.loads((await called(host, "bad")).body) > 0
