from datetime import UTC, datetime, timedelta

import pytest

from legato.errors import ConfigError
from legato.functions.schedule import awaited, parse_schedule

FRIDAY = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "next_one"),
    [
        ("rate(1 minute)", FRIDAY + timedelta(minutes=1)),
        ("rate(5 hours)", FRIDAY + timedelta(hours=5)),
        ("rate(30 seconds)", FRIDAY + timedelta(seconds=30)),
        ("cron(* * * * ? *)", datetime(2026, 1, 2, 3, 5, tzinfo=UTC)),
        ("cron(4 3 * * ? *)", datetime(2026, 1, 3, 3, 4, tzinfo=UTC)),
        ("cron(0/15 3 * * ? *)", datetime(2026, 1, 2, 3, 15, tzinfo=UTC)),
        ("cron(0 9 ? * MON-FRI *)", datetime(2026, 1, 2, 9, 0, tzinfo=UTC)),
        ("cron(0 1 ? * mon,TUE *)", datetime(2026, 1, 5, 1, 0, tzinfo=UTC)),
        ("cron(0 1 ? * 1 *)", datetime(2026, 1, 4, 1, 0, tzinfo=UTC)),
        ("cron(30 0 31 * ? *)", datetime(2026, 1, 31, 0, 30, tzinfo=UTC)),
        ("cron(0 0 29 FEB ? *)", datetime(2028, 2, 29, tzinfo=UTC)),
        ("cron(0 0 1 1 ? 2030)", datetime(2030, 1, 1, tzinfo=UTC)),
        ("cron(0 0 1 1 ? 2025)", None),
        ("cron(0 0 31 2 ? *)", None),
    ],
)
def test_the_next_time_is_the_first_that_fits(text: str, next_one: datetime | None) -> None:
    assert parse_schedule(text, "bot").after(FRIDAY) == next_one


def test_each_time_follows_the_one_before() -> None:
    schedule = parse_schedule("cron(0/20 22-23 ? * SAT *)", "bot")
    moment: datetime | None = FRIDAY
    found = []
    for _ in range(7):
        assert moment is not None
        moment = schedule.after(moment)
        found.append(f"{moment:%d %H:%M}" if moment else "")

    assert found == [
        "03 22:00",
        "03 22:20",
        "03 22:40",
        "03 23:00",
        "03 23:20",
        "03 23:40",
        "10 22:00",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "rate(1 minutes)",
        "rate(2 minute)",
        "rate(0 minutes)",
        "every minute",
        "cron(* * * * *)",
        "cron(* * * * * *)",
        "cron(* * ? * ? *)",
        "cron(60 * * * ? *)",
        "cron(5-1 * * * ? *)",
        "cron(1/0 * * * ? *)",
        "cron(x * * * ? *)",
        "cron(0 0 L * ? *)",
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="bot"):
        parse_schedule(text, "bot")


def test_an_interval_is_one_of_real_time_wherever_the_clock_is_set() -> None:
    schedule = parse_schedule("rate(5 minutes)", "bot")
    due = schedule.after(FRIDAY)
    assert due is not None

    assert awaited(schedule, due, FRIDAY + timedelta(minutes=1), FRIDAY) == due
    back = FRIDAY - timedelta(days=1)
    assert awaited(schedule, due, back, FRIDAY) == back + timedelta(minutes=5)


def test_a_clock_of_years_ahead_is_not_waited_for_and_one_put_right_calls_nothing_again() -> None:
    schedule = parse_schedule("cron(0 9 * * ? *)", "bot")
    morning = datetime(2026, 1, 2, 9, 0, tzinfo=UTC)
    tomorrow = schedule.after(morning)
    assert tomorrow is not None

    a_little = morning - timedelta(seconds=5)
    assert awaited(schedule, tomorrow, a_little, morning) == tomorrow
    assert awaited(schedule, tomorrow, datetime(2020, 1, 1, tzinfo=UTC), morning) == datetime(
        2020, 1, 1, 9, 0, tzinfo=UTC
    )
