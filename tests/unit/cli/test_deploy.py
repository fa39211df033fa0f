"""`legato deploy aws` does nothing that was not meant."""

import pytest

from legato.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("bot.py --to 3", "legato deploy aws rollback bot.py --to"),
        ("bot.py --tail", "legato deploy aws logs bot.py --tail"),
        ("bot.py --since 5", "legato deploy aws logs bot.py --since"),
        ("rollback bot.py --queue", "--queue is of a deployment, not of rollback"),
        ("status bot.py --force", "--force is of rollback and destroy, not of status"),
        ("destroy bot.py --diff", "--diff is of a deployment, not of destroy"),
    ],
)
def test_an_option_without_its_command_deploys_nothing(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", "aws", *words.split()]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["-5", "0", "inf", "nan", "soon"])
def test_a_log_is_read_from_some_time_ago(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["deploy", "aws", "logs", "bot.py", "--since", minutes])
    assert "write a number of minutes, more than 0" in capsys.readouterr().err
