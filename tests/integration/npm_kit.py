"""Programs of Node.js that tests need, installed once in a folder that stays."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers._process import kept


def installed(*packages: str) -> Path:
    """The folder that has `node_modules` with these packages, each given with its version.

    Without npm the test is skipped on a laptop, and fails in CI.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        if "CI" in os.environ:
            pytest.fail(f"{packages[0]} needs node and npm")
        pytest.skip(f"{packages[0]} needs node and npm")
    place = kept("npm") / hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers wait for the first
        if not (place / ".ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
            command += [f"--prefix={place}", *packages]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(f"{packages} cannot be installed: {done.stderr[-800:]}")
            (place / ".ready").touch()
    return place
