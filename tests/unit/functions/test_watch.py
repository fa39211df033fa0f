import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

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


def test_of_more_files_than_are_looked_at_none_counts_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    watch = Watch(tmp_path)
    monkeypatch.setattr("legato.functions.watch.FILES", 1)

    assert [watch.changes() for _ in range(3)] == [[], [], []]
    assert len(caplog.records) == 1
    monkeypatch.setattr("legato.functions.watch.FILES", 10)
    (tmp_path / "a").unlink()
    assert watch.changes() == [(tmp_path / "a", REMOVED)]


def test_files_of_a_folder_that_cannot_be_read_are_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "away"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    watch, scandir = Watch(tmp_path), os.scandir

    def failing(path: str) -> Any:
        if path.endswith("away"):
            raise OSError(errno.EIO, "the disk fails", path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", failing)
    (tmp_path / "here" / "file").unlink()
    assert watch.changes() == [(tmp_path / "here" / "file", REMOVED)]
    monkeypatch.undo()
    assert not watch.changes()
    shutil.rmtree(tmp_path / "away")
    assert watch.changes() == [(tmp_path / "away" / "file", REMOVED)]


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    os.mkfifo(tmp_path / "pipe")

    assert [watch.changes() for _ in range(3)] == [[], [], []]
