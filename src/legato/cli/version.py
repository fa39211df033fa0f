"""`legato version`."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
from importlib.metadata import version as version_of


def version(options: argparse.Namespace) -> int:
    """Says which Legato this is, and on what it runs."""
    found = {
        "legato": version_of("legato"),
        "python": platform.python_version(),
        "msgspec": version_of("msgspec"),
        "sqlite": sqlite3.sqlite_version,
    }
    if options.json:
        print(json.dumps(found))
    else:
        print(", ".join(f"{name} {number}" for name, number in found.items()))
    return 0
