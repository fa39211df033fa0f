"""Making, finding, upgrading and refusing the schema of a Postgres store; and the tools that look at it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from legato.errors import ConfigError, StoreCorrupt, StoreNewer, StoreUnavailable
from legato.model.records import COMMITTED, FAILED
from legato.model.shards import SLOTS, slot_of_key
from legato.stores.postgres import PostgresStore, migrate, schema
from legato.testing.conformance._samples import KEY, begin, row
from tests.servers import Postgres

ROOT = Path(__file__).parents[2]


async def sql(url: str, *statements: str) -> list[asyncpg.Record]:
    """Runs statements by the side; the rows of the last one."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetch(statements[-1])
    finally:
        await connection.close()


async def opened(url: str) -> PostgresStore:
    store = PostgresStore(url)
    await store.open()
    return store


OPENER = """
import asyncio, sys
from legato.stores.postgres import PostgresStore
from legato.testing.conformance._samples import begin

async def main():
    store = PostgresStore(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.read()
    await store.open()
    await store.commit(begin(sys.argv[2]))
    await store.close()

asyncio.run(main())
"""


def open_together(url: str, number: int) -> list[str]:
    """Lets so many processes open the store at once; what they complain of."""
    pipe = subprocess.PIPE
    openers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", OPENER, url, f"{name}"],
            stdin=pipe, stdout=pipe, stderr=pipe, text=True,
        )
        for name in range(number)
    ]  # fmt: skip
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.close()
        opener.stdin = None
    return [opener.communicate(timeout=60)[1] for opener in openers]


async def test_processes_that_start_together_make_one_schema(postgres_url: str) -> None:
    assert open_together(postgres_url, 4) == [""] * 4
    store = await opened(postgres_url)
    assert [found.key for found in await store.find()] == ["0", "1", "2", "3"]
    await store.close()


async def test_several_apps_live_in_one_database(postgres_url: str) -> None:
    one, two = (
        await opened(f"{postgres_url}?schema=one"),
        await opened(f"{postgres_url}?schema=two"),
    )
    assert (await one.commit(begin())).result == COMMITTED
    assert await two.load(KEY) is None
    assert await two.hold("ann", ["name"], 60) == await one.hold("bob", ["name"], 60) == {"name"}
    assert "schema two" in repr(two)
    await one.close()
    await two.close()


async def test_a_schema_of_a_newer_legato_is_left_alone(postgres_url: str) -> None:
    await (await opened(postgres_url)).close()
    await sql(postgres_url, "UPDATE legato.meta SET version = 99", "SELECT 1")
    with pytest.raises(StoreNewer, match=r"newer Legato \(schema 99; .*pip install -U legato"):
        await opened(postgres_url)


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE shop.outbox (id int)",
        "CREATE TABLE shop.meta (program text, version int)",
        "CREATE VIEW shop.inbox AS SELECT 1 AS id",
    ],
)
async def test_tables_of_another_program_are_left_alone(postgres_url: str, made: str) -> None:
    await sql(postgres_url, "CREATE SCHEMA shop", made, "SELECT 1")
    for _ in range(2):
        with pytest.raises(
            StoreCorrupt, match=r"'shop' holds tables of another program.*\?schema="
        ):
            await opened(f"{postgres_url}?schema=shop")
    await (await opened(f"{postgres_url}?schema=legato")).close()


async def test_a_meta_table_of_another_program_is_not_ours(postgres_url: str) -> None:
    await (await opened(postgres_url)).close()
    await sql(postgres_url, "UPDATE legato.meta SET program = 'other'", "SELECT 1")
    with pytest.raises(StoreCorrupt, match="another program"):
        await opened(postgres_url)
    await sql(postgres_url, "ALTER TABLE legato.meta DROP COLUMN program", "SELECT 1")
    with pytest.raises(StoreCorrupt, match="another program"):
        await opened(postgres_url)


async def test_tables_that_vanish_under_a_running_bot_are_named(postgres_url: str) -> None:
    store = await opened(postgres_url)
    await sql(postgres_url, "DROP SCHEMA legato CASCADE", "SELECT 1")
    with pytest.raises(StoreCorrupt, match="Tables or functions of Legato are missing"):
        await store.load(KEY)
    with pytest.raises(StoreCorrupt, match="Tables or functions of Legato are missing"):
        await store.commit(begin())
    await store.close()


async def test_an_older_schema_is_brought_up_to_date_under_a_running_bot(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{postgres_url}?partitions=2"
    old = await opened(url)
    await old.commit(begin())

    def second(name: str, partitions: int) -> list[str]:
        assert partitions == 2
        return [f"ALTER TABLE {name}.conversation ADD COLUMN mood text"]

    monkeypatch.setattr(migrate, "MIGRATIONS", (*schema.MIGRATIONS, second))
    new = [PostgresStore(postgres_url) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in new))
    for store in (*new, old):
        assert await store.find() == [row()]
        await store.close()
    assert (await sql(postgres_url, "SELECT version FROM legato.meta"))[0][0] == 2
    assert await sql(postgres_url, "SELECT mood FROM legato.conversation")


async def test_a_migration_that_fails_leaves_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str, _: int) -> list[str]:
        return [f"CREATE TABLE {name}.extra (id int)", "SELECT 1 / 0"]

    monkeypatch.setattr(migrate, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(Exception, match="division by zero"):
        await opened(postgres_url)
    assert not await sql(postgres_url, "SELECT FROM pg_namespace WHERE nspname = 'legato'")


async def test_settings_that_cannot_work_are_told_with_the_cure(
    shared_postgres: Postgres, postgres_url: str
) -> None:
    nowhere = f"postgresql://test:canary@127.0.0.1:{shared_postgres.port}/nowhere"
    with pytest.raises(ConfigError, match=r'"nowhere" does not exist.*createdb') as caught:
        await opened(nowhere)
    assert "canary" not in str(caught.value)
    with pytest.raises(ConfigError, match="check its parameters") as caught:
        await opened(f"postgresql://u:canary@127.0.0.1:{shared_postgres.port}/x?sslmode=maybe")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(ConfigError, match=r'"poool".*behind the \? in LEGATO_STORE'):
        await opened(f"{postgres_url}{'&' if '?' in postgres_url else '?'}poool=3")
    with pytest.raises(
        StoreUnavailable, match=r"PostgreSQL at 127.0.0.1:1/x: .*Connect call failed"
    ):
        await opened("postgresql://u:canary@127.0.0.1:1/x")
    await sql(postgres_url, "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN", "SELECT 1")
    guest = postgres_url.replace("test@", "guest@")
    with pytest.raises(ConfigError, match=r"permission denied.*CREATE SCHEMA legato AUTHORIZATION"):
        await opened(guest)
    await sql(postgres_url, "CREATE SCHEMA legato AUTHORIZATION guest", "SELECT 1")
    await (await opened(guest)).close()
    refused = "ALTER ROLE guest NOLOGIN"
    await sql(postgres_url, refused, "SELECT 1")
    with pytest.raises(ConfigError, match=r"not permitted to log in.*Check user and password"):
        await opened(guest)


async def test_partitions_part_what_is_large_and_prune_it(postgres_url: str) -> None:
    store = await opened(f"{postgres_url}?partitions=4")
    for number in range(40):
        await store.commit(begin(f"telegram:7:{number}:{number}:", update_id=f"{number}"))
    rows = await sql(
        postgres_url, "SELECT tableoid::regclass::text AS part, slot FROM legato.conversation"
    )
    assert {(found["part"], found["slot"] % 4) for found in rows} == {
        (f"legato.conversation_{part}", part) for part in range(4)
    }
    slot = slot_of_key("telegram:7:1:1:")
    plan = await sql(
        postgres_url,
        f"EXPLAIN SELECT * FROM legato.conversation WHERE key = 'telegram:7:1:1:' AND slot = {slot}",
    )
    assert f"conversation_{slot % 4}" in str(plan)
    assert f"conversation_{(slot + 1) % 4}" not in str(plan)
    assert len(await store.find(slots=range(SLOTS))) == 40
    await store.close()


def legato(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "legato.cli.main", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


async def test_an_operator_sees_and_steers_the_dialogs_of_a_cluster(postgres_url: str) -> None:
    looked = legato("dialogs", "ls", "--store", postgres_url)
    assert looked.returncode == 2
    assert "there is no store in PostgreSQL at" in looked.stderr
    assert not await sql(postgres_url, "SELECT FROM pg_namespace WHERE nspname = 'legato'")
    store = await opened(postgres_url)
    await store.commit(begin(row=row(status=FAILED)))
    await store.close()
    seen = await sql(postgres_url, "SELECT key, dialog, status FROM legato.dialogs")
    assert [tuple(found) for found in seen] == [(KEY, "adder", FAILED)]
    looked = legato("dialogs", "ls", "--json", "--store", postgres_url)
    assert json.loads(looked.stdout)["key"] == KEY, looked.stderr
    await sql(postgres_url, "DELETE FROM legato.conversation", "SELECT 1")
    checked = legato("check", "examples/adder.py", "--store", postgres_url)
    assert (checked.returncode, checked.stderr) == (0, "")
