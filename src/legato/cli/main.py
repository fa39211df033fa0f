"""The `legato` command. Only the parser is made here; each command is imported when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from legato.cli.parsing import EXIT_CONFIG, Parser

CLUSTER_STORE = "postgresql://user:password@host/database"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 done, 1 not done, 2 cannot be done like this."""
    from legato.errors import ConfigError, StoreError

    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parser().parse_args(arguments)
    options.arguments, options.secrets = arguments, ()
    try:
        return _run(options)
    except (ConfigError, StoreError) as error:
        _complain(f"legato: {' '.join(str(error).split())}\n", options.secrets)
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        _drop_output()
        return 0
    except Exception as error:  # noqa: BLE001 # Python would print it with our secrets in it
        from traceback import format_exception

        _complain("".join(format_exception(error)), options.secrets)
        return 1


def _run(options: argparse.Namespace) -> int:
    if options.command == "run":
        from legato.cli.run import run

        return run(options)
    if options.command == "gateway":
        from legato.cli.gateway import gateway

        return gateway(options)
    if options.command == "worker":
        from legato.cli.worker import worker

        return worker(options)
    if options.command == "listen":
        from legato.cli.listen import listen

        return listen(options)
    if options.command == "functions":
        from legato.cli.functions import functions

        return functions(options)
    if options.command == "dialogs":
        from legato.cli.dialogs import dialogs

        return dialogs(options)
    if options.command == "queue":
        from legato.cli.queue import queue

        return queue(options)
    if options.command == "check":
        from legato.cli.check import check

        return check(options)
    if options.command == "package":
        from legato.cli.package import package

        return package(options)
    if options.command == "deploy":
        from legato.cli.deploy import deploy

        return deploy(options)
    if options.command == "twitch":
        from legato.cli.twitch import twitch

        return twitch(options)
    from legato.cli.version import version

    return version(options)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="legato", description="Durable straight-line chat dialogs.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_run(commands.add_parser("run", help="run a bot in this process", allow_abbrev=False))
    _add_gateway(
        commands.add_parser("gateway", help="take webhooks for workers", allow_abbrev=False)
    )
    _add_worker(
        commands.add_parser("worker", help="work on what a queue brings", allow_abbrev=False)
    )
    _add_listen(commands.add_parser("listen", help="hold a bot's connections", allow_abbrev=False))
    _add_queue(
        commands.add_parser("queue", help="see and change a cluster's queues", allow_abbrev=False)
    )
    _add_functions(
        commands.add_parser("functions", help="run a folder of cloud functions", allow_abbrev=False)
    )
    _add_dialogs(
        commands.add_parser("dialogs", help="see and steer conversations", allow_abbrev=False)
    )
    _add_check(
        commands.add_parser(
            "check", help="replay all open conversations against this code", allow_abbrev=False
        )
    )
    _add_package(
        commands.add_parser(
            "package", help="make the zip of a bot for a function service", allow_abbrev=False
        )
    )
    _add_deploy(
        commands.add_parser("deploy", help="put a bot on a function service", allow_abbrev=False)
    )
    _add_twitch(
        commands.add_parser("twitch", help="the bot's account on Twitch", allow_abbrev=False)
    )
    version = commands.add_parser("version", help="which Legato this is", allow_abbrev=False)
    _add_json(version)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    parser.add_argument(
        "--console", action="store_true", default=None, help="talk to it in the terminal"
    )
    parser.add_argument("--reload", action="store_true", help="start anew when its files change")
    parser.add_argument(
        "--tunnel",
        action="store_const",
        const="auto",
        default="",
        help="get a public address for development, by cloudflared or ngrok",
    )
    parser.add_argument(
        "--tunnel-by",
        metavar="HOW",
        dest="tunnel",
        help="the same by cloudflared, ngrok, ssh:user@host, or a command with {port} in it",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the web server listens")
    _add_store(parser)
    parser.add_argument("--public-url", metavar="URL", help="webhooks come to URL/<platform>")
    _add_cache(parser)
    _add_end(parser)


def _add_gateway(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    parser.add_argument("--queue", metavar="URL", help="where updates go, as in amqp://host")
    parser.add_argument(
        "--shards",
        dest="shard_urls",
        metavar="URL,URL",
        default="",
        help="where they go instead: several `legato run`, each with a store of its own",
    )
    _add_store(parser, CLUSTER_STORE)
    parser.add_argument("--listen", metavar="HOST:PORT", help="where webhooks come to")
    parser.add_argument(
        "--share-port", action="store_true", help="several gateways listen at this address"
    )
    parser.add_argument("--public-url", metavar="URL", help="sets webhooks to URL/<platform>")
    _add_end(parser)


def _add_worker(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    parser.add_argument("--queue", metavar="URL", help="where updates come from, as in amqp://host")
    _add_store(parser, CLUSTER_STORE)
    _add_member(parser)
    _add_cache(parser)
    _add_end(parser)


def _add_listen(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    parser.add_argument(
        "--to",
        "--queue",
        metavar="URL",
        help="where updates go: amqp://... (default: LEGATO_QUEUE), or the https://... of a function",
    )
    _add_store(parser, CLUSTER_STORE)
    _add_member(parser)
    _add_verbose(parser)


def _add_functions(parser: argparse.ArgumentParser) -> None:
    from legato.cli.functions import add_functions

    add_functions(parser)


def _add_package(parser: argparse.ArgumentParser) -> None:
    from legato.cli.package import add_package

    add_package(parser)


def _add_deploy(parser: argparse.ArgumentParser) -> None:
    from legato.cli.deploy import add_deploy

    add_deploy(parser)


def _add_dialogs(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    ls = actions.add_parser("ls", help="list conversations", allow_abbrev=False)
    ls.add_argument("--status", choices=["running", "waiting", "failed", "held"])
    ls.add_argument("--dialog", help="only of this dialog")
    ls.add_argument("--outbox", action="store_true", help="deliveries that are dead or unknown")
    ls.add_argument("--limit", type=int, default=100, help="so many at most (100)")
    show = actions.add_parser("show", help="all that is known of one", allow_abbrev=False)
    show.add_argument("key", help="as `ls` shows it; quote it")
    retry = actions.add_parser("retry", help="let a failed or held one go on", allow_abbrev=False)
    retry.add_argument("key", nargs="*", help="which ones")
    retry.add_argument(
        "--delivery", metavar="ID", type=int, action="append", default=[], help="send it again"
    )
    cancel = actions.add_parser("cancel", help="end one", allow_abbrev=False)
    cancel.add_argument("key", nargs="+", help="which ones")
    signal = actions.add_parser("signal", help="let wait_for() go on", allow_abbrev=False)
    signal.add_argument("key", help="which one")
    signal.add_argument("name", help="of the signal")
    signal.add_argument("value", nargs="?", help="JSON, or a plain text")
    signal.add_argument("--id", default="", help="the same cause has the same id: it counts once")
    for action in (ls, show, retry, cancel, signal):
        action.add_argument("--bot", metavar="TARGET", help="the bot whose store is meant")
        _add_store(action)
        _add_json(action)


def _add_queue(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    declare = actions.add_parser("declare", help="make what is missing", allow_abbrev=False)
    declare.add_argument(
        "--shards", metavar="N", help="a new cluster gets so many queues (LEGATO_SHARDS, or 64)"
    )
    status = actions.add_parser("status", help="which there are, how full", allow_abbrev=False)
    resize = actions.add_parser("resize", help="have more or fewer of them", allow_abbrev=False)
    resize.add_argument(
        "--to", metavar="N", type=int, required=True, help="so many: a power of two"
    )
    for action in (declare, status, resize):
        action.add_argument("--bot", metavar="TARGET", help="whose queues (bot.py, if it is here)")
        action.add_argument("--app", metavar="NAME", help="the same where the bot's code is not")
        action.add_argument("--queue", metavar="URL", help="the broker, as in amqp://host")
        _add_store(action)
        _add_json(action)


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    _add_store(parser)
    _add_json(parser)


def _add_twitch(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    login = actions.add_parser("login", help="log the bot in, by a browser", allow_abbrev=False)
    login.add_argument(
        "--redirect",
        metavar="URL",
        default="http://localhost:3000",
        help="where the browser comes back to, as registered with the application (%(default)s)",
    )
    login.add_argument(
        "--scope", action="append", default=[], help="something else that it may do; repeatable"
    )
    login.add_argument(
        "--no-browser", dest="browser", action="store_false", help="only print the address"
    )
    login.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=600.0, help="wait so long (600)"
    )
    status = actions.add_parser("status", help="is it logged in?", allow_abbrev=False)
    logout = actions.add_parser("logout", help="forget the account", allow_abbrev=False)
    for action in (login, status, logout):
        action.add_argument("--bot", metavar="TARGET", help="the bot whose store is meant")
        _add_store(action)
        _add_json(action)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", help="bot.py, or package.module:app")


def _add_store(
    parser: argparse.ArgumentParser, example: str = "sqlite:///bot.db, postgresql://..."
) -> None:
    parser.add_argument("--store", metavar="URL", help=f"as in {example}")


def _add_member(parser: argparse.ArgumentParser) -> None:
    """What the processes of a cluster are told."""
    parser.add_argument("--listen", metavar="HOST:PORT", help="where metrics and health are served")
    parser.add_argument("--name", default="", help="of this process, in logs (the machine's)")
    parser.add_argument(
        "--heartbeat",
        metavar="SECONDS",
        type=float,
        default=1.0,
        help="whoever dies is followed within three of them (1)",
    )


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", metavar="N", help="conversations kept in memory, 0 for none")


def _add_end(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--drain",
        metavar="SECONDS",
        type=_seconds,
        default=8.0,
        help="how long an end may take (8)",
    )
    _add_verbose(parser)


def _add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="log everything")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: write a number of seconds, 0 or more")
    return seconds


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _complain(text: str, secrets: Sequence[str]) -> None:
    from legato.abc.redaction import redacted

    sys.stderr.write(redacted(text, secrets))


def _drop_output() -> None:
    """Keeps Python from complaining, at its end, that nobody reads."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
