"""Which files start a bot anew."""

import os
from pathlib import Path

import pytest

from legato.deploy import reload as reload_module
from legato.deploy.reload import snapshot


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_only_what_a_person_changes_counts(tmp_path: Path) -> None:
    counted = [write(tmp_path / name) for name in ("bot.py", "sub/texts.py", "legato.toml")]
    for name in (
        "legato.db",
        "legato.db-wal",
        "notes.txt",
        ".git/hook.py",
        "__pycache__/bot.py",
        "node_modules/x.py",
        "env/pyvenv.cfg",
        "env/lib/x.py",
        ".hidden.d/x.py",
    ):
        write(tmp_path / name)

    assert sorted(snapshot(tmp_path)) == sorted(str(path) for path in counted)


def test_a_change_a_new_file_and_a_deletion_are_seen(tmp_path: Path) -> None:
    bot = write(tmp_path / "bot.py")
    first = snapshot(tmp_path)
    os.utime(bot, ns=(1, 1))
    second = snapshot(tmp_path)
    write(tmp_path / "more.py")
    third = snapshot(tmp_path)
    bot.unlink()
    fourth = snapshot(tmp_path)

    assert len({str(sorted(seen.items())) for seen in (first, second, third, fourth)}) == 4


def test_a_folder_that_is_too_large_is_looked_at_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_module, "MOST_FILES", 3)
    for number in range(5):
        write(tmp_path / f"{number}.py")

    assert len(snapshot(tmp_path)) == 3
