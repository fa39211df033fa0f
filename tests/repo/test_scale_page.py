"""The page on growing shows what its command prints."""

import pytest

from bench import scale
from tests.repo.files import ROOT

PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed() -> list[list[str]]:
    """Each table of the command."""
    loads = [scale.Load(users) for users in scale.STEPS]
    return [scale.cost_table(), scale.plan_table(loads), scale.scene_table(scale.SCENES)]


def test_its_tables_are_those_of_the_command(printed: list[list[str]]) -> None:
    missing = ["\n".join(table) for table in printed if "\n".join(table) not in PAGE]
    assert not missing, "`python -m bench.scale` prints others now; put them into docs/scale.md"


def test_its_command_prints_them_all(
    printed: list[list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "scene_table", lambda scenes: printed[2])
    scale.main([])
    assert capsys.readouterr().out.strip() == "\n\n".join("\n".join(table) for table in printed)


def test_every_cost_says_how_it_was_measured() -> None:
    numbers = {name for name in scale.Costs.__struct_fields__ if name != "inbox_days"}
    assert set(scale.MEASURED) == numbers


def test_more_workers_at_once_never_leave_one_without_a_shard() -> None:
    for shards, workers in ((64, 16), (64, 64), (256, 39)):
        owners = scale.spread(shards, [f"worker {n}" for n in range(workers)])
        counts = [owners.count(f"worker {n}") for n in range(workers)]
        assert min(counts) >= 1
        assert sum(counts) == shards
