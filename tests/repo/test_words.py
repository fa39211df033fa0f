"""What must not stand in the repository: one machine's names, unfinished work, calls that run data."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.repo.files import ROOT, code_files, text_files

# Put together from parts, so that this file passes its own test.
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
PATTERNS = {
    "the host of a package registry": re.compile("|".join(map(re.escape, HOSTS))),
    "a path of one machine": re.compile(r"(?<![\w.:}-])/(?:work|root|home|Users)/"),
    "an open mark": re.compile(r"\b(?:TO" + "DO|FIX" + r"ME|XX" + r"X)\b"),
}
RUNS_DATA = {"eval", "exec", "yaml.load", "os.system", "os.popen"}
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill"}


@pytest.mark.parametrize("what", PATTERNS)
def test_no_file_holds(what: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        if PATTERNS[what].search(line)
    ]

    assert not found, f"{what}:\n" + "\n".join(found)


def test_nothing_shipped_runs_what_it_reads() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in code_files()
        if path.is_relative_to(ROOT / "src")
        for line, name in _names(ast.parse(path.read_bytes()))
        if name in RUNS_DATA or name.partition(".")[0] in UNSAFE_MODULES
    ]

    assert not found, "\n".join(found)


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Everything imported and everything called by name, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield node.lineno, module
            case ast.Call(func=func):
                yield node.lineno, ast.unparse(func)
            case _:
                continue
