"""The bot's folder, as far as it belongs into a package.

`.legatoignore` in it leaves out more: one pattern a line, as in .gitignore but simpler. "data/" is a folder
anywhere, "*.csv" a file anywhere, "docs/*.md" a path from the top; "!keep.csv" takes something back in,
except what could hold secrets. A "#" begins a comment.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from legato.errors import ConfigError

IGNORE_FILE = ".legatoignore"
MOST_FILES = 20_000
NEVER = (
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa",
    "id_ecdsa",
    "id_ed25519",
    "*.db",
    "*.db-*",
    "*.sqlite",
    "*.sqlite-*",
    "*.sqlite3",
    "*.sqlite3-*",
    "legato.toml",
)
"""They hold secrets or conversations, however they are capitalised and whatever a link to them is called; no pattern
takes them in. Settings of legato.toml go to the service as variables."""
USUALLY = (
    ".*",
    "__pycache__/",
    "*.pyc",
    "*.egg-info/",
    "venv/",
    "env/",
    "node_modules/",
    "build/",
    "dist/",
    "tests/",
    "test_*.py",
    "conftest.py",
    "*.zip",
    "*.log",
    "*.whl",
    "requirements*.txt",
)
"""Of no use in a function."""


def own_files(folder: Path) -> dict[str, Path]:
    """The bot's own files: {path in the package: file}, sorted.

    Raises:
        ConfigError: The folder is no bot's: it holds too much.
    """
    patterns = [*USUALLY, *_patterns(folder / IGNORE_FILE)]
    found = {}
    for path in _walk(folder, folder, patterns, ()):
        found[path.relative_to(folder).as_posix()] = path
        if len(found) > MOST_FILES:
            raise ConfigError(
                f"{folder} holds more than {MOST_FILES} files: give the bot a folder of its own, or leave "
                f"something out in {IGNORE_FILE}"
            )
    return found


def _walk(folder: Path, top: Path, patterns: list[str], above: tuple[Path, ...]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:  # a link leads back to where we come from
        return
    for path in sorted(folder.iterdir()):
        relative = path.relative_to(top).as_posix()
        if _is_secret(path.name) or (path.is_symlink() and _is_secret(path.resolve().name)):
            continue
        if _ignored(relative, patterns, folder=path.is_dir()):
            continue
        if path.is_dir():
            if not (path / "pyvenv.cfg").exists():
                yield from _walk(path, top, patterns, (*above, real))
        elif path.is_file():
            yield path


def _is_secret(name: str) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in NEVER)


def _ignored(relative: str, patterns: list[str], *, folder: bool) -> bool:
    """Whether the last pattern that fits leaves it out."""
    ignored = False
    name = relative.rpartition("/")[2]
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if bare.endswith("/") and not folder:
            continue
        bare = bare.rstrip("/")
        subject = relative if "/" in bare else name
        if fnmatchcase(subject, bare.removeprefix("/")):
            ignored = not pattern.startswith("!")
    return ignored


def _patterns(file: Path) -> list[str]:
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


__all__ = ["IGNORE_FILE", "own_files"]
