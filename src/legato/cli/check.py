"""`legato check`: does today's code follow the journals that are open?"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter

from legato.app.operate import check as replayed
from legato.cli.common import opened, printed
from legato.deploy.clock import SystemClock
from legato.deploy.loader import load_app
from legato.engine.versions import Report

FITS = "same"


def check(options: argparse.Namespace) -> int:
    """Replays every open conversation dry; returns 0 if all fit, else 1.

    Raises:
        ConfigError, StoreError: There is no such bot, or no store to check.
    """
    app = load_app(options.target)

    async def reports() -> list[Report]:
        async with opened(options, options.target) as store:
            return [report async for report in replayed(store, app, SystemClock())]

    found = asyncio.run(reports())
    if options.json:
        _print_json(found)
    else:
        _print(found)
    return 0 if all(report.verdict == FITS for report in found) else 1


def _counts(reports: list[Report]) -> dict[str, Counter[str]]:
    """How often each verdict came, by dialog."""
    counts: dict[str, Counter[str]] = {}
    for report in reports:
        counts.setdefault(report.dialog, Counter())[report.verdict] += 1
    return counts


def _print(reports: list[Report]) -> None:
    for dialog, verdicts in sorted(_counts(reports).items()):
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        print(f"{printed(dialog)}: {told}")
        for report in reports:
            if report.dialog == dialog and report.verdict != FITS:
                print(f"  {printed(report.key)}: {report.verdict}: {printed(report.detail)}")
    if not reports:
        print("no open conversations")


def _print_json(reports: list[Report]) -> None:
    problems = [
        {name: getattr(report, name) for name in report.__struct_fields__}
        for report in reports
        if report.verdict != FITS
    ]
    dialogs = {dialog: dict(verdicts) for dialog, verdicts in _counts(reports).items()}
    print(json.dumps({"conversations": len(reports), "dialogs": dialogs, "problems": problems}))
