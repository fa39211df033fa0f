"""What root runs and reads for a function that runs as somebody else: nobody else should be able to change it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from legato.functions.config import Function
from legato.functions.limits import user_of


def open_to_its_user(function: Function) -> Iterator[Path]:
    """Of the function's folder, from which its settings are read, and the interpreter, which forks it as root: what
    its user may change.
    """
    uid, gid = user_of(function)
    for path in dict.fromkeys((function.folder, Path(function.python))):
        if uid and any(may_change(one, uid, gid) for one in {path, path.resolve()}):
            yield path


def may_change(path: Path, uid: int, gid: int) -> bool:
    """Whether a user may write there, or put something else in its place."""
    return any(_may_write(one, uid, gid) for one in (path, *path.absolute().parents))


def _may_write(path: Path, uid: int, gid: int) -> bool:
    try:
        about = path.stat()
    except OSError:
        return False
    if about.st_uid == uid:
        return True
    if about.st_mode & stat.S_ISVTX and path.is_dir():  # as /tmp: what is others' stays
        return False
    of_group = about.st_gid == gid and about.st_mode & stat.S_IWGRP
    return bool(of_group or about.st_mode & stat.S_IWOTH)


__all__ = ["may_change", "open_to_its_user"]
