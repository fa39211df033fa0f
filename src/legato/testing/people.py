"""The people of a scripted test, and what they can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from legato.model.events import (
    Address,
    Attachment,
    ButtonPressed,
    Contact,
    File,
    Location,
    MemberJoined,
    MemberLeft,
    MessageEdited,
    MessageReceived,
    Photo,
    User,
)

if TYPE_CHECKING:
    from legato.testing.script import Bot


class Group(Struct, frozen=True):
    """A chat for several people."""

    name: str


class Person:
    """Somebody who talks with the bot: alone, or `in_` a group."""

    def __init__(self, bot: Bot, id: str, name: str, about: dict[str, Any]) -> None:
        self.bot: Bot = bot
        self.id: str = id
        self.name: str = name
        self.user: User = User(id, name, **about)
        self.last_message: str = ""

    async def says(
        self,
        text: str,
        *,
        in_: Group | None = None,
        attachments: tuple[Attachment, ...] = (),
        repeat: int = 1,
    ) -> None:
        """Sends a message; with `repeat` the platform delivers the very same update again."""
        event = self.message(text, in_, attachments)
        for _ in range(repeat):
            await self.bot.send(event)

    def message(
        self,
        text: str,
        in_: Group | None = None,
        attachments: tuple[Attachment, ...] = (),
        *,
        at_ms: int = 0,
    ) -> MessageReceived:
        """The event of a message, for `bot.send`; `at_ms`: when it was written (default now)."""
        update = self.bot.next_id()
        self.last_message = f"m{update.rpartition(':')[2]}"
        command, args = "", ""
        prefix = next((p for p in self.bot.app.prefixes if text.startswith(p)), "")
        if prefix and len(text) > len(prefix):
            word, _, args = text[len(prefix) :].partition(" ")
            command = word.lower()
        return MessageReceived(
            id=update,
            place=self._place(in_),
            user=self.user,
            at_ms=at_ms or self.bot.clock.now_ms(),
            text=text,
            message_id=self.last_message,
            command=command,
            args=args.strip(),
            attachments=attachments,
            private=in_ is None,
        )

    async def edits(self, text: str, *, in_: Group | None = None) -> None:
        """Changes the last message."""
        await self.bot.send(
            MessageEdited(
                id=self.bot.next_id(),
                place=self._place(in_),
                user=self.user,
                at_ms=self.bot.clock.now_ms(),
                text=text,
                message_id=self.last_message,
                private=in_ is None,
            )
        )

    async def presses(self, label: str, *, in_: Group | None = None, repeat: int = 1) -> None:
        """Presses the button with this label under the newest message that has one.

        Raises:
            AssertionError: No message shows such a button.
        """
        for shown in reversed(self.bot.platform.shown):
            if shown.place.chat != self._place(in_).chat:
                continue
            for row in shown.message.buttons:
                for button in row:
                    if button.text == label:
                        return await self._press(button.payload, shown.id, in_, repeat)
        raise AssertionError(f"no button {label!r} is shown to {self.name}")

    async def _press(self, data: str, message: str, in_: Group | None, repeat: int) -> None:
        event = ButtonPressed(
            id=self.bot.next_id(),
            place=self._place(in_),
            user=self.user,
            at_ms=self.bot.clock.now_ms(),
            data=data,
            message_id=message,
            private=in_ is None,
        )
        for _ in range(repeat):
            await self.bot.send(event)

    async def sends_photo(self, caption: str = "", *, in_: Group | None = None) -> None:
        """Sends a picture."""
        await self.says(caption, in_=in_, attachments=(Photo("photo-1", 640, 480, 1000),))

    async def sends_file(self, name: str = "a.txt", *, in_: Group | None = None) -> None:
        """Sends a document."""
        await self.says("", in_=in_, attachments=(File("file-1", name, "text/plain", 10),))

    async def sends_location(self, latitude: float, longitude: float) -> None:
        """Shares a point on the map."""
        await self.says("", attachments=(Location(latitude, longitude),))

    async def sends_contact(self, phone: str, name: str = "") -> None:
        """Shares a contact."""
        await self.says("", attachments=(Contact(phone, name),))

    async def joins(self, group: Group) -> None:
        """Comes into a group."""
        await self.bot.send(
            MemberJoined(id=self.bot.next_id(), place=self._place(group), user=self.user)
        )

    async def leaves(self, group: Group) -> None:
        """Leaves a group."""
        await self.bot.send(
            MemberLeft(id=self.bot.next_id(), place=self._place(group), user=self.user)
        )

    def _place(self, group: Group | None) -> Address:
        platform = self.bot.platform
        chat = self.id if group is None else group.name
        return Address(platform.name, platform.bot, chat, self.id)
