from pathlib import Path

import pytest

from legato.functions.config import Function
from legato.functions.trust import may_change, open_to_its_user

NOBODY = (54_321, 54_321)


def test_a_user_may_change_what_it_owns_or_may_write_or_put_something_in_the_place_of(
    tmp_path: Path,
) -> None:
    place = tmp_path / "bots" / "shop"
    place.mkdir(parents=True)
    file = place / "python"
    file.touch(0o755)
    about = place.stat()

    assert may_change(file, about.st_uid, NOBODY[1])
    assert not may_change(file, *NOBODY)
    assert not may_change(place / "none", *NOBODY)
    file.chmod(0o757)
    assert may_change(file, *NOBODY)
    file.chmod(0o755)
    place.parent.chmod(0o775)
    assert may_change(file, NOBODY[0], place.parent.stat().st_gid)
    assert not may_change(file, *NOBODY)
    place.parent.chmod(0o1777)
    assert not may_change(file, *NOBODY)
    place.parent.chmod(0o777)
    assert may_change(file, *NOBODY)


def test_the_folder_and_the_interpreter_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").touch(0o755)
    function = Function(
        name="bot", folder=tmp_path / "bot", handler="bot.handler", python=str(tmp_path / "python")
    )
    function.folder.mkdir(0o777)
    function.folder.chmod(0o777)

    monkeypatch.setattr("legato.functions.trust.user_of", lambda function: NOBODY)
    assert list(open_to_its_user(function)) == [function.folder]
    monkeypatch.setattr("legato.functions.trust.user_of", lambda function: (0, 0))
    assert list(open_to_its_user(function)) == []
