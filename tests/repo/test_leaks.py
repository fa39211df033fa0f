"""A test that leaves something open fails itself, never a later, innocent one."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

LEAKS = """
import asyncio, socket, pytest

def test_leaks_a_cycle():
    class Node: pass
    node = Node()
    node.self, node.open = node, socket.socket()

def test_is_innocent_1(): pass

@pytest.fixture
def opened():
    return socket.socket()

def test_leaks_a_fixture(opened): pass

def test_is_innocent_2(): pass

async def test_leaks_a_task():
    asyncio.get_running_loop().create_task(asyncio.sleep(3600))

def test_is_innocent_3(): pass

def test_leaks_in_a_failed_frame():
    opened = socket.socket()
    assert False

async def test_is_innocent_4(): pass
"""


def test_a_leak_is_reported_at_the_test_that_leaks(tmp_path: Path) -> None:
    (tmp_path / "test_leaks.py").write_text(LEAKS)

    options = ["-c", f"{ROOT}/pyproject.toml", f"--rootdir={tmp_path}", "-p", "conftest", "-n0"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    blamed = {
        line.split("::")[1].split(" ")[0]
        for line in run.stdout.splitlines()
        if line.startswith(("FAILED", "ERROR"))
    }
    assert blamed == {
        "test_leaks_a_cycle",
        "test_leaks_a_fixture",
        "test_leaks_a_task",
        "test_leaks_in_a_failed_frame",
    }, run.stdout + run.stderr
