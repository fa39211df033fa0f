"""What a command line of `legato deploy aws` means: which bot, with which settings, made how."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.app.app import App
    from legato.app.settings import Settings
    from legato.deploy.aws.cloud import Cloud
    from legato.deploy.aws.deploying import Plan
    from legato.deploy.aws.place import Place


def say(text: str) -> None:
    """Tells people what goes on; programs read the other stream."""
    sys.stderr.write(f"{text}\n")


def plan_of(options: argparse.Namespace) -> Plan:
    """What is to be deployed.

    Raises:
        ConfigError: It cannot be.
    """
    from legato.deploy.aws.asked import Asked
    from legato.deploy.aws.deploying import Plan
    from legato.deploy.package.carried import named
    from legato.deploy.package.entry import entry_of
    from legato.deploy.package.target import target_of

    entry = entry_of(options.target)
    place = place_for(options, entry.app)
    variables = named(options.env, os.environ)
    secrets = named(options.secret, os.environ)
    ours = ["LEGATO_STORE", "LEGATO_QUEUE", "LEGATO_TIMERS"]
    ours += ["LEGATO_WEB_SOCKET"] * options.web_socket
    for name in ours:
        if name in variables or name in secrets:
            raise ConfigError(
                f"{name} is set by the stack: the table is its own, queues by --queue, --timers, the web chat "
                "by --web-socket and --public-socket"
            )
    _check_secrets(variables, secrets)
    settings = _settings(options)
    options.secrets = (*options.secrets, *secrets.values())
    return Plan(
        entry=entry,
        place=place,
        target=target_of("aws", options.arch, options.python),
        settings=settings,
        variables=variables,
        secrets=secrets,
        public_url=options.public_url,
        bucket=options.bucket,
        force=options.force,
        memory=options.memory,
        timeout=options.timeout,
        schedule="" if options.schedule == "off" else options.schedule,
        front=options.front,
        queue=options.queue,
        timers=options.timers,
        retention=options.retention,
        web_socket=options.web_socket,
        public_socket=options.public_socket,
        asked=Asked(public_url=options.public_url or None),
    )


def _check_secrets(variables: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """A secret must not stand in the function's configuration, which others of the account may read."""
    from legato.app.settings import VARIABLES

    for name in variables:
        if name in secrets:
            raise ConfigError(f"{name} is given by --env and by --secret: which of them?")
        if name in VARIABLES and VARIABLES[name].secret:
            raise ConfigError(
                f"{name} is a secret: set it here without --env, it goes to Parameter Store"
            )


def _settings(options: argparse.Namespace) -> Settings:
    from legato.app.settings import load_settings
    from legato.deploy.loader import folder_of

    folders = [folder_of(options.target)] if options.target else [Path.cwd()]
    settings = load_settings(folders=folders)
    options.secrets = settings.secrets
    return settings


def place_for(options: argparse.Namespace, app: App | None = None) -> Place:
    """Which bot's place: by --name, else by the name of its App."""
    from legato.deploy.aws.place import place_named, place_of
    from legato.deploy.loader import load_app

    if options.name:
        return place_named(options.name)
    name = (app or load_app(options.target)).name
    place = place_of(name)
    if place.name != name.lower():
        say(f"the App's name is {name!r}, its stack's {place.stack}")
    return place


def given_to(options: argparse.Namespace, cloud: Cloud, place: Place) -> Settings:
    """The settings of the live version. Where there is none, or a secret of it is gone: those of here, with what is
    stored. Another bot's token may be set here.
    """
    from legato.deploy.aws import given, secrets
    from legato.deploy.aws.deploying import completed

    try:
        settings = given.live(cloud, place)
    except ConfigError:
        settings = None
    if settings is None:
        settings = completed(_settings(options), secrets.stored(cloud, place))
    options.secrets = (*options.secrets, *settings.secrets)
    return settings


__all__ = ["given_to", "place_for", "plan_of", "say"]
