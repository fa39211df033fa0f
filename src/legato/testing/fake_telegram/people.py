"""The people of a test, and the groups and channels in which they meet the bot."""

from __future__ import annotations

from itertools import takewhile

from legato.testing._stage import inside
from legato.testing.fake_telegram.media import MEDIA, described
from legato.testing.fake_telegram.texts import CALLBACK_DATA
from legato.testing.fake_telegram.world import (
    Account,
    FakeChat,
    FakeMessage,
    Json,
    Press,
    World,
)


class FakeUser:
    """A person with a Telegram client. Every action becomes the update that Telegram would send.

    Attributes:
        id, name, username: As Telegram gives them.
        chat: The private chat with the bot.
    """

    def __init__(self, world: World, account: Account, chat: FakeChat) -> None:
        self.world = world
        self.account = account
        self.chat = chat
        self.id: int = chat.id
        self.name: str = chat.title
        self.username: str = chat.username
        self._read: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<user {self.id} {self.name}>"

    # -- writing ------------------------------------------------------------------------------

    @inside
    def sends(
        self,
        text: str,
        *,
        to: FakeGroup | None = None,
        reply_to: FakeMessage | None = None,
        thread: int = 0,
    ) -> FakeMessage:
        """Writes a text, in the private chat if `to` says no other."""
        message = self._draft(to, reply_to, thread)
        message.text = text
        if text.startswith("/"):
            size = len(text.split(None, 1)[0])
            message.entities = [{"type": "bot_command", "offset": 0, "length": size}]
        return self._say(message)

    @inside
    def sends_photo(self, caption: str = "", *, to: FakeGroup | None = None) -> FakeMessage:
        """Sends a small photo."""
        return self._say(self._file("photo", b"\xff\xd8 a photo", "", caption, to))

    @inside
    def sends_album(self, *captions: str, to: FakeGroup | None = None) -> list[FakeMessage]:
        """Sends several photos at once, as one album."""
        album = str(self.world.next())
        messages = [self._file("photo", b"\xff\xd8", "", caption, to) for caption in captions]
        for message in messages:
            message.album = album
        return [self._say(message) for message in messages]

    @inside
    def sends_file(
        self,
        name: str,
        data: bytes,
        *,
        kind: str = "document",
        caption: str = "",
        to: FakeGroup | None = None,
    ) -> FakeMessage:
        """Sends a document, or "voice", "audio", "video", "video_note", "animation", "sticker"."""
        return self._say(self._file(kind, data, name, caption, to))

    @inside
    def sends_location(
        self, latitude: float, longitude: float, *, to: FakeGroup | None = None
    ) -> FakeMessage:
        """Shares a place."""
        return self._sends({"location": {"latitude": latitude, "longitude": longitude}}, to)

    @inside
    def sends_contact(
        self, phone: str, *, own: bool = True, to: FakeGroup | None = None
    ) -> FakeMessage:
        """Shares a contact card, by default the own one."""
        card: Json = {"phone_number": phone, "first_name": self.name if own else "Somebody"}
        return self._sends({"contact": card | ({"user_id": self.id} if own else {})}, to)

    @inside
    def sends_dice(self, *, to: FakeGroup | None = None) -> FakeMessage:
        """Throws a die: content that few bots know."""
        return self._sends({"dice": {"emoji": "🎲", "value": 4}}, to)

    @inside
    def edits(self, message: FakeMessage, text: str) -> None:
        """Changes an own message."""
        message.text = text
        message.edited = message.date + 1
        self.world.publish("edited_message", message.json(), str(message.chat.id))

    @inside
    def deletes(self, message: FakeMessage) -> None:
        """Takes a message away. Telegram does not tell bots."""
        message.chat.remove(message)

    # -- pressing -----------------------------------------------------------------------------

    @inside
    def presses(self, label: str, *, to: FakeGroup | None = None) -> Press:
        """Presses the newest button that says `label`, inline or of the reply keyboard.

        Raises:
            AssertionError: Nobody sees such a button.
        """
        chat = to.chat if to is not None else self.chat
        for message in reversed(chat.messages):
            rows = message.markup.get("inline_keyboard")
            for button in (b for row in rows for b in row) if isinstance(rows, list) else ():
                if button["text"] == label and "callback_data" in button:
                    return self._press(message, button["callback_data"])
        keys = chat.keyboard.get("keyboard")
        for key in (k for row in keys for k in row) if isinstance(keys, list) else ():
            if key["text"] == label:
                if chat.keyboard.get("one_time_keyboard"):
                    chat.keyboard = {}
                self._type(key, to)
                return Press("", answered=True)
        raise AssertionError(f"no button says {label!r} in {chat.messages}")

    def _press(self, message: FakeMessage, data: str) -> Press:
        assert len(data.encode()) <= CALLBACK_DATA
        press = Press(f"{self.world.bot_id}{self.world.next():09}")
        self.world.presses[press.id] = press
        query: Json = {
            "id": press.id,
            "from": self.account.json,
            "message": message.json(),
            "chat_instance": str(message.chat.id),
            "data": data,
        }
        self.world.publish("callback_query", query, f"press:{self.id}")
        return press

    def _type(self, key: Json, to: FakeGroup | None) -> None:
        if key.get("request_contact"):
            self.sends_contact("+10000000000", to=to)
        elif key.get("request_location"):
            self.sends_location(56.95, 24.11, to=to)
        else:
            self.sends(str(key["text"]), to=to)

    @inside
    def reacts(self, message: FakeMessage, emoji: str) -> None:
        """Sets (or with "" takes away) a reaction."""
        old, new = message.reactions.pop(self.id, []), [emoji] if emoji else []
        if new:
            message.reactions[self.id] = new
        change: Json = {
            "chat": message.chat.json(),
            "message_id": message.id,
            "user": self.account.json,
            "date": message.date,
            "old_reaction": [{"type": "emoji", "emoji": e} for e in old],
            "new_reaction": [{"type": "emoji", "emoji": e} for e in new],
        }
        self.world.publish("message_reaction", change, str(message.chat.id))

    # -- coming and going ---------------------------------------------------------------------

    @inside
    def blocks(self) -> None:
        """Blocks the bot: sending here gives 403."""
        self.account.blocked = True
        self._membership("member", "kicked")

    @inside
    def unblocks(self) -> None:
        """Lets the bot write again."""
        self.account.blocked = False
        self._membership("kicked", "member")

    @inside
    def vanishes(self) -> None:
        """Deletes the account: sending here gives 403, and nothing else tells."""
        self.account.deactivated = True

    def _membership(self, old: str, new: str) -> None:
        change = changed(self.chat, self.account.json, self.world.bot, old, new)
        self.world.publish("my_chat_member", change, str(self.id))

    # -- reading ------------------------------------------------------------------------------

    @property
    def sees(self) -> list[str]:
        """Texts of the bot's messages in the private chat, as they stand now."""
        return self.chat.texts

    async def gets(
        self, text: str | None = None, *, to: FakeGroup | None = None, timeout_s: float = 10.0
    ) -> FakeMessage:
        """Waits for the bot's next message that this person has not read yet.

        Args:
            text: What it must say; None: anything.
            to: Where, the private chat if nothing is said.
            timeout_s: How long to wait at most.

        Raises:
            AssertionError: None came, or it says something else.
        """
        chat = to.chat if to is not None else self.chat
        read = self._read.get(chat.id, 0)

        def unread() -> FakeMessage | None:
            new = takewhile(lambda m: m.id > read, reversed(chat.messages))  # of thousands, maybe
            found = [m for m in new if m.sender == self.world.bot]
            return found[-1] if found else None

        message = await self.world.until(unread, timeout_s)
        assert message is not None
        self._read[chat.id] = message.id
        assert text is None or message.text == text, f"expected {text!r}, got {message}"
        return message

    # -- parts --------------------------------------------------------------------------------

    def _draft(
        self, to: FakeGroup | None, reply_to: FakeMessage | None = None, thread: int = 0
    ) -> FakeMessage:
        message = self.world.message(to.chat if to is not None else self.chat, self.account.json)
        message.reply_to = reply_to
        message.thread = thread
        return message

    def _file(
        self, kind: str, data: bytes, name: str, caption: str, to: FakeGroup | None
    ) -> FakeMessage:
        medium = MEDIA[kind]
        message = self._draft(to)
        message.media = described(medium, self.world.keep(name, data, medium.mime, medium.folder))
        message.text = caption
        return message

    def _sends(self, media: Json, to: FakeGroup | None) -> FakeMessage:
        message = self._draft(to)
        message.media = media
        return self._say(message)

    def _say(self, message: FakeMessage) -> FakeMessage:
        chat = message.chat
        if chat is self.chat:
            self.account.started = True
        chat.add(message)
        kind = "channel_post" if chat.type == "channel" else "message"
        self.world.publish(kind, message.json(), str(chat.id))
        self.world.changed()
        return message


class FakeGroup:
    """A group, supergroup or channel.

    Attributes:
        id: Telegram's chat id, negative.
        chat: What is seen in it.
    """

    def __init__(self, world: World, chat: FakeChat) -> None:
        self.world = world
        self.chat = chat
        self.id: int = chat.id

    def __repr__(self) -> str:
        return repr(self.chat)

    @inside
    def joins(self, *users: FakeUser) -> None:
        """People come in: a service message, and a chat_member for each if the bot asked for it."""
        self.chat.members |= {user.id for user in users}
        first = users[0].account.json
        self._service({"new_chat_members": [user.account.json for user in users]}, first)
        for user in users:
            person = user.account.json
            change = changed(self.chat, person, person, "left", "member")
            self.world.publish("chat_member", change, str(self.id))

    @inside
    def leaves(self, user: FakeUser) -> None:
        """Somebody goes."""
        self.chat.members.discard(user.id)
        person = user.account.json
        self._service({"left_chat_member": person}, person)
        change = changed(self.chat, person, person, "member", "left")
        self.world.publish("chat_member", change, str(self.id))

    @inside
    def adds_bot(self, by: FakeUser) -> None:
        """The bot is taken in."""
        self.chat.bot_in = True
        self._bot(by, "left", "member")

    @inside
    def kicks_bot(self, by: FakeUser) -> None:
        """The bot is thrown out: sending here gives 403."""
        self._bot(by, "member", "kicked")
        self.chat.bot_in = False

    @inside
    def topic(self, name: str, by: FakeUser) -> int:
        """Opens a topic of a forum; returns its thread id."""
        opened: Json = {"name": name, "icon_color": 0x6FB9F0}
        message = self._service({"forum_topic_created": opened}, by.account.json)
        self.chat.topics[message.id] = name
        return message.id

    @inside
    def says_anonymously(self, text: str) -> FakeMessage:
        """An administrator writes in the name of the group."""
        stand_in: Json = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
        message = self.world.message(self.chat, stand_in | {"username": "GroupAnonymousBot"})
        message.sender_chat = self.chat.json()
        message.text = text
        return self._publish(message, "message")

    @inside
    def posts(self, text: str) -> FakeMessage:
        """The channel posts."""
        message = self.world.message(self.chat, {})
        message.sender_chat = self.chat.json()
        message.text = text
        return self._publish(message, "channel_post")

    @inside
    def becomes_supergroup(self) -> FakeGroup:
        """The group moves to a new id; calls to the old one are refused with the new."""
        new_id = -1_002_000_000_000 - self.world.next()
        new = self.world.chat(new_id, "supergroup", self.chat.title)
        new.members = set(self.chat.members)
        self._service({"migrate_to_chat_id": new_id}, {})
        self.chat.moved_to = new_id
        moved = FakeGroup(self.world, new)
        moved._service({"migrate_from_chat_id": self.id}, {})
        return moved

    def _bot(self, by: FakeUser, old: str, new: str) -> None:
        change = changed(self.chat, by.account.json, self.world.bot, old, new)
        self.world.publish("my_chat_member", change, str(self.id))
        service = "new_chat_members" if new == "member" else "left_chat_member"
        bot = self.world.bot
        self._service({service: [bot] if new == "member" else bot}, by.account.json)

    def _service(self, content: Json, sender: Json) -> FakeMessage:
        message = self.world.message(self.chat, sender)
        message.media = content
        return self._publish(message, "message")

    def _publish(self, message: FakeMessage, kind: str) -> FakeMessage:
        self.chat.add(message)
        self.world.publish(kind, message.json(), str(self.id))
        self.world.changed()
        return message


def changed(chat: FakeChat, actor: Json, subject: Json, old: str, new: str) -> Json:
    """A ChatMemberUpdated object."""

    def member(status: str) -> Json:
        # until_date: for ever
        return {"status": status, "user": subject} | (
            {"until_date": 0} if status == "kicked" else {}
        )

    return {
        "chat": chat.json(),
        "from": actor,
        "date": 1_700_000_000,
        "old_chat_member": member(old),
        "new_chat_member": member(new),
    }
