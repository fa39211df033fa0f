"""Control groups on a folder that looks like them; the real ones are tried by the integration tests."""

import asyncio
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from legato.errors import ConfigError
from legato.functions.config import Function
from legato.functions.container import Container
from legato.functions.limits import Cell, Limits, find_limits, resident, user_of
from legato.functions.output import Output
from legato.functions.zygotes import Zygote

BOT = Function(name="bot", folder=Path(), handler="bot.handler", memory_mb=64, pids=7, cpus=0.5)
MINE = f"legato-functions-{os.getpid()}-*"


def test_version_2_gets_limits_for_memory_processes_and_cpu(tmp_path: Path) -> None:
    own = tmp_path / "system.slice" / "bots.service"
    own.mkdir(parents=True)
    (own / "cgroup.controllers").write_text("cpu io memory pids")

    limits = find_limits(tmp_path, "0::/system.slice/bots.service\n")
    cell = limits.cell("bot-1", BOT)

    assert limits.kind == "cgroup v2"
    (mine,) = own.glob(MINE)
    place = mine / "bot-1"
    assert cell.groups == [str(place / "cgroup.procs")]
    written = {file.name: file.read_text() for file in place.iterdir()}
    assert written == {
        "memory.max": str(64 * 1024 * 1024),
        "memory.oom.group": "1",
        "pids.max": "7",
        "cpu.max": "50000 100000",
    }
    assert (own / "legato-runtime" / "cgroup.procs").read_text() == str(os.getpid())
    for folder in (own, mine):
        assert (folder / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    (place / "memory.peak").write_text("123\n")
    (place / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert cell.peak_bytes(0) == 123
    assert cell.out_of_memory()


@pytest.mark.parametrize(
    ("file", "value"),
    [("memory.memsw.limit_in_bytes", str(64 * 1024 * 1024)), ("memory.swap.max", "0")],
)
def test_a_leak_does_not_go_to_the_disk(
    tmp_path: Path, file: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Path.mkdir

    def mkdir(path: Path, **words: bool) -> None:
        """A kernel that knows of swap has this file in each group."""
        made(path, **words)
        (path / file).touch()

    (tmp_path / "cgroup.controllers").write_text("memory pids")
    limits = find_limits(tmp_path, "0::/\n")
    monkeypatch.setattr(Path, "mkdir", mkdir)

    limits.cell("bot-1", BOT)

    (written,) = tmp_path.glob(f"{MINE}/bot-1/{file}")
    assert written.read_text() == value


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    for name in ("memory", "pids", "cpu"):
        (tmp_path / name / "me").mkdir(parents=True)

    limits = find_limits(tmp_path, "8:pids:/me\n4:memory:/me\n2:cpu:/me\n0::/\n")
    cell = limits.cell("bot-1", BOT)

    assert limits.kind == "cgroup v1"
    places = [next((tmp_path / n / "me").glob(MINE)) / "bot-1" for n in ("memory", "pids", "cpu")]
    assert cell.groups == [str(place / "cgroup.procs") for place in places]
    assert (places[0] / "memory.limit_in_bytes").read_text() == str(64 * 1024 * 1024)
    assert (places[1] / "pids.max").read_text() == "7"
    assert (places[2] / "cpu.cfs_quota_us").read_text() == "50000"
    (places[0] / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    assert not cell.out_of_memory()


@pytest.fixture
def new_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new control group of version 2 has these files."""
    made = Path.mkdir

    def mkdir(path: Path, *mode: Any, **words: bool) -> None:
        made(path, *mode, **words)
        if "unified" in path.parts:
            for name in ("cgroup.freeze", "cgroup.kill"):
                (path / name).write_text("0")

    monkeypatch.setattr(Path, "mkdir", mkdir)


@pytest.mark.usefixtures("new_kernel")
def test_version_2_beside_version_1_lets_processes_stand_still(tmp_path: Path) -> None:
    for name in ("memory", "pids", "unified"):
        (tmp_path / name / "me").mkdir(parents=True)
    (tmp_path / "unified" / "me" / "cgroup.procs").touch()

    limits = find_limits(tmp_path, "8:pids:/me\n4:memory:/me\n0::/me\n")
    cell = limits.cell("bot-1", BOT)

    assert limits.kind == "cgroup v1"
    place = next((tmp_path / "unified" / "me").glob(MINE)) / "bot-1"
    assert cell.groups[-1] == str(place / "cgroup.procs")
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as leader:
        cell.freeze(leader.pid)
        assert (place / "cgroup.freeze").read_text() == "1"
        cell.thaw(leader.pid)
        assert (place / "cgroup.freeze").read_text() == "0"
        cell.kill(leader.pid)
        assert (place / "cgroup.kill").read_text() == "1"
        assert leader.wait(20) == -9


def test_an_old_version_2_beside_version_1_is_left_alone(tmp_path: Path) -> None:
    for name in ("memory", "pids", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "unified" / "cgroup.procs").touch()

    cell = find_limits(tmp_path, "8:pids:/\n4:memory:/\n0::/\n").cell("bot-1", BOT)

    assert len(cell.groups) == 2
    assert [path.name for path in (tmp_path / "unified").iterdir()] == ["cgroup.procs"]


async def test_who_does_not_go_away_is_waited_for_outside_of_the_loop(tmp_path: Path) -> None:
    procs = tmp_path / "cell" / "cgroup.procs"
    procs.parent.mkdir()
    procs.write_text("999999999\n")
    cell = Cell([procs.parent])

    emptied = asyncio.create_task(cell.emptied())
    await asyncio.sleep(0)  # others have their turn
    assert not emptied.done()
    procs.write_text("")
    await emptied

    removed = asyncio.create_task(cell.remove())
    await asyncio.sleep(0)
    assert not removed.done()
    procs.unlink()
    await removed
    assert not procs.parent.exists()


async def test_who_never_goes_away_is_left_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.functions.limits.ROUNDS", 3)
    (tmp_path / "cgroup.procs").write_text("999999999\n")
    cell = Cell([tmp_path])

    async with asyncio.timeout(20):
        await cell.emptied()
        await cell.remove()

    assert cell.pids() == [999_999_999]


@pytest.mark.parametrize("own", ["", "0::/\n", "3:cpu:/\n", "4:memory:/no\n8:pids:/no\n"])
def test_without_control_groups_there_are_rlimits(tmp_path: Path, own: str) -> None:
    (tmp_path / "cpu").mkdir()

    limits = find_limits(tmp_path, own)

    assert limits.kind == "rlimits"
    cell = limits.cell("bot-1", BOT)
    assert cell.rlimits["RLIMIT_DATA"] == 64 * 1024 * 1024
    assert cell.rlimits["RLIMIT_NPROC"] > 7
    assert cell.pids() == []
    assert list((tmp_path / "cpu").iterdir()) == []


def test_a_heap_of_node_is_not_limited_by_its_addresses() -> None:
    node = Function(name="bot", folder=Path(), handler="index.handler", runtime="nodejs")

    assert "RLIMIT_DATA" not in Limits().cell("bot-1", node).rlimits


def test_what_a_dead_runtime_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "memory" / "legato-functions-999999999-1" / "bot-1"
    left.mkdir(parents=True)
    (tmp_path / "pids").mkdir()

    limits = find_limits(tmp_path, "8:pids:/\n4:memory:/\n")

    assert not left.parent.exists()
    limits.close()
    assert list((tmp_path / "memory").iterdir()) == []


def test_memory_of_a_process_is_known_and_of_none_is_zero() -> None:
    assert resident(os.getpid()) > 1_000_000
    assert Cell().peak_bytes(os.getpid()) >= resident(os.getpid()) // 2
    assert resident(999_999_999) == 0


def test_a_user_that_is_not_there_is_refused() -> None:
    function = Function(name="bot", folder=Path(), handler="bot.handler", user="no-such-user")

    with pytest.raises(ConfigError, match="there is no user"):
        user_of(function)


@pytest.mark.parametrize(("uid", "becomes"), [(0, True), (1000, False)])
async def test_who_is_not_root_is_that_user_already(
    uid: int, becomes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """setgroups is root's, so that it must not be tried."""
    own = pwd.getpwuid(os.getuid())
    function = Function(name="bot", folder=Path(), handler="bot.handler", user=own.pw_name)
    container = Container(function, 1, Zygote("python", ()), Limits(), Output("bot"))
    monkeypatch.setattr(os, "getuid", lambda: uid)

    assert container._job()["user"] == ((own.pw_uid, own.pw_gid) if becomes else None)
