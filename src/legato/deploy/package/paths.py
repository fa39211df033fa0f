"""Where Python finds modules, as far as a bot's own files and this machine say it."""

from __future__ import annotations

import ast
import site
import sysconfig
from pathlib import Path

LIBRARIES = frozenset({"site-packages", "dist-packages"})
"""Folders that hold what was installed, whoever's Python they are of."""


def changes_path(tree: ast.Module) -> bool:
    """Whether a module changes, or at least looks at, where modules are found."""
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("sys", "path"), ("site", "addsitedir")}
        for node in ast.walk(tree)
    )


def is_installed(file: Path, folder: Path) -> bool:
    """Whether a file below a bot's folder is none of the bot's: it belongs to Python, or to a library. An environment
    may stand there, or all of a home.
    """
    above = [parent for parent in file.parents if parent.is_relative_to(folder)]
    if any(one.name in LIBRARIES or (one / "pyvenv.cfg").exists() for one in above):
        return True
    roots = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    return any(Path(root) in above for root in {*roots, site.getusersitepackages()})


__all__ = ["changes_path", "is_installed"]
