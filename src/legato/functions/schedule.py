"""When a schedule fires next: `rate(5 minutes)` or `cron(0 9 ? * MON-FRI *)`, in UTC.

The fields of cron are minute, hour, day of month, month, day of week (1 = Sunday), year; one of the two
days is "?". Of EventBridge's wildcards L, W and # are not known here.
Read on 2026-11-28: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from legato.errors import ConfigError

_RATE = re.compile(r"rate\(([1-9][0-9]{0,5}) (second|minute|hour|day)(s?)\)")
_CRON = re.compile(r"cron\((.+)\)")
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {
    name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)
}
LAST_YEAR = 2199
SET_BACK = timedelta(minutes=2)
"""A clock that is set back by less is put right: what was called already is not called again."""


class Rate(Struct, frozen=True):
    """Every so often, from the start of the runtime on."""

    every_s: int

    def after(self, moment: datetime) -> datetime | None:
        """The next time after a moment."""
        return moment + timedelta(seconds=self.every_s)


class Cron(Struct, frozen=True):
    """At certain minutes. None in a field of days: the other one decides."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None
    years: frozenset[int]

    def after(self, moment: datetime) -> datetime | None:
        """The next time after a moment, None if there is none."""
        moment = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = moment
        for _ in range(366 * 9):  # a 29th of February on a given weekday may be far away
            if day.year > max(self.years):
                return None
            if self._on(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        due = day.replace(hour=hour, minute=minute)
                        if due >= moment:
                            return due
            day = (day + timedelta(days=1)).replace(hour=0, minute=0)
        return None

    def _on(self, day: datetime) -> bool:
        if day.year not in self.years or day.month not in self.months:
            return False
        if self.days is not None and day.day not in self.days:
            return False
        return self.weekdays is None or day.isoweekday() % 7 + 1 in self.weekdays


def awaited(
    schedule: Rate | Cron, due: datetime, now: datetime, before: datetime
) -> datetime | None:
    """`due`, or another moment if the clock was set back since the look before: an interval is one of real time, and
    a machine that starts with a clock of years ahead waits for none of them.
    """
    if isinstance(schedule, Rate):
        return min(due, now + timedelta(seconds=schedule.every_s))
    return schedule.after(now) if now < before - SET_BACK else due


def parse_schedule(text: str, where: str) -> Rate | Cron:
    """Reads a schedule.

    Raises:
        ConfigError: It is none.
    """
    rate = _RATE.fullmatch(text)
    if rate is not None:
        count, unit, plural = int(rate[1]), rate[2], bool(rate[3])
        if plural != (count > 1):
            raise ConfigError(f"{where}: {text!r}: it is rate(1 {unit}) and rate(2 {unit}s)")
        return Rate(count * _UNITS[unit])
    cron = _CRON.fullmatch(text)
    fields = cron[1].split() if cron is not None else []
    if len(fields) != 6:
        raise ConfigError(
            f'{where}: {text!r} is no schedule: write "rate(1 minute)", or "cron(0 9 * * ? *)" with '
            "minute, hour, day, month, day of week and year"
        )
    minute, hour, day, month, weekday, year = fields
    if (day == "?") == (weekday == "?"):
        raise ConfigError(f'{where}: {text!r}: one of day and day of week is "?"')
    try:
        return Cron(
            _field(minute, 0, 59),
            _field(hour, 0, 23),
            _field(day, 1, 31) if day != "?" else None,
            _field(month, 1, 12, _MONTHS),
            _field(weekday, 1, 7, _DAYS) if weekday != "?" else None,
            _field(year, 1970, LAST_YEAR),
        )
    except ValueError as error:
        raise ConfigError(f"{where}: {text!r}: {error}") from error


def _field(text: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        if span == "*":
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, names)
            last = _number(end, names) if dash else (high if slash else first)
        if not low <= first <= last <= high:
            raise ValueError(f"{part!r} is not within {low} and {high}")
        stride = _number(step, None) if slash else 1
        if stride < 1:
            raise ValueError(f"{part!r} has no step")
        found.update(range(first, last + 1, stride))
    return frozenset(found)


def _number(text: str, names: dict[str, int] | None) -> int:
    known = (names or {}).get(text.upper())
    if known is not None:
        return known
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no number")
    return int(text)


__all__ = ["Cron", "Rate", "awaited", "parse_schedule"]
