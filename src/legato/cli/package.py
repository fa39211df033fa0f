"""`legato package`: a bot as a zip for a function service."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.deploy.package.build import Package


def add_package(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("target", help="bot.py, or package.module:app")
    parser.add_argument(
        "--target",
        dest="service",
        choices=["aws", "yandex", "google"],
        default="aws",
        help="the service it is for (aws)",
    )
    add_machine(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the zip (build/<bot>.zip)")
    parser.add_argument(
        "--config", metavar="FILE", help="yandex, google: write the script that deploys it here"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Options that `legato deploy aws` has, too."""
    parser.add_argument(
        "--arch", choices=["arm64", "x86_64"], default="", help="machine (arm64 where there is)"
    )
    parser.add_argument(
        "--python", metavar="X.Y", default="", help="version of Python (this one, from 3.12 on)"
    )


def package(options: argparse.Namespace) -> int:
    """Makes the zip; says how large it is.

    Raises:
        ConfigError: It cannot be made.
    """
    from legato.cli.common import settings_of
    from legato.deploy.package.archive import writing
    from legato.deploy.package.build import build
    from legato.deploy.package.carried import carried
    from legato.deploy.package.configs import config_of
    from legato.deploy.package.entry import entry_of
    from legato.deploy.package.target import target_of

    if options.config and options.service == "aws":
        raise ConfigError("--config: for AWS, `legato deploy aws bot.py --eject DIR` writes it")
    target = target_of(options.service, options.arch, options.python)
    started = time.monotonic()
    entry = entry_of(options.target)
    made = build(entry, target)
    seconds = time.monotonic() - started
    output = Path(options.output or Path("build") / f"{entry.module}.zip")
    with writing():
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(made.archive)
    plain, secrets = carried(settings_of(options))
    script = config_of(made.manifest, str(output), plain, sorted(secrets), zipped=made.size.zipped)
    if options.config and script:
        with writing():
            Path(options.config).parent.mkdir(parents=True, exist_ok=True)
            Path(options.config).write_text(script, encoding="utf-8")
    if options.json:
        print(json.dumps(_told(made, output)))
        return 0
    tell(made, str(output), seconds)
    if script and not options.config:
        print(script, end="")
    return 0


def tell(made: Package, output: str, seconds: float) -> None:
    """Says on stderr what was packed."""
    manifest = made.manifest
    libraries = ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())
    bytecode = (
        "with bytecode"
        if manifest.compiled
        else f"without bytecode, since there is no Python {manifest.python} here: each cold start compiles"
    )
    sys.stderr.write(
        f"{output}: {manifest.service}, {manifest.arch}, Python {manifest.python}, {bytecode}\n"
        f"  {made.size.text}, {len(manifest.own)} files of the bot, {seconds:.1f} s\n"
        f"  {libraries}\n"
        f"  sha256 {made.sha256}\n"
    )


def _told(made: Package, output: Path) -> dict[str, object]:
    return {
        "file": str(output),
        "sha256": made.sha256,
        "zipped": made.size.zipped,
        "unzipped": made.size.unzipped,
        "compiled": made.manifest.compiled,
        "libraries": made.manifest.libraries,
        "own": list(made.manifest.own),
    }
