"""What a command line of `legato deploy aws` means: which bot, with which settings, made how."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.app.app import App
    from legato.app.settings import Settings
    from legato.deploy.aws.asked import Asked, Before
    from legato.deploy.aws.cloud import Cloud
    from legato.deploy.aws.deploying import Plan
    from legato.deploy.aws.place import Place


def say(text: str) -> None:
    """Tells people what goes on; programs read the other stream."""
    sys.stderr.write(f"{text}\n")


def plan_of(options: argparse.Namespace, cloud: Cloud | None = None) -> Plan:
    """What is to be deployed: as it is said, else as it was deployed last.

    Args:
        options: What is said.
        cloud: Where it may be deployed already; None = AWS is not asked.

    Raises:
        ConfigError: It cannot be.
    """
    from legato.app.settings import VARIABLES
    from legato.deploy.aws.asked import Before, merged, told
    from legato.deploy.aws.deploying import Plan
    from legato.deploy.package.carried import carried, kept, named
    from legato.deploy.package.entry import entry_of
    from legato.deploy.package.target import target_of

    entry = entry_of(options.target)
    place = place_for(options, entry.app)
    said = _said(options)
    old = Before() if cloud is None else _before(options, cloud, place)
    asked = merged(old.asked, said)
    variables = named(options.env, os.environ)
    secrets = named(options.secret, os.environ)
    _check(variables, secrets, web_socket=bool(asked.web_socket))
    given = variables | {k: v for k, v in secrets.items() if k in VARIABLES and VARIABLES[k].secret}
    here = carried(_settings(options, given))[0]
    if cloud is None and options.no_env:
        raise ConfigError("--no-env: --eject knows nothing of earlier variables, so none is to go")
    _check_ended(options.no_env, old.variables, here.keys() | variables.keys())
    rest = {k: v for k, v in old.variables.items() if k not in {*options.no_env, *secrets}}
    if asked.web_socket:
        rest.pop("LEGATO_WEB_SOCKET", None)
    settings = _settings(options, given, rest)
    loose = kept(rest)
    held = set(loose) | {name for name in carried(settings)[0] if name in rest and name not in here}
    unsaid = {name: value for name, value in asked.said.items() if name not in said.said}
    if line := told(type(asked)(**unsaid), sorted(held - set(variables))):
        say(line)
    options.secrets = (*options.secrets, *secrets.values())
    values = asked.said
    machine = values.pop("arch", ""), values.pop("python", "")
    if values.get("schedule") == "off":
        values["schedule"] = ""
    return Plan(
        entry=entry,
        place=place,
        target=target_of("aws", *machine),
        settings=settings,
        variables=loose | variables,
        secrets=secrets,
        bucket=options.bucket,
        force=options.force,
        asked=asked,
        **values,
    )


def _said(options: argparse.Namespace) -> Asked:
    """The options that were said now."""
    from legato.app.settings import VARIABLES
    from legato.deploy.aws.asked import Asked

    if options.bucket and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", options.bucket):
        raise ConfigError(
            f"--bucket {options.bucket!r:.80} is no name of a bucket: 3 to 63 of a-z, 0-9, '-' and '.'"
        )
    if options.public_url:
        try:
            VARIABLES["LEGATO_PUBLIC_URL"].read(options.public_url)
        except ValueError as error:
            raise ConfigError(f"--public-url {options.public_url!r:.80}: {error}") from None
    values = {name: getattr(options, name) for name in Asked.__struct_fields__}
    return Asked(**values | {"arch": options.arch or None, "python": options.python or None})


def _before(options: argparse.Namespace, cloud: Cloud, place: Place) -> Before:
    from legato.deploy.aws import stack
    from legato.deploy.aws.asked import before

    if options.diff:
        return before(cloud, place, stack.found(cloud, place))
    # What is under way may change what holds.
    return before(cloud, place, stack.settled(cloud, place, say))


def _check(variables: Mapping[str, str], secrets: Mapping[str, str], *, web_socket: bool) -> None:
    from legato.app.settings import VARIABLES, load_settings

    ours = ["LEGATO_STORE", "LEGATO_QUEUE", "LEGATO_TIMERS"]
    ours += ["LEGATO_WEB_SOCKET"] * web_socket
    for name in ours:
        if name in variables or name in secrets:
            raise ConfigError(
                f"{name} is set by the stack: the table is its own, queues by --queue, --timers, the web chat "
                "by --web-socket and --public-socket"
            )
    _check_secrets(variables, secrets)
    load_settings(
        environ={k: v for k, v in (*variables.items(), *secrets.items()) if k in VARIABLES}
    )


def _check_ended(
    names: Collection[str], deployed: Mapping[str, str], here: Collection[str]
) -> None:
    """What is to go must be there, and must not come again at once."""
    for name in names:
        if name in here:
            raise ConfigError(
                f"--no-env {name}: it is set here, by --env, in the environment or legato.toml"
            )
        if name not in deployed:
            known = ", ".join(sorted(deployed)) or "nothing"
            raise ConfigError(f"--no-env {name}: the bot is deployed with {known}")


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


def _settings(
    options: argparse.Namespace,
    given: Mapping[str, str] | None = None,
    usual: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of here. Variables of the command line go before them, usual ones behind."""
    from legato.app.settings import VARIABLES, load_settings
    from legato.deploy.loader import folder_of

    folders = [folder_of(options.target)] if options.target else [Path.cwd()]
    flags = {VARIABLES[name].field: v for name, v in (given or {}).items() if name in VARIABLES}
    settings = load_settings(flags, folders=folders, usual=usual)
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
