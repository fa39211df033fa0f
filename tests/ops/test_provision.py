"""What the playbook tells the servers is enough for Legato, and not too much."""

import asyncio
import re
import shlex
import subprocess
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import yaml

from legato.abc.queue import Letter
from legato.cli.main import main
from legato.queues.rabbitmq import RabbitQueue
from legato.stores.postgres import PostgresStore
from tests.ops.test_ansible import OPS, SECRET
from tests.repo.files import ROOT
from tests.servers import Postgres, Rabbit
from tests.servers._process import program
from tests.servers.postgres import BINARIES


def task(role: str, name: str) -> Any:
    tasks = yaml.safe_load((OPS / f"ansible/roles/{role}/tasks/main.yml").read_text())
    return next(one for one in tasks if one["name"].startswith(name))


def filled(template: str) -> str:
    """Done by hand what Ansible does: these tasks use one variable."""
    value = SECRET.replace("'", "''") if "replace(" in template else SECRET
    return re.sub(r"\{\{ legato_password.*?\}\}", lambda _: value, template)


def test_the_database_is_one_that_legato_can_keep_its_state_in(capsys):
    with Postgres() as server:
        # As Debian's: nobody comes in from the network without a password.
        hba = server.folder / "data/pg_hba.conf"
        hba.write_text(
            "local all all trust\nhost all test 127.0.0.1/32 trust\n"
            "host legato legato 127.0.0.1/32 scram-sha-256\n"
        )
        server.restart()
        command = task("postgres", "Make the role")["ansible.builtin.command"]
        psql, *arguments = shlex.split(command["cmd"])
        subprocess.run(
            [program(psql, *BINARIES), *arguments, server.url],
            input=filled(command["stdin"]), text=True, check=True, capture_output=True,
        )  # fmt: skip
        url = server.database("legato").replace("test@", f"legato:{quote(SECRET, safe='')}@")
        check = ["check", str(ROOT / "examples/adder.py"), "--store", url]
        assert main(check) == 2
        accepted = task("legato", "Check that")["failed_when"].rpartition("'")[0].rpartition("'")[2]
        assert accepted in capsys.readouterr().err  # a first run is let through
        asyncio.run(_opens(PostgresStore(url)))
        assert main(check) == 0
        capsys.readouterr()
        with pytest.raises(psycopg.OperationalError, match="pg_hba"):
            psycopg.connect(url.replace("/legato", "/postgres"))
        with pytest.raises(psycopg.OperationalError, match="password authentication"):
            psycopg.connect(server.database("legato").replace("test@", "legato:wrong@"))


async def _opens(store: PostgresStore) -> None:
    await store.open()
    await store.close()


@pytest.mark.timeout(240)
def test_the_broker_s_user_may_do_what_legato_does_and_no_more(shared_rabbit: Rabbit):
    broker = shared_rabbit
    try:
        made = task("rabbitmq", "Make the vhost")
        for command in made["loop"]:
            program_name, *arguments = shlex.split(command)
            assert program_name == "rabbitmqctl"
            broker.ctl(*arguments, given=SECRET)
        url = broker.url.replace("guest:guest", f"legato:{quote(SECRET, safe='')}") + "legato"
        asyncio.run(_moves(RabbitQueue(url, "adder")))
        (granted,) = broker.api("GET", "users/legato/permissions")
        for right in ("configure", "write", "read"):
            assert re.search(granted[right], "legato.adder.1.0")
            assert not re.search(granted[right], "other")
    finally:
        broker.drop("legato")
        broker.api("DELETE", "users/legato")


async def _moves(queue: RabbitQueue) -> None:
    """All that a cluster does with its queue."""
    await queue.open()
    try:
        await queue.declare(1, 2)
        await queue.publish([Letter("a", 0, b"{}", "event")])
        await queue.declare(2, 4)
        await queue.route(2, 4, (1, 2))
        await queue.end(1, 2)
        for shard, expected in ((0, 2), (1, 1)):
            arrived: list[Any] = []
            consumer = await queue.consume(1, shard, arrived.append)
            async with asyncio.timeout(60):
                while len(arrived) < expected:  # noqa: ASYNC110 # a list has no event
                    await asyncio.sleep(0.02)
            for delivery in arrived:
                delivery.ack()
            await consumer.close()
        async with asyncio.timeout(60):
            while any(depth.ready or depth.consumers for depth in await queue.depths(1, 2)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await queue.drop(1, 2)
    finally:
        await queue.close()
