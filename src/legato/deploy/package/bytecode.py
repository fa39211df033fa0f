"""Bytecode that a function takes without looking at the source: without it a cold start compiles each file
that it imports, which about doubles its time.
"""

from __future__ import annotations

import subprocess  # nosec B404
import sys
from pathlib import Path
from shutil import which

ROOT = "/var/task"
"""Where the files stand in the function, for tracebacks."""


def compiler_for(python: str) -> str:
    """A Python of this version on this machine, "" if there is none."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == python:
        return sys.executable
    for found in _candidates(python):
        done = subprocess.run(  # nosec B603
            [found, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.stdout.strip() == python:
            return found
    return ""


def _candidates(python: str) -> list[str]:
    """Programs that could be it: on the PATH, and what pyenv and uv have installed."""
    home = Path.home()
    installed = sorted(home.glob(f".pyenv/versions/{python}.*/bin/python"))
    installed += sorted(home.glob(f".local/share/uv/python/cpython-{python}.*/bin/python3"))
    named = which(f"python{python}")
    return [*([named] if named else []), *map(str, installed)]


def compile_all(folder: Path, python: str) -> bool:
    """Compiles everything in `folder`, the same bytes each time; False if no such Python is here."""
    compiler = compiler_for(python)
    if not compiler:
        return False
    subprocess.run(  # nosec B603
        [
            compiler, "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
            "-s", str(folder), "-p", ROOT, str(folder),
        ],
        env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=600,
        check=False,  # a file that does not compile is one that nobody imports
    )  # fmt: skip
    return True


__all__ = ["compile_all", "compiler_for"]
