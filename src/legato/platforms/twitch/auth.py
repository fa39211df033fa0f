"""Twitch's OAuth service: each request once, its answer as data or as an error. Keeps nothing.

https://dev.twitch.tv/docs/authentication (read 2026-11-28). What differs from RFC 6749: `scope` comes as
a JSON array; a dead refresh token is answered with 400 or 401; PKCE is not promised, so the client's
secret is always sent as well.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from legato.abc.http import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.abc.redaction import redacted
from legato.errors import BadToken, Unavailable

AUTH = "https://id.twitch.tv/oauth2"
TIMEOUT_S = 10.0

_T = TypeVar("_T")


class Granted(Struct, frozen=True):
    """Tokens as they were just given. `expires_in` is in seconds, 0 if it was not said."""

    access_token: str
    refresh_token: str = ""
    expires_in: int = 0


class Valid(Struct, frozen=True):
    """What a token is good for. `user_id` is "" for an application's own token."""

    client_id: str = ""
    login: str = ""
    user_id: str = ""
    scopes: list[str] | None = None
    expires_in: int = 0


class Refused(Exception):
    """The service will not do it, however often it is asked. Its text is the service's own, without
    secrets.

    Attributes:
        client: It does not take our client id or secret: no token is at fault.
    """

    def __init__(self, text: str, *, client: bool) -> None:
        self.client = client
        super().__init__(text)


class _Complaint(Struct, frozen=True):
    message: str = ""


class Auth:
    """The service, for one application registered with Twitch.

    Args:
        client_id, client_secret: As the developer console shows them.
        base: Address of the service.
    """

    __slots__ = ("_base", "_client_secret", "client_id")

    def __init__(self, client_id: str, client_secret: str, base: str = AUTH) -> None:
        self.client_id: str = client_id
        self._client_secret = client_secret
        self._base = base.rstrip("/")

    def authorize_url(
        self, redirect: str, scopes: tuple[str, ...], state: str, challenge: str
    ) -> str:
        """Where a person lets the application act for an account.

        Args:
            redirect: Where the browser is sent back to; registered with the application.
            scopes: What is asked for.
            state: Comes back with the answer.
            challenge: SHA-256 of the verifier that `exchange` will show, in Base64 for URLs.
        """
        from urllib.parse import urlencode

        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect,
            "scope": " ".join(scopes),
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            # Else a browser that once agreed agrees again unasked, for whoever is logged in to it.
            "force_verify": "true",
        }
        return f"{self._base}/authorize?{urlencode(query)}"

    async def exchange(self, http: HttpClient, code: str, verifier: str, redirect: str) -> Granted:
        """Tokens for the code that the browser brought.

        Raises:
            Refused, Unavailable: As `_grant` says.
        """
        return await self._grant(
            http,
            grant_type="authorization_code",
            code=code,
            code_verifier=verifier,
            redirect_uri=redirect,
        )

    async def refresh(self, http: HttpClient, refresh_token: str) -> Granted:
        """New tokens for a refresh token, which may be dead from then on.

        Raises:
            Refused, Unavailable: As `_grant` says.
        """
        granted = await self._grant(http, grant_type="refresh_token", refresh_token=refresh_token)
        if granted.refresh_token:
            return granted
        return msgspec.structs.replace(granted, refresh_token=refresh_token)

    async def application(self, http: HttpClient) -> Granted:
        """A token for the application itself.

        Raises:
            Refused, Unavailable: As `_grant` says.
        """
        return await self._grant(http, grant_type="client_credentials")

    async def _grant(self, http: HttpClient, **form: str) -> Granted:
        """Raises:
        Refused: The code or token is dead, or it does not know us.
        Unavailable: No answer, or none that can be relied on; the request may have been carried out.
        """
        form |= {"client_id": self.client_id, "client_secret": self._client_secret}
        response = await self._post(http, "token", form)
        if response.status != 200:
            hide = (self._client_secret, *(form.get(n, "") for n in ("code", "refresh_token")))
            raise _refused(response, hide)
        return _read(response, Granted)

    async def validate(self, http: HttpClient, token: str) -> Valid | None:
        """What a token is good for; None if it is good for nothing.

        Raises:
            Unavailable: No answer, or none that can be relied on.
        """
        headers = {"authorization": f"OAuth {token}"}
        response = await _send(http, HttpRequest("GET", f"{self._base}/validate", headers))
        if response.status == 401:
            return None
        if response.status != 200:
            raise _unavailable(response)
        return _read(response, Valid)

    async def revoke(self, http: HttpClient, token: str) -> None:
        """Ends a token. One that is dead already is no error.

        Raises:
            Unavailable: No answer, or none that can be relied on.
        """
        response = await self._post(http, "revoke", {"client_id": self.client_id, "token": token})
        if response.status not in (200, 400, 404):
            raise _unavailable(response)

    async def _post(self, http: HttpClient, path: str, form: dict[str, str]) -> HttpResponse:
        from urllib.parse import urlencode

        headers = {"content-type": "application/x-www-form-urlencoded"}
        body = urlencode(form).encode()
        return await _send(http, HttpRequest("POST", f"{self._base}/{path}", headers, body))

    def bad_client(self, why: Refused) -> BadToken:
        """The error for an application that Twitch does not take."""
        return BadToken(
            f"Twitch refused this application ({why}): check TWITCH_CLIENT_ID and TWITCH_CLIENT_SECRET "
            "against https://dev.twitch.tv/console/apps"
        )


async def _send(http: HttpClient, request: HttpRequest) -> HttpResponse:
    request = msgspec.structs.replace(request, timeout_s=TIMEOUT_S)
    try:
        return await http.send(request)
    except (NotSent, MaybeSent) as error:
        raise Unavailable(f"Twitch's login service cannot be reached: {error}") from None


def _read(response: HttpResponse, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(response.body, type=kind)
    except msgspec.MsgspecError:  # its text could quote a token
        raise Unavailable("Twitch's login service answered what cannot be read") from None


def _unavailable(response: HttpResponse) -> Unavailable:
    return Unavailable(f"Twitch's login service answered HTTP {response.status}")


def _refused(response: HttpResponse, secrets: tuple[str, ...]) -> Refused | Unavailable:
    """What a request for a token that was answered with another status than 200 comes to."""
    if response.status not in (400, 401, 403):
        return _unavailable(response)
    try:
        text = msgspec.json.decode(response.body, type=_Complaint).message
    except msgspec.MsgspecError:
        text = ""
    text = (
        "".join(c for c in redacted(text, secrets) if c.isprintable())[:200]
        or f"HTTP {response.status}"
    )
    return Refused(text, client=response.status == 403 or "client" in text.lower())


__all__ = ["AUTH", "Auth", "Granted", "Refused", "Valid"]
