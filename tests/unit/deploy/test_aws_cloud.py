"""Who asks and where: what is missing or mistyped is told in a line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from legato.cli.main import main
from legato.deploy.aws.cloud import Cloud
from legato.errors import ConfigError
from tests.unit.deploy.aws_script import Scripted, clouded, refused


def test_refusals_and_missing_credentials_are_told_in_a_line() -> None:
    cloud = clouded(Scripted())

    with pytest.raises(ConfigError, match="AWS refuses DescribeStacks: not you"), cloud.told():
        raise refused("AccessDenied", "not you")
    with (
        pytest.raises(ConfigError, match="no credentials here: set AWS_PROFILE"),
        cloud.told(),
    ):
        raise NoCredentialsError


def test_who_cannot_be_asked_is_told_with_the_variable_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = EndpointConnectionError(endpoint_url="http://127.0.0.1:9/")

    said = r'AWS cannot be asked: .*"http://127.0.0.1:9/" \(AWS_ENDPOINT_URL is set here\)'
    with pytest.raises(ConfigError, match=said), clouded(Scripted()).told():
        raise away
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(ConfigError, match=r'127\.0\.0\.1:9/"$'), clouded(Scripted()).told():
        raise away


def test_a_profile_that_is_not_there_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(ConfigError, match=r"AWS_PROFILE.*nobody.*list-profiles"):
        Cloud("eu-central-1")


def test_without_boto3_or_a_region_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")

    assert main(["deploy", "aws", "logs", "--name", "adder"]) == 2
    assert "which region? --region eu-central-1" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert main(["deploy", "aws", "logs", "--name", "adder"]) == 2
    assert "pip install 'legato[deploy]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("region", "meant"),
    [
        ("eu-centrl-1", "did you mean eu-central-1, me-central-1 or eu-central-2"),
        ("US-EAST-1", "did you mean us-east-1, "),
        ("useast1", "did you mean us-east-1, "),
        ("nowhere", "as eu-central-1 is one"),
    ],
)
def test_a_region_that_there_is_not_is_told_with_those_that_are_near(
    region: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
        monkeypatch.delenv(name)

    with pytest.raises(ConfigError) as told:
        Cloud(region)

    assert f"AWS has no region {region!r}" in str(told.value)
    assert meant in str(told.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # a cloud that is not AWS
    assert Cloud(region).region == region
