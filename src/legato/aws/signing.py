"""AWS Signature Version 4 for POST requests whose body is in memory.

As https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html says (read
2026-11). Compared with botocore's signer in tests/unit/aws/test_signing.py.
"""

from __future__ import annotations

import hashlib
import hmac
import time

from msgspec import Struct


class Credentials(Struct, frozen=True):
    """Who asks. Its text shows no secret.

    Attributes:
        key: Access key id.
        secret: Secret access key.
        token: Of temporary credentials, "" for lasting ones.
    """

    key: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"<credentials {self.key[:4]}...>"


class Signer:
    """Signs POST requests of one service in one region.

    Args:
        credentials: Who asks.
        region: "eu-central-1" ...
        service: "dynamodb" ...
    """

    __slots__ = ("_credentials", "_day", "_key", "_region", "_service")

    def __init__(self, credentials: Credentials, region: str, service: str) -> None:
        self._credentials = credentials
        self._region = region
        self._service = service
        self._day = ""
        self._key = b""

    def signed(
        self,
        headers: dict[str, str],
        body: bytes,
        now_s: float,
        path: str = "/",
        query: str = "",
    ) -> dict[str, str]:
        """The headers with those that authenticate the request; all of them are signed.

        Args:
            headers: Lower-case names, "host" among them.
            body: As it will be sent.
            now_s: Seconds since the Unix epoch. The service refuses what is 15 minutes off.
            path: As it will be sent: what must be percent-encoded in it is.
            query: The same, its names in alphabetical order.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        who = self._credentials
        signed = headers | {"x-amz-date": stamp}
        if who.token:
            signed["x-amz-security-token"] = who.token
        names = sorted(signed)
        lines = "".join([f"{name}:{' '.join(signed[name].split())}\n" for name in names])
        listed = ";".join(names)
        content = hashlib.sha256(body).hexdigest()
        request = f"POST\n{path.replace('%', '%25')}\n{query}\n{lines}\n{listed}\n{content}"
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = hmac.digest(self._key_of(stamp[:8]), text.encode(), "sha256").hex()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={who.key}/{scope}, SignedHeaders={listed}, "
            f"Signature={signature}"
        )
        return signed

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._credentials.secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key = day, key
        return self._key
