"""`legato functions`, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from socket import socket

from msgspec import Struct

from legato.deploy.careful import Limits as ClientLimits
from legato.deploy.lifecycle import Stopping
from legato.deploy.serving import Serving, bound, url_of
from legato.deploy.shell import logging_to
from legato.errors import ConfigError, MissingExtra
from legato.functions.chaos import Chaos
from legato.functions.config import Function, load_functions
from legato.functions.files import clients, raised
from legato.functions.host import Host, Options
from legato.functions.meter import PRICES, Price
from legato.functions.server import Front

log: logging.Logger = logging.getLogger("legato.functions")


class Serve(Struct, frozen=True, kw_only=True):
    """What is served, and where.

    Attributes:
        folder: Of the functions.
        listen: (host, port); port 0 takes a free one.
        processes: So many at once, of all functions together.
        chaos: The seed of what goes wrong on purpose, None = nothing does.
        price: What the meter reckons with.
        drain_s: So long requests under way have at the end.
        verbose: Log everything.
    """

    folder: Path
    listen: tuple[str, int]
    processes: int = 64
    chaos: int | None = None
    price: Price = PRICES["aws-x86"]
    drain_s: float = 8.0
    verbose: bool = False


def serve(options: Serve) -> int:
    """Runs a folder of functions until a signal comes; returns the exit code.

    Raises:
        ConfigError: It cannot run like this.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError("functions need Linux: pidfds, process groups and control groups")
    functions = load_functions(options.folder)
    _check_pythons(functions)
    _check_client(functions)
    with asyncio.Runner() as runner:
        return runner.run(_serve(options, functions))


def _check_pythons(functions: dict[str, Function]) -> None:
    for one in functions.values():
        if one.runtime == "python" and not os.access(one.python, os.X_OK):
            raise ConfigError(
                f"{one.name}: python = {one.python!r} is no program: make the environment"
            )


def _bound(host: str, port: int) -> socket:
    try:
        return bound(host, port)
    except ConfigError as error:
        reason = error.__cause__
        text = (reason.strerror if isinstance(reason, OSError) else "") or str(error)
        raise ConfigError(
            f"{host}:{port} cannot be used ({text}): stop what listens there, or choose another by "
            "--port (and --host)"
        ) from reason


def _check_client(functions: dict[str, Function]) -> None:
    from importlib.util import find_spec

    ours = [f for f in functions.values() if f.runtime == "python" and f.python == sys.executable]
    if ours and find_spec("awslambdaric") is None:
        raise MissingExtra("the runtime client of AWS Lambda", "functions")


async def _serve(options: Serve, functions: dict[str, Function]) -> int:
    stopping = Stopping()
    level = logging.DEBUG if options.verbose else logging.INFO
    secrets = [value for one in functions.values() for value in one.secrets.values()]
    with (
        logging_to(lambda: secrets, level),
        stopping.signals(),
        _bound(*options.listen) as listener,
    ):
        chaos = Chaos(options.chaos) if options.chaos is not None else None
        host = Host(functions, Options(processes=options.processes, chaos=chaos))
        front = Front(host, options.price)
        limits = ClientLimits(connections=clients(raised(), options.processes))
        serving = Serving(front, listener, limits, drain_s=options.drain_s)
        try:
            host.start()
            serving.start(stopping)
            where = url_of(listener)
            log.info("%d functions at %s, held by %s", len(functions), where, host.limits.kind)
            if chaos is not None:
                log.warning("chaos with seed %d: this is for tests", options.chaos)
            await stopping.wait()
            front.draining = True
            serving.refuse()
            await serving.ended()
        finally:
            await host.close()
    if stopping.error is not None:
        raise stopping.error
    return 0


__all__ = ["Serve", "serve"]
