"""`legato run`."""

from __future__ import annotations

import argparse
import os
import sys

from legato.app.settings import DEFAULT_LISTEN
from legato.cli.common import settings_of
from legato.deploy.loader import folder_of, load_app
from legato.errors import ConfigError


def run(options: argparse.Namespace) -> int:
    """Runs the bot until it is stopped.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    if options.tunnel:
        return _tunnelled(options)
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


def _tunnelled(options: argparse.Namespace) -> int:
    """The same behind a tunnel, whose address outlives each start anew."""
    from legato.deploy.tunnel import tunnel

    settings = settings_of(options)
    port = (settings.listen or DEFAULT_LISTEN)[1]
    if settings.public_url:
        raise ConfigError(
            "--tunnel gives a public address: take --public-url (LEGATO_PUBLIC_URL) away"
        )
    if port == 0:
        raise ConfigError("--tunnel leads to a port that is known before: --listen 127.0.0.1:8080")
    if not (settings.telegram_token or settings.twitch_client_id):
        raise ConfigError(
            "--tunnel is for webhooks, and no platform has a token: set TELEGRAM_TOKEN"
        )
    with tunnel(options.tunnel, port) as url:
        sys.stderr.write(f"legato: {url} leads here, through a server of somebody else's\n")
        options.tunnel = ""
        options.arguments = _without_tunnel(options.arguments)
        options.public_url = os.environ["LEGATO_PUBLIC_URL"] = url
        return run(options)


def _without_tunnel(arguments: list[str]) -> list[str]:
    """The command line for a child, which is told the address."""
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--tunnel-by":
            next(words)
        elif word != "--tunnel" and not word.startswith("--tunnel-by="):
            found.append(word)
    return found
