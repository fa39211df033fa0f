"""Invented dialogs, invented inputs: warm, cold and crashing processes write the same bytes, and any
process replays them to the same next commands.

More examples: LEGATO_SOAK=20 plays twenty times as many.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from msgspec.structs import replace

from legato.model.records import Commit, Loaded
from legato.stores.sqlite import SQLiteStore
from tests.property.programs import INPUTS, PROGRAMS, Input, Played, Player, Program
from tests.property.replays import prefixes, read

SOAK = int(os.environ.get("LEGATO_SOAK", "1"))
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Many of the invented dialogs fail; their tracebacks would bury a report."""
    log = logging.getLogger("legato.turn")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


def some(examples: int) -> settings:
    return settings(
        max_examples=examples * SOAK,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def play(mode: str, program: Program, inputs: list[Input]) -> Played:
    return asyncio.run(Player(mode).play(program, inputs))


@given(PROGRAMS, INPUTS)
@example(
    program=[["gather", [["ask", "int", {"attempts": 2}]], [["signal", "a"], ["step", 1]]]],
    inputs=[("says", "12abc"), ("signals", "a"), ("says", "12abc")],
)
@example(
    program=[["gather", [["ask", "int", {"remind_after": 5}]], [["signal", "a"], ["step", 1]]]],
    inputs=[("advances", 10), ("signals", "a"), ("advances", 10)],
)
@example(
    program=[["shield", [["ask", "bool", {}]]], ["signal", "a"]],
    inputs=[("signals", "a"), ("does", "/run"), ("says", "yes"), ("repeats", 2)],
)
@some(100)
def test_every_mode_writes_the_same_bytes_and_says_the_same(
    program: Program, inputs: list[Input]
) -> None:
    warm = play("warm", program, inputs)
    for mode in ("cold", "crash"):
        other = play(mode, program, inputs)
        for step, (one, two) in enumerate(zip(warm.stored, other.stored, strict=True)):
            assert one == two, f"{mode} after {inputs[step - 1] if step else 'the start'}"
        assert warm.shown == other.shown, mode
        assert warm.calls == other.calls, mode


@given(PROGRAMS, INPUTS)
@some(60)
def test_every_prefix_of_a_journal_leads_to_the_same_next_commands(
    program: Program, inputs: list[Input]
) -> None:
    for loaded in conversations(play("warm", program, inputs)):
        for fresh, steady in prefixes(loaded):
            assert fresh == steady


def conversations(played: Played) -> list[Loaded]:
    """All states in which a conversation was stored, each once."""
    found = {}
    for stored in (stored for step in played.stored for stored in step):
        loaded = Loaded(stored.row, stored.birth, stored.segments)
        found[stored.row.key, stored.row.epoch, stored.row.head] = loaded
    return list(found.values())


def test_other_processes_replay_the_same(tmp_path: Path) -> None:
    found: list[Loaded] = []

    @given(PROGRAMS, INPUTS)
    @example(  # fails between two steps, while another branch waits
        program=[["gather", [["ask", "int", {}]], [["signal", "a"], ["step", 1], ["fail"]]]],
        inputs=[("signals", "a")],
    )
    @some(60)
    def collect(program: Program, inputs: list[Input]) -> None:
        found.extend(conversations(play("cold", program, inputs)))

    collect()
    path = tmp_path / "bot.db"
    asyncio.run(write(path, found))
    told = asyncio.run(read(path))
    assert len(told) == len(found) > 30
    assert {lines[0] for lines in told.values()} <= {"same", "raises"}
    for seed, zone in (("1", "Asia/Kathmandu"), ("4242", "America/St_Johns")):
        assert elsewhere(path, seed, zone) == told


async def write(path: Path, found: list[Loaded]) -> None:
    """All conversations in one file, under numbers in place of their keys."""
    store = SQLiteStore(path, threads=False)
    await store.open()
    for number, loaded in enumerate(found):
        row = replace(loaded.conversation, key=f"{number}", head=0)
        commit = Commit(at_ms=1, key=row.key, row=row, birth=loaded.birth)
        await store.commit(commit)
        for segment in loaded.segments:
            grown = replace(row, head=row.head + 1)
            expect = (row.epoch, row.head)
            row = grown
            await store.commit(
                Commit(at_ms=1, key=row.key, expect=expect, row=grown, segment=segment)
            )
    await store.close()


def elsewhere(path: Path, seed: str, zone: str) -> dict[str, list[str]]:
    """What another process tells, with other hashes and another time zone."""
    env = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone}
    run = subprocess.run(
        [sys.executable, "-m", "tests.property.replays", str(path)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, list[str]] = json.loads(run.stdout)
    return found
