"""`legato listen`."""

from __future__ import annotations

import argparse

from legato.cli.common import settings_of
from legato.deploy.loader import folder_of, load_app


def listen(options: argparse.Namespace) -> int:
    """Holds a bot's connections until it is stopped.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    from legato.deploy.listen import Options
    from legato.deploy.listen import listen as serve

    settings = settings_of(options)
    return serve(
        load_app(options.target),
        settings,
        Options(
            folder=folder_of(options.target),
            to=options.to or "",
            name=options.name,
            heartbeat_s=options.heartbeat,
            verbose=options.verbose,
        ),
    )
