"""Lets a platform send to the function, and tries the whole way: the address, its permissions, the alias,
the secrets, the table. A request with the webhook's secret must be taken, one with another must not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence

import msgspec
from msgspec import Struct

from legato.abc import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent, Platform, Store
from legato.abc.redaction import redacted
from legato.app.app import App
from legato.app.settings import Settings
from legato.deploy.clock import SystemClock
from legato.deploy.parts import make_platforms
from legato.errors import BadToken, ConfigError, Unavailable

NOTHING = {"telegram": b'{"update_id":0}'}
"""An update that every bot passes over, by platform."""
TRIES = 12
BROKEN = 4
"""Times that an answer may say that the function failed: then it fails."""
PAUSE_S = 0.5
LONGEST_S = 5.0
"""A new permission takes a moment until it is known everywhere."""
FORBIDDEN = (
    "the function's address answers 403: it needs lambda:InvokeFunctionUrl and lambda:InvokeFunction (for calls by an "
    "address) for everybody. Does a policy of the organization forbid public addresses? Then try --front http-api"
)


class Tried(Struct, frozen=True):
    """What a platform and its way to the function were found to be.

    Attributes:
        platform: "telegram" ...
        url: Where it sends to.
        first_ms: How long the first request took, cold start and all; 0 = there is none to try with.
        next_ms: The same for the next.
        pending: Updates that wait at the platform.
        trouble: The last error that the platform met, "" for none.
    """

    platform: str
    url: str
    first_ms: int = 0
    next_ms: int = 0
    pending: int = 0
    trouble: str = ""


def platforms_of(app: App, settings: Settings) -> list[Platform]:
    """The bot's platforms, with the menus of its commands."""
    app.finish()
    found = make_platforms(settings, app.prefixes, SystemClock())
    for platform in found:
        platform.offer(app.triggers.offered())
    return found


async def connect(
    platforms: Sequence[Platform], settings: Settings, store: Store, http: HttpClient, url: str
) -> list[Tried]:
    """Lets each platform send to the function, and tries its way there.

    The platform comes first: a function that starts finds in the store what it has told of the bot. An
    update that comes while the way is closed comes again.

    Raises:
        ConfigError: The way is not open, or the platform does not take it.
        Unavailable: The platform cannot be reached.
    """
    found = []
    for platform in platforms:
        await platform.setup(http, store, url)
        pending, trouble, first, last = 0, "", 0, 0
        if platform.name == "telegram":
            pending, trouble = await _checked(settings, http, f"{url}/telegram")
        if platform.name in NOTHING:
            first, last = await probe(platform, http, url)
        found.append(Tried(platform.name, f"{url}/{platform.name}", first, last, pending, trouble))
    return found


async def disconnect(platforms: Sequence[Platform], store: Store, http: HttpClient) -> None:
    """Lets platforms send nowhere."""
    log = logging.getLogger("legato")
    before = log.level
    log.setLevel(logging.ERROR)  # who polls is warned of the webhook that goes; here it is meant to
    try:
        for platform in platforms:
            await platform.load(store)
            await platform.setup(http, store, "")
    finally:
        log.setLevel(before)


# -- the real way ----------------------------------------------------------------------------------


async def probe(platform: Platform, http: HttpClient, url: str) -> tuple[int, int]:
    """Sends a signed update that says nothing, and one that is signed wrong; milliseconds of the first
    and the second.

    Raises:
        ConfigError: It is not taken as it must be.
    """
    address, body = f"{url}/{platform.name}", NOTHING[platform.name]
    good = {"content-type": "application/json"} | platform.forwarding()
    bad = {
        name: "wrong" if name in platform.forwarding() else value for name, value in good.items()
    }
    answer, first_ms = await until_open(
        http, HttpRequest("POST", address, good, body, timeout_s=35)
    )
    if answer.status != 200:
        raise ConfigError(
            f"{address} answers {answer.status} to a signed request: {answer.body[:200].decode('utf-8', 'replace')} "
            "(`legato deploy aws logs` shows more)"
        )
    forged, next_ms = await _timed(http, HttpRequest("POST", address, bad, body, timeout_s=35))
    if forged.status != 401:
        raise ConfigError(
            f"{address} answers {forged.status}, not 401, to a request with a wrong secret: whoever finds the "
            "address could speak for anybody"
        )
    return first_ms, next_ms


async def until_open(http: HttpClient, request: HttpRequest) -> tuple[HttpResponse, int]:
    """The first answer of the function itself, and after how many milliseconds it came.

    Raises:
        ConfigError: There is none, however often it was asked.
    """
    pause_s, why, broken = PAUSE_S, "", 0
    for _ in range(TRIES):
        try:
            answer, ms = await _timed(http, request)
        except (NotSent, MaybeSent) as error:
            why = f"{request.url} cannot be reached: {error}"
        else:
            if answer.status not in (403, 404, 429) and answer.status < 500:
                return answer, ms
            text = answer.body[:300].decode("utf-8", "replace")
            broken += answer.status >= 500
            why = FORBIDDEN if answer.status == 403 else _failure(request.url, answer.status, text)
        if broken == BROKEN:
            break
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_S, 2 * pause_s)
    raise ConfigError(why)


def _failure(url: str, status: int, text: str) -> str:
    return f"{url}: {status}: {text} (`legato deploy aws logs` shows more)"


async def _timed(http: HttpClient, request: HttpRequest) -> tuple[HttpResponse, int]:
    started = time.monotonic()
    answer = await http.send(request)
    return answer, round(1000 * (time.monotonic() - started))


# -- Telegram --------------------------------------------------------------------------------------


async def webhook_info(settings: Settings, http: HttpClient) -> dict[str, object]:
    """What Telegram says of the webhook.

    Raises:
        BadToken: It does not know the token.
        Unavailable: It cannot be reached.
    """
    from legato.platforms.telegram.platform import API

    api = settings.telegram_api or API
    url = f"{api}/bot{settings.telegram_token}/getWebhookInfo"
    try:
        answer = await http.send(HttpRequest("POST", url))
    except (NotSent, MaybeSent) as error:
        why = redacted(str(error), settings.secrets)
        raise Unavailable(f"Telegram cannot be asked for the webhook: {why}") from None
    if answer.status in (401, 404):
        bot = settings.telegram_token.partition(":")[0]
        raise BadToken(f"Telegram refuses the token of bot {bot}: check TELEGRAM_TOKEN")
    found = _decoded(answer.body)
    result = found.get("result") if isinstance(found, dict) else None
    if not isinstance(result, dict):
        raise Unavailable(f"Telegram answers {answer.status} to getWebhookInfo")
    return result


async def elsewhere(settings: Settings, http: HttpClient, ours: Collection[str]) -> str:
    """Where Telegram sends to if that is none of our addresses, "" if it is, or nowhere: a bot may have moved.

    Raises:
        BadToken, Unavailable: As webhook_info.
    """
    if not settings.telegram_token:
        return ""
    url = str((await webhook_info(settings, http)).get("url") or "")
    return "" if url in {f"{one.rstrip('/')}/telegram" for one in ours} else url


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None  # of something between us and Telegram


async def _checked(settings: Settings, http: HttpClient, url: str) -> tuple[int, str]:
    info = await webhook_info(settings, http)
    if info.get("url") != url:
        raise ConfigError(
            f"Telegram sends to {info.get('url') or 'nobody'}, not to {url}: another program sets this bot's webhook"
        )
    pending = info.get("pending_update_count", 0)
    return pending if isinstance(pending, int) else 0, str(info.get("last_error_message", ""))


__all__ = [
    "Tried",
    "connect",
    "disconnect",
    "elsewhere",
    "platforms_of",
    "probe",
    "until_open",
    "webhook_info",
]
