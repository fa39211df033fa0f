import resource

import pytest

from legato.functions import files


@pytest.mark.parametrize(("hard", "most"), [(4096, 4096), (resource.RLIM_INFINITY, files.MOST)])
def test_as_many_files_are_taken_as_there_may_be(
    hard: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda what, value: said.append(value))

    assert files.raised() == most
    assert said == [(most, hard)]


def test_clients_leave_files_for_the_processes() -> None:
    assert files.clients(1_000_000, 64) == files.CLIENTS
    assert files.clients(1024, 64) == 1024 - files.OURS - 64 * files.EACH
    assert files.clients(256, 64) == files.OURS
