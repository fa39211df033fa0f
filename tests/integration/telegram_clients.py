"""Three clients of the Bot API that go the same way: Legato's, aiogram's and python-telegram-bot's."""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.telegram import Telegram
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.telegram_kit import AiohttpClient


class Client(ABC):
    """What a flow needs of a client. Failures are told as short texts."""

    @abstractmethod
    async def me(self) -> str: ...

    @abstractmethod
    async def say(self, chat: int, text: str, button: str = "") -> str: ...

    @abstractmethod
    async def edit(self, chat: int, message_id: int, text: str) -> str: ...

    @abstractmethod
    async def delete(self, chat: int, message_id: int) -> str: ...

    @abstractmethod
    async def photo(self, chat: int, path: str) -> str: ...

    @abstractmethod
    async def updates(self, offset: int) -> list[int] | str: ...

    @abstractmethod
    async def webhook(self, url: str) -> str: ...


class Ours(Client):
    def __init__(self, fake: FakeTelegram, http: AiohttpClient) -> None:
        self._bot = Telegram(fake.token, api=fake.api)
        self._http = http

    async def _call(self, method: str, **params: object) -> Any:
        return await self._bot.send(
            Call(method, params), Address("telegram", "4200", ""), self._http
        )

    async def _told(self, call: Call) -> str:
        place = Address("telegram", "4200", str(call.params["chat_id"]))
        verdict = await self._bot.send(call, place, self._http)
        return f"limited {verdict.retry_after_s:g}" if verdict.retry_after_s else verdict.outcome

    async def me(self) -> str:
        return str((await self._call("getMe")).result["username"])

    async def say(self, chat: int, text: str, button: str = "") -> str:
        rows = [[{"text": button, "callback_data": "d"}]]
        markup = {"reply_markup": {"inline_keyboard": rows}} if button else {}
        return await self._told(Call("sendMessage", {"chat_id": chat, "text": text} | markup))

    async def edit(self, chat: int, message_id: int, text: str) -> str:
        params = {"chat_id": chat, "message_id": message_id, "text": text}
        return await self._told(Call("editMessageText", params))

    async def delete(self, chat: int, message_id: int) -> str:
        params: dict[str, object] = {"chat_id": chat, "message_id": message_id}
        return await self._told(Call("deleteMessage", params))

    async def photo(self, chat: int, path: str) -> str:
        params: dict[str, object] = {"chat_id": chat, "caption": "cap"}
        return await self._told(Call("sendPhoto", params, (("photo", path, "cat.jpg"),)))

    async def updates(self, offset: int) -> list[int] | str:
        verdict = await self._call("getUpdates", offset=offset, timeout=1)
        if verdict.outcome != "sent":
            return "conflict" if verdict.code == 409 else verdict.outcome
        return [update["update_id"] for update in verdict.result]

    async def webhook(self, url: str) -> str:
        return str((await self._call("setWebhook", url=url, secret_token="s")).outcome)


class Aiogram(Client):
    def __init__(self, bot: Any) -> None:
        self._bot = bot

    async def _told(self, method: Any) -> str:
        from aiogram import exceptions

        try:
            await self._bot(method)
        except exceptions.TelegramRetryAfter as error:
            return f"limited {error.retry_after}"
        except exceptions.TelegramForbiddenError:
            return "gone"
        except exceptions.TelegramBadRequest as error:
            return _excused(error.message)
        return "sent"

    async def me(self) -> str:
        return str((await self._bot.get_me()).username)

    async def say(self, chat: int, text: str, button: str = "") -> str:
        from aiogram.methods import SendMessage
        from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

        key = InlineKeyboardButton(text=button, callback_data="d")
        markup = InlineKeyboardMarkup(inline_keyboard=[[key]]) if button else None
        return await self._told(SendMessage(chat_id=chat, text=text, reply_markup=markup))

    async def edit(self, chat: int, message_id: int, text: str) -> str:
        from aiogram.methods import EditMessageText

        return await self._told(EditMessageText(chat_id=chat, message_id=message_id, text=text))

    async def delete(self, chat: int, message_id: int) -> str:
        from aiogram.methods import DeleteMessage

        return await self._told(DeleteMessage(chat_id=chat, message_id=message_id))

    async def photo(self, chat: int, path: str) -> str:
        from aiogram.methods import SendPhoto
        from aiogram.types import FSInputFile

        return await self._told(SendPhoto(chat_id=chat, photo=FSInputFile(path), caption="cap"))

    async def updates(self, offset: int) -> list[int] | str:
        from aiogram.exceptions import TelegramConflictError

        try:
            found = await self._bot.get_updates(offset=offset, timeout=1)
        except TelegramConflictError:
            return "conflict"
        return [update.update_id for update in found]

    async def webhook(self, url: str) -> str:
        await self._bot.set_webhook(url=url, secret_token="s")
        return "sent"


class Ptb(Client):
    def __init__(self, bot: Any) -> None:
        self._bot = bot

    async def _told(self, sending: Any) -> str:
        from telegram import error as errors

        try:
            await sending
        except errors.RetryAfter as error:
            wait = error.retry_after  # PTB_TIMEDELTA makes it what it will be in their next version
            return f"limited {wait.total_seconds() if isinstance(wait, dt.timedelta) else wait:g}"
        except errors.Forbidden:
            return "gone"
        except errors.BadRequest as error:
            return _excused(error.message)
        return "sent"

    async def me(self) -> str:
        return str((await self._bot.get_me()).username)

    async def say(self, chat: int, text: str, button: str = "") -> str:
        from telegram import InlineKeyboardButton, InlineKeyboardMarkup

        key = InlineKeyboardButton(button, callback_data="d")
        markup = InlineKeyboardMarkup([[key]]) if button else None
        return await self._told(self._bot.send_message(chat, text, reply_markup=markup))

    async def edit(self, chat: int, message_id: int, text: str) -> str:
        return await self._told(self._bot.edit_message_text(text, chat, message_id))

    async def delete(self, chat: int, message_id: int) -> str:
        return await self._told(self._bot.delete_message(chat, message_id))

    async def photo(self, chat: int, path: str) -> str:
        return await self._told(self._bot.send_photo(chat, Path(path), caption="cap"))

    async def updates(self, offset: int) -> list[int] | str:
        from telegram.error import Conflict

        try:
            found = await self._bot.get_updates(offset=offset, timeout=1)
        except Conflict:
            return "conflict"
        return [update.update_id for update in found]

    async def webhook(self, url: str) -> str:
        await self._bot.set_webhook(url, secret_token="s")
        return "sent"


def _excused(description: str) -> str:
    """What our verdict says of a 400, spelled out for those who only get an exception."""
    text = description.lower()
    if "not modified" in text or "to delete not found" in text:
        return "sent"
    return "gone" if "chat not found" in text else "refused"


@asynccontextmanager
async def client(name: str, fake: FakeTelegram) -> AsyncIterator[Client]:
    if name == "ours":
        async with AiohttpClient() as http:
            yield Ours(fake, http)
    elif name == "aiogram":
        from aiogram import Bot
        from aiogram.client.session.aiohttp import AiohttpSession
        from aiogram.client.telegram import TelegramAPIServer

        session = AiohttpSession(api=TelegramAPIServer.from_base(fake.api))
        async with Bot(fake.token, session=session) as bot:
            yield Aiogram(bot)
    else:
        import telegram

        async with telegram.Bot(
            fake.token, base_url=f"{fake.api}/bot", base_file_url=f"{fake.api}/file/bot"
        ) as bot:
            yield Ptb(bot)
