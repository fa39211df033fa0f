"""What seldom happens to functions: starts that fail or never end, queues that are left, the end itself."""

import asyncio
import getpass
import os
import pwd
import signal
import sys
from pathlib import Path

import pytest

from legato.errors import ConfigError
from legato.functions import container, zygotes
from legato.functions.host import Host
from legato.functions.limits import Limits
from legato.functions.output import LINE_BYTES, Output, Pipe
from legato.functions.pool import Busy
from legato.functions.room import Room
from legato.functions.zygotes import Zygotes
from tests.integration.functions_kit import NODE, call, called, hosted, lives, until, write

ECHO = "import os\ndef handler(e, c):\n    return os.getpid()"
SLOW = "import os, time\ndef handler(e, c):\n    time.sleep(e)\n    return os.getpid()"


async def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, "bot", ECHO, python="venv/bin/python")
    async with hosted(tmp_path) as host:
        for _ in range(2):
            with pytest.raises(ConfigError, match="venv/bin/python cannot be started"):
                await host.invoke("bot", b"1")
        assert sum(host.pools["bot"].states().values()) == 0


async def test_an_interpreter_of_its_own_may_be_without_us(tmp_path: Path) -> None:
    link = tmp_path / "bot" / "python"
    write(tmp_path, "bot", ECHO, python="python", preload=["json"])
    link.symlink_to(sys.executable)
    async with hosted(tmp_path) as host:
        outcome = await called(host, "bot")

    # A link beside no pyvenv.cfg is the bare Python: it has no awslambdaric, and says so.
    assert outcome.kind in {"ok", "init"}
    if outcome.kind == "init":
        assert any("awslambdaric" in line for line in host.pools["bot"].output.lines)


async def test_an_import_that_never_ends_is_told_and_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygotes, "PRELOAD_S", 1.0)
    monkeypatch.setattr(zygotes, "END_S", 0.1)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "waits_for_ever.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "modules" / "python").write_text(
        f'#!/bin/sh\nPYTHONPATH={tmp_path}/modules exec {sys.executable} "$@"\n'
    )
    (tmp_path / "modules" / "python").chmod(0o755)
    own = str(tmp_path / "modules" / "python")
    write(tmp_path / "bots", "bot", ECHO, preload=["waits_for_ever"], python=own)
    async with asyncio.timeout(30), hosted(tmp_path / "bots") as host:
        for _ in range(2):
            with pytest.raises(ConfigError, match="does not import waits_for_ever within 1 s"):
                await host.invoke("bot", b"1")


async def test_a_zygote_that_stands_still_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygotes, "ANSWER_S", 0.5)
    write(tmp_path, "bot", ECHO, idle_s=0)
    async with asyncio.timeout(30), hosted(tmp_path) as host:
        await call(host, "bot")
        await until(lambda: not host.pools["bot"].pids())
        (pid,) = host.zygotes.pids()
        os.kill(pid, signal.SIGSTOP)  # as any function of the same user can

        assert (await called(host, "bot")).kind == "init"
        assert await call(host, "bot") > 0
        assert host.zygotes.pids() != [pid]


async def test_a_process_that_cannot_be_stopped_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def freeze(one: container.Container) -> None:
        raise PermissionError("it is sudo's")

    write(tmp_path, "bot", ECHO, concurrency=1)
    async with asyncio.timeout(60), hosted(tmp_path) as host:
        with monkeypatch.context() as patch:
            patch.setattr(container.Container, "freeze", freeze)
            first = await call(host, "bot")
            await until(lambda: not host.pools["bot"].pids())
        assert await call(host, "bot") != first


async def test_a_zygote_that_somebody_ended_is_replaced_before_it_is_missed(tmp_path: Path) -> None:
    write(tmp_path, "bot", ECHO, idle_s=0)
    async with asyncio.timeout(60), hosted(tmp_path) as host:
        await call(host, "bot")
        await until(lambda: not host.pools["bot"].pids())
        (zygote,) = host.zygotes._all.values()
        pid, process = zygote.pid, zygote._process
        assert process is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: process.returncode is not None)

        assert await call(host, "bot") > 0
        assert host.zygotes.pids() != [pid]


async def test_a_start_that_never_ends_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "INIT_S", 0.3)
    write(tmp_path, "bot", "while True: pass", handler="bot.handler", timeout_s=0.3)
    async with hosted(tmp_path) as host:
        outcome = await called(host, "bot")

        assert outcome.kind == "init"
        assert b"Init timed out after 0.30 seconds" in outcome.body
        assert host.pools["bot"].pids() == []


async def test_a_module_that_cannot_be_shared_is_the_functions_own_affair(tmp_path: Path) -> None:
    write(tmp_path, "bot", ECHO, preload=["no_such_module", "json"])
    async with hosted(tmp_path) as host:
        assert await call(host, "bot") > 0
        zygote = await host.zygotes.get(sys.executable, ("json", "no_such_module"))

        assert zygote.missing == ["no_such_module"]


TICKS = """
import queue, threading
asked = queue.Queue()
def run():
    while True:
        asked.get().set()
thread = threading.Thread(target=run, daemon=True)
thread.start()
"""
ASKS = """
import json, os, threading
import starts_a_thread
def handler(event, context):
    answered = threading.Event()
    starts_a_thread.asked.put(answered)
    return answered.wait(5)
"""


async def test_a_module_that_starts_a_thread_has_it_in_each_process(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "starts_a_thread.py").write_text(TICKS)
    (modules / "imports_it.py").write_text("import starts_a_thread")
    own = modules / "python"
    own.write_text(f'#!/bin/sh\nPYTHONPATH={modules} exec {sys.executable} "$@"\n')
    own.chmod(0o755)
    preload = ["imports_it", "starts_a_thread", "wsgiref"]
    write(tmp_path / "bots", "bot", ASKS, preload=preload, python=str(own))
    async with hosted(tmp_path / "bots") as host:
        assert [await call(host, "bot") for _ in range(2)] == [True, True]


async def test_what_a_function_has_vendored_goes_before_what_is_installed(tmp_path: Path) -> None:
    code = "import msgspec\ndef handler(event, context):\n    return msgspec.WHOSE"
    place = write(tmp_path, "bot", code, env={"PYTHONPATH": "vendor"})
    (place / "vendor" / "msgspec").mkdir(parents=True)
    (place / "vendor" / "msgspec" / "__init__.py").write_text("WHOSE = 'its own'")
    code = f"import sys\nsys.path.insert(0, '{place}/vendor')\n{code}"
    write(tmp_path, "other", code)
    async with hosted(tmp_path) as host:
        assert [await call(host, name) for name in ("bot", "other")] == ["its own"] * 2


async def test_a_zygote_without_children_ends_after_a_while() -> None:
    zygotes = Zygotes(free_s=0.01)
    try:
        zygote = await zygotes.get(sys.executable, ())
        assert await zygotes.get(sys.executable, ()) is zygote
        zygotes.let_go(zygote)

        await until(lambda: zygotes.pids() == [])

        again = await zygotes.get(sys.executable, ())
        assert again.pid != zygote.pid
    finally:
        await zygotes.close()
    assert not lives(again.pid)


async def test_who_gives_up_waiting_takes_nobodys_turn(tmp_path: Path) -> None:
    write(tmp_path, "slow", SLOW, concurrency=1)
    async with hosted(tmp_path) as host:
        first = asyncio.create_task(call(host, "slow", 0.3))
        await until(lambda: host.pools["slow"].states()["busy"] == 1)
        gone = asyncio.create_task(call(host, "slow", 0))
        last = asyncio.create_task(call(host, "slow", 0))
        await until(lambda: host.pools["slow"].states()["waiting"] == 2)

        gone.cancel()

        assert await last == await first
        await asyncio.gather(gone, return_exceptions=True)
        assert host.pools["slow"].states()["waiting"] == 0


async def test_who_goes_away_during_a_start_leaves_a_process_for_the_next(tmp_path: Path) -> None:
    write(tmp_path, "bot", ECHO)
    async with hosted(tmp_path) as host:
        pool = host.pools["bot"]
        for _ in range(5):
            gone = asyncio.create_task(call(host, "bot"))
            await until(lambda: pool.states()["starting"] == 1 or gone.done())  # noqa: B023
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await until(lambda: pool.states()["frozen"] == 1)
            (pid,) = pool.pids()

            assert await call(host, "bot") == pid

            os.kill(pid, signal.SIGKILL)
            await until(lambda: pool.pids() == [])


async def test_at_the_end_who_waits_is_refused_and_who_runs_is_killed(tmp_path: Path) -> None:
    write(tmp_path, "slow", SLOW, concurrency=1)
    async with hosted(tmp_path) as host:
        running = asyncio.create_task(called(host, "slow", 60))
        await until(lambda: host.pools["slow"].states()["busy"] == 1)
        waiting = asyncio.create_task(called(host, "slow", 60))
        await until(lambda: host.pools["slow"].states()["waiting"] == 1)
        (pid,) = host.pools["slow"].pids()

    assert (await running).kind == "crash"
    with pytest.raises(Busy):
        await waiting
    assert not lives(pid)


async def test_an_event_is_given_up_after_its_tries_and_none_is_taken_at_the_end(
    tmp_path: Path,
) -> None:
    write(tmp_path, "bot", "def handler(e, c):\n    raise ValueError(e)")
    async with hosted(tmp_path, retries_s=(0.01,)) as host:
        assert host.send("bot", b"1")
        await until(lambda: host.meter.sums["bot"].errors == 2)
        await until(lambda: host._backlogs["bot"].count == 0)
    assert not host.send("bot", b"1")


async def test_too_many_events_that_nobody_waits_for_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.functions.backlog.MOST", 2)
    write(tmp_path, "slow", SLOW)
    write(tmp_path, "other", SLOW)
    async with hosted(tmp_path) as host:
        assert [host.send("slow", b"60") for _ in range(4)] == [True, True, False, False]
        assert host.send("other", b"0")  # nobody else's events are dropped for it


def test_there_must_be_room_for_one() -> None:
    with pytest.raises(ConfigError, match="room for one"):
        Room(0)


@pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
async def test_memory_of_node_is_watched_where_the_kernel_does_not(tmp_path: Path) -> None:
    code = "export const handler = async () => { const kept = [];"
    code += " for (;;) { kept.push(Buffer.alloc(4e6, 1)); await null; } };"
    write(tmp_path, "bot", code, "index.mjs", memory_mb=128)
    async with hosted(tmp_path, limits=Limits()) as host:
        outcome = await called(host, "bot")

    assert outcome.kind == "crash"
    assert b"OutOfMemory" in outcome.body


async def test_a_function_runs_as_the_user_it_names(tmp_path: Path) -> None:
    user = "nobody" if os.getuid() == 0 else getpass.getuser()
    write(tmp_path, "bot", "import os\ndef handler(e, c):\n    return os.getuid()", user=user)
    async with hosted(tmp_path) as host:
        outcome = await called(host, "bot")

    wanted = str(pwd.getpwnam(user).pw_uid).encode()
    # The folders of tests may be closed to it: then it cannot start, for that reason.
    denied = os.getuid() == 0 and any(
        "PermissionError" in line for line in host.pools["bot"].output.lines
    )
    assert outcome.body == wanted or denied


async def test_lines_without_end_are_cut_and_the_last_needs_none() -> None:
    output = Output("bot", ["canary"])
    pipe = Pipe(output)
    writing = await pipe.open()
    os.write(writing, b"one\ntwo canary\r\n\n" + b"x" * (LINE_BYTES + 1000))
    await until(lambda: len(output.lines) >= 3)
    os.write(writing, b" and so on\n\xff last")
    os.close(writing)
    await pipe.close()

    long = "x" * (LINE_BYTES - 1) + "…"
    assert list(output.lines) == ["one", "two ***", long, "\N{REPLACEMENT CHARACTER} last"]


async def test_a_pipe_that_somebody_holds_is_closed_all_the_same() -> None:
    pipe = Pipe(Output("bot"))
    writing = await pipe.open()

    await pipe.close(patience_s=0.01)

    with pytest.raises(BrokenPipeError):
        os.write(writing, b"x")
    os.close(writing)


async def test_an_unknown_function_is_a_key_error(tmp_path: Path) -> None:
    write(tmp_path, "bot", ECHO)
    async with hosted(tmp_path) as host:
        assert isinstance(host, Host)
        with pytest.raises(KeyError):
            await host.invoke("other", b"1")


async def test_each_function_has_its_own_environment_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "canary of the host")
    code = "import os\ndef handler(e, c):\n    print('it is', os.environ.get('KEY'))\n"
    code += "    return dict(os.environ), open('/proc/self/environ').read()"
    place = write(tmp_path, "a", code, env={"PLACE": "here"}, secrets="secrets.env")
    (place / "secrets.env").write_text("KEY=canary-of-a\n")
    (place / "secrets.env").chmod(0o600)
    write(tmp_path, "b", code)
    async with hosted(tmp_path) as host:
        a, environ = await call(host, "a")
        b, _ = await call(host, "b")

        assert (a["PLACE"], a["KEY"]) == ("here", "canary-of-a")
        assert a["AWS_LAMBDA_FUNCTION_NAME"] == "a"
        assert "PLACE" not in b
        assert "KEY" not in b
        assert "canary" not in f"{b}{environ}{a.get('TELEGRAM_TOKEN')}"
        await until(lambda: any("it is" in line for line in host.pools["a"].output.lines))
        assert not any("canary" in line for line in host.pools["a"].output.lines)


STORED = """
from legato.app.settings import load_settings
from legato.deploy.function.start import fleeting
def handler(event, context):
    return [fleeting(load_settings(environ={"LEGATO_STORE": store})) for store in event]
"""


async def test_a_store_in_a_file_is_no_mistake_where_all_processes_are_on_one_machine(
    tmp_path: Path,
) -> None:
    write(tmp_path, "stored", STORED, timeout_s=20)
    async with hosted(tmp_path) as host:
        file, memory = await call(host, "stored", ["sqlite:///bot.db", "memory://"])
    assert file == ""
    assert "forgets all conversations" in memory
