"""Texts, keyboards and reactions as parameters: checked as Telegram checks them."""

from __future__ import annotations

from legato.testing.fake_telegram import entities as marks
from legato.testing.fake_telegram.forms import Params
from legato.testing.fake_telegram.world import Json, bad

CALLBACK_DATA = 64
BUTTONS = 100
_ACTIONS = [
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "callback_game",
    "pay",
]
_EMOJI = frozenset(
    [
        "👍",
        "👎",
        "❤",
        "🔥",
        "🥰",
        "👏",
        "😁",
        "🤔",
        "🤯",
        "😱",
        "🤬",
        "😢",
        "🎉",
        "🤩",
        "🤮",
        "💩",
        "🙏",
        "👌",
        "🕊",
        "🤡",
        "🥱",
        "🥴",
        "😍",
        "🐳",
        "🌚",
        "🌭",
        "💯",
        "🤣",
        "⚡",
        "🍌",
        "🏆",
        "💔",
        "🤨",
        "😐",
        "🍓",
        "🍾",
        "💋",
        "🖕",
        "😈",
        "😴",
        "😭",
        "🤓",
        "👻",
        "👀",
        "🎃",
        "🙈",
        "😇",
        "😨",
        "🤝",
        "✍",
        "🤗",
        "🫡",
        "🎅",
        "🎄",
        "☃",
        "💅",
        "🤪",
        "🗿",
        "🆒",
        "💘",
        "🙉",
        "🦄",
        "😘",
        "💊",
        "🙊",
        "😎",
        "👾",
        "😡",
    ]
)


def read_text(params: Params, name: str, given: str, limit: int) -> tuple[str, list[Json]]:
    """(visible text, entities) of the parameter `name`, whose entities may be in `given`."""
    value = params.get(name, "")
    if not isinstance(value, str):
        raise bad(f"{name} must be a String")
    try:
        text, found = marks.parse(value, str(params.get("parse_mode") or ""))
    except marks.Unparsable as error:
        raise bad(f"can't parse entities: {error}") from None
    explicit = params.get(given)
    if isinstance(explicit, list) and not params.get("parse_mode"):
        text, found = marks.trimmed(value, explicit)
    if marks.length(text) > limit:
        raise bad("message caption is too long" if name == "caption" else "message is too long")
    return text, found


def markup(value: object) -> Json:
    """A reply_markup; {} for none."""
    if value in (None, "", {}):
        return {}
    if not isinstance(value, dict):
        raise bad("object expected as reply markup")
    if "inline_keyboard" in value:
        rows = _rows(value["inline_keyboard"], "inline_keyboard")
        for row in rows:
            for button in row:
                _check_inline(button)
        if sum(map(len, rows)) > BUTTONS:
            raise bad("reply markup is too long")
        return {"inline_keyboard": rows} if any(rows) else {}
    if "keyboard" in value:
        rows = [[_key(key) for key in row] for row in _rows(value["keyboard"], "keyboard")]
        return value | {"keyboard": rows}
    if "remove_keyboard" in value or "force_reply" in value:
        return value
    raise bad("can't parse reply keyboard markup JSON object")


def _key(key: object) -> Json:
    found = {"text": key} if isinstance(key, str) else key
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        raise bad('can\'t parse keyboard button: Field "text" must be of type String')
    return found


def _rows(value: object, name: str) -> list[list[Json]]:
    if not isinstance(value, list) or any(not isinstance(row, list) for row in value):
        raise bad(f"can't parse {name}: expected an Array of Arrays")
    return value


def _check_inline(button: object) -> None:
    if not isinstance(button, dict):
        raise bad("can't parse inline keyboard button: expected an Object")
    text = button.get("text")
    if not isinstance(text, str):
        raise bad('can\'t parse inline keyboard button: Field "text" must be of type String')
    if not text.strip():
        raise bad("inline keyboard button text is empty")
    if not any(action in button for action in _ACTIONS):
        raise bad("Text buttons are unallowed in the inline keyboard")
    data = button.get("callback_data")
    if data is not None and not 1 <= len(str(data).encode()) <= CALLBACK_DATA:
        raise bad("BUTTON_DATA_INVALID")
    url = button.get("url")
    if url is not None and "." not in str(url) and "://" not in str(url):
        raise bad(f"inline keyboard button URL '{url}' is invalid: Wrong HTTP URL")


def reaction(value: object) -> list[str]:
    """The emoji of a list of ReactionType."""
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        raise bad("can't parse reaction types: expected an Array")
    found: list[str] = []
    for item in value:
        emoji = str(item.get("emoji", "")) if isinstance(item, dict) else ""
        if isinstance(item, dict) and item.get("type") == "custom_emoji":
            found.append(str(item.get("custom_emoji_id")))
        elif emoji.rstrip("\ufe0f") in _EMOJI:
            found.append(emoji)
        else:
            raise bad("REACTION_INVALID")
    return found
