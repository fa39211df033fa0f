"""`legato worker`."""

from __future__ import annotations

import argparse

from legato.cli.common import settings_of
from legato.deploy.loader import load_app


def worker(options: argparse.Namespace) -> int:
    """Works on a share of the bot's conversations until it is stopped.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    from legato.deploy.worker import Options
    from legato.deploy.worker import worker as serve

    settings = settings_of(options)
    return serve(
        load_app(options.target),
        settings,
        Options(
            name=options.name,
            heartbeat_s=options.heartbeat,
            verbose=options.verbose,
            drain_s=options.drain,
        ),
    )
