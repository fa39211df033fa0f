"""Libraries for the machine of a function, from the package index that pip is set up for."""

from __future__ import annotations

import re
import subprocess  # nosec B404
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from legato.deploy.package.bytecode import compiler_for
from legato.deploy.package.target import Target
from legato.errors import ConfigError

SECONDS = 600
"""For all of them."""
MOST = 5
"""Versions that are named."""
_MISSING = re.compile(r"satisfies the requirement (\S+).*? \(from versions: ([^)]*)\)")
_FAR = re.compile(r"WARNING: Retrying|Connection|timed out")


def install(
    requirements: Sequence[str], target: Target, folder: Path, work: Path, here: Path
) -> None:
    """Unpacks wheels into `folder`; nothing is built, and nothing of this machine is used.

    Args:
        requirements: Lines as in requirements.txt.
        target: What for.
        folder: An empty one.
        work: For files of our own.
        here: Where paths in the lines begin.

    Raises:
        ConfigError: There is no wheel for that machine, or no way to fetch it.
    """
    file = work / "requirements.txt"
    file.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    command = _command(target, folder, file)
    try:
        done = subprocess.run(  # nosec B603
            command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=here
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"the libraries could not be fetched within {SECONDS} s: is the package index far?"
        ) from error
    if done.returncode:
        raise ConfigError(told(done.stderr.replace(str(file), file.name), target))


def told(stderr: str, target: Target) -> str:
    """What an installer complains of, with what can be done."""
    missing = _MISSING.search(stderr)
    if missing is not None:
        name, found = missing[1], [one for one in missing[2].split(", ") if one != "none"]
        has = f"it has {', '.join(found[-MOST:])}" if found else "or does not know it at all"
        if _FAR.search(stderr):
            has += "; it could not be reached always"
        return (
            f"{name}: the package index has no wheel of it for {target.text}, {has}. Nothing is built for another "
            "machine: another version may have one, or another --arch or --python"
        )
    lines = [line for line in stderr.splitlines() if line.strip()]
    # What is indented below an error belongs to it: newer pips tell there in which line it is.
    kept = [at for at, line in enumerate(lines) if "ERROR" in line]
    kept += [at + n for at in kept for n in (1, 2, 3) if _indented(lines[at + 1 : at + n + 1], n)]
    errors = " ".join(lines[at].removeprefix("ERROR: ").strip() for at in sorted(set(kept)))
    return f"the libraries could not be fetched as wheels for {target.text}: {errors or ' '.join(lines[-5:]):.600}"


def _indented(lines: Sequence[str], count: int) -> bool:
    return len(lines) == count and all(line[0].isspace() for line in lines)


def _command(target: Target, folder: Path, file: Path) -> list[str]:
    """Which requirements are for a version, pip asks the Python that runs it: so it is the target's, where there is
    one.
    """
    if find_spec("pip") is not None:
        platforms = [word for tag in target.platforms for word in ("--platform", tag)]
        python = compiler_for(target.python) or sys.executable
        by = [] if python == sys.executable else ["--python", python]
        return [
            sys.executable, "-m", "pip", *by, "install", "--quiet", "--no-input", "--disable-pip-version-check",
            "--target", str(folder), "--no-compile", "--only-binary=:all:", "--implementation", "cp",
            "--python-version", target.python, *platforms, "--requirement", str(file),
        ]  # fmt: skip
    beside = str(Path(sys.executable).parent)  # an environment that is used without being activated
    uv = which("uv", path=beside) or which("uv")
    if uv is None:
        raise ConfigError("neither pip nor uv is here: python -m ensurepip")
    return [
        uv, "pip", "install", "--quiet", "--target", str(folder), "--only-binary", ":all:",
        "--python-version", target.python, "--python-platform",
        f"{target.machine}-manylinux_2_{_known(target.glibc)}", "--requirement", str(file),
    ]  # fmt: skip


def _known(glibc: int) -> int:
    """The newest glibc that uv has a name for and that is not newer."""
    return max(minor for minor in (17, 28, 31, 32, 33, 34, 35) if minor <= glibc)


__all__ = ["install", "told"]
