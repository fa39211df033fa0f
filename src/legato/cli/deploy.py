"""`legato deploy aws`: a bot on AWS Lambda."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legato.cli.parsing import Mixed
from legato.cli.planning import given_to, place_for, plan_of, say
from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.deploy.aws.cloud import Cloud
    from legato.deploy.aws.deploying import Deployed

ACTIONS = ("rollback", "status", "logs", "destroy")
OF_ALL = {"region", "name", "json"}
OF_ACTIONS = {
    "rollback": {"to", "force"},
    "status": set[str](),
    "logs": {"tail", "since"},
    "destroy": {"force"},
}
"""Options that a command has besides; a deployment has all that are of no command alone."""
NOT_OF_DEPLOY = {"to", "tail", "since"}


def add_deploy(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    from legato.cli.package import add_machine

    clouds = parser.add_subparsers(dest="cloud", required=True, metavar="cloud", parser_class=Mixed)
    aws = clouds.add_parser(
        "aws",
        help="AWS Lambda, by CloudFormation",
        description="Options of a deployment hold for later ones, too, until another value or --no-... is said.",
        usage=f"legato deploy aws [{'|'.join(ACTIONS)}] bot.py [options]",
        allow_abbrev=False,
    )
    aws.add_argument("words", nargs="+", metavar="bot.py", help="what to do, with which bot")
    usual: dict[str, Any] = {}

    def add(*names: str, **how: Any) -> None:
        option = aws.add_argument(*names, **how)
        usual[option.dest] = option.default

    add("--region", metavar="REGION", default="", help="as in eu-central-1 (AWS_REGION)")
    add("--name", metavar="NAME", default="", help="of the stack: legato-NAME (the App's)")
    add_machine(aws)
    _add_kept(add)
    add("--bucket", metavar="NAME", default="", help="where the zip goes (one of Legato's own)")
    add("--diff", action="store_true", help="show what would change, change nothing")
    add("--eject", metavar="DIR", help="write template, zip and commands instead")
    add("--force", action="store_true", help="whatever becomes of open conversations")
    add("--to", metavar="N", type=int, default=0, help="rollback: to this version")
    add("--tail", action="store_true", help="logs: go on with what comes")
    add("--since", metavar="MINUTES", type=_minutes, default=10.0, help="logs: from when on (10)")
    add("--json", action="store_true", help="for programs")
    aws.set_defaults(usual=usual)


def _add_kept(add: Callable[..., None]) -> None:
    """Options that hold for later deployments, too: None is one that was not said."""
    switch = {"action": argparse.BooleanOptionalAction, "default": None}
    end = {"action": "store_const", "const": "", "default": None}
    add("--memory", metavar="MB", type=int, help="and with it CPU (512)")
    add("--timeout", metavar="SECONDS", type=int, help="of one invocation (30)")
    add("--schedule", metavar="1m", help="how often timers are looked at, or off (1m)")
    add("--front", choices=["url", "http-api"], help="how requests come in (url)")
    add("--queue", **switch, help="updates go into a FIFO queue first")
    add("--timers", **switch, help="timers to the second, by a queue with delays")
    add("--web-socket", **switch, help="the web chat, by a WebSocket API of its own")
    add("--retention", metavar="DAYS", type=int, help="how long logs are kept (30)")
    add("--public-url", metavar="URL", help="an address of your own before the function")
    add("--no-public-url", dest="public_url", **end, help="the function's own again")
    add("--public-socket", metavar="URL", help="the same before the web chat's WebSocket")
    add("--no-public-socket", dest="public_socket", **end, help="the API's own again")
    given: dict[str, Any] = {"action": "append", "default": []}
    add("--env", metavar="NAME[=VALUE]", **given, help="for the bot; repeatable")
    add("--no-env", metavar="NAME", **given, help="it is deployed with one that is to go")
    add("--secret", metavar="NAME[=VALUE]", **given, help="as --env, encrypted")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: write a number of minutes, more than 0")
    return minutes


def deploy(options: argparse.Namespace) -> int:
    """Deploys a bot, or does something with one that is deployed.

    Raises:
        ConfigError: It cannot be done.
    """
    options.action, options.target = _meant(list(options.words), options.name)
    _check_options(options)
    if options.eject and not options.action:
        from legato.deploy.aws.ejecting import eject

        region = options.region or os.environ.get("AWS_REGION") or ""
        region = region or os.environ.get("AWS_DEFAULT_REGION", "")
        eject(plan_of(options), Path(options.eject), say, region)
        return 0
    from legato.deploy.aws.cloud import Cloud

    cloud = Cloud(options.region)
    try:
        with cloud.told():
            return _act(options, cloud)
    finally:
        cloud.close()


def _meant(words: list[str], name: str) -> tuple[str, str]:
    """(command or "", bot or ""), in whichever order they were written."""
    action = next((word for word in words if word in ACTIONS), "")
    if action:
        words.remove(action)
    else:
        _check_command(words)
    if len(words) > 1 or not (words or (action and name)):
        raise ConfigError(f"say which bot: legato deploy aws [{'|'.join(ACTIONS)}] bot.py")
    return action, words[0] if words else ""


def _check_options(options: argparse.Namespace) -> None:
    """An option of another command may be a word that was forgotten: `--to 3` without `rollback` is no deployment."""
    given = {name for name, usual in options.usual.items() if getattr(options, name) != usual}
    given -= OF_ALL
    alien = given - OF_ACTIONS[options.action] if options.action else given & NOT_OF_DEPLOY
    if not alien:
        return
    name = min(alien)
    owners = [action for action in ACTIONS if name in OF_ACTIONS[action]] or ["a deployment"]
    flag, bot = f"--{name.replace('_', '-')}", options.target or "bot.py"
    if options.action:
        raise ConfigError(f"{flag} is of {' and '.join(owners)}, not of {options.action}")
    raise ConfigError(
        f"{flag} is of {owners[0]}, and without that word the bot is deployed: legato deploy aws {owners[0]} {bot} {flag}"
    )


def _check_command(words: list[str]) -> None:
    """Finds a command that there is not. A lone word may be a module: it is one if it is like no command."""
    from difflib import get_close_matches
    from importlib.util import find_spec

    word = words[0]
    if not word.isidentifier() or Path(f"{word}.py").exists() or find_spec(word) is not None:
        return
    near = get_close_matches(word, ACTIONS, 1)
    if near and word != "deploy":  # which is near to destroy
        raise ConfigError(f"there is no command {word}: did you mean {near[0]}?")
    if words[1:]:
        raise ConfigError(
            f"there is no command {word}: there are {', '.join(ACTIONS)}, and without one the bot is deployed"
        )


def _act(options: argparse.Namespace, cloud: Cloud) -> int:
    if options.action == "rollback":
        return _rollback(options, cloud)
    if options.action == "status":
        return _status(options, cloud)
    if options.action == "logs":
        return _logs(options, cloud)
    if options.action == "destroy":
        return _destroy(options, cloud)
    from legato.deploy.aws import deploying

    if options.diff:
        changed = deploying.diff(plan_of(options, cloud), cloud, print)
        if not changed:
            print("nothing would change")
        return 0
    started = time.monotonic()
    done = deploying.deploy(plan_of(options, cloud), cloud, say)
    _tell(options, done, time.monotonic() - started)
    return 0


# -- what is said ----------------------------------------------------------------------------------


def _tell(options: argparse.Namespace, done: Deployed, seconds: float) -> None:
    if options.json:
        tried = [{name: getattr(one, name) for name in one.__struct_fields__} for one in done.tried]
        told = {"url": done.url, "version": done.version, "changed": done.changed}
        print(json.dumps(told | {"sha256": done.sha256, "platforms": tried}))
        return
    for one in done.tried:
        if one.platform == "web":
            say(
                f"web: the page came in {one.first_ms} ms, a word through its socket in {one.next_ms} ms"
            )
        elif one.first_ms:
            say(
                f"{one.platform}: a signed request was taken in {one.first_ms} ms, one with a wrong secret was refused "
                f"in {one.next_ms} ms"
            )
        if one.pending or one.trouble:
            say(f"{one.platform}: {one.pending} updates wait; last error: {one.trouble or '-'}")
    say(f"version {done.version} is live after {seconds:.0f} s")
    for one in done.tried:
        if one.platform == "web":
            say(f"web chat: {one.url}")
    print(done.url)


def _rollback(options: argparse.Namespace, cloud: Cloud) -> int:
    from legato.deploy.aws.rolling import rollback
    from legato.deploy.loader import load_app

    app = load_app(options.target) if options.target else None
    done = rollback(cloud, place_for(options), app, to=options.to, force=options.force)
    print(f"version {done.new} is live, {done.old} was")
    for number, count in done.stay.items():
        most = "up to " if done.unsure else ""
        talks = "conversation stays" if count == 1 else "conversations stay"
        print(f"{most}{count} open {talks} with version {number}")
    return 0


def _status(options: argparse.Namespace, cloud: Cloud) -> int:
    import msgspec

    from legato.deploy.aws.steering import status

    place = place_for(options)
    found = status(cloud, place, given_to(options, cloud, place))
    if options.json:
        print(msgspec.json.encode(found).decode())
        return 0
    talks = ", ".join(f"{count} {name}" for name, count in sorted(found.conversations.items()))
    print(f"{place.stack}: {found.stack}, {found.public_url}")
    if found.public_url != found.url.rstrip("/"):
        print(f"  function: {found.url}")
    for one in found.versions:
        mark = "live" if one.number == found.live else ""
        count = found.written.get(one.number, 0)
        talk = f"  {count} open" if count else ""
        print(f"  version {one.number:4} {mark:5}{one.at} {one.sha256[:12]} {one.entry}{talk}")
    print(f"  conversations: {talks or 'none'}; table {found.table}")
    if found.web_chat:
        print(f"  web chat: {found.web_chat} (socket {found.web_socket})")
    if found.webhook:
        waiting, error = (
            found.webhook.get("pending_update_count"),
            found.webhook.get("last_error_message"),
        )
        print(
            f"  webhook: {found.webhook.get('url') or 'not set'}; {waiting} wait; last error: {error or '-'}"
        )
    if found.trouble:
        print(f"  webhook: {found.trouble}")
    return 0


def _logs(options: argparse.Namespace, cloud: Cloud) -> int:
    from legato.cli.common import printed
    from legato.deploy.aws.steering import lines

    since_ms = int((time.time() - 60 * options.since) * 1000)
    found = False
    for at_ms, text in lines(cloud, place_for(options), since_ms=since_ms, tail=options.tail):
        moment = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
        print(moment, printed(text.replace("\t", "  ")), flush=options.tail)
        found = True
    if not found:
        say(f"nothing in the last {options.since:g} minutes: --since looks further back")
    return 0


def _destroy(options: argparse.Namespace, cloud: Cloud) -> int:
    from legato.deploy.aws.steering import destroy

    place = place_for(options)
    destroy(cloud, place, given_to(options, cloud, place), say, force=options.force)
    return 0
