"""A file can be read in one sitting, and a function on one screen."""

import ast
from pathlib import Path

from tests.repo.files import ROOT, code_files

FILE_LINES = 400
FUNCTION_LINES = 60


def test_no_file_is_longer_than_400_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in code_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES
    }

    assert not long, f"make each a folder with the same import path: {long}"


def test_no_function_is_longer_than_60_lines() -> None:
    long = {name: lines for path in code_files() for name, lines in _functions(path).items()}

    assert not long, f"split each by what it decides and what it does: {long}"


def _functions(path: Path) -> dict[str, int]:
    """The functions in `path` that are too long; a docstring costs nothing."""
    found = {}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        text = first if ast.get_docstring(node) is not None else None
        docstring = (text.end_lineno or 0) - text.lineno + 1 if text else 0
        lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
        if lines > FUNCTION_LINES:
            found[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    return found
