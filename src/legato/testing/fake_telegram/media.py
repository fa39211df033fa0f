"""Photos, files and the other things that a message carries."""

from __future__ import annotations

from msgspec import Struct

from legato.testing.fake_telegram.forms import Params, Upload
from legato.testing.fake_telegram.world import Json, StoredFile, World, bad

BIGGEST = 50 * 1024 * 1024


class Medium(Struct):
    """One kind of file.

    Attributes:
        kind: Its field in a Message.
        folder: Where its path begins.
        mime: Its type, "" where a file has its own.
        extra: Its fields beside the file's.
        captioned: Whether it has a caption.
    """

    kind: str
    folder: str
    mime: str = ""
    extra: Json = {}
    captioned: bool = True


_FRAME: Json = {"width": 320, "height": 240, "duration": 1}
MEDIA = {
    medium.kind: medium
    for medium in (
        Medium("photo", "photos", "image/jpeg"),
        Medium("document", "documents"),
        Medium("audio", "music", "audio/mpeg", {"duration": 1}),
        Medium("video", "videos", "video/mp4", _FRAME),
        Medium("voice", "voice", "audio/ogg", {"duration": 1}),
        Medium("animation", "animations", "video/mp4", _FRAME),
        Medium("video_note", "video_notes", extra={"length": 240, "duration": 1}, captioned=False),
        Medium(
            "sticker",
            "stickers",
            extra={
                "type": "regular",
                "width": 512,
                "height": 512,
                "is_animated": False,
                "is_video": False,
            },
            captioned=False,
        ),
    )
}


def stored(world: World, medium: Medium, source: object, files: dict[str, Upload]) -> Json:
    """A medium as fields of a Message, from an upload, "attach://name", a file id or an address."""
    if isinstance(source, str) and source.startswith("attach://"):
        source = files.get(source.removeprefix("attach://"))
    if isinstance(source, Upload):
        if not source.data:
            raise bad("file must be non-empty")
        if len(source.data) > BIGGEST:
            raise bad("file is too big")
        file = world.keep(source.name, source.data, medium.mime, medium.folder)
    elif isinstance(source, str) and source.startswith(("http://", "https://")):
        name = source.rpartition("/")[2]
        file = world.keep(name, source.encode(), medium.mime, medium.folder)
    elif isinstance(source, str) and source in world.files:
        file = world.files[source]
    elif source in (None, ""):
        raise bad(f"there is no {medium.kind} in the request")
    else:
        raise bad("wrong file identifier/HTTP URL specified")
    return described(medium, file)


def described(medium: Medium, file: StoredFile) -> Json:
    """A stored file as fields of a Message."""
    found: Json = {
        "file_id": file.id,
        "file_unique_id": f"u{file.id}",
        "file_size": len(file.data),
    }
    if medium.kind == "photo":
        small = {"file_id": f"{file.id}s", "file_unique_id": f"u{file.id}s", "file_size": 1}
        return {
            "photo": [small | {"width": 90, "height": 67}, found | {"width": 800, "height": 600}]
        }
    found |= medium.extra
    if medium.kind not in ("video_note", "sticker"):
        found["mime_type"] = file.mime or "application/octet-stream"
    if medium.kind in ("document", "audio", "video", "animation") and file.name:
        found["file_name"] = file.name
    if medium.kind == "animation":
        document = {key: found[key] for key in found.keys() - medium.extra.keys()}
        return {"animation": found, "document": document}
    return {medium.kind: found}


def special(kind: str, params: Params) -> Json:
    """What is no file: sendLocation, sendContact, sendDice, sendInvoice."""
    if kind == "location":
        return {"location": _taken(params, ("latitude", "longitude"))}
    if kind == "contact":
        return {"contact": _taken(params, ("phone_number", "first_name"), ("last_name",))}
    if kind == "dice":
        return {"dice": {"emoji": params.get("emoji", "🎲"), "value": 4}}
    found = _taken(params, ("title", "description", "currency"), ("start_parameter",))
    prices = params.get("prices")
    if not isinstance(prices, list) or not prices or not params.get("payload"):
        raise bad("prices and payload are required")
    total = sum(int(price["amount"]) for price in prices)
    return {"invoice": {"start_parameter": ""} | found | {"total_amount": total}}


def _taken(params: Params, needed: tuple[str, ...], others: tuple[str, ...] = ()) -> Json:
    for name in needed:
        if params.get(name) in (None, ""):
            raise bad(f"parameter {name} is required")
    return {name: params[name] for name in (*needed, *others) if name in params}
