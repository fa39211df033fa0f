"""`legato run`."""

from __future__ import annotations

import argparse

from legato.cli.common import settings_of
from legato.deploy.loader import folder_of, load_app


def run(options: argparse.Namespace) -> int:
    """Runs the bot until it is stopped.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    if options.reload:
        from legato.deploy.reload import reload

        arguments = [a for a in options.arguments if a != "--reload"]
        return reload(arguments, folder_of(options.target))
    from legato.deploy.run import Options
    from legato.deploy.run import run as serve

    settings = settings_of(options)
    return serve(
        load_app(options.target),
        settings,
        Options(
            folder=folder_of(options.target),
            console=options.console,
            verbose=options.verbose,
            drain_s=options.drain,
        ),
    )
