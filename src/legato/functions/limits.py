"""How much a process of a function may take: control groups where we may make them, else rlimits.

| | cgroup (v2, v1) | without |
|---|---|---|
| memory | memory.max: the kernel kills it | RLIMIT_DATA for Python (MemoryError); measured for Node.js |
| processes | pids.max | RLIMIT_NPROC, which does not bind root: give the function a `user` |
| CPU | cpu.max | none |
| to stand still | cgroup.freeze (v2, also beside v1): no fork escapes; else SIGSTOP one by one | the process group |
| the end | everything in the group | the process group: what left it, stays |

Nothing here waits in the runtime's loop: another function may be under way. Time is the container's affair: it is the same everywhere.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from legato.errors import ConfigError
from legato.functions.config import Function
from legato.functions.zygote import (
    PAUSE_S,
    ROUNDS,
    is_removed,
    kill,
    members_of,
    remove,
    strike,
    strike_members,
)

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
MB = 1024 * 1024
FILES = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 1024}
"""Of each process, as at AWS."""
_numbers = count(1)
CONTROLLERS = ("memory", "pids", "cpu")
FREEZER = "cgroup.freeze"
"""In place of a controller: version 2, mounted beside version 1 with no controller of its own, as systemd does."""


class Cell:
    """The limits of one process.

    Attributes:
        groups: Its cgroup.procs files; empty where there are no control groups.
        rlimits: Names of RLIMIT_... and their values, set by the process before it is a function.
    """

    def __init__(self, folders: Iterable[Path] = (), rlimits: dict[str, int] | None = None) -> None:
        self._folders = list(folders)
        self.groups: list[str] = [str(folder / "cgroup.procs") for folder in self._folders]
        self.rlimits: dict[str, int] = rlimits or {}

    def peak_bytes(self, pid: int) -> int:
        """The most memory that the process and its children had at once, 0 if nobody knows."""
        for folder in self._folders:
            for name in ("memory.peak", "memory.max_usage_in_bytes"):
                if (folder / name).exists():
                    return int((folder / name).read_text() or 0)
        return resident(pid, "VmHWM")

    def out_of_memory(self) -> bool:
        """Whether the kernel killed one of it because of its limit."""
        for folder in self._folders:
            for name in ("memory.events", "memory.oom_control"):
                if (folder / name).exists():
                    lines = dict(x.split() for x in (folder / name).read_text().splitlines())
                    return int(lines.get("oom_kill", 0)) > 0
        return False

    def pids(self) -> list[int]:
        """All processes in it; without control groups nobody knows."""
        return members_of(self.groups[0]) if self.groups else []

    def freeze(self, leader: int) -> None:
        """Lets all that is in it stand still, and whatever that forks."""
        if not self._write(FREEZER, "1"):
            self._signal(leader, signal.SIGSTOP)

    def thaw(self, leader: int) -> None:
        """Lets it go on."""
        if not self._write(FREEZER, "0"):
            self._signal(leader, signal.SIGCONT)

    def _signal(self, leader: int, number: signal.Signals) -> None:
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if not self.groups:
            try:
                os.killpg(leader, number)
            except ProcessLookupError:
                return

    def kill(self, leader: int) -> None:
        """Kills all that is in it, once; `emptied` must follow."""
        self._write("pids.max", "0")  # nothing can be forked any more
        self._write("cgroup.kill", "1")
        strike(leader)
        strike_members(self.groups)

    async def emptied(self) -> None:
        """Kills whoever has come into it meanwhile, until nobody is left or too long."""
        for _ in range(ROUNDS):
            if not strike_members(self.groups):
                return
            await asyncio.sleep(PAUSE_S)

    async def remove(self) -> None:
        """Removes what was made for it, once nothing is in it."""
        for folder in self._folders:
            for _ in range(ROUNDS):
                if is_removed(str(folder)):
                    break
                await asyncio.sleep(PAUSE_S)

    def _write(self, name: str, value: str) -> bool:
        """Writes one file of its, wherever that is; returns whether there is one."""
        files = [folder / name for folder in self._folders if (folder / name).exists()]
        for file in files:
            file.write_text(value)
        return bool(files)


class Limits:
    """Makes cells; without control groups, of rlimits only.

    Attributes:
        kind: "cgroup v2", "cgroup v1" or "rlimits".
    """

    kind: str = "rlimits"

    def cell(self, name: str, function: Function) -> Cell:
        """A cell for a new process.

        Raises:
            ConfigError: It cannot be made.
        """
        rlimits = FILES | {"RLIMIT_NPROC": _processes(function) + function.pids}
        if function.runtime == "python":
            rlimits["RLIMIT_DATA"] = function.memory_mb * MB
        return Cell(rlimits=rlimits)

    def close(self) -> None:
        """Removes what was made for all cells."""


class Groups(Limits):
    """Control groups.

    Args:
        folders: Of ours, one for each controller (v1), or one for all (v2).
        version: 1 or 2.
    """

    def __init__(self, folders: dict[str, Path], version: int) -> None:
        self._folders = folders
        self._version = version
        self.kind: str = f"cgroup v{version}"

    def cell(self, name: str, function: Function) -> Cell:
        made: dict[Path, None] = {}
        try:
            for controller, parent in self._folders.items():
                folder = parent / name
                folder.mkdir(exist_ok=True)
                made[folder] = None
                for file, value in self._values(controller, function):
                    (folder / file).write_text(value)
                # Where memory goes to the disk, a leak is not stopped: it slows everybody down.
                for file, value in (
                    ("memory.memsw.limit_in_bytes", str(function.memory_mb * MB)),
                    ("memory.swap.max", "0"),
                ):
                    if (folder / file).exists():
                        (folder / file).write_text(value)
        except OSError as error:
            for folder in made:
                is_removed(str(folder))
            raise ConfigError(f"no control group can be made: {error}") from error
        return Cell(made, dict(FILES))

    def _values(self, controller: str, function: Function) -> list[tuple[str, str]]:
        memory, quota = function.memory_mb * MB, int(function.cpus * PERIOD_US)
        if controller == FREEZER:
            return []
        if controller == "pids":
            return [("pids.max", str(function.pids))]
        if self._version == 2:
            if controller == "memory":
                return [("memory.max", str(memory)), ("memory.oom.group", "1")]
            return [("cpu.max", f"{quota} {PERIOD_US}")]
        if controller == "memory":
            return [("memory.limit_in_bytes", str(memory))]
        return [("cpu.cfs_period_us", str(PERIOD_US)), ("cpu.cfs_quota_us", str(quota))]

    def close(self) -> None:
        for folder in dict.fromkeys(self._folders.values()):
            remove(str(folder))


def find_limits(root: Path = ROOT, own: str | None = None) -> Limits:
    """The best that this machine allows us.

    Args:
        root: Where control groups are mounted.
        own: The text of /proc/self/cgroup.
    """
    if own is None:
        try:
            own = Path("/proc/self/cgroup").read_text("ascii")
        except OSError:
            return Limits()
    places = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        places.update(dict.fromkeys(controllers.split(","), path.lstrip("/")))
    name = f"legato-functions-{os.getpid()}-{next(_numbers)}"
    return _version_1(root, places, name) or _version_2(root, places, name) or Limits()


def _version_1(root: Path, places: dict[str, str], name: str) -> Limits | None:
    folders = {}
    for controller in CONTROLLERS:
        parent = root / controller / places.get(controller, "")
        if controller not in places or not os.access(parent, os.W_OK):
            continue
        _sweep(parent)
        try:
            (parent / name).mkdir(exist_ok=True)
        except OSError:
            continue
        folders[controller] = parent / name
    if {"memory", "pids"} <= folders.keys():
        return Groups(folders | _freezer(root / "unified" / places.get("", ""), name), 1)
    for folder in folders.values():
        remove(str(folder))
    return None


def _freezer(parent: Path, name: str) -> dict[str, Path]:
    if not (parent / "cgroup.procs").exists() or not os.access(parent, os.W_OK):
        return {}
    _sweep(parent)
    try:
        (parent / name).mkdir(exist_ok=True)
    except OSError:
        return {}
    if (parent / name / FREEZER).exists():  # since Linux 5.2
        return {FREEZER: parent / name}
    is_removed(str(parent / name))
    return {}


def _version_2(root: Path, places: dict[str, str], name: str) -> Limits | None:
    """A group may have limits for its children only while no process is in itself: we move into one
    of them. That needs a group that was given to us, as systemd does by Delegate=yes.
    """
    parent = root / places.get("", "")
    try:
        allowed = (parent / "cgroup.controllers").read_text().split()
        if not {"memory", "pids"} <= set(allowed) or not os.access(parent, os.W_OK):
            return None
        _sweep(parent)
        runtime, folder = parent / "legato-runtime", parent / name
        runtime.mkdir(exist_ok=True)
        (runtime / "cgroup.procs").write_text(str(os.getpid()))
        wanted = " ".join(f"+{c}" for c in CONTROLLERS if c in allowed)
        (parent / "cgroup.subtree_control").write_text(wanted)
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(wanted)
    except OSError:
        return None
    return Groups({c: folder for c in CONTROLLERS if c in allowed}, 2)


def _sweep(parent: Path) -> None:
    """Removes what a runtime left that was killed together with its zygotes."""
    for folder in parent.glob("legato-functions-*"):
        pid = folder.name.split("-")[2]
        if not pid.isdecimal() or Path(f"/proc/{pid}").exists():
            continue
        for cell in [path for path in folder.iterdir() if path.is_dir()]:
            for member in members_of(str(cell / "cgroup.procs")):
                kill(member, [str(cell / "cgroup.procs")])
            remove(str(cell))
        remove(str(folder))


def resident(pid: int, name: str = "VmRSS") -> int:
    """Bytes of a process in memory, 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{name}:")), 0)


def _processes(function: Function) -> int:
    """How many threads the user of a function has already: RLIMIT_NPROC counts them all."""
    uid = user_of(function)[0] if function.user else os.getuid()
    count = 0
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                if path.stat().st_uid == uid:
                    count += sum(1 for _ in (path / "task").iterdir())
            except OSError:
                continue  # it has just ended
    return count


def user_of(function: Function) -> tuple[int, int]:
    """(uid, gid) of the user that a function wants.

    Raises:
        ConfigError: There is none, or we may not become it.
    """
    import pwd

    try:
        entry = pwd.getpwnam(function.user)
    except KeyError as error:
        raise ConfigError(f"{function.name}: there is no user {function.user!r}") from error
    if os.getuid() != 0 and entry.pw_uid != os.getuid():
        raise ConfigError(f"{function.name}: only root can run it as {function.user!r}")
    return entry.pw_uid, entry.pw_gid


__all__ = ["Cell", "Groups", "Limits", "find_limits", "resident", "user_of"]
