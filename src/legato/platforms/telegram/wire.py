"""The part of Telegram's objects that Legato reads; everything else is skipped undecoded."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Id = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""Telegram promises at most 52 significant bits."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[int, Meta(ge=0, le=2**40)]
"""Unix time."""


class User(Struct):
    """https://core.telegram.org/bots/api#user."""

    id: Id
    is_bot: bool = False
    first_name: str = ""
    last_name: str = ""
    username: str = ""
    language_code: str = ""


class Chat(Struct):
    """https://core.telegram.org/bots/api#chat."""

    id: Id
    type: str = ""
    title: str = ""
    username: str = ""


class PhotoSize(Struct):
    """https://core.telegram.org/bots/api#photosize."""

    file_id: str
    width: Count = 0
    height: Count = 0
    file_size: Count = 0


class Medium(Struct):
    """A Document, Voice, Video, Audio, Animation, VideoNote or Sticker: what they share."""

    file_id: str
    file_name: str = ""
    mime_type: str = ""
    file_size: Count = 0


class Location(Struct):
    """https://core.telegram.org/bots/api#location."""

    latitude: float
    longitude: float


class Contact(Struct):
    """https://core.telegram.org/bots/api#contact."""

    phone_number: str
    first_name: str = ""
    last_name: str = ""
    user_id: Id = 0


class WebAppData(Struct):
    """https://core.telegram.org/bots/api#webappdata."""

    data: str = ""


class Replied(Struct):
    """The message that a message answers."""

    message_id: Id = 0
    forum_topic_created: Raw | UnsetType = UNSET


class Message(Struct, rename={"from_": "from"}):
    """https://core.telegram.org/bots/api#message, also where it is inaccessible (date 0)."""

    chat: Chat
    message_id: Id = 0
    message_thread_id: Id = 0
    is_topic_message: bool = False
    from_: User | None = None
    sender_chat: Chat | None = None
    date: Seconds = 0
    edit_date: Seconds = 0
    text: str = ""
    caption: str = ""
    media_group_id: str = ""
    reply_to_message: Replied | None = None
    photo: list[PhotoSize] = []
    document: Medium | None = None
    voice: Medium | None = None
    audio: Medium | None = None
    video: Medium | None = None
    video_note: Medium | None = None
    animation: Medium | None = None
    sticker: Medium | None = None
    location: Location | None = None
    contact: Contact | None = None
    web_app_data: WebAppData | None = None
    new_chat_members: list[User] = []
    left_chat_member: User | None = None
    migrate_to_chat_id: Id = 0
    migrate_from_chat_id: Id = 0
    # Content that we do not model is content still: somebody answered with it.
    dice: Raw | UnsetType = UNSET
    poll: Raw | UnsetType = UNSET
    game: Raw | UnsetType = UNSET
    story: Raw | UnsetType = UNSET
    checklist: Raw | UnsetType = UNSET
    paid_media: Raw | UnsetType = UNSET
    # Why a message holds nothing of all this, for the metrics.
    pinned_message: Raw | UnsetType = UNSET


class CallbackQuery(Struct, rename={"from_": "from"}):
    """https://core.telegram.org/bots/api#callbackquery."""

    id: str
    from_: User
    message: Message | None = None
    data: str = ""


class ChatMember(Struct):
    """https://core.telegram.org/bots/api#chatmember."""

    status: str
    user: User
    is_member: bool = False


class ChatMemberUpdated(Struct, rename={"from_": "from"}):
    """https://core.telegram.org/bots/api#chatmemberupdated."""

    chat: Chat
    from_: User
    old_chat_member: ChatMember
    new_chat_member: ChatMember
    date: Seconds = 0


class ReactionType(Struct):
    """https://core.telegram.org/bots/api#reactiontype."""

    type: str
    emoji: str = ""
    custom_emoji_id: str = ""


class MessageReactionUpdated(Struct):
    """https://core.telegram.org/bots/api#messagereactionupdated."""

    chat: Chat
    message_id: Id = 0
    user: User | None = None
    actor_chat: Chat | None = None
    date: Seconds = 0
    new_reaction: list[ReactionType] = []


class Update(Struct):
    """https://core.telegram.org/bots/api#update: one of the optional fields is there."""

    update_id: Id
    message: Message | None = None
    edited_message: Message | None = None
    channel_post: Message | None = None
    edited_channel_post: Message | None = None
    callback_query: CallbackQuery | None = None
    my_chat_member: ChatMemberUpdated | None = None
    chat_member: ChatMemberUpdated | None = None
    message_reaction: MessageReactionUpdated | None = None


class Parameters(Struct):
    """https://core.telegram.org/bots/api#responseparameters."""

    migrate_to_chat_id: Id = 0
    retry_after: float = 0.0


class Answer(Struct):
    """https://core.telegram.org/bots/api#making-requests."""

    ok: bool
    result: Raw = Raw()
    description: str = ""
    error_code: Id = 0
    parameters: Parameters | None = None
