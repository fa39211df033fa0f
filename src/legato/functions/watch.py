"""New files in a folder, found by looking.

A file counts once it has not changed between two looks: whoever writes it slowly is waited for. What is
there at the start is known already; what changes comes again, as it does in S3.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

LOOK_S = 1.0
FILES = 100_000
"""More are not looked at, and then none counts as gone: who knows which of them were left out."""

Mark = tuple[int, int, int]

log: logging.Logger = logging.getLogger("legato.functions")


class Watch:
    """What is known of one folder.

    Args:
        folder: Looked through with all its subfolders; it may come into being later.

    Attributes:
        folder: The same.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all = True  # whether all of its files were looked at
        self._unread: set[Path] = set()
        self._known = dict(self._look())
        self._fresh: dict[Path, Mark] = {}

    def changes(self) -> list[tuple[Path, str]]:
        """Looks once; returns files with what happened to them, as S3 names it."""
        seen = dict(self._look())
        found = []
        gone = [path for path in self._known if path not in seen] if self._all else []
        for path in [path for path in gone if self._unread.isdisjoint(path.parents)]:
            del self._known[path]
            found.append((path, "ObjectRemoved:Delete"))
        fresh = {path: mark for path, mark in seen.items() if self._known.get(path) != mark}
        for path, mark in fresh.items():
            if self._fresh.get(path) == mark:
                self._known[path] = mark
                found.append((path, "ObjectCreated:Put"))
        self._fresh = {path: mark for path, mark in fresh.items() if path not in dict(found)}
        return found

    def _look(self) -> Iterator[tuple[Path, Mark]]:
        count = 0
        self._unread.clear()
        for place, folders, names in os.walk(self.folder, onerror=self._not_read):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if name.startswith("."):
                    continue  # how many programs name what they have not yet finished
                count += 1
                if count > FILES:
                    if self._all:
                        log.warning(
                            "%s holds more than %d files: not all are seen", self.folder, FILES
                        )
                    self._all = False
                    return
                path = Path(place, name)
                try:
                    about = path.stat()
                except OSError:
                    continue  # it has just gone
                if not S_ISREG(about.st_mode):
                    continue  # who opens a pipe waits for the one who writes to it
                yield path, (about.st_mtime_ns, about.st_size, about.st_ino)
        self._all = True

    def _not_read(self, error: OSError) -> None:
        """A disk that fails, or one that may not look there: the files may be there all the same."""
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self._unread.add(Path(error.filename))


__all__ = ["Watch"]
