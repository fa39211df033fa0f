"""What a bot needs besides its own files: requirements.txt beside it, and what Legato itself needs.

Legato is not fetched: the one that makes the package goes into it. "legato[twitch]" in requirements.txt
brings the libraries of that extra.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from msgspec import Struct

from legato.errors import ConfigError

FILE = "requirements.txt"
BARE = ("msgspec>=0.19",)
"""Of a Legato that runs without having been installed."""
DEEPEST = 20
"""Files that name files."""
_OURS = re.compile(r"legato\s*(?:\[([^\]]*)\])?\s*(?:[=<>!~;@ #].*)?", re.IGNORECASE)
_EXTRA = re.compile(r"\(?(.*?)\)?\s*(?:and\s+)?extra\s*==\s*['\"]([^'\"]+)['\"]\s*\Z")
_NESTED = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?<=-r)|(?<=-c))(\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+)")
_FOLDER = re.compile(
    r"(?:file:(?://)?)?((?:\.{1,2}/|/)[^\[;#\s]*|\.{1,2}(?=\[|\s|$))(?:\[([^\]]*)\])?"
)


class Requirements(Struct, frozen=True):
    """Lines for pip.

    Attributes:
        own: The bot's, with nothing in the lines of Legato: so an error tells the number of the line in its file.
        ours: What Legato needs.
        hashed: Whether the bot's say what each file's hash is: then pip takes nothing without.
    """

    own: list[str]
    ours: list[str]
    hashed: bool = False


def requirements_of(folder: Path) -> Requirements:
    """What the bot in a folder needs.

    Raises:
        ConfigError: A file is no text, or the files name each other.
    """
    file = folder / FILE
    extras: set[str] = set()
    own = _lines(file, folder, extras, 0) if file.is_file() else []
    return Requirements(own, needed(extras), _hashed(own))


def _hashed(lines: Iterable[str]) -> bool:
    """Whether lines, or a file that one of them names, say hashes: pip asks for those of all others then."""
    for line in lines:
        nested = _NESTED.fullmatch(line)
        path = Path(nested[2]) if nested is not None else None
        if path is not None and path.is_file():
            if _hashed(_text(path).splitlines()):
                return True
        elif "--hash" in line or "--require-hashes" in line:
            return True
    return False


def _lines(file: Path, folder: Path, extras: set[str], depth: int) -> list[str]:
    """A file's lines, as many as there are in it where no file that it names speaks of Legato; of that, `extras`."""
    if depth > DEEPEST:
        raise ConfigError(f"{file}: the files of requirements name each other")
    kept: list[str] = []
    for lines in _logical(_text(file)):
        whole = " ".join(line.rstrip("\\").strip() for line in lines)
        found = _own_extras(whole, folder)
        if found is not None:
            extras |= found
            kept += [""] * len(lines)
            continue
        nested = _NESTED.fullmatch(whole.partition(" #")[0].strip())
        if nested is not None and "://" not in nested[2]:
            kept += _named(nested[1], file.parent / nested[2], folder, extras, depth)
        elif _EDITABLE.match(whole):  # what stands elsewhere must come into the package
            kept += [_EDITABLE.sub("", whole), *[""] * (len(lines) - 1)]
        else:
            kept += lines
    return kept


def _named(option: str, path: Path, folder: Path, extras: set[str], depth: int) -> list[str]:
    """What stands for a line that names another file."""
    if option.endswith(("c", "constraint")) or not path.is_file():
        return [f"{option} {path.absolute()}"]
    before = set(extras)
    lines = _lines(path, folder, extras, depth + 1)
    unchanged = lines == _text(path).splitlines() and extras == before
    return [f"{option} {path.absolute()}"] if unchanged else lines


def _logical(text: str) -> Iterator[list[str]]:
    """Lines, with those that go on in the next one together with it."""
    found: list[str] = []
    for line in text.splitlines():
        found.append(line)
        if not line.endswith("\\") or line.lstrip().startswith("#"):
            yield found
            found = []
    if found:
        yield found


def _own_extras(line: str, folder: Path) -> set[str] | None:
    """The extras of Legato in a line, None if it is about something else."""
    ours = _OURS.fullmatch(line.strip())
    named = ours[1] if ours is not None else None
    if ours is None:
        place = _FOLDER.match(_EDITABLE.sub("", line.strip()))
        if place is None or _project(folder / place[1]) != "legato":
            return None
        named = place[2]
    return {name.strip().lower() for name in (named or "").split(",") if name.strip()}


def _project(folder: Path) -> str:
    """The name of the project in a folder, "" if there is none."""
    try:
        found = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        return str(found["project"]["name"]).lower()
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _text(file: Path) -> str:
    """What a file says; Windows writes UTF-16 by itself."""
    data = file.read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no text: save it as UTF-8") from error


def needed(extras: set[str]) -> list[str]:
    """What this Legato needs with these extras."""
    try:
        listed = requires("legato") or list(BARE)
    except PackageNotFoundError:
        listed = list(BARE)
    found = []
    for line in listed:
        requirement, _, marker = line.partition(";")
        tied = _EXTRA.fullmatch(marker.strip())
        if tied is None:
            found.append(line)
        elif tied[2] in extras:
            rest = tied[1].strip().removesuffix(" and").strip(" ()")
            found.append(f"{requirement.strip()}; {rest}" if rest else requirement.strip())
    return sorted(set(found))


__all__ = ["Requirements", "requirements_of"]
