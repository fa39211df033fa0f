"""The address of a DynamoDB store."""

import pytest

from legato.errors import ConfigError
from legato.stores.dynamodb.address import where_is


def test_region_and_endpoint_come_from_the_address_or_the_environment() -> None:
    """The address goes first; what is about DynamoDB before what is about all services."""
    lambda_ = {"AWS_REGION": "eu-west-1"}
    assert (
        where_is("dynamodb://bot", lambda_).endpoint == "https://dynamodb.eu-west-1.amazonaws.com"
    )
    where = where_is("dynamodb://my-bot_1.x/?region=cn-north-1", lambda_)
    assert (where.table, where.region) == ("my-bot_1.x", "cn-north-1")
    assert where.endpoint == "https://dynamodb.cn-north-1.amazonaws.com.cn"
    local = lambda_ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1/"}
    assert where_is("dynamodb://bot", local).endpoint == "http://127.0.0.1:1"
    local["AWS_ENDPOINT_URL_DYNAMODB"] = "http://127.0.0.1:2"
    assert where_is("dynamodb://bot", local).endpoint == "http://127.0.0.1:2"
    quoted = where_is("dynamodb://bot?endpoint=http%3A%2F%2Flocalhost:3", local)
    assert quoted.endpoint == "http://localhost:3"
    assert where_is("dynamodb://bot", {"AWS_DEFAULT_REGION": "eu-west-2"}).region == "eu-west-2"


def test_parameters_have_defaults_and_bounds() -> None:
    """A table is made only where the address says so."""
    where = where_is("dynamodb://bot?region=eu-1&create=1&spread=16&pool=3&timeout=9&keep=30", {})
    assert (where.create, where.spread, where.pool) == (True, 16, 3)
    assert (where.timeout_s, where.keep_days) == (9, 30)
    where = where_is("dynamodb://bot?region=eu-1", {})
    assert (where.create, where.spread) == (False, 4)
    assert where.name == "DynamoDB table bot in eu-1"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("dynamodb://", "no address of a DynamoDB table"),
        ("dynamodb://ab", "no address of a DynamoDB table"),
        ("dynamodb://key:canary@bot?region=eu-1", "no address of a DynamoDB table"),
        ("postgresql://bot", "no address of a DynamoDB table"),
        ("dynamodb://bot", "set AWS_REGION"),
        ("dynamodb://bot?region=EU/1", "set AWS_REGION"),
        ("dynamodb://bot?region=eu-1&endpoint=127.0.0.1", "endpoint= must look like"),
        ("dynamodb://bot?region=eu-1&endpoint=http://u:canary@h", "endpoint= must look like"),
        ("dynamodb://bot?region=eu-1&endpoint=http://h/path", "endpoint= must look like"),
        ("dynamodb://bot?region=eu-1&spread=3", "a power of two"),
        ("dynamodb://bot?region=eu-1&spread=128", "from 1 to 64"),
        ("dynamodb://bot?region=eu-1&keep=8", "from 9 to"),
        ("dynamodb://bot?region=eu-1&speed=1", "'speed' is no parameter"),
    ],
)
def test_what_is_no_address_is_refused_without_a_secret(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        where_is(url, {})
    assert "canary" not in str(raised.value)
