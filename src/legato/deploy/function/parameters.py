"""Secrets of a function on AWS: from Parameter Store, before the bot's code is imported.

    LEGATO_PARAMETERS=/legato/adder/                  where they stand
    LEGATO_SECRETS=TELEGRAM_TOKEN:3,TELEGRAM_SECRET:1 which ones, of which version; the newest where none is said

A function reads the versions that it was deployed with: a deployment that fails leaves the one before it with its
own secrets, and a version that is rolled back to has its own as well.

One signed request of a cold start. Nothing is read where these are not set, or where a secret stands in the
environment itself.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html (read 2026-11-29)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, MutableMapping
from typing import TYPE_CHECKING

from legato.errors import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from legato.abc.http import HttpRequest
    from legato.deploy.transport import Transport

AT_ONCE = 10
"""Names in one request, by the API."""
TRIES = 3
WHERE, WHICH = "LEGATO_PARAMETERS", "LEGATO_SECRETS"


def load(environ: MutableMapping[str, str] = os.environ) -> None:
    """Puts the secrets into the environment.

    Raises:
        ConfigError: There is none of this name, or the function may not read it.
        StoreUnavailable: They could not be read now.
    """
    path = environ.get(WHERE, "")
    wanted = {one.partition(":")[0]: one for one in environ.get(WHICH, "").split(",")}
    missing = {name: one for name, one in wanted.items() if name and not environ.get(name)}
    if not path or not missing:
        return
    import asyncio

    try:
        found = asyncio.run(_fetched(path, list(missing.values()), environ))
    except (ConfigError, StoreUnavailable) as error:
        raise error.with_traceback(None) from None  # the message says what to do, our lines do not
    environ.update(found)
    absent = [name for name in missing if name not in found]
    if absent:
        raise ConfigError(
            f"Parameter Store has no {path}{missing[absent[0]]}: run `legato deploy aws` with {absent[0]} set"
        )


async def _fetched(
    path: str, names: list[str], environ: MutableMapping[str, str]
) -> dict[str, str]:
    """{name: value} of those that there are."""
    from legato.deploy.transport import Transport

    http = Transport(connect_timeout_s=3.0)
    try:
        found: dict[str, str] = {}
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            found |= await _asked(http, [path + name for name in some], environ)
        return {name.removeprefix(path): value for name, value in found.items()}
    finally:
        await http.close()


async def _asked(
    http: Transport, names: Iterable[str], environ: MutableMapping[str, str]
) -> dict[str, str]:
    """{full name: value} of those that there are."""
    import msgspec

    from legato.abc.http import MaybeSent, NotSent

    request = signed(msgspec.json.encode({"Names": list(names), "WithDecryption": True}), environ)
    failure = ""
    for _ in range(TRIES):
        try:
            answer = await http.send(request)
        except (NotSent, MaybeSent) as error:
            failure = str(error)
            continue
        if answer.status == 200:
            listed = msgspec.json.decode(answer.body)["Parameters"]
            return {str(one["Name"]).partition(":")[0]: str(one["Value"]) for one in listed}
        failure = answer.body.decode("utf-8", "replace")[:300]
        if answer.status < 500 and "Throttling" not in failure:
            raise ConfigError(f"Parameter Store refuses the function's secrets: {failure}")
    raise StoreUnavailable(f"Parameter Store cannot be read now: {failure}")


def signed(body: bytes, environ: MutableMapping[str, str]) -> HttpRequest:
    """The request of GetParameters.

    Raises:
        ConfigError: There are no credentials.
    """
    import time

    from legato.abc.http import HttpRequest
    from legato.aws.address import endpoint_of, region_of, who_asks
    from legato.aws.signing import Signer

    region = region_of({}, environ)
    endpoint = endpoint_of({}, "ssm", region, environ)
    if not region or not endpoint:
        raise ConfigError("AWS_REGION is not set: in Lambda it is there by itself")
    headers = {
        "host": endpoint.partition("://")[2],
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "AmazonSSM.GetParameters",
    }
    signer = Signer(who_asks(environ), region, "ssm")
    headers = signer.signed(headers, body, time.time())
    return HttpRequest("POST", f"{endpoint}/", headers, body, timeout_s=3.0)


__all__ = ["load"]
