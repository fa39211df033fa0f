"""The zygotes of a runtime: one for each interpreter and set of modules, made when it is needed."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

from legato.errors import ConfigError

SCRIPT = Path(__file__).with_name("zygote.py")
KEPT = ("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What functions see of the environment of the runtime: it may hold secrets of others."""
PRELOAD_S = 60.0
FREE_S = 600.0
ANSWER_S = 30.0
"""A fork takes milliseconds: who has not answered by then never will (a function of ours may have stopped it)."""
END_S = 5.0
"""Kept for killing its children before it is killed itself; the kernel kills them then."""

Key = tuple[str, tuple[str, ...]]


class ZygoteDied(Exception):
    """Private: the process that forks is gone; the next function gets a new one."""


def base_environment() -> dict[str, str]:
    """What every function is given."""
    return {k: v for k, v in os.environ.items() if k in KEPT or k.startswith("LC_")}


def _measured() -> dict[str, str]:
    """Lets coverage.py measure zygotes, where that is what somebody does."""
    return {k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")}


class Zygote:
    """One process that forks.

    Args:
        python: The interpreter.
        preload: Modules it imports first.

    Attributes:
        children: How many of its forks live.
        missing: Modules that could not be imported.
    """

    def __init__(self, python: str, preload: tuple[str, ...]) -> None:
        self.python = python
        self.preload = preload
        self.children: int = 0
        self.missing: list[str] = []
        self.dead: bool = False
        self._process: asyncio.subprocess.Process | None = None
        self._channel: socket.socket | None = None
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int:
        """Of its process, 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_dead(self) -> bool:
        """Whether it forks no more: any function of the same user can end it."""
        return self.dead or (self._process is not None and self._process.returncode is not None)

    async def start(self) -> None:
        """Starts it; returns once it has imported everything.

        Raises:
            ConfigError: The interpreter cannot be started, or never comes to the end of its imports.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003
        self._channel = ours
        try:
            self._process = await asyncio.create_subprocess_exec(
                self.python,
                str(SCRIPT),
                str(theirs.fileno()),
                json.dumps(self.preload),
                env=base_environment() | _measured(),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us
            )
        except OSError as error:
            ours.close()
            self.dead = True
            raise ConfigError(f"{self.python} cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        try:
            async with asyncio.timeout(PRELOAD_S):
                self.missing = (await self._heard())["missing"]
        except TimeoutError as error:
            names = ", ".join(self.preload) or "what awslambdaric needs"
            raise ConfigError(
                f"{self.python} does not import {names} within {PRELOAD_S:g} s: does one of them wait for something? "
                "function.toml may say preload = []"
            ) from error

    async def fork(self, job: dict[str, Any], log: int) -> int:
        """Forks a child that becomes what `job` says; returns its pid.

        Raises:
            ZygoteDied: Nothing was forked.
        """
        answer = await self._ask({"do": "fork"} | job, log)
        self.children += 1
        return int(answer["pid"])

    async def reap(self, pid: int) -> int:
        """The wait status of a child that has ended; 9 (killed) if the zygote went first."""
        self.children -= 1
        try:
            return int((await self._ask({"do": "reap", "pid": pid}))["status"])
        except ZygoteDied:
            return 9

    async def stop(self) -> None:
        """Ends it and every child it has. Idempotent."""
        self.dead = True
        if self._channel is not None:
            self._channel.close()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:  # it imports, or stands still, and does not see that we are gone
            self._kill()
            await self._process.wait()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _ask(self, message: dict[str, Any], *files: int) -> dict[str, Any]:
        async with self._turn:
            if self.dead or self._channel is None:
                raise ZygoteDied
            try:
                socket.send_fds(self._channel, [json.dumps(message).encode()], files)
            except OSError as error:
                self.dead = True
                raise ZygoteDied from error
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._heard()
            except TimeoutError as error:
                self.dead = True
                self._kill()
                raise ZygoteDied from error

    async def _heard(self) -> dict[str, Any]:
        assert self._channel is not None
        try:
            data = await asyncio.get_running_loop().sock_recv(self._channel, 65_536)
        except OSError:
            data = b""
        if not data:
            self.dead = True
            raise ZygoteDied
        return json.loads(data)  # type: ignore[no-any-return]


class Zygotes:
    """All of them.

    Args:
        free_s: So long one without children is kept.
    """

    def __init__(self, free_s: float = FREE_S) -> None:
        self._free_s = free_s
        self._all: dict[Key, Zygote] = {}
        self._starting: dict[Key, asyncio.Lock] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def pids(self) -> list[int]:
        """Of their processes."""
        return [zygote.pid for zygote in self._all.values() if zygote.pid]

    async def get(self, python: str, preload: tuple[str, ...]) -> Zygote:
        """The one for an interpreter and modules, started if it does not run.

        Raises:
            ConfigError, ZygoteDied: It cannot be started.
        """
        key = (python, preload)
        async with self._starting.setdefault(key, asyncio.Lock()):
            zygote = self._all.get(key)
            if zygote is None or zygote.is_dead:
                if zygote is not None:
                    await zygote.stop()
                zygote = Zygote(python, preload)
                try:
                    await zygote.start()
                except BaseException:
                    await zygote.stop()
                    raise
                self._all[key] = zygote
            return zygote

    def let_go(self, zygote: Zygote) -> None:
        """Ends it after a while if it has no children by then."""
        if not zygote.children:
            asyncio.get_running_loop().call_later(self._free_s, self._end_if_free, zygote)

    def _end_if_free(self, zygote: Zygote) -> None:
        key = (zygote.python, zygote.preload)
        if zygote.children or self._all.get(key) is not zygote:
            return
        if self._starting[key].locked():
            return
        del self._all[key]
        task = asyncio.create_task(zygote.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Ends all of them, and all of their children."""
        zygotes = list(self._all.values())
        self._all.clear()
        await asyncio.gather(*(zygote.stop() for zygote in zygotes), *self._ending)


__all__ = ["Zygote", "ZygoteDied", "Zygotes", "base_environment"]
