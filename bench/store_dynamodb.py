"""What the DynamoDB store costs: start, CPU a call, requests and capacity units.

    python -m bench.store_dynamodb [--turns 500]

On a ministack of its own, whose time is not DynamoDB's: CPU is this process's, requests are counted, and
capacity units are those that ministack says. Start is from spawn to the first answer, without TLS; botocore's
is that of ministack's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench._kit import machine, run, table
from bench.store_commit import PEOPLE, turns
from legato.abc import HttpRequest, HttpResponse
from legato.deploy.transport import Transport
from legato.model.records import Commit, Settled
from legato.stores.dynamodb import DynamoDBStore
from tests.servers import Ministack
from tests.servers.ministack import WHO, ministack_python

STARTS = 9
BARE = "import asyncio, msgspec"
OURS = """
import asyncio
from legato.deploy.transport import Transport
from legato.stores.dynamodb import DynamoDBStore
async def main():
    store = DynamoDBStore({url!r}, http=Transport)
    await store.open()
    await store.close()
asyncio.run(main())
"""
THEIRS = """
import botocore.session
client = botocore.session.get_session().create_client(
    "dynamodb", region_name="eu-central-1", endpoint_url={endpoint!r})
client.get_item(TableName={name!r}, Key={{"pk": {{"S": "meta"}}, "sk": {{"S": "meta"}}}}, ConsistentRead=True)
"""


class Counted(Transport):
    """A transport that counts requests and what they cost."""

    requests = 0
    units = 0.0

    async def send(self, request: HttpRequest) -> HttpResponse:
        Counted.requests += 1
        body = json.loads(request.body) | {"ReturnConsumedCapacity": "TOTAL"}
        answer = await super().send(
            HttpRequest(request.method, request.url, request.headers, json.dumps(body).encode())
        )
        spent = json.loads(answer.body).get("ConsumedCapacity", [])
        for each in spent if isinstance(spent, list) else [spent]:
            Counted.units += each["CapacityUnits"]
        return answer


def started(python: str, code: str) -> tuple[float, float]:
    """Milliseconds of CPU and of wall time that a fresh interpreter takes for this, medians."""
    cpu, wall = [], []
    for _ in range(STARTS):
        before, begun = os.times(), time.perf_counter()
        subprocess.run([python, "-c", code], check=True, env=os.environ | WHO)
        wall.append((time.perf_counter() - begun) * 1e3)
        after = os.times()
        cpu.append(
            (
                after.children_user
                + after.children_system
                - before.children_user
                - before.children_system
            )
            * 1e3
        )
    return statistics.median(cpu), statistics.median(wall)


def starts(server: Ministack, url: str) -> list[list[str]]:
    """Rows: how long it takes until the first answer."""
    theirs = THEIRS.format(endpoint=server.endpoint, name="starts")
    rows = (
        ("python -c 'import asyncio, msgspec'", sys.executable, BARE),
        ("the store: open()", sys.executable, OURS.format(url=url)),
        ("botocore: GetItem", ministack_python(), theirs),
    )
    return [
        [name, *(f"{value:.0f}" for value in started(python, code))] for name, python, code in rows
    ]


async def measured(name: str, count: int, work: Callable[[], Awaitable[Any]]) -> list[str]:
    """A row: CPU, requests and units of one of so many."""
    requests, units = Counted.requests, Counted.units
    cpu = time.process_time()
    await work()
    cpu = time.process_time() - cpu
    requests, units = Counted.requests - requests, Counted.units - units
    return [name, f"{cpu / count * 1e6:.0f}", f"{requests / count:.2f}", f"{units / count:.2f}"]


async def works(server: Ministack, count: int, http: type[Transport]) -> list[list[str]]:
    """Rows: what calls cost, one after the other."""
    store = DynamoDBStore(server.url(f"works-{http.__name__}"), http=http)
    await store.open()
    people = min(count, PEOPLE)
    commits = list(turns(2 * people, people))
    ids: list[int] = []

    async def write(commits: list[Commit]) -> None:
        for commit in commits:
            done = await store.commit(commit)
            assert done.result == "committed", done
            ids.extend(done.ids)

    async def settle() -> None:
        for number in ids:
            await store.settle([Settled(number, "sent")])

    async def load() -> None:
        for commit in commits[:people]:
            assert await store.load(commit.key) is not None

    async def due() -> None:
        for _ in range(people):
            await store.due(1, 100)

    rows = [
        await measured("commit, a conversation begins", people, lambda: write(commits[:people])),
        await measured("commit, it goes on", people, lambda: write(commits[people:])),
        await measured("settle, sent", 2 * people, settle),
        await measured("load, two segments", people, load),
        await measured("due, nothing is", people, due),
    ]
    await store.close()
    return rows


async def main() -> None:
    parser = argparse.ArgumentParser(description="What the DynamoDB store costs")
    parser.add_argument("--turns", type=int, default=500)
    turns_: int = parser.parse_known_args()[0].turns
    os.environ.update(WHO)
    print(machine())
    with Ministack() as server:
        url = server.url("starts")
        store = DynamoDBStore(url, http=Transport)
        await store.open()
        await store.close()
        table(("start", "CPU ms", "wall ms"), starts(server, url))
        plain = await works(server, turns_, Transport)
        counted = await works(server, turns_, Counted)
        found = [[*one[:2], *other[2:]] for one, other in zip(plain, counted, strict=True)]
        table(("call", "us CPU", "requests", "capacity units"), found)


if __name__ == "__main__":
    run(main())
