"""boto3: who asks, where, and what the services refuse, in our words. It is imported here alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from legato.errors import ConfigError

SHORTEST_S, LONGEST_S = 0.2, 5.0
"""Between two looks at something that takes its time."""
NEAREST = 3
ENDPOINT = "AWS_ENDPOINT_URL"
"""Another cloud is meant where a variable begins so."""
NO_CREDENTIALS = (
    "AWS cannot be asked, since there are no credentials here: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or run `aws configure`"
)


class Cloud:
    """An account and a region.

    Args:
        region: "" = as AWS_REGION or the profile says.

    Raises:
        ConfigError: boto3 is not installed, nothing says which region, or there is no such region.
    """

    def __init__(self, region: str = "") -> None:
        try:
            import boto3
            import botocore.exceptions as errors
        except ImportError:
            raise ConfigError(
                "`legato deploy aws` needs boto3: pip install 'legato[deploy]'"
            ) from None
        self._errors = errors
        try:
            self._session: Any = boto3.session.Session(
                region_name=region or os.environ.get("AWS_REGION") or None
            )
        except errors.ProfileNotFound as error:
            raise ConfigError(
                f"AWS_PROFILE: {error}: `aws configure list-profiles` names those that there are"
            ) from error
        self.region: str = self._session.region_name or ""
        if not self.region:
            raise ConfigError("which region? --region eu-central-1, or set AWS_REGION")
        if not any(name.startswith(ENDPOINT) for name in os.environ):
            self._check_region()
        self._clients: dict[str, Any] = {}

    def _check_region(self) -> None:
        """Refuses what boto3 would look for by its name for some time, and then tell of in many words."""
        partitions = self._session.get_available_partitions()
        known = {
            region
            for partition in partitions
            for region in self._session.get_available_regions("lambda", partition)
        }
        if self.region not in known:
            from difflib import get_close_matches

            near = get_close_matches(self.region.lower(), sorted(known), NEAREST)
            listed = " or ".join([", ".join(near[:-1]), *near[-1:]] if near[1:] else near)
            meant = f": did you mean {listed}?" if near else ", as eu-central-1 is one"
            raise ConfigError(
                f"AWS has no region {self.region!r:.40}{meant} (a new one is known to a new boto3: pip install -U boto3)"
            )

    def __call__(self, service: str) -> Any:
        """The client of a service: "lambda", "s3" ..."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service)
        return self._clients[service]

    @cached_property
    def account(self) -> str:
        """The account's number."""
        return str(self("sts").get_caller_identity()["Account"])

    def export(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Puts who asks into the environment, where our own DynamoDB client looks.

        Raises:
            ConfigError: Nobody asks.
        """
        found = self._session.get_credentials()
        if found is None:
            raise ConfigError(NO_CREDENTIALS)
        frozen = found.get_frozen_credentials()
        environ["AWS_REGION"] = self.region
        environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"] = (
            frozen.access_key,
            frozen.secret_key,
        )
        environ.pop("AWS_SESSION_TOKEN", None)
        if frozen.token:
            environ["AWS_SESSION_TOKEN"] = frozen.token

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def maybe(self, ask: Callable[[], Any], *codes: str) -> Any:
        """What `ask` gives; None if the service refuses with one of these codes."""
        try:
            return ask()
        except self._errors.ClientError as error:
            if error.response["Error"]["Code"] in codes:
                return None
            raise

    def refused(self, ask: Callable[[], Any], *codes: str) -> str:
        """With which of these codes the service refuses; "" if it does not."""
        try:
            ask()
        except self._errors.ClientError as error:
            code = str(error.response["Error"]["Code"])
            if code in codes:
                return code
            raise
        return ""

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of boto3 as errors of ours.

        Raises:
            ConfigError: A service refused, or could not be asked.
        """
        try:
            yield
        except self._errors.ClientError as error:
            about = error.response["Error"]
            raise ConfigError(
                f"AWS refuses {error.operation_name}: {about.get('Message') or about['Code']}"
            ) from error
        except self._errors.NoCredentialsError as error:
            raise ConfigError(NO_CREDENTIALS) from error
        except self._errors.BotoCoreError as error:
            elsewhere = sorted(name for name in os.environ if name.startswith(ENDPOINT))
            why = f" ({elsewhere[0]} is set here)" if elsewhere else ""
            raise ConfigError(f"AWS cannot be asked: {error}{why}") from error


def watched(look: Callable[[], bool], what: str, seconds: float = 1800.0) -> None:
    """Looks again and again until `look` says that it is done.

    Raises:
        ConfigError: It takes too long.
    """
    until = time.monotonic() + seconds
    pause_s = SHORTEST_S
    while not look():
        if time.monotonic() > until:
            raise ConfigError(f"{what} takes more than {seconds:.0f} s: look at the console")
        time.sleep(pause_s)
        pause_s = min(LONGEST_S, pause_s * 1.5)


__all__ = ["Cloud", "watched"]
