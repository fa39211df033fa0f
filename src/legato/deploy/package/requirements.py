"""What a bot needs besides its own files: requirements.txt beside it, and what Legato itself needs.

Legato is not fetched: the one that makes the package goes into it. "legato[twitch]" in requirements.txt
brings the libraries of that extra.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

FILE = "requirements.txt"
BARE = ("msgspec>=0.19",)
"""Of a Legato that runs without having been installed."""
_OURS = re.compile(r"legato\s*(?:\[([^\]]*)\])?\s*(?:[=<>!~;@ #].*)?", re.IGNORECASE)
_EXTRA = re.compile(r"\(?(.*?)\)?\s*(?:and\s+)?extra\s*==\s*['\"]([^'\"]+)['\"]\s*\Z")
_NESTED = re.compile(r"(-r|--requirement|-c|--constraint)[ =]\s*(\S+)")


def requirements_of(folder: Path) -> list[str]:
    """Lines for pip: the bot's requirements.txt, with nothing in the lines of Legato, then what that needs. So an
    error tells the number of the line in the bot's own file.
    """
    file = folder / FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    extras: set[str] = set()
    kept = []
    for line in lines:
        ours = _OURS.fullmatch(line.strip())
        if ours is not None:
            extras |= {name.strip().lower() for name in (ours[1] or "").split(",") if name.strip()}
            kept.append("")
            continue
        nested = _NESTED.match(line.strip())
        path = "" if nested is None else f"{nested[1]} {(folder / nested[2]).absolute()}"
        kept.append(path or line)
    return [*kept, *needed(extras)]


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


__all__ = ["requirements_of"]
