"""The repository's own files, for the tests that read them."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("src", "tests", "examples", "bench", "docs")
PLACES = (*CODE, ".ci", "newsfragments", "ops", "requirements")
BUILT = {"__pycache__", "_build", "node_modules"}


def code_files() -> list[Path]:
    """Every Python file that people maintain."""
    return [*ROOT.glob("*.py"), *(path for path in _under(CODE) if path.suffix == ".py")]


def text_files() -> Iterator[tuple[Path, str]]:
    """Every file that is text, with its text."""
    tops = [path for path in ROOT.iterdir() if path.is_file() and path.suffix != ".db"]
    for path in [*tops, *_under(PLACES)]:
        try:
            yield path, path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # a picture


def _under(places: tuple[str, ...]) -> Iterator[Path]:
    for place in places:
        for path in sorted((ROOT / place).rglob("*")):
            if path.is_file() and BUILT.isdisjoint(path.parts):
                yield path
