"""`legato functions` in a process of its own: an unchanged bot on Telegram, Invoke, and its end."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from legato.cli.main import main
from legato.deploy.lifecycle import Stopping
from legato.deploy.serving import Serving, bound, url_of
from legato.functions.chaos import Chaos, Odds
from legato.functions.host import Host
from legato.functions.meter import PRICES
from legato.functions.server import Front
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.functions_kit import hosted, lives, serving, until, write
from tests.integration.run_kit import EXAMPLES, SECRET

PID = """
import os, subprocess
def handler(event, context):
    if event == "child":
        return subprocess.Popen(["sleep", "600"]).pid
    return {"statusCode": 201, "headers": {"x-pid": os.getpid()}, "body": event["rawPath"],
            "cookies": ["a=1", "b=2"]}
"""


async def test_an_unchanged_bot_adds_numbers_between_its_sleeps(tmp_path: Path) -> None:
    bots = tmp_path / "bots"
    async with FakeTelegram(second=0.01) as telegram:
        code = (EXAMPLES / "adder.py").read_text(encoding="utf-8")
        place = write(bots, "adder", code, secrets="secrets.env")
        secrets = place / "secrets.env"
        secrets.touch(mode=0o600)
        secrets.write_text(
            f"TELEGRAM_TOKEN={telegram.token}\nTELEGRAM_API={telegram.api}\n"
            f"TELEGRAM_SECRET={SECRET}\n"
        )
        async with serving(bots) as functions, aiohttp.ClientSession() as session:
            hook = f"http://127.0.0.1:{functions.port}/adder/telegram"
            method = f"{telegram.api}/bot{telegram.token}/setWebhook"
            params = {"url": hook, "secret_token": SECRET}
            async with session.post(method, json=params) as answer:
                assert answer.status == 200
            ann, ben = telegram.user("Ann"), telegram.user("Ben")

            async def talks(person: Any, one: str, two: str) -> None:
                person.sends("/start")
                await person.gets("First number?")
                person.sends(one)
                await person.gets("Second number?")
                person.sends(two)

            async with asyncio.timeout(30):
                await asyncio.gather(talks(ann, "1", "2"), talks(ben, "3", "4"))
                await asyncio.gather(ann.gets("Sum: 3"), ben.gets("Sum: 7"))

            _, status = await functions.json("GET", "/-/status")
            assert sum(status["functions"]["adder"].values()) >= 1
            assert (place / "legato.db").exists()
            assert await functions.ends(signal.SIGTERM) == 0
            assert telegram.token not in functions.output


async def test_urls_and_invoke_are_those_of_aws_and_the_rest_is_for_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "pid", PID)
    async with serving(tmp_path) as functions, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{functions.port}"
        async with session.get(f"{url}/pid/a%20b/c?d=e") as answer:
            assert (answer.status, await answer.text()) == (201, "/a%20b/c")
            assert answer.headers.getall("set-cookie") == ["a=1", "b=2"]
            pid = int(answer.headers["x-pid"])
        invoke = "/2015-03-31/functions/pid/invocations"
        status, value = await functions.json("POST", invoke, {"rawPath": "/x"})
        assert (status, value["body"]) == (200, "/x")
        status, value = await functions.json("POST", invoke, {})
        assert (status, value["errorType"]) == (200, "KeyError")
        asynchronous = {"X-Amz-Invocation-Type": "Event"}
        assert (await functions.json("POST", invoke, {}, **asynchronous))[0] == 202
        assert (await functions.json("POST", invoke.replace("pid", "no"), {}))[0] == 404
        assert [one["name"] for one in (await functions.json("GET", "/"))[1]["functions"]] == [
            "pid"
        ]

        proxied = {"X-Forwarded-For": "203.0.113.7"}
        assert (await functions.json("POST", invoke, {}, **proxied))[0] == 404
        for path in ("/", "/-/status", "/-/meter", "/-/logs/pid"):
            assert (await functions.json("GET", path, **proxied))[0] == 404
        async with session.get(f"{url}/pid", headers=proxied) as answer:
            assert answer.status == 201

        here = ["functions", str(tmp_path), "--port", str(functions.port)]
        for flag, says in (("--status", "pid: "), ("--meter", "GB-s"), ("--logs=pid", "REPORT")):
            assert await asyncio.to_thread(main, [*here, flag]) == 0
            assert says in capsys.readouterr().out
        assert await asyncio.to_thread(main, [*here, "--logs=pit"]) == 2
        assert "no function pit" in capsys.readouterr().err
        functions.gets(signal.SIGTERM)
        await until(lambda: not lives(pid))
        assert await functions.ends() == 0
    assert await asyncio.to_thread(main, [*here, "--status"]) == 2
    assert "does `legato functions` run?" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_with_the_option_for_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "pid", PID)
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["functions", str(tmp_path), "--port", str(port)]) == 2
    assert re.search(f"{port} cannot be used.*--port", capsys.readouterr().err)


def test_an_environment_that_is_not_there_is_missed_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "bot", PID, python=".venv/bin/python")

    assert main(["functions", str(tmp_path), "--port", "0"]) == 2
    assert "/bot/.venv/bin/python' is no program" in capsys.readouterr().err


async def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    write(tmp_path, "pid", PID)
    async with serving(tmp_path) as functions:
        invoke = "/2015-03-31/functions/pid/invocations"
        _, child = await functions.json("POST", invoke, "child")
        _, value = await functions.json("POST", invoke, {"rawPath": "/"})
        pids = [child, value["headers"]["x-pid"]]
        assert all(map(lives, pids))

        functions.gets(signal.SIGKILL)

        await until(lambda: not any(map(lives, pids)))
        await until(lambda: not groups_of(functions.process.pid))


def groups_of(pid: int) -> list[str]:
    """Control groups that a runtime has left."""
    start = f"legato-functions-{pid}-"
    names = (name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    return [name for name in names if name.startswith(start)]


async def test_a_bot_says_the_same_whatever_happens_to_its_processes(tmp_path: Path) -> None:
    odds = Odds(twice=0.4, late=0.3, killed=0.3, killed_after=0.3, skewed=0, cut=0.5)
    async with FakeTelegram(second=0.01) as telegram:
        env = {"TELEGRAM_TOKEN": telegram.token, "TELEGRAM_API": telegram.api}
        code = (
            (EXAMPLES / "adder.py").read_text(encoding="utf-8").replace("timeout=20", "timeout=90")
        )
        write(tmp_path, "adder", code, env=env | {"TELEGRAM_SECRET": SECRET})
        chaos = Chaos(11, replace(odds, hold_s=0.05, kill_within_s=0.06))
        async with hosted(tmp_path, chaos=chaos) as host, published(host) as url:
            async with aiohttp.ClientSession() as session:
                params = {"url": f"{url}/adder/telegram", "secret_token": SECRET}
                method = f"{telegram.api}/bot{telegram.token}/setWebhook"
                async with session.post(method, json=params) as answer:
                    assert answer.status == 200
            people = [telegram.user(f"P{number}") for number in range(4)]

            async def talks(number: int, person: Any) -> None:
                for text, reply in (
                    ("/start", "First number?"),
                    ("x", "That is not a number."),
                    (str(number), "Second number?"),
                    ("1", f"Sum: {number + 1}"),
                ):
                    person.sends(text)
                    await person.gets(reply)

            async with asyncio.timeout(60):
                await asyncio.gather(*map(talks, range(4), people))

            for number, person in enumerate(people):
                # Who is killed between sending and writing that down sends again.
                assert [text for text, _ in groupby(person.sees)] == [
                    "First number?",
                    "That is not a number.",
                    "Second number?",
                    f"Sum: {number + 1}",
                ]
            assert {"twice", "killed_after"} <= chaos.count.keys()


@asynccontextmanager
async def published(host: Host) -> AsyncIterator[str]:
    """The functions at an address, in this process."""
    with bound("127.0.0.1", 0) as listener:
        serving_it = Serving(Front(host, PRICES["own"]), listener)
        serving_it.start(Stopping())
        try:
            yield url_of(listener)
        finally:
            serving_it.refuse()
            await serving_it.ended()
