"""Scrapes /metrics, as Prometheus does."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


async def fetch(url: str) -> tuple[int, str]:
    """Status and body of a GET."""
    return await asyncio.to_thread(_fetch, url)


def _fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def scraped(base: str) -> dict[str, float]:
    """{'name{label="value"}': value} of the process that listens at `base`."""
    status, text = await fetch(f"{base}/metrics")
    assert status == 200, text
    return lines(text)


def lines(text: str) -> dict[str, float]:
    """The same of an exposition."""
    found = {}
    for family in text_string_to_metric_families(text):
        for line in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(line.labels.items()))
            found[f"{line.name}{{{labels}}}" if labels else line.name] = line.value
    return found
