"""The parameters of a call, in whichever of the four ways the Bot API takes them."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

Params = dict[str, object]


class Upload(Struct):
    """A file that came with a call."""

    name: str
    data: bytes


_JSON = frozenset(
    [
        "reply_markup",
        "reply_parameters",
        "entities",
        "caption_entities",
        "media",
        "allowed_updates",
        "link_preview_options",
        "reaction",
        "commands",
        "scope",
        "prices",
        "options",
        "message_ids",
        "permissions",
    ]
)
"""Parameters that are JSON inside of a form."""
_INTS = frozenset(
    [
        "chat_id",
        "from_chat_id",
        "user_id",
        "message_id",
        "message_thread_id",
        "reply_to_message_id",
        "offset",
        "limit",
        "timeout",
        "max_connections",
        "cache_time",
        "duration",
        "width",
        "height",
    ]
)
_BOOLS = frozenset(
    [
        "disable_notification",
        "protect_content",
        "show_alert",
        "drop_pending_updates",
        "is_big",
        "disable_web_page_preview",
        "allow_sending_without_reply",
        "has_spoiler",
        "only_if_banned",
    ]
)


_ITEM = re.compile(r';\s*([\w*]+)=(?:"([^"]*)"|([^;\s]*))')


def parameters(query: str, content_type: str, body: bytes) -> tuple[Params, dict[str, Upload]]:
    """(parameters, files) of a call. Whatever way they came, they have JSON's types.

    Raises:
        ValueError: The body is not what its content type says.
    """
    params: Params = _typed(parse_qsl(query, keep_blank_values=True)) if query else {}
    files: dict[str, Upload] = {}
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return params, files
    if kind == "application/json":
        found = msgspec.json.decode(body)
        if not isinstance(found, dict):
            raise ValueError("object expected")
        strings = [(name, value) for name, value in found.items() if isinstance(value, str)]
        return params | found | _typed(strings), files
    if kind == "multipart/form-data":
        fields, files = multipart(content_type, body)
        return params | _typed(fields), files
    return params | _typed(parse_qsl(body.decode(), keep_blank_values=True)), files


def multipart(content_type: str, body: bytes) -> tuple[list[tuple[str, str]], dict[str, Upload]]:
    """(fields, files) of a multipart body."""
    boundary = content_type.partition("boundary=")[2].partition(";")[0].strip().strip('"')
    if not boundary:
        raise ValueError("boundary expected")
    fields: list[tuple[str, str]] = []
    files: dict[str, Upload] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        name, filename = _disposition(head.decode("utf-8", "replace"))
        if filename is None:
            fields.append((name, data.decode()))
        else:
            files[name] = Upload(filename, data)
    return fields, files


def _disposition(head: str) -> tuple[str, str | None]:
    found: dict[str, str] = {}
    for line in head.split("\r\n"):
        if line.lower().startswith("content-disposition:"):
            for key, quoted, bare in _ITEM.findall(line):
                found[key.lower()] = quoted or bare
    return found.get("name", ""), found.get("filename")


def _typed(pairs: list[tuple[str, str]]) -> Params:
    params: Params = {}
    for name, value in pairs:
        params[name] = value
        if name in _JSON:
            try:
                params[name] = msgspec.json.decode(value)
            except msgspec.DecodeError:
                raise ValueError(f"can't parse {name} JSON object") from None
        elif name in _INTS and value.removeprefix("-").isdigit():
            params[name] = int(value)
        elif name in _BOOLS:
            params[name] = value.lower() in ("true", "yes", "1")
    return params
