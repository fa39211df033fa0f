"""What else than requests calls functions, and what goes wrong on purpose."""

import asyncio
import ctypes
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from legato.functions.chaos import PIDFD_GETFD, Chaos, Odds
from tests.integration.functions_kit import call, called, hosted, until, write

KEEPS = """
import json, os, time
def handler(event, context):
    with open("seen.jsonl", "a") as file:
        file.write(json.dumps(event) + "\\n")
    if os.path.exists("fail"):
        os.unlink("fail")
        raise ValueError("once")
"""
NOTHING = Odds(twice=0, late=0, killed=0, killed_after=0, skewed=0, cut=0)


def seen(folder: Path) -> list[dict[str, Any]]:
    path = folder / "seen.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_a_schedule_calls(tmp_path: Path) -> None:
    place = write(tmp_path, "bot", KEEPS, schedule="rate(1 second)")
    async with hosted(tmp_path):
        await until(lambda: len(seen(place)) >= 2)

    event = seen(place)[0]
    assert (event["detail-type"], event["source"]) == ("Scheduled Event", "aws.events")


async def test_a_new_file_calls_once_it_is_whole(tmp_path: Path) -> None:
    place = write(tmp_path, "bot", KEEPS, watch="incoming")
    folder = place / "incoming"
    folder.mkdir()
    (folder / "old.txt").write_text("known at the start")
    async with hosted(tmp_path):
        await asyncio.sleep(0)
        (folder / "a b.txt").write_text("hello")
        await until(lambda: len(seen(place)) == 1)
        (folder / "a b.txt").unlink()
        await until(lambda: len(seen(place)) == 2)

    (created,), (removed,) = (event["Records"] for event in seen(place))
    assert (created["eventName"], removed["eventName"]) == (
        "ObjectCreated:Put",
        "ObjectRemoved:Delete",
    )
    assert created["s3"]["bucket"]["name"] == "incoming"
    assert created["s3"]["object"] | {"sequencer": ""} == {
        "key": "a+b.txt",
        "size": 5,
        "sequencer": "",
    }


async def test_many_files_at_once_are_all_told_and_take_no_request_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.functions.backlog.MOST", 10)
    place = write(tmp_path, "bot", KEEPS, watch="incoming", concurrency=1, queue=1)
    folder = place / "incoming"
    folder.mkdir()
    async with hosted(tmp_path) as host:
        for number in range(30):
            (folder / f"{number}.txt").touch()
        await until(lambda: len(seen(place)) > 0)
        await call(host, "bot", {"asked": True})
        await until(lambda: len(seen(place)) == 31)

    assert host.meter.sums["bot"].throttled == 0


async def test_an_event_that_nobody_waits_for_is_tried_again(tmp_path: Path) -> None:
    place = write(tmp_path, "bot", KEEPS)
    (place / "fail").touch()
    async with hosted(tmp_path, retries_s=(0.01, 0.01)) as host:
        assert host.send("bot", b'{"n": 1}')

        await until(lambda: len(seen(place)) == 2)
        await until(lambda: host.meter.sums["bot"].invocations == 2)

    assert host.meter.sums["bot"].errors == 1


async def test_chaos_brings_an_event_twice(tmp_path: Path) -> None:
    place = write(tmp_path, "bot", KEEPS)
    chaos = Chaos(1, Odds(twice=1, late=1, hold_s=0.01, killed=0, killed_after=0, skewed=0, cut=0))
    async with hosted(tmp_path, chaos=chaos) as host:
        await call(host, "bot", {"n": 1})
        await until(lambda: seen(place) == [{"n": 1}] * 2)

    assert chaos.count == {"late": 1, "twice": 1}


async def test_chaos_kills_in_the_middle_and_after_the_answer(tmp_path: Path) -> None:
    code = "import os, time\ndef handler(e, c):\n    time.sleep(e)\n    return os.getpid()"
    write(tmp_path, "bot", code)
    odds = Odds(twice=0, late=0, killed=1, killed_after=0, skewed=0, cut=0, kill_within_s=0.1)
    async with hosted(tmp_path, chaos=Chaos(1, odds)) as host:
        outcome = await called(host, "bot", 20)
        assert outcome.kind == "crash"
        assert b"SIGKILL" in outcome.body
    odds = Odds(twice=0, late=0, killed=0, killed_after=1, skewed=0, cut=0)
    async with hosted(tmp_path, chaos=Chaos(1, odds)) as host:
        assert await call(host, "bot", 0) != await call(host, "bot", 0)


async def test_chaos_gives_a_process_a_clock_of_its_own(tmp_path: Path) -> None:
    code = "import time\ndef handler(e, c):\n    return time.time(), time.time_ns() / 1e9"
    write(tmp_path, "bot", code)
    odds = Odds(twice=0, late=0, killed=0, killed_after=0, skewed=1, cut=0, skew_s=100_000)
    async with hosted(tmp_path, chaos=Chaos(3, odds)) as host:
        first, second = await call(host, "bot")

    assert abs(first - second) < 1
    assert abs(first - time.time()) > 100


HOLDS = """
import os, socket
link = socket.create_connection(("127.0.0.1", int(os.environ["PEER"])))
def handler(event, context):
    try:
        link.sendall(b"x")
        return link.recv(1).decode()
    except OSError as error:
        return type(error).__name__
"""


async def test_chaos_breaks_connections_in_the_freeze(tmp_path: Path) -> None:
    if not may_copy():
        pytest.skip("the kernel does not give us the sockets of others")
    with echoing() as peer:
        write(tmp_path, "bot", HOLDS, env={"PEER": str(peer)})
        chaos = Chaos(1, Odds(twice=0, late=0, killed=0, killed_after=0, skewed=0, cut=1))
        async with hosted(tmp_path, chaos=chaos) as host:
            assert await call(host, "bot") == "x"
            assert await call(host, "bot") in {"", "BrokenPipeError", "ConnectionResetError"}


def may_copy() -> bool:
    """Whether we may have file descriptors of our children."""
    with subprocess.Popen(["sleep", "60"]) as child:
        pidfd = os.pidfd_open(child.pid)
        copy = int(ctypes.CDLL(None).syscall(PIDFD_GETFD, pidfd, 1, 0))
        os.close(pidfd)
        child.kill()
    if copy >= 0:
        os.close(copy)
    return copy >= 0


class echoing:  # noqa: N801
    """A server that echoes one connection, in a thread."""

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        link, _ = self._listener.accept()
        with link:
            while data := link.recv(10):
                link.sendall(data)

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()
        self._thread.join(10)


def test_the_same_seed_makes_the_same_trouble() -> None:
    one, two = Chaos(7), Chaos(7)

    assert [one.twice() for _ in range(50)] == [two.twice() for _ in range(50)]
    assert one.count == two.count
    assert not any(Chaos(7, NOTHING).twice() for _ in range(50))
