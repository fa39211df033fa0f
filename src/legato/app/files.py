"""Fetching the files that people send."""

from __future__ import annotations

from typing import Any

from legato.abc import HttpClient, Platform
from legato.errors import StepError
from legato.model.events import Address
from legato.model.records import Call

LARGEST_DOWNLOAD = 20 * 1024 * 1024
"""Bytes: what Telegram lets bots download, too."""


async def download(
    platform: Platform, http: HttpClient, place: Address, file: Any, path: str
) -> str:
    """Step: saves a received file as `path`, and returns that.

    Raises:
        StepError: The platform does not say where the file is.
        Unsupported: The platform offers no download.
        NotSent, MaybeSent, ValueError: See HttpClient.download.
    """
    request = platform.file_request(file, None)
    if isinstance(request, Call):
        verdict = await platform.send(request, place, http)
        request = platform.file_request(file, verdict)
    if isinstance(request, Call):
        raise StepError(platform.name, "the file's address could not be had")
    await http.download(request, path, LARGEST_DOWNLOAD)
    return path
