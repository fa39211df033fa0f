"""Libraries for the machine of a function, from the package index that pip is set up for."""

from __future__ import annotations

import json
import re
import subprocess  # nosec B404
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from legato.deploy.package.requirements import Requirements
from legato.deploy.package.target import Target
from legato.errors import ConfigError

SECONDS = 600
"""For all of them."""
MOST = 5
"""Versions that are named."""
PIP = """
import json, sys
try:
    from pip._vendor.packaging import markers
    here, there = markers.default_environment, json.loads(sys.argv[1])
    markers.default_environment = lambda: here() | there
except (ImportError, AttributeError):
    pass
from pip._internal.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
"""pip, which asks of this machine whether a line is for it ("; sys_platform == 'linux'"), and has no option for another."""
_MISSING = re.compile(r"satisfies the requirement (\S+).*? \(from versions: ([^)]*)\)")
_FAR = re.compile(r"WARNING: Retrying|Connection|timed out")


def install(
    requirements: Requirements, target: Target, folder: Path, work: Path, here: Path
) -> None:
    """Unpacks wheels into `folder`; nothing is built but what a line names by its folder, and nothing of this machine
    is used.

    Args:
        requirements: What is needed.
        target: What for.
        folder: An empty one.
        work: For files of our own.
        here: Where paths in the lines begin.

    Raises:
        ConfigError: There is no wheel for that machine, or no way to fetch it.
    """
    own, ours = requirements.own, requirements.ours
    if not requirements.hashed:
        _fetch([*own, *ours], target, folder, work, here)
        return
    # Ours have no hashes. What was fetched by its hash stays as it is.
    _fetch(own, target, folder, work, here)
    versions = "".join(f"{name}=={version}\n" for name, version in installed(folder).items())
    (work / "constraints.txt").write_text(versions, encoding="utf-8")
    _fetch([*ours, f"-c {work / 'constraints.txt'}"], target, folder, work, here)


def installed(folder: Path) -> dict[str, str]:
    """Names and versions of what was unpacked."""
    found = {}
    for path in sorted(folder.glob("*.dist-info")):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        found[name] = version
    return found


def _fetch(lines: Sequence[str], target: Target, folder: Path, work: Path, here: Path) -> None:
    file = work / "requirements.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
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
    if find_spec("pip") is not None:
        platforms = [word for tag in target.platforms for word in ("--platform", tag)]
        return [
            sys.executable, "-c", PIP, json.dumps(markers_of(target)),
            "install", "--quiet", "--no-input", "--disable-pip-version-check",
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


def markers_of(target: Target) -> dict[str, str]:
    """What a line's condition may ask for, as the function's Python would answer."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{target.python}.0",
        "os_name": "posix",
        "platform_machine": target.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{target.python}.0",
        "python_version": target.python,
        "sys_platform": "linux",
    }


def _known(glibc: int) -> int:
    """The newest glibc that uv has a name for and that is not newer."""
    return max(minor for minor in (17, 28, 31, 32, 33, 34, 35) if minor <= glibc)


__all__ = ["install", "installed", "markers_of", "told"]
