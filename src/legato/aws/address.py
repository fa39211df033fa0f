"""Where a service is, and who asks it: parameters of an address, then the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from legato.aws.signing import Credentials
from legato.errors import ConfigError

_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def parameters(text: str) -> dict[str, str]:
    """What stands behind the "?" of an address, as in "region=eu-central-1&endpoint=..."."""
    found = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if "%" in value:
            from urllib.parse import unquote

            value = unquote(value)
        found[name] = value
    return found


def region_of(query: dict[str, str], environment: Mapping[str, str] = os.environ) -> str:
    """The region: region= (which is taken out), else AWS_REGION; "" if there is none that can be one."""
    region = query.pop("region", "") or environment.get("AWS_REGION", "")
    region = region or environment.get("AWS_DEFAULT_REGION", "")
    return region if _HOST.issuperset(region) else ""


def endpoint_of(
    query: dict[str, str], service: str, region: str, environment: Mapping[str, str] = os.environ
) -> str:
    """The address of a service, without a slash at its end; "" if the one given cannot be one.

    Args:
        query: endpoint= is taken out.
        service: "dynamodb", "sqs" ...
        region: "eu-central-1" ...
        environment: AWS_ENDPOINT_URL_<SERVICE>, or AWS_ENDPOINT_URL for all.
    """
    endpoint = query.pop("endpoint", "")
    endpoint = endpoint or environment.get(f"AWS_ENDPOINT_URL_{service.upper()}", "")
    endpoint = endpoint or environment.get("AWS_ENDPOINT_URL", "")
    endpoint = (endpoint or f"https://{service}.{region}.{domain(region)}").removesuffix("/")
    kind, sep, host = endpoint.partition("://")
    good = kind in ("http", "https") and sep and host and not set("/?#@ ") & set(host)
    return endpoint if good else ""


def domain(region: str) -> str:
    """Below which a region's services are."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def who_asks(environment: Mapping[str, str] = os.environ) -> Credentials:
    """The credentials of the environment, where Lambda puts a function's.

    Raises:
        ConfigError: There are none.
    """
    key = environment.get("AWS_ACCESS_KEY_ID", "")
    secret = environment.get("AWS_SECRET_ACCESS_KEY", "")
    if not key or not secret:
        raise ConfigError(
            "AWS needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, if they are "
            "temporary) in the environment. In Lambda they are there by themselves; profiles and the "
            "metadata services of EC2 and ECS are not read: "
            "eval $(aws configure export-credentials --format env)"
        )
    return Credentials(key, secret, environment.get("AWS_SESSION_TOKEN", ""))


__all__ = ["domain", "endpoint_of", "parameters", "region_of", "who_asks"]
