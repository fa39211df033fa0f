"""What exists: users, chats, messages and files, as Telegram's servers hold them."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from legato.testing._stage import Stage
from legato.testing.fake_telegram.entities import Entity

Json = dict[str, object]


class ApiError(Exception):
    """A call is refused, in Telegram's words."""

    def __init__(self, code: int, description: str, parameters: Json | None = None) -> None:
        self.code = code
        self.description = description
        self.parameters: Json = parameters or {}
        super().__init__(description)


def bad(description: str) -> ApiError:
    """The usual refusal."""
    return ApiError(400, f"Bad Request: {description}")


class StoredFile(Struct):
    """A file that Telegram has."""

    id: str
    name: str
    mime: str
    data: bytes
    path: str


class FakeMessage:
    """One message as a chat shows it.

    Attributes:
        id: Telegram's message id.
        chat: Where it stands.
        sender: The `from` object; {} in a channel.
        text: Text or caption.
        entities: Its formatting, as Telegram read it.
        media: What it carries: {"photo": [...]}, {"location": {...}} ...; {} for a text.
        markup: Its reply_markup.
        reply_to: The message it answers.
        thread: Topic of a forum, 0 for none.
        reactions: Emoji by user id.
        pinned, edited, deleted: What happened to it.
    """

    def __init__(self, chat: FakeChat, message_id: int, sender: Json) -> None:
        self.id = message_id
        self.chat = chat
        self.sender = sender
        self.sender_chat: Json = {}
        self.date: int = int(time.time())
        self.edited = 0
        self.text = ""
        self.entities: list[Entity] = []
        self.media: Json = {}
        self.markup: Json = {}
        self.reply_to: FakeMessage | None = None
        self.thread = 0
        self.album = ""
        self.reactions: dict[int, list[str]] = {}
        self.pinned = False
        self.deleted = False

    def __repr__(self) -> str:
        who = self.sender.get("first_name") or self.chat.title
        buttons = f" {self.buttons}" if self.buttons else ""
        return f"<{self.id} {who}: {self.text or ', '.join(self.media)!r}{buttons}>"

    @property
    def rows(self) -> list[list[str]]:
        """Labels of the buttons under it, by row."""
        rows = self.markup.get("inline_keyboard")
        if not isinstance(rows, list):
            return []
        return [[str(button["text"]) for button in row] for row in rows]

    @property
    def buttons(self) -> list[str]:
        """Labels of the buttons under it."""
        return [label for row in self.rows for label in row]

    @property
    def from_bot(self) -> bool:
        """Whether a bot wrote it."""
        return bool(self.sender.get("is_bot"))

    def json(self, *, nested: bool = False) -> Json:
        """Telegram's Message object."""
        found: Json = {"message_id": self.id, "date": self.date, "chat": self.chat.json()}
        if self.sender:
            found["from"] = self.sender
        if self.sender_chat:
            found["sender_chat"] = self.sender_chat
        found |= self.media
        if self.text:
            captioned = self.media and "new_chat_members" not in self.media
            found["caption" if captioned else "text"] = self.text
            if self.entities:
                found["caption_entities" if captioned else "entities"] = self.entities
        if "inline_keyboard" in self.markup:
            found["reply_markup"] = self.markup
        if self.thread:
            found |= {"message_thread_id": self.thread, "is_topic_message": True}
        if self.album:
            found["media_group_id"] = self.album
        if self.edited:
            found["edit_date"] = self.edited
        if self.reply_to is not None and not nested:
            found["reply_to_message"] = self.reply_to.json(nested=True)
        return found


class FakeChat:
    """A chat and all that is seen in it.

    Attributes:
        id, type, title, username: As Telegram gives them.
        messages: What stands there now, in order: edits done, deleted ones gone.
        members: Ids of the people in it.
        bot_in: Whether the bot may write here.
        actions: "typing" and the like, as they were shown.
        keyboard: The reply keyboard that is shown, {} if none.
        topics: Names of a forum's topics, by thread id.
        moved_to: Id of the supergroup it became, 0 if it did not.
    """

    def __init__(self, world: World, chat_id: int, kind: str, title: str) -> None:
        self.world = world
        self.id = chat_id
        self.type = kind
        self.title = title
        self.username = ""
        self.messages: list[FakeMessage] = []
        self.by_id: dict[int, FakeMessage] = {}
        self.members: set[int] = set()
        self.bot_in = True
        self.forum = False
        self.actions: list[str] = []
        self.keyboard: Json = {}
        self.topics: dict[int, str] = {}
        self.moved_to = 0

    def __repr__(self) -> str:
        return f"<{self.type} {self.id} {self.title}>"

    @property
    def texts(self) -> list[str]:
        """Texts of the bot's messages that stand there now."""
        return [message.text for message in self.messages if message.from_bot]

    @property
    def last(self) -> FakeMessage:
        """The newest message.

        Raises:
            AssertionError: There is none.
        """
        assert self.messages, f"{self} is empty"
        return self.messages[-1]

    def json(self) -> Json:
        """Telegram's Chat object."""
        found: Json = {"id": self.id, "type": self.type}
        found["first_name" if self.type == "private" else "title"] = self.title
        if self.username:
            found["username"] = self.username
        if self.forum:
            found["is_forum"] = True
        return found

    def add(self, message: FakeMessage) -> FakeMessage:
        """Shows a message."""
        self.messages.append(message)
        self.by_id[message.id] = message
        return message

    def remove(self, message: FakeMessage) -> None:
        """Takes a message away."""
        message.deleted = True
        self.messages.remove(message)
        del self.by_id[message.id]


class Account(Struct):
    """What Telegram knows of a person with regard to the bot."""

    json: Json
    started: bool = False
    blocked: bool = False
    deactivated: bool = False


class World(Stage):
    """The state that all parts share."""

    def __init__(self, token: str, username: str) -> None:
        super().__init__()
        self.token = token
        self.bot: Json = {
            "id": int(token.partition(":")[0]),
            "is_bot": True,
            "first_name": "Fake",
            "username": username,
        }
        self.accounts: dict[int, Account] = {}
        self.chats: dict[int, FakeChat] = {}
        self.files: dict[str, StoredFile] = {}
        self.presses: dict[str, Press] = {}
        self.publish: Callable[[str, Json, str], int] = lambda _kind, _payload, _lane: 0
        self._serial = 0

    def shown(self) -> object:
        return {chat: chat.messages for chat in self.chats.values()}

    @property
    def bot_id(self) -> int:
        """The bot's user id."""
        return int(str(self.bot["id"]))

    def next(self) -> int:
        """A new number, for messages and files."""
        self._serial += 1
        return self._serial

    def chat(self, chat_id: int, kind: str, title: str) -> FakeChat:
        """The chat of this id, made if there is none."""
        if chat_id not in self.chats:
            self.chats[chat_id] = FakeChat(self, chat_id, kind, title)
        return self.chats[chat_id]

    def message(self, chat: FakeChat, sender: Json) -> FakeMessage:
        """A new message, not shown yet."""
        return FakeMessage(chat, self.next(), sender)

    def keep(self, name: str, data: bytes, mime: str, folder: str) -> StoredFile:
        """Stores a file."""
        serial = self.next()
        file = StoredFile(f"FILE{serial:06}", name, mime, data, f"{folder}/file_{serial}")
        self.files[file.id] = file
        return file


class Press(Struct):
    """A button that somebody pressed.

    Attributes:
        id: Of the callback query.
        answered: Whether the bot acknowledged it.
        text: What the bot showed with that.
    """

    id: str
    answered: bool = False
    text: str = ""
    alert: bool = False
