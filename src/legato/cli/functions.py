"""`legato functions`."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path
from typing import Any

from legato.errors import ConfigError, MissingExtra


def functions(options: argparse.Namespace) -> int:
    """Runs a folder of functions until it is stopped, or asks one that runs.

    Raises:
        ConfigError: It cannot run like this, or none runs.
    """
    if not 0 <= options.port <= 65535:
        raise ConfigError(f"--port {options.port}: it is a number from 0 to 65535")
    if options.status or options.meter or options.logs:
        return _ask(options)
    from legato.functions.meter import PRICES

    try:
        from legato.functions.serve import Serve, serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("legato"):
            raise
        raise MissingExtra("`legato functions`", "functions") from error
    chaos = options.chaos
    if options.price not in PRICES:
        raise ConfigError(f"--price {options.price}: there are {', '.join(sorted(PRICES))}")
    return serve(
        Serve(
            folder=Path(options.folder),
            listen=(options.host, options.port),
            processes=options.processes,
            chaos=secrets.randbelow(1_000_000) if chaos == -1 else chaos,
            price=PRICES[options.price],
            drain_s=options.drain,
            verbose=options.verbose,
        )
    )


def add_functions(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("folder", help="in which each folder, or each bot.py, is a function")
    parser.add_argument("--host", default="127.0.0.1", help="where it listens (%(default)s)")
    parser.add_argument("--port", type=int, default=9000, help="(%(default)s)")
    parser.add_argument(
        "--processes", type=int, default=64, metavar="N", help="at once, of all functions (64)"
    )
    parser.add_argument(
        "--chaos", type=int, nargs="?", const=-1, metavar="SEED", help="let things go wrong"
    )
    parser.add_argument(
        "--price", default="aws-x86", help="of the meter: aws-x86, aws-arm or own (%(default)s)"
    )
    parser.add_argument(
        "--drain", metavar="SECONDS", type=float, default=8.0, help="how long an end may take (8)"
    )
    parser.add_argument("--verbose", action="store_true", help="log everything")
    ask = parser.add_mutually_exclusive_group()
    ask.add_argument("--status", action="store_true", help="what runs at that port, and end")
    ask.add_argument("--meter", action="store_true", help="what was used, and what it costs")
    ask.add_argument("--logs", metavar="FUNCTION", help="the last that it printed")
    parser.add_argument("--json", action="store_true", help="for programs")


def _ask(options: argparse.Namespace) -> int:
    what = "status" if options.status else "meter" if options.meter else f"logs/{options.logs}"
    found = _fetched(options, f"/-/{what}")
    if options.json:
        print(json.dumps(found))
    elif options.meter:
        from legato.functions.meter import table

        print(table(found), end="")
    elif options.logs:
        for line in found["lines"]:
            print(line)
    else:
        _print_status(found)
    return 0


def _fetched(options: argparse.Namespace, path: str) -> dict[str, Any]:
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import quote

    connection = HTTPConnection(options.host, options.port, timeout=10)
    try:
        connection.request("GET", quote(path))
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        where = f"{options.host}:{options.port}"
        raise ConfigError(f"nothing answers at {where}: does `legato functions` run?") from error
    finally:
        connection.close()
    if answer.status == 404 and options.logs:
        raise ConfigError(
            f"there is no function {options.logs}: --status names those that there are"
        )
    if answer.status != 200:
        raise ConfigError(f"it has no {path}: {answer.status}")
    return json.loads(body)  # type: ignore[no-any-return]


def _print_status(found: dict[str, Any]) -> None:
    sys.stdout.write(f"held by {found['limits']}; zygotes: {found['zygotes']}\n")
    for name, states in found["functions"].items():
        running = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        sys.stdout.write(f"{name}: {running or 'sleeps'}\n")
