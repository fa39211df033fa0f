"""The private servers of the tests keep what they took, and end with the tests."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.repo.files import ROOT
from tests.servers import Nginx, Postgres, Redis, _process

STARTS = """
import sys
from tests.servers import {name}
with {name}({arguments}) as server:
    print(server.folder, server._process.pid, flush=True)
    sys.stdin.read()
"""


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_postgres_that_is_killed_keeps_what_it_committed_and_its_address():
    with Postgres() as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE x AS SELECT 17 AS n")
        assert server._process is not None
        processes = family(server._process.pid)
        assert len(processes) > 3
        server.kill9()
        until(lambda: not any(map(alive, processes)))
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT n FROM x").fetchall() == [(17,)]
        server.restart()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT n FROM x").fetchall() == [(17,)]
    assert not server.folder.exists()


def test_a_database_of_a_test_is_empty_and_its_own(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'")
        assert found.fetchall() == []


@pytest.mark.timeout(300)
def test_a_rabbit_that_is_killed_keeps_its_durable_queues_and_can_be_blocked(
    own_rabbit, rabbit_url
):
    broker, queue = own_rabbit, f"queues/{rabbit_url.rpartition('/')[2]}/kept"
    broker.api("PUT", queue, {"durable": True})
    # It is answered before it is on the disk: in the log of changes, or in the table itself.
    until(lambda: any(b"kept" in file.read_bytes() for file in broker.folder.glob("mnesia/*/*.*")))
    broker.kill9()
    broker.start()
    assert broker.api("GET", queue)["durable"]

    def alarmed() -> bool:
        try:
            broker.api("GET", "health/checks/local-alarms")
        except urllib.error.HTTPError as error:
            return error.code == 503
        return False

    broker.block()
    until(alarmed)
    broker.unblock()
    until(lambda: not alarmed())


def test_a_redis_that_is_killed_keeps_what_it_answered():
    with Redis() as server:
        assert server.ask("SET", "x", "17") == b"+OK\r\n"
        server.kill9()
        server.start()
        assert server.ask("GET", "x") == b"$2\r\n17\r\n"


def test_a_server_that_does_not_start_says_why():
    with pytest.raises(AssertionError, match="unknown directive"):
        Nginx("nonsense;").start()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Postgres", ""), ("Rabbit", ""), ("Nginx", '"server { listen 127.0.0.1:{port}; }"')],
)
@pytest.mark.timeout(300)
def test_servers_end_with_tests_that_were_killed(name, arguments):
    with subprocess.Popen(
        [sys.executable, "-c", STARTS.format(name=name, arguments=arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True,
    ) as tests:  # fmt: skip
        assert tests.stdout is not None
        folder, pid = tests.stdout.readline().split()
        processes = [*family(int(pid)), *(p for p in family(tests.pid) if p != tests.pid)]
        assert Path(folder).exists()
        tests.send_signal(signal.SIGKILL)
    until(lambda: not any(map(alive, processes)))
    until(lambda: not Path(folder).exists())


def test_no_two_get_the_same_port_nor_one_that_a_client_could_get():
    ports = [_process.free_port(beside=3) for _ in range(20)]
    assert len({port // 8 for port in ports}) == 20
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports) < first
    asked = "from tests.servers import free_port; print(*(free_port() for _ in range(20)))"
    other = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(ports) & set(map(int, other.stdout.split()))


def test_a_port_in_use_is_not_given():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not _process._free(taken.getsockname()[1])


@pytest.mark.parametrize("where", ["CI", "Debian", "elsewhere"])
def test_a_missing_program_fails_with_its_cure_unless_nobody_could_install_it(where, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin" if where == "Debian" else "")
    monkeypatch.delenv("CI", raising=False)
    if where == "CI":
        monkeypatch.setenv("CI", "1")
    if where == "Debian" and not Path("/usr/bin/apt-get").exists():
        pytest.skip("this is not Debian")
    outcome = pytest.skip.Exception if where == "elsewhere" else pytest.fail.Exception
    with pytest.raises(outcome, match=r"\.ci/servers"):
        _process.program("no-such-server", "/usr/lib/*/bin")
