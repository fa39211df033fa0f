"""The Telegram platform: parts put together, and the calls that are I/O."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from legato.abc.clock import Clock
from legato.abc.http import HttpClient, HttpRequest, MaybeSent, NotSent
from legato.abc.platform import (
    Capabilities,
    Limits,
    Offered,
    Parsed,
    Platform,
    Sink,
    Verdict,
)
from legato.abc.redaction import ERROR_CHARS, redacted
from legato.abc.store import Store
from legato.errors import BadToken, ConfigError, Forged, Unavailable, Unsupported
from legato.model.events import Address, File, Photo
from legato.model.messages import Outgoing
from legato.model.records import Call, Commit
from legato.platforms._signing import same
from legato.platforms.telegram.calls import field, is_key, numbered
from legato.platforms.telegram.menu import encoded, menus
from legato.platforms.telegram.parse import Reader
from legato.platforms.telegram.render import render
from legato.platforms.telegram.verdict import answer_of, interpret, unsure

log: logging.Logger = logging.getLogger("legato.telegram")

API = "https://api.telegram.org"
SECRET_HEADER = "x-telegram-bot-api-secret-token"  # nosec B105 # the name of a header
UPDATES = (
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "my_chat_member",
    "message_reaction",
)
"""What is asked for. Not chat_member: an administrator's bot would see each join twice, since groups
also show it as a message."""
LIMITS = Limits(private=(1, 1, 10), group=(20, 60, 10), bulk=(30, 1, 5))
TIMEOUT_S = 30.0
UPLOAD_S = 300.0


class Telegram(Platform):
    """One bot on Telegram.

    Attributes:
        malformed: Unreadable updates that `listen` passed over.
    """

    __slots__ = (
        "_api",
        "_clock",
        "_max_connections",
        "_menus",
        "_poll_s",
        "_reader",
        "_secret",
        "_token",
        "_updates",
        "bot",
        "capabilities",
        "limits",
        "malformed",
        "name",
        "secrets",
    )

    def __init__(
        self,
        token: str,
        *,
        api: str = API,
        secret: str = "",
        prefixes: tuple[str, ...] = ("/", "!"),
        updates: tuple[str, ...] = UPDATES,
        limits: Limits = LIMITS,
        max_connections: int = 40,
        poll_s: int = 30,
        clock: Clock | None = None,
    ) -> None:
        """Makes the bot of a token; nothing is sent.

        Args:
            token: As BotFather gives it: "123456:ABC-DEF...".
            api: Base address of the Bot API.
            secret: What Telegram's webhook requests must carry, 1-256 of A-Za-z0-9_-. Without one
                `setup` makes it and keeps it in the store.
            prefixes: What a command may begin with.
            updates: Kinds of updates to ask for.
            limits: How fast we send.
            max_connections: Webhook requests that Telegram may make at once, 1-100.
            poll_s: How long a request for updates may wait for one, 1-50 s.
            clock: Time and sleep; the system's by default.

        Raises:
            BadToken: It does not look like a token.
            ConfigError: The secret holds something that Telegram would not take.
        """
        bot, _, key = token.partition(":")
        if not (bot.isascii() and bot.isdigit() and len(bot) <= 20 and is_key(key)):
            raise BadToken("that is no Telegram token; it looks like 123456:ABC-DEF... (BotFather)")
        if secret and not is_key(secret):
            raise ConfigError("the Telegram secret must be 1-256 characters of A-Z a-z 0-9 _ -")
        self.name: str = "telegram"
        self.bot: str = bot
        self.capabilities: Capabilities = Capabilities(webhook_reply=True)
        self.limits: Limits = limits
        self.malformed: int = 0
        self._token = token
        self._api = api.rstrip("/")
        self._updates = updates
        self._max_connections = max_connections
        self._poll_s = poll_s
        self._menus = menus(())
        self._clock = clock or SystemClock()
        self._reader = Reader(self.bot, tuple(filter(None, prefixes)), self._clock)
        self._use(secret)

    def __repr__(self) -> str:
        return f"<Telegram bot={self.bot}>"

    def _use(self, secret: str) -> None:
        self._secret = secret
        bare = self._token.partition(":")[2]
        self.secrets: tuple[str, ...] = tuple(filter(None, (self._token, bare, secret)))

    # -- in -----------------------------------------------------------------------------------

    def verify(self, request: HttpRequest) -> None:
        if not self._secret:
            raise Forged(
                "no webhook secret is known: set TELEGRAM_SECRET to what the webhook was set with, or let "
                "`legato run` with LEGATO_PUBLIC_URL set the webhook, which leaves it in the store"
            )
        given = request.headers.get(SECRET_HEADER, "")
        if not same(given.encode("utf-8", "surrogatepass"), self._secret.encode()):
            raise Forged("X-Telegram-Bot-Api-Secret-Token is missing or wrong")

    def parse(self, body: bytes) -> Parsed:
        return self._reader.read(body)

    # -- out ----------------------------------------------------------------------------------

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        """See Platform. A target of a reply is filled in at "reply_parameters.message_id"."""
        return render(out, place)

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        verdict = await self._exchange(call, place, http)
        if verdict.moved_to:
            self._reader.moves.learn(place.chat, verdict.moved_to)
        if call.method == "editMessageText" and "no text in the message" in verdict.error:
            # The handle's message is a photo or file: its text is the caption. Render cannot know.
            params = {"caption" if k == "text" else k: v for k, v in call.params.items()}
            params.pop("link_preview_options", None)
            verdict = await self._exchange(
                Call("editMessageCaption", params, idempotent=True), place, http
            )
        return verdict

    async def _exchange(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        try:
            request = self._request(call)
        except (TypeError, ValueError, RecursionError) as error:
            return Verdict("refused", error=self._redacted(f"{call.method} is no JSON: {error}"))
        try:
            response = await http.send(request)
        except NotSent as error:
            return Verdict("retry", error=self._redacted(f"not sent: {error}"))
        except MaybeSent as error:
            return unsure(call, self._redacted(f"maybe sent: {error}"))
        except OSError as error:  # of reading a file that is to be uploaded
            return Verdict("refused", error=self._redacted(f"cannot read the file: {error}"))
        return interpret(call, place, response)

    def _request(self, call: Call, timeout_s: float = TIMEOUT_S) -> HttpRequest:
        url = f"{self._api}/bot{self._token}/{call.method}"
        params = self._reader.moves.readdressed(numbered(call.params))
        if call.files:
            fields = tuple((name, field(value)) for name, value in params.items())
            return HttpRequest("POST", url, files=call.files, fields=fields, timeout_s=UPLOAD_S)
        headers = {"content-type": "application/json"}
        return HttpRequest("POST", url, headers, msgspec.json.encode(params), timeout_s=timeout_s)

    def webhook_reply(self, call: Call, place: Address) -> bytes | None:
        if call.files or call.target:
            return None
        try:
            params = self._reader.moves.readdressed(numbered(call.params))
            return msgspec.json.encode({"method": call.method} | params)
        except (TypeError, ValueError, RecursionError):
            return None

    def forwarding(self) -> dict[str, str]:
        """See Platform: the webhook's secret."""
        return {SECRET_HEADER: self._secret} if self._secret else {}

    def replied(self, body: bytes) -> tuple[Call, Address] | None:
        """See Platform."""
        try:
            params = msgspec.json.decode(body, type=dict[str, object])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        method, chat = params.pop("method", None), params.get("chat_id", "")
        if not isinstance(method, str) or not (method.isascii() and method.isalpha()):
            return None
        return Call(method, params), Address(self.name, self.bot, str(chat))

    def group(self, place: Address) -> bool:
        """See Platform. An anonymous administrator is, as a user, the group itself."""
        return place.chat[:1] in ("-", "@")

    def _redacted(self, text: str) -> str:
        return redacted(text, self.secrets, ERROR_CHARS)

    # -- life ---------------------------------------------------------------------------------

    async def load(self, store: Store) -> None:
        """Takes what is in the store: the webhook's secret, the bot's own name, groups that moved."""
        moved = await store.get("setting", f"telegram:{self.bot}:moved")
        if moved:
            self._reader.moves.take(moved)
        name = await store.get("setting", f"telegram:{self.bot}:username")
        if name:
            self._reader.username = name.decode()
        if not self._secret:
            secret = await store.get("setting", f"telegram:{self.bot}:secret")
            if secret:
                self._use(secret.decode())

    async def remember(self, store: Store) -> None:
        """See Platform: groups that have become supergroups."""
        moves = self._reader.moves
        if moves.news:
            await self.load(store)  # what others have learned is not to be lost
            try:
                await self._keep(store, "moved", moves.kept().decode())
            except BaseException:
                moves.news = True
                raise

    async def setup(self, http: HttpClient, store: Store, public_url: str) -> None:
        await self._set_webhook(http, store, public_url)
        await self._show_menus(http, store)

    def offer(self, commands: Sequence[Offered]) -> None:
        self._menus = menus(commands)

    async def _show_menus(self, http: HttpClient, store: Store) -> None:
        """Sets the menus of commands if they changed. The bot works without them as well."""
        kept = await store.get("setting", f"telegram:{self.bot}:menus")
        new = encoded(self._menus)
        if new == (kept or encoded(menus(()))):
            return
        try:
            for call in self._menus:
                await self._ask(http, call.method, call.params)
        except (ConfigError, Unavailable) as error:
            log.warning("the menu of commands could not be set: %s", error)
        else:
            await self._keep(store, "menus", new.decode())

    async def _set_webhook(self, http: HttpClient, store: Store, public_url: str) -> None:
        await self.load(store)
        me = await self._ask(http, "getMe", {})
        name = str(me.get("username", "")) if isinstance(me, dict) else ""
        if name != self._reader.username:
            self._reader.username = name
            await self._keep(store, "username", name)
        if not public_url:
            await self._remove_webhook(http)
            return
        if not self._secret:
            await self._make_secret(store)
        await self._ask(
            http,
            "setWebhook",
            {
                "url": f"{public_url.rstrip('/')}/{self.name}",
                "secret_token": self._secret,
                "allowed_updates": list(self._updates),
                "max_connections": self._max_connections,
            },
        )

    async def _remove_webhook(self, http: HttpClient) -> None:
        """Nothing can be polled for while there is one. It may be a deployed bot's, by mistake."""
        info = await self._ask(http, "getWebhookInfo", {})
        url = info.get("url") if isinstance(info, dict) else ""
        if not url:
            return
        log.warning(
            "the webhook %s of bot %s is removed, since this process polls: set LEGATO_PUBLIC_URL to keep one",
            url,
            self._reader.username or self.bot,
        )
        await self._ask(http, "deleteWebhook", {"drop_pending_updates": False})

    async def _make_secret(self, store: Store) -> None:
        """The first process to come makes the secret, the others take it."""
        from secrets import token_urlsafe

        await self._keep(store, "secret", token_urlsafe(32), once=True)
        await self.load(store)

    async def _keep(self, store: Store, what: str, value: str, *, once: bool = False) -> None:
        name = f"telegram:{self.bot}:{what}"
        await store.commit(
            Commit(
                at_ms=self._clock.now_ms(),
                update_id=f"{name}:made" if once else "",
                puts=(("setting", name, value.encode()),),
            )
        )

    async def _ask(self, http: HttpClient, method: str, params: dict[str, object]) -> object:
        """The result of a call that must succeed for the bot to start."""
        try:
            response = await http.send(self._request(Call(method, params)))
        except (NotSent, MaybeSent) as error:
            raise Unavailable(self._redacted(f"Telegram cannot be reached: {error}")) from None
        answer = answer_of(response.body)
        if answer is None or response.status >= 500 or response.status == 429:
            wait = answer.parameters.retry_after if answer and answer.parameters else 1.0
            raise Unavailable(
                f"Telegram answered HTTP {response.status} to {method}", int(wait) or 1
            )
        if answer.ok:
            return msgspec.json.decode(answer.result) if answer.result else None
        if response.status in (401, 404):
            raise BadToken(f"Telegram refused the token of bot {self.bot}: check TELEGRAM_TOKEN")
        raise ConfigError(self._redacted(f"Telegram refused {method}: {answer.description}"))

    async def listen(self, sink: Sink, http: HttpClient, store: Store) -> None:
        from legato.platforms.telegram.poll import Poller

        def request(offset: int) -> HttpRequest:
            params: dict[str, object] = {
                "timeout": self._poll_s,
                "allowed_updates": list(self._updates),
            }
            if offset:
                params["offset"] = offset
            return self._request(Call("getUpdates", params), self._poll_s + 10.0)

        await Poller(self, request, sink, http, self._clock).run()

    def file_request(self, file: Photo | File, answer: Verdict | None) -> HttpRequest | Call:
        if answer is None:
            return Call("getFile", {"file_id": file.id}, idempotent=True)
        result = answer.result if isinstance(answer.result, dict) else {}
        path = str(result.get("file_path", ""))
        if not path:
            raise Unsupported(
                f"Telegram gives no download of this file: {answer.error or 'no path'}"
            )
        if path.startswith("/") or "\\" in path or ".." in path.split("/") or ":" in path:
            raise Unsupported("Telegram gave a path that is not below its own address")
        from urllib.parse import quote

        return HttpRequest("GET", f"{self._api}/file/bot{self._token}/{quote(path)}")


class SystemClock(Clock):
    """The machine's own time."""

    __slots__ = ()

    def now_ms(self) -> int:
        from time import time_ns  # noqa: TID251 # the default Clock itself

        return time_ns() // 1_000_000

    def monotonic(self) -> float:
        from time import monotonic

        return monotonic()

    async def sleep(self, seconds: float) -> None:
        from asyncio import sleep

        await sleep(seconds)
