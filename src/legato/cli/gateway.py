"""`legato gateway`."""

from __future__ import annotations

import argparse

from legato.cli.common import settings_of
from legato.deploy.loader import folder_of, load_app
from legato.errors import ConfigError


def gateway(options: argparse.Namespace) -> int:
    """Takes webhooks until it is stopped.

    Raises:
        ConfigError: It cannot run like this.
    """
    from legato.deploy.gate import Options
    from legato.deploy.gate import gateway as serve

    settings = settings_of(options)
    shards = tuple(url.strip() for url in options.shard_urls.split(",") if url.strip())
    for url in shards:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"--shards: {url!r:.80} is no address like http://w0:8080")
    return serve(
        load_app(options.target),
        settings,
        Options(
            folder=folder_of(options.target),
            shards=shards,
            share_port=options.share_port,
            verbose=options.verbose,
            drain_s=options.drain,
        ),
    )
