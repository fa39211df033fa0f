"""What the nursery gives birth to is a process like one that was started."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.repo.files import ROOT
from tests.servers.nursery import Born, python

TELLS = """
import json, os, sys
if __name__ == "__main__":
    found = [sys.argv, os.getcwd(), dict(os.environ), sys.path[0], os.getpid(), sys.stdin.read()]
    print(json.dumps(found), flush=True)
    print("to stderr", file=sys.stderr)
    sys.exit(3)
"""
WAITS = "import time; print('here', flush=True); time.sleep(600)"
STARTS = """
import asyncio, sys
from tests.servers.nursery import python
async def main():
    process = await python(sys.argv[1], env={})
    await process.stdout.readline()
    print(process.pid, flush=True)
    await process.wait()
asyncio.run(main())
"""


def script(folder: Path, code: str) -> str:
    path = folder / "script.py"
    path.write_text(code)
    return str(path)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_it_has_its_words_its_environment_its_folder_and_its_exit_code(tmp_path):
    words = (script(tmp_path, TELLS), "one", "two")
    born = await python(*words, env={"A": "1", "PATH": "/bin"}, folder=tmp_path)
    started = await python(
        *words, env={"A": "1", "PATH": "/bin", "PYTHONUTF8": "1"}, folder=tmp_path
    )
    assert isinstance(born, Born)
    assert not isinstance(started, Born), "it has a setting of Python's own start"
    outputs = [(await one.communicate())[0].decode().splitlines() for one in (born, started)]
    found, real = [json.loads(lines[0]) for lines in outputs]
    real[2].pop("PYTHONUTF8")
    for one, process in ((found, born), (real, started)):
        one[2].pop("LC_CTYPE", None)  # Python's own, where no locale is set
        assert one.pop(4) == process.pid
        assert process.returncode == 3
    assert (
        found == real == [list(words), str(tmp_path), {"A": "1", "PATH": "/bin"}, str(tmp_path), ""]
    )
    assert [lines[1:] for lines in outputs] == [["to stderr"]] * 2


async def test_a_module_is_run_as_by_m(tmp_path):
    (tmp_path / "told.py").write_text(TELLS)
    process = await python("-m", "told", "one", env={}, folder=tmp_path)
    out, _ = await process.communicate()
    words, *_, place, _, _ = json.loads(out.splitlines()[0])
    assert (words, place) == ([str(tmp_path / "told.py"), "one"], str(tmp_path))


async def test_an_error_is_told_and_ends_it(tmp_path):
    process = await python(script(tmp_path, "1 / 0"), env={})
    out, _ = await process.communicate()
    assert b"ZeroDivisionError" in out
    assert process.returncode == 1


async def test_it_is_killed_and_its_output_ends(tmp_path):
    process = await python(script(tmp_path, WAITS), env={})
    assert process.stdout is not None
    assert await process.stdout.readline() == b"here\n"
    assert process.returncode is None
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    assert await process.stdout.read() == b""
    process.kill()  # nothing is left to be killed


async def test_it_writes_into_a_file(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        process = await python(script(tmp_path, "print('written')"), env={}, out=log)
        assert await process.wait() == 0
    assert (tmp_path / "log").read_text() == "written\n"


async def test_two_do_not_share_what_one_imports_or_draws(tmp_path):
    code = "import random, sys; print(random.random(), 'antigravity' in sys.modules); sys.modules['antigravity'] = 1"
    drawn = []
    for _ in range(2):
        process = await python(script(tmp_path, code), env={})
        number, imported = (await process.communicate())[0].split()
        assert imported == b"False"
        drawn.append(number)
    assert drawn[0] != drawn[1]


def test_all_of_it_ends_with_tests_that_were_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, script(tmp_path, WAITS)],
        stdout=subprocess.PIPE, cwd=ROOT, env={"PATH": os.environ["PATH"]},
    ) as tests:  # fmt: skip
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        assert alive(pid)
        tests.kill()

    async def ended() -> None:
        async with asyncio.timeout(60):
            while alive(pid):  # noqa: ASYNC110 # it is another process
                await asyncio.sleep(0.05)

    asyncio.run(ended())
