"""A cloud function pays for every import at each cold start: few are allowed, and each has a reason."""

import subprocess
import sys

import pytest

BASELINE = "import asyncio, json, sqlite3, msgspec"
# What the first webhook of a cold function needs.
COLD_START = [
    "legato",
    "legato.deploy.function.queueing",
    "legato.stores.dynamodb",
    "legato.stores.sqlite",
    "legato.platforms.telegram",
    "legato.platforms.twitch",
]
# Standard modules that may come on top of the baseline.
ALLOWED = {
    "base64": "function events carry their body so",
    "hashlib": "keys and signatures; it brings the next two",
    "_hashlib": "see hashlib",
    "_blake2": "see hashlib",
    "hmac": "webhook secrets are compared in constant time",
    "zlib": "crc32 of the shard key",
}


def _modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.fixture(scope="module")
def baseline() -> set[str]:
    return _modules_after(BASELINE)


@pytest.mark.parametrize("module", COLD_START)
def test_the_cold_path_imports_nothing_new(module: str, baseline: set[str]) -> None:
    loaded = _modules_after(f"{BASELINE}\nimport {module}") - baseline

    new = {name for name in loaded if name.partition(".")[0] != "legato"} - ALLOWED.keys()
    assert not new, (
        f"`import {module}` also loads {sorted(new)}: import it in the function that uses it, or add it "
        "to ALLOWED with the reason"
    )
