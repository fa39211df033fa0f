"""Which store and platforms are run."""

from pathlib import Path

import pytest

from legato.deploy.parts import make_store
from legato.errors import ConfigError
from legato.stores.memory import MemoryStore
from legato.stores.sqlite import SQLiteStore


async def test_a_store_stands_where_its_address_says(tmp_path: Path) -> None:
    near, far = make_store("sqlite:///near.db"), make_store(f"sqlite:///{tmp_path}/far.db")
    assert isinstance(near, SQLiteStore)
    assert isinstance(far, SQLiteStore)

    assert (near.path, far.path) == ("near.db", str(tmp_path / "far.db"))
    assert isinstance(make_store("memory://"), MemoryStore)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:canary@h/db", "has no postgresql store"),
        ("dynamodb://table", "has no dynamodb store"),
        ("sqlite://bot.db", "sqlite:///bot.db"),
        ("sqlite:///", "sqlite:///bot.db"),
        ("bot.db", "is no store"),
        ("memory://x", "is no store"),
    ],
)
def test_an_address_of_no_store_is_refused_with_the_cure(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        make_store(url)
    assert "canary" not in str(caught.value)
