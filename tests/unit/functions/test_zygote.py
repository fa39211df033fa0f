"""What a zygote does, in this process; that it forks is tried by the integration tests."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.functions import zygote


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    """A zygote that serves in a thread, until its other end closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(zygote.serve(theirs, ["no_such"])))
    thread.start()
    yield ours
    ours.close()
    thread.join(20)
    theirs.close()
    assert results == [None]


def asked(channel: socket.socket, message: dict[str, object], *files: int) -> dict[str, object]:
    socket.send_fds(channel, [json.dumps(message).encode()], files)
    answer: dict[str, object] = json.loads(channel.recv(65_536))
    return answer


def child(*, leader: bool = True) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], start_new_session=leader)


def test_children_are_reaped_when_it_is_told_and_killed_at_the_end(
    channel: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert json.loads(channel.recv(65_536)) == {"ready": True, "missing": ["no_such"]}
    cell = tmp_path / "runtime" / "cell"
    cell.mkdir(parents=True)
    first, second = child(), child(leader=False)
    pids = iter((first.pid, second.pid))
    monkeypatch.setattr(os, "fork", lambda: next(pids))
    with open(os.devnull, "wb") as log:  # noqa: PTH123
        for one in (first, second):
            groups = [str(cell / "cgroup.procs")]
            assert asked(channel, {"do": "fork", "groups": groups}, log.fileno()) == {
                "pid": one.pid
            }
    first.kill()
    assert asked(channel, {"do": "reap", "pid": first.pid}) == {"status": signal.SIGKILL}
    first.returncode = -signal.SIGKILL

    channel.close()
    # Whoever served waits for the second one, too: it was no leader of a group.
    for _ in range(2000):
        if not (tmp_path / "runtime").exists():
            break
        time.sleep(0.005)
    second.returncode = -signal.SIGKILL
    assert not (tmp_path / "runtime").exists()


def test_all_members_of_a_group_are_killed(tmp_path: Path) -> None:
    procs = tmp_path / "cgroup.procs"
    leader, member = child(), child()

    class Group(threading.Thread):
        """Empties the file as the kernel does."""

        def run(self) -> None:
            leader.wait()
            member.wait()
            procs.write_text("")

    procs.write_text(f"{leader.pid}\n{member.pid}\n999999999\n")
    group = Group()
    group.start()
    zygote.kill(leader.pid, [str(procs), str(tmp_path / "none")])
    group.join(20)

    assert (leader.returncode, member.returncode) == (-9, -9)
    zygote.kill(leader.pid, [])  # again: nothing


def test_members_of_a_group_are_killed_also_when_their_leader_is_reaped(tmp_path: Path) -> None:
    procs = tmp_path / "cgroup.procs"
    leader, member = child(), child()
    leader.kill()
    leader.wait()
    procs.write_text(f"{member.pid}\n")

    zygote.kill(leader.pid, [str(procs)])

    try:
        assert member.wait(20) == -9
    finally:
        member.kill()


def test_a_group_that_is_not_empty_stays(tmp_path: Path) -> None:
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "file").touch()

    zygote.remove(str(tmp_path / "cell"))
    assert (tmp_path / "cell").exists()
    (tmp_path / "cell" / "file").unlink()
    zygote.remove(str(tmp_path / "cell"))
    zygote.remove(str(tmp_path / "cell"))
    assert not (tmp_path / "cell").exists()


def test_a_clock_is_wrong_by_the_same_in_both_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", time.time)  # both are put back at the end
    monkeypatch.setattr(time, "time_ns", time.time_ns)
    real = time.time()

    zygote._turn_clock(-1000.5)

    assert -1001 < time.time() - real < -990
    assert abs(time.time_ns() / 1e9 - time.time()) < 5
