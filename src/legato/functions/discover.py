"""Looks into a function's file without running it: what is its handler, and what does it import?"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from legato.deploy.package.paths import changes_path

PYTHON_FILES = ("bot.py", "main.py", "app.py", "handler.py", "lambda_function.py", "index.py")
NODE_FILES = ("index.mjs", "index.cjs", "index.js", "handler.mjs", "handler.cjs", "handler.js")
CODE = (".py", ".mjs", ".cjs", ".js")
HANDLERS = ("handler", "lambda_handler")

_SEEMS = re.compile(
    r"^(?:(?:async +)?def +)?(handler|lambda_handler)\b *[(=:]|^\w+ *(?::[^=\n]+)?= *(?:\w+\.)*(App)\(",
    re.MULTILINE,
)

LEGATO = ("legato", "legato.deploy.function", "legato.stores.sqlite", "legato.platforms.telegram")
"""What a bot of ours loads at its first update."""


def entry_of(folder: Path) -> Path | None:
    """The file in a folder that is a function by its name, None if there is none."""
    for name in (*PYTHON_FILES, *NODE_FILES):
        if (folder / name).is_file():
            return folder / name
    return None


def parsed(file: Path) -> ast.Module | None:
    """The syntax tree of a Python file; None if it has none: whoever runs it is told why."""
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError):
        return None


def handler_in(tree: ast.Module) -> str:
    """The name of the handler at a file's top level, "" if there is none."""
    names = _names(tree)
    return next((name for name in HANDLERS if name in names), "")


def has_app(tree: ast.Module) -> bool:
    """Whether a file makes an App of ours at its top level."""
    return any(
        isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).rpartition(".")[2] == "App"
        for node in tree.body
    )


def seems_to_have(file: Path) -> str:
    """What a file with a syntax error will have, as far as its text says: the name of its handler, "App",
    or "" if it has neither.
    """
    found = {a or b for a, b in _SEEMS.findall(file.read_text("utf-8", "replace"))}
    return next((name for name in (*HANDLERS, "App") if name in found), "")


def imports_of(tree: ast.Module, folders: Sequence[Path]) -> tuple[str, ...]:
    """The modules that a file imports at its top level and that are not the function's own: several
    functions can share what is loaded of them.

    Args:
        tree: Of the file.
        folders: Where the function has its own. A file that changes sys.path may have them anywhere.
    """
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    foreign = {name for name in found if not any(_is_own(name, folder) for folder in folders)}
    if changes_path(tree):
        foreign = {name for name in foreign if name.partition(".")[0] == "legato"}
    if any(name.partition(".")[0] == "legato" for name in foreign):
        foreign.update(LEGATO)
    return tuple(sorted(foreign - set(sys.builtin_module_names) - {"__future__"}))


def code_mark(folder: Path) -> int:
    """Changes when a file of code in a folder does (not in its subfolders)."""
    marks = []
    try:
        for path in folder.iterdir():
            if path.suffix in CODE:
                about = path.stat()
                marks.append((path.name, about.st_mtime_ns, about.st_size))
    except OSError:
        return 0  # a file has just been replaced: the next look sees it
    return hash(tuple(sorted(marks)))


def _is_own(name: str, folder: Path) -> bool:
    first = folder / name.partition(".")[0]
    return first.with_suffix(".py").exists() or first.is_dir()


def _names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


__all__ = [
    "code_mark",
    "entry_of",
    "handler_in",
    "has_app",
    "imports_of",
    "parsed",
    "seems_to_have",
]
