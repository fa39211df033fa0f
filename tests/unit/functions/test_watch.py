import os
from pathlib import Path

from legato.functions.watch import Watch

CREATED, REMOVED = "ObjectCreated:Put", "ObjectRemoved:Delete"


def test_a_file_counts_once_it_has_stopped_to_grow(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    watch = Watch(tmp_path)
    file = tmp_path / "sub" / "new"
    file.parent.mkdir()

    file.write_text("a")
    assert watch.changes() == []
    file.write_text("ab")
    assert watch.changes() == []
    assert watch.changes() == [(file, CREATED)]
    assert watch.changes() == []


def test_what_changes_comes_again_and_what_goes_is_told(tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_text("a")
    watch = Watch(tmp_path)

    os.utime(file, ns=(1, 1))
    watch.changes()
    assert watch.changes() == [(file, CREATED)]
    file.unlink()
    assert watch.changes() == [(file, REMOVED)]
    assert watch.changes() == []


def test_hidden_files_are_not_yet_files(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    (tmp_path / ".part").write_text("a")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x").write_text("a")
    watch.changes()

    assert watch.changes() == []
    (tmp_path / ".part").rename(tmp_path / "whole")
    watch.changes()
    assert watch.changes() == [(tmp_path / "whole", CREATED)]


def test_a_folder_may_come_later(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "later")
    assert watch.changes() == []
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a").touch()
    watch.changes()

    assert watch.changes() == [(tmp_path / "later" / "a", CREATED)]
