"""The methods of the Bot API that concern messages, chats and the bot itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from legato.testing.fake_telegram.forms import Params, Upload
from legato.testing.fake_telegram.media import MEDIA, Medium, special, stored
from legato.testing.fake_telegram.texts import markup, reaction, read_text
from legato.testing.fake_telegram.updates import Updates
from legato.testing.fake_telegram.world import ApiError, FakeChat, FakeMessage, Json, World, bad

Files = dict[str, Upload]
Method = Callable[[Params, Files], object]

TEXT = 4096
CAPTION = 1024


class Methods:
    """Carries out calls. Every method takes (parameters, files) and gives the result."""

    def __init__(self, world: World, updates: Updates) -> None:
        self._world = world
        self._updates = updates
        self.menus: dict[str, list[Json]] = {}  # by the type of their scope
        self.table: dict[str, Method] = {
            "getme": self.get_me,
            "getwebhookinfo": lambda _p, _f: updates.info(),
            "setwebhook": self.set_webhook,
            "deletewebhook": self.delete_webhook,
            "sendmessage": self.send_message,
            "sendmediagroup": self.send_media_group,
            "sendchataction": self.send_chat_action,
            "copymessage": self.copy_message,
            "forwardmessage": self.forward_message,
            "editmessagetext": self.edit_text,
            "editmessagecaption": self.edit_caption,
            "editmessagereplymarkup": self.edit_markup,
            "editmessagemedia": self.edit_media,
            "deletemessage": self.delete_message,
            "answercallbackquery": self.answer_callback_query,
            "setmessagereaction": self.set_message_reaction,
            "pinchatmessage": self.pin,
            "unpinchatmessage": self.unpin,
            "getfile": self.get_file,
            "getchat": self.get_chat,
            "leavechat": self.leave_chat,
            "setmycommands": self.set_my_commands,
            "getmycommands": lambda p, _f: self.menus.get(_scope(p), []),
            "deletemycommands": self.delete_my_commands,
        }
        for kind in MEDIA:
            self.table[f"send{kind.replace('_', '')}"] = self._sender(kind)
        for kind in ("location", "contact", "dice", "invoice"):
            self.table[f"send{kind}"] = self._special(kind)

    # -- the bot ------------------------------------------------------------------------------

    def get_me(self, params: Params, files: Files) -> Json:
        del params, files
        return self._world.bot | {
            "can_join_groups": True,
            "can_read_all_group_messages": True,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
        }

    def set_webhook(self, params: Params, files: Files) -> bool:
        del files
        self._updates.set_webhook(params)
        return True

    def delete_webhook(self, params: Params, files: Files) -> bool:
        del files
        self._updates.set_webhook(
            {"drop_pending_updates": params.get("drop_pending_updates", False)}
        )
        return True

    def set_my_commands(self, params: Params, files: Files) -> bool:
        del files
        commands = params.get("commands")
        if not isinstance(commands, list):
            raise bad("can't parse BotCommand: expected an Array of BotCommand")
        self.menus[_scope(params)] = commands
        return True

    def delete_my_commands(self, params: Params, files: Files) -> bool:
        del files
        self.menus.pop(_scope(params), None)
        return True

    # -- sending ------------------------------------------------------------------------------

    def send_message(self, params: Params, files: Files) -> Json:
        del files
        chat = self._writable(params)
        message = self._draft(chat, params)
        message.text, message.entities = read_text(params, "text", "entities", TEXT)
        if not message.text:
            raise bad("message text is empty")
        return self._show(message)

    def _sender(self, kind: str) -> Method:
        def send(params: Params, files: Files) -> Json:
            chat = self._writable(params)
            message = self._draft(chat, params)
            source = params.get(kind, files.get(kind))
            message.media = stored(self._world, MEDIA[kind], source, files)
            if MEDIA[kind].captioned:
                message.text, message.entities = self._caption(params)
            return self._show(message)

        return send

    def _special(self, kind: str) -> Method:
        def send(params: Params, files: Files) -> Json:
            del files
            message = self._draft(self._writable(params), params)
            message.media = special(kind, params)
            return self._show(message)

        return send

    def send_media_group(self, params: Params, files: Files) -> list[Json]:
        chat = self._writable(params)
        media = params.get("media")
        if not isinstance(media, list) or not 2 <= len(media) <= 10:
            raise bad("media group must contain 2-10 items")
        album = str(self._world.next())
        sent: list[Json] = []
        for item in media:
            message = self._draft(chat, params)
            message.media = stored(self._world, _medium(item), item.get("media"), files)
            message.text, message.entities = self._caption(item)
            message.album = album
            sent.append(self._show(message))
        return sent

    def send_chat_action(self, params: Params, files: Files) -> bool:
        del files
        self._writable(params).actions.append(str(params.get("action", "")))
        return True

    def copy_message(self, params: Params, files: Files) -> Json:
        del files
        return {"message_id": self._copied(params)["message_id"]}

    def forward_message(self, params: Params, files: Files) -> Json:
        del files
        return self._copied(params)

    def _copied(self, params: Params) -> Json:
        origin = self._chat({"chat_id": params.get("from_chat_id")})
        source = self._of(origin, params, "message to copy not found")
        message = self._draft(self._writable(params), params)
        message.text, message.entities = source.text, source.entities
        message.media = source.media
        return self._show(message)

    def _caption(self, params: Params) -> tuple[str, list[Json]]:
        return read_text(params, "caption", "caption_entities", CAPTION)

    def _draft(self, chat: FakeChat, params: Params) -> FakeMessage:
        """A message of the bot, with all that any kind of message has."""
        sender = {} if chat.type == "channel" else self._world.bot
        message = self._world.message(chat, sender)
        message.markup = markup(params.get("reply_markup"))
        thread = int(str(params.get("message_thread_id") or 0))
        if thread and thread not in chat.topics:
            raise bad("message thread not found")
        message.thread = thread
        reply = params.get("reply_parameters")
        reply = reply if isinstance(reply, dict) else {}
        reply_to = reply.get("message_id", params.get("reply_to_message_id"))
        if reply_to:
            message.reply_to = chat.by_id.get(int(str(reply_to)))
            anyway = reply.get("allow_sending_without_reply") or params.get(
                "allow_sending_without_reply"
            )
            if message.reply_to is None and not anyway:
                raise bad("message to be replied not found")
        return message

    def _show(self, message: FakeMessage) -> Json:
        chat = message.chat
        if "keyboard" in message.markup:
            chat.keyboard = message.markup
        elif "remove_keyboard" in message.markup:
            chat.keyboard = {}
        chat.add(message)
        self._world.changed()
        return message.json()

    # -- changing -----------------------------------------------------------------------------

    def edit_text(self, params: Params, files: Files) -> Json:
        del files
        message = self._editable(params)
        if message.media:
            raise bad("there is no text in the message to edit")
        text, entities = read_text(params, "text", "entities", TEXT)
        if not text:
            raise bad("message text is empty")
        return self._edit(message, params, text, entities, message.media)

    def edit_caption(self, params: Params, files: Files) -> Json:
        del files
        message = self._editable(params)
        if not message.media:
            raise bad("there is no caption in the message to edit")
        text, entities = self._caption(params)
        return self._edit(message, params, text, entities, message.media)

    def edit_markup(self, params: Params, files: Files) -> Json:
        del files
        message = self._editable(params)
        return self._edit(message, params, message.text, message.entities, message.media)

    def edit_media(self, params: Params, files: Files) -> Json:
        message = self._editable(params)
        item = params.get("media")
        if not isinstance(item, dict):
            raise bad("can't parse InputMedia: expected an Object")
        media = stored(self._world, _medium(item), item.get("media"), files)
        text, entities = self._caption(item)
        return self._edit(message, params, text, entities, media)

    def _edit(
        self, message: FakeMessage, params: Params, text: str, entities: list[Json], media: Json
    ) -> Json:
        keys = markup(params.get("reply_markup"))
        if keys and "inline_keyboard" not in keys:
            raise bad("inline keyboard expected")
        now = (text, entities, media, keys)
        if now == (message.text, message.entities, message.media, message.markup):
            raise bad(
                "message is not modified: specified new message content and reply markup are exactly "
                "the same as a current content and reply markup of the message"
            )
        message.text, message.entities, message.media, message.markup = now
        message.edited = int(time.time())
        self._world.changed()
        return message.json()

    def _editable(self, params: Params) -> FakeMessage:
        message = self._of(self._writable(params), params, "message to edit not found")
        if message.sender.get("id") != self._world.bot_id and message.chat.type != "channel":
            raise bad("message can't be edited")
        return message

    def delete_message(self, params: Params, files: Files) -> bool:
        del files
        chat = self._writable(params)
        chat.remove(self._of(chat, params, "message to delete not found"))
        self._world.changed()
        return True

    def set_message_reaction(self, params: Params, files: Files) -> bool:
        del files
        message = self._of(self._writable(params), params, "message to react not found")
        message.reactions.pop(self._world.bot_id, None)
        if emoji := reaction(params.get("reaction")):
            message.reactions[self._world.bot_id] = emoji
        self._world.changed()
        return True

    def pin(self, params: Params, files: Files) -> bool:
        del files
        self._of(self._writable(params), params, "message to pin not found").pinned = True
        self._world.changed()
        return True

    def unpin(self, params: Params, files: Files) -> bool:
        del files
        chat = self._writable(params)
        if "message_id" in params:
            self._of(chat, params, "message to unpin not found").pinned = False
        else:
            for message in chat.messages:
                message.pinned = False
        self._world.changed()
        return True

    def answer_callback_query(self, params: Params, files: Files) -> bool:
        del files
        press = self._world.presses.get(str(params.get("callback_query_id", "")))
        if press is None or press.answered:
            raise bad("query is too old and response timeout expired or query ID is invalid")
        press.answered = True
        press.text = str(params.get("text", ""))
        press.alert = bool(params.get("show_alert"))
        self._world.changed()
        return True

    # -- looking up ---------------------------------------------------------------------------

    def get_file(self, params: Params, files: Files) -> Json:
        del files
        file = self._world.files.get(str(params.get("file_id", "")))
        if file is None:
            raise bad("invalid file_id")
        if len(file.data) > 20 * 1024 * 1024:
            raise bad("file is too big")
        return {
            "file_id": file.id,
            "file_unique_id": f"u{file.id}",
            "file_size": len(file.data),
            "file_path": file.path,
        }

    def get_chat(self, params: Params, files: Files) -> Json:
        del files
        found = self._chat(params).json()
        return found | {
            "accent_color_id": 0,
            "max_reaction_count": 11,
            "accepted_gift_types": {
                "unlimited_gifts": True,
                "limited_gifts": True,
                "unique_gifts": True,
                "premium_subscription": True,
                "gifts_from_channels": True,
            },
        }

    def leave_chat(self, params: Params, files: Files) -> bool:
        del files
        self._writable(params).bot_in = False
        return True

    def _chat(self, params: Params) -> FakeChat:
        """The chat of chat_id."""
        wanted = params.get("chat_id")
        if wanted in (None, ""):
            raise bad("chat_id is empty")
        if isinstance(wanted, str) and wanted.startswith("@"):
            named = (c for c in self._world.chats.values() if c.username == wanted[1:])
            chat = next((c for c in named if c.type != "private"), None)
        else:
            number = str(wanted)
            chat = self._world.chats.get(int(number)) if number.lstrip("-").isdigit() else None
        if chat is None:
            raise bad("chat not found")
        return chat

    def _writable(self, params: Params) -> FakeChat:
        """The chat of chat_id, if the bot may write there."""
        chat = self._chat(params)
        if chat.moved_to:
            raise ApiError(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                {"migrate_to_chat_id": chat.moved_to},
            )
        account = self._world.accounts.get(chat.id)
        if account is None:
            if not chat.bot_in:
                raise ApiError(403, f"Forbidden: bot is not a member of the {chat.type} chat")
            return chat
        if account.deactivated:
            raise ApiError(403, "Forbidden: user is deactivated")
        if account.blocked:
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        if not account.started:
            raise ApiError(403, "Forbidden: bot can't initiate conversation with a user")
        return chat

    def _of(self, chat: FakeChat, params: Params, otherwise: str) -> FakeMessage:
        number = str(params.get("message_id") or "")
        if not number.isdigit():
            raise bad("message identifier is not specified")
        message = chat.by_id.get(int(number))
        if message is None:
            raise bad(otherwise)
        return message


def _scope(params: Params) -> str:
    scope = params.get("scope")
    return str(scope.get("type")) if isinstance(scope, dict) else "default"


def _medium(item: object) -> Medium:
    kind = item.get("type") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in MEDIA:
        raise bad("can't parse InputMedia: invalid type")
    return MEDIA[kind]
