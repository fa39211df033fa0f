"""A login service like Twitch's, strict where Twitch is: refresh tokens and codes serve once."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from urllib.parse import parse_qs, urlsplit

from legato.abc import HttpClient, HttpRequest, HttpResponse, Store
from legato.platforms.twitch.oauth import SCOPES, Tokens
from legato.testing.clock import FakeClock

CLIENT_ID = "client-of-the-test"
CLIENT_SECRET = "canary-client-secret"  # of nobody
KEY = "canary0canary0canary0canary0canary0canary0c"
REDIRECT = "http://localhost:3000"
VERIFIER = "canary-verifier"
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class LoginService:
    """The service's state, and its answers to requests.

    Attributes:
        once: A refresh token is dead after its first use.
        alive: Access tokens that are good.
        refreshing: Refresh tokens that are good.
        asked: What was asked for, in order: "refresh_token", "validate" ...
        user: (id, login) of who agrees.
        secret: The application's secret.
        faults: Answers given, or exceptions raised, in place of the next ones.
    """

    def __init__(self) -> None:
        self.once = True
        self.alive: set[str] = set()
        self.refreshing: set[str] = set()
        self.asked: list[str] = []
        self.user = ("77", "legatobot")
        self.secret = CLIENT_SECRET
        self.faults: list[HttpResponse | Exception] = []
        self._codes: dict[str, tuple[str, str]] = {}
        self._made = 0

    def agree(self, authorize_url: str) -> dict[str, str]:
        """What the browser brings back when somebody agrees there: code and state."""
        query = {n: v[0] for n, v in parse_qs(urlsplit(authorize_url).query).items()}
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        code = self._new("code")
        self._codes[code] = query["code_challenge"], query["redirect_uri"]
        return {"code": code, "state": query["state"], "scope": query["scope"]}

    def expire(self) -> None:
        """All access tokens end."""
        self.alive.clear()

    def disconnect(self) -> None:
        """The person takes the permission back."""
        self.alive.clear()
        self.refreshing.clear()

    def count(self, what: str) -> int:
        return self.asked.count(what)

    def answer(self, request: HttpRequest) -> HttpResponse:
        path = urlsplit(request.url).path.rpartition("/")[2]
        form = {n: v[0] for n, v in parse_qs(request.body.decode()).items()}
        self.asked.append(form.get("grant_type", path))
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        if path == "validate":
            return self._validate(request.headers.get("authorization", ""))
        if form.get("client_id") != CLIENT_ID:
            return complaint(400, "invalid client")
        if path == "revoke":
            known = form["token"] in self.alive
            self.alive.discard(form["token"])
            return HttpResponse(200) if known else complaint(400, "Invalid token")
        if form.get("client_secret") != self.secret:
            return complaint(403, "invalid client secret")
        return self._token(form)

    def _token(self, form: dict[str, str]) -> HttpResponse:
        kind = form["grant_type"]
        if kind == "client_credentials":
            return self._give(refresh=False)
        if kind == "authorization_code":
            challenge, redirect = self._codes.pop(form["code"], ("", ""))
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            if (
                urlsafe_b64encode(digest).rstrip(b"=").decode() != challenge
                or form["redirect_uri"] != redirect
            ):
                return complaint(400, "Invalid authorization code")
        elif form["refresh_token"] not in self.refreshing:
            return complaint(400, "Invalid refresh token")
        elif self.once:
            self.refreshing.remove(form["refresh_token"])
        return self._give(refresh=True)

    def _give(self, *, refresh: bool) -> HttpResponse:
        access = self._new("access")
        self.alive.add(access)
        given: dict[str, object] = {"access_token": access, "expires_in": 14_400}
        given |= {"token_type": "bearer"}
        if refresh:
            given |= {"refresh_token": self._new("refresh"), "scope": list(SCOPES)}
            self.refreshing.add(str(given["refresh_token"]))
        return HttpResponse(200, body=json.dumps(given).encode())

    def _validate(self, authorization: str) -> HttpResponse:
        if authorization.removeprefix("OAuth ") not in self.alive:
            return complaint(401, "invalid access token")
        user_id, login = self.user
        return HttpResponse(
            200,
            body=json.dumps(
                {
                    "client_id": CLIENT_ID,
                    "login": login,
                    "user_id": user_id,
                    "scopes": list(SCOPES),
                    "expires_in": 14_000,
                }
            ).encode(),
        )

    def _new(self, what: str) -> str:
        self._made += 1
        return f"canary-{what}-{self._made}"


def complaint(status: int, message: str) -> HttpResponse:
    return HttpResponse(status, body=json.dumps({"status": status, "message": message}).encode())


class ServiceHttp(HttpClient):
    """A client for which there is only the service. Gives way before each answer, as a network does."""

    def __init__(self, service: LoginService) -> None:
        self.service = service

    async def send(self, request: HttpRequest) -> HttpResponse:
        from asyncio import sleep

        await sleep(0)
        response = self.service.answer(request)
        await sleep(0)
        return response

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise ValueError("nothing can be downloaded here")

    async def close(self) -> None:
        return


class Desk:
    """One process that uses the account: its tokens, its clock, its HTTP client, and the store."""

    def __init__(
        self, service: LoginService, store: Store, clock: FakeClock, *, key: str = KEY
    ) -> None:
        self.service = service
        self.store = store
        self.clock = clock
        self.http = ServiceHttp(service)
        self.tokens = Tokens(CLIENT_ID, CLIENT_SECRET, key, clock=clock)

    def another(self, *, key: str = KEY) -> Desk:
        """Another process on the same store."""
        return Desk(self.service, self.store, self.clock, key=key)

    async def log_in(self) -> None:
        url = self.tokens.authorize_url(REDIRECT, SCOPES, "state", CHALLENGE)
        code = self.service.agree(url)["code"]
        await self.tokens.log_in(self.http, self.store, code, VERIFIER, REDIRECT)

    async def token(self) -> str:
        return await self.tokens.user_token(self.http, self.store)

    async def refresh(self, refused: str) -> str:
        return await self.tokens.refresh(self.http, self.store, refused)

    async def app(self) -> str:
        return await self.tokens.app_token(self.http, self.store)
