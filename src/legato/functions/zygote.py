"""A process that has imported what functions need, and forks one of them when it is told to.

It runs in any interpreter that has awslambdaric, whether or not that has Legato: only the standard
library is imported here, and the file is run by its path. A message comes over a Unix socket as JSON, and
is answered:

    {"do": "fork", ...}  with the file descriptor of the log   ->  {"pid": 17} or {"error": "..."}
    {"do": "reap", "pid": 17}                                  ->  {"status": 9}
    (the other end closes)                                     ->  everybody is killed

awslambdaric reads AWS_LAMBDA_RUNTIME_API when it is imported: that happens after the fork only.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from typing import Any

MESSAGE = 262_144
CLIENT = ("decimal", "http.client", "logging", "traceback", "simplejson", "snapshot_restore_py")
"""What awslambdaric imports, as far as it may be imported before the fork."""
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
THREADED: set[str] = set()
"""Modules that have started threads when they were imported."""
ROUNDS, PAUSE_S = 100, 0.002
"""A fork bomb is faster than one look, and the last process of a control group needs a moment to go."""

Job = dict[str, Any]


def serve(channel: socket.socket, modules: list[str]) -> Job | None:
    """Answers until the other end closes. Returns in each child, too: with what it is to become."""
    missing = preload([*CLIENT, *modules])
    threaded = sorted(THREADED.intersection(modules))
    if threaded:  # a fork would have none of their threads, and locks that nobody gives back
        begin_anew([name for name in modules if name not in threaded])
    gc.collect()
    gc.freeze()  # no collection in a child shall touch, and so copy, what is shared
    channel.sendall(json.dumps({"ready": True, "missing": missing}).encode())
    children: dict[int, list[str]] = {}
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, MESSAGE, 1)
        if not data:
            end(children)
            return None
        message = json.loads(data)
        if message["do"] == "fork":
            pid = os.fork()
            if pid == 0:
                channel.close()
                return dict(message, log=descriptors[0])
            os.close(descriptors[0])
            children[pid] = message["groups"]
            answer = {"pid": pid}
        else:
            children.pop(message["pid"], None)
            answer = {"status": os.waitpid(message["pid"], 0)[1]}
        channel.sendall(json.dumps(answer).encode())


def preload(modules: list[str]) -> list[str]:
    """Imports what can be; returns what cannot: whoever needs it finds that out for itself."""
    missing = []
    for name in modules:
        before = threading.active_count()
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 # whatever a module does when it is imported
            missing.append(name)
        if threading.active_count() > before:
            THREADED.add(name)
    return missing


def begin_anew(modules: list[str]) -> None:
    """Starts this program again, in the same process."""
    words = [sys.executable, *sys.argv[:2], json.dumps(modules)]
    os.execv(sys.executable, words)  # nosec B606


def end(children: dict[int, list[str]]) -> None:
    """The runtime is gone: kills all processes of all children and removes their control groups."""
    for pid, groups in children.items():
        kill(pid, groups)
    for pid in children:
        os.waitpid(pid, 0)
    cells = {os.path.dirname(group) for groups in children.values() for group in groups}
    for folder in cells:
        remove(folder)
    for folder in {os.path.dirname(cell) for cell in cells}:
        remove(folder)  # the runtime's own, if no other zygote has children


def kill(pid: int, groups: list[str]) -> None:
    """Kills a process, its group, and all that is in its control groups."""
    strike(pid)
    for _ in range(ROUNDS):
        if not strike_members(groups):
            return
        time.sleep(PAUSE_S)


def strike(pid: int) -> None:
    """Kills a process and its group, once."""
    # It may be no leader of a group yet, or be reaped already: what it has started may live all the same.
    for end in (os.killpg, os.kill):
        try:
            end(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        break


def strike_members(groups: list[str]) -> bool:
    """Kills whoever is in control groups, once; returns whether there was somebody."""
    found = {member for group in groups for member in members_of(group)}
    for member in found:
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(found)


def members_of(group: str) -> list[int]:
    """The living processes in a cgroup.procs file."""
    try:
        with open(group, encoding="ascii") as file:
            return [int(line) for line in file]
    except OSError:
        return []


def remove(folder: str) -> None:
    """Removes a control group once it is empty; the last process may need a moment to go."""
    for _ in range(ROUNDS):
        if is_removed(folder):
            return
        time.sleep(PAUSE_S)


def is_removed(folder: str) -> bool:
    """Tries once to remove a control group; returns whether it is gone."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


# -- in the child --------------------------------------------------------------------------------


def become(job: Job, parent: int) -> None:
    """Turns this process into a function; returns when that ends by itself."""
    os.setsid()
    for group in job["groups"]:
        with open(group, "w", encoding="ascii") as file:
            file.write("0")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(job["log"], 1)
    os.dup2(job["log"], 2)
    os.closerange(3, 256)
    for name, value in job["rlimits"].items():
        _limit(getattr(resource, name), value)
    if job["user"] is not None:
        uid, gid = job["user"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)  # after setuid, which clears it
    if os.getppid() != parent:
        os._exit(1)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    if job["exec"]:
        os.execvpe(job["exec"][0], job["exec"], job["env"])  # nosec B606
    if job["clock_s"]:
        _turn_clock(job["clock_s"])
    more = job["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [job["cwd"], *(os.path.join(job["cwd"], one) for one in more if one)]
    sys.argv = ["awslambdaric", job["handler"]]
    time.tzset()
    try:
        from awslambdaric.__main__ import main
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name} is missing in {sys.prefix}: pip install awslambdaric in the environment that "
            "`python` of function.toml names"
        ) from None

    main(sys.argv)


def _limit(kind: int, value: int) -> None:
    if kind == resource.RLIMIT_DATA:
        with open("/proc/self/statm", encoding="ascii") as file:
            value += int(file.read().split()[5]) * resource.getpagesize()
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _turn_clock(seconds: float) -> None:
    """Lets time.time() be wrong, as on a machine whose clock was set."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


def main() -> None:
    """Runs as `python zygote.py DESCRIPTOR MODULES`."""
    parent = os.getpid()
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        job = serve(channel, json.loads(sys.argv[2]))
    if job is not None:
        become(job, parent)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file: its neighbours are no modules of anybody
    main()
