"""Servers that the tests of one worker share, and what one test has of them for itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.servers.ministack import WHO, Ministack
from tests.servers.postgres import Postgres
from tests.servers.rabbit import Rabbit

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    """One Postgres for all tests of this worker that do not kill it."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def shared_rabbit() -> Iterator[Rabbit]:
    """One RabbitMQ for all tests of this worker: its start is dear. `own_rabbit` is for who kills it."""
    with Rabbit() as broker:
        yield broker


@pytest.fixture(scope="session")
def shared_ministack() -> Iterator[Ministack]:
    """One ministack for all tests of this worker."""
    with Ministack() as server:
        yield server


@pytest.fixture
def dynamodb_url(shared_ministack: Ministack, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a table that is made when it is opened."""
    for name, value in WHO.items():
        monkeypatch.setenv(name, value)
    return shared_ministack.url(f"test{next(_numbers)}")


@pytest.fixture
def postgres_url(shared_postgres: Postgres) -> Iterator[str]:
    """The address of an empty database."""
    name = f"test{next(_numbers)}"
    yield shared_postgres.create(name)
    shared_postgres.drop(name)


@pytest.fixture
def rabbit_url(shared_rabbit: Rabbit) -> Iterator[str]:
    """The address of an empty vhost."""
    name = f"test{next(_numbers)}"
    yield shared_rabbit.vhost(name)
    shared_rabbit.drop(name)


@pytest.fixture
def own_rabbit(shared_rabbit: Rabbit, rabbit_url: str) -> Iterator[Rabbit]:
    """The broker of `rabbit_url`, for a test that kills, stops or blocks it.

    Nobody else has it meanwhile, since a worker runs one test at a time.
    """
    yield shared_rabbit
    shared_rabbit.mend()
