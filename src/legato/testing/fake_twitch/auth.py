"""OAuth: the authorization page, tokens, and what they allow.

https://dev.twitch.tv/docs/authentication (read 2026-11-29). Refresh tokens work once here, as Twitch
says they may; what it does with a second use is the same.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import urlencode, urlsplit

from msgspec import Struct

from legato.testing._http import Response
from legato.testing._stage import inside
from legato.testing.fake_twitch.world import Account, ApiError, Json, World

USER_SCOPES = ("chat:edit", "chat:read", "user:bot", "user:read:chat", "user:write:chat")
"""What a chat bot asks for."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Token(Struct, eq=False):
    """An access token that was handed out.

    Attributes:
        access: Itself.
        user: Whose; None: an app's.
        scopes: What it allows.
        expires_at: By `World.now`.
        refresh: The refresh token that came with it, "" for an app's.
    """

    access: str
    user: Account | None
    scopes: tuple[str, ...]
    expires_at: float
    refresh: str = ""


class _Code(Struct):
    user: Account
    scopes: tuple[str, ...]
    redirect_uri: str
    challenge: str


class Auth:
    """The authorization server with one application.

    Attributes:
        client_id, client_secret: The application's.
        redirect_uris: The registered ones; empty: any on the loopback interface.
        visitor: Who is logged in at the browser, by default the bot.
        denies: Whether that person refuses.
        tokens: Valid and expired access tokens.
        grants: Scopes that somebody granted to the application, by user id.
        refreshed: Every refresh token that was used, in order; one twice is a client's error.
        lifetime_s: How long a user's access token lives.
        pkce: Whether a code that came with a challenge needs its verifier.
    """

    def __init__(self, world: World, client_id: str, client_secret: str) -> None:
        self.world: World = world
        self.client_id: str = client_id
        self.client_secret: str = client_secret
        self.redirect_uris: set[str] = set()
        self.visitor: Account = world.bot
        self.denies: bool = False
        self.tokens: dict[str, Token] = {}
        self.grants: dict[str, set[str]] = {}
        self.refreshed: list[str] = []
        self.lifetime_s: float = 14_400.0
        self.pkce: bool = True
        self._codes: dict[str, _Code] = {}
        self._refreshers: dict[str, Token] = {}

    # -- for tests ----------------------------------------------------------------------------

    @inside
    def grant(self, user: Account, scopes: tuple[str, ...] = USER_SCOPES) -> Token:
        """A token of somebody who agreed."""
        self.grants.setdefault(user.id, set()).update(scopes)
        token = self._token(user, scopes, self.lifetime_s)
        token.refresh = f"refresh{self.world.next():06}{'r' * 38}"
        self._refreshers[token.refresh] = token
        return token

    @inside
    def app_token(self) -> Token:
        """A token of the application itself."""
        return self._token(None, (), 5_000_000.0)

    @inside
    def expire(self, *access: str) -> None:
        """These access tokens (none given: all) are over: 401. They can be refreshed."""
        for token in [self.tokens[a] for a in access] or list(self.tokens.values()):
            token.expires_at = self.world.now()

    @inside
    def forget(self, user: Account) -> None:
        """Somebody disconnects the application: no token of theirs is worth anything now."""
        self.grants.pop(user.id, None)
        self.tokens = {a: t for a, t in self.tokens.items() if t.user is not user}
        self._refreshers = {r: t for r, t in self._refreshers.items() if t.user is not user}

    # -- checking -----------------------------------------------------------------------------

    def valid(self, access: str) -> Token | None:
        """The token, if it is one and not over."""
        token = self.tokens.get(access)
        return token if token is not None and self.world.now() < token.expires_at else None

    def granted(self, user: str, scope: str) -> bool:
        """Whether somebody allowed this to the application."""
        return scope in self.grants.get(user, ())

    def _token(self, user: Account | None, scopes: tuple[str, ...], seconds: float) -> Token:
        access = f"token{self.world.next():06}{'t' * 19}"
        token = Token(access, user, tuple(sorted(scopes)), self.world.now() + seconds)
        self.tokens[access] = token
        return token

    # -- endpoints ----------------------------------------------------------------------------

    def handle(
        self, method: str, path: str, params: dict[str, str], bearer: str
    ) -> Response | Json:
        """Answers one request below /oauth2.

        Raises:
            ApiError: It is refused.
        """
        if (method, path) == ("GET", "/authorize"):
            return self._authorize(params)
        if (method, path) == ("POST", "/token"):
            return self._issue(params)
        if (method, path) == ("GET", "/validate"):
            return self._validate(bearer)
        if (method, path) == ("POST", "/revoke"):
            return self._revoke(params)
        raise ApiError(404, "not found")

    def _authorize(self, params: dict[str, str]) -> Response:
        uri = params.get("redirect_uri", "")
        if params.get("client_id") != self.client_id:
            raise ApiError(400, "invalid client")
        known = urlsplit(uri).hostname in LOOPBACK if not self.redirect_uris else False
        if not known and uri not in self.redirect_uris:
            raise ApiError(400, "Parameter redirect_uri does not match registered URI")
        if params.get("response_type") != "code":
            raise ApiError(400, "invalid response type")
        answer = {"state": params["state"]} if "state" in params else {}
        if self.denies:
            said = "The user denied you access"
            answer |= {"error": "access_denied", "error_description": said}
        else:
            scopes = tuple(params.get("scope", "").split())
            code = f"code{self.world.next():06}{'c' * 20}"
            challenge = params.get("code_challenge", "") if self.pkce else ""
            if challenge and params.get("code_challenge_method") != "S256":
                raise ApiError(400, "invalid code challenge method")
            self._codes[code] = _Code(self.visitor, scopes, uri, challenge)
            answer |= {"code": code, "scope": " ".join(scopes)}
        return Response(302, headers={"location": f"{uri}?{urlencode(answer)}"})

    def _issue(self, params: dict[str, str]) -> Json:
        kind = params.get("grant_type", "")
        if params.get("client_id") != self.client_id:
            raise ApiError(400, "invalid client")
        if params.get("client_secret") != self.client_secret:
            raise ApiError(403, "invalid client secret")
        if kind == "client_credentials":
            app = self.app_token()
            return {"access_token": app.access, "expires_in": 5_000_000, "token_type": "bearer"}
        if kind == "authorization_code":
            return self._shown(self._redeem(params))
        if kind == "refresh_token":
            return self._shown(self._refresh(params.get("refresh_token", "")))
        raise ApiError(400, "missing grant type" if not kind else "Invalid grant")

    def _redeem(self, params: dict[str, str]) -> Token:
        code = self._codes.pop(params.get("code", ""), None)
        if code is None:
            raise ApiError(400, "Invalid authorization code")
        if params.get("redirect_uri") != code.redirect_uri:
            raise ApiError(400, "Parameter redirect_uri does not match registered URI")
        if code.challenge and _challenge(params.get("code_verifier", "")) != code.challenge:
            raise ApiError(400, "Invalid code verifier")
        return self.grant(code.user, code.scopes)

    def _refresh(self, refresh: str) -> Token:
        self.refreshed.append(refresh)
        old = self._refreshers.pop(refresh, None)
        if old is None or old.user is None:
            raise ApiError(400, "Invalid refresh token", error="Bad Request")
        return self.grant(old.user, old.scopes)

    def _shown(self, token: Token) -> Json:
        return {
            "access_token": token.access,
            "expires_in": int(self.lifetime_s),
            "refresh_token": token.refresh,
            "scope": list(token.scopes),
            "token_type": "bearer",
        }

    def _validate(self, bearer: str) -> Json:
        if not bearer:
            raise ApiError(401, "missing authorization token")
        token = self.valid(bearer)
        if token is None:
            raise ApiError(401, "invalid access token")
        found: Json = {
            "client_id": self.client_id,
            "scopes": list(token.scopes) or None,
            "expires_in": int(token.expires_at - self.world.now()),
        }
        if token.user is not None:
            found |= {"login": token.user.login, "user_id": token.user.id}
        return found

    def _revoke(self, params: dict[str, str]) -> Response:
        if params.get("client_id") != self.client_id:
            raise ApiError(404, "client does not exist")
        token = self.tokens.pop(params.get("token", ""), None)
        if token is None:
            raise ApiError(400, "Invalid token")
        self._refreshers.pop(token.refresh, None)
        return Response(200, content_type="text/plain")


def _challenge(verifier: str) -> str:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
