"""An HTTP client for a process in which many an invocation sends nothing."""

from __future__ import annotations

from legato.abc import HttpClient, HttpRequest, HttpResponse


class LazyHttp(HttpClient):
    """An HttpClient that is made when the first call must be sent: many an invocation sends none."""

    __slots__ = ("_client",)

    def __init__(self) -> None:
        self._client: HttpClient | None = None

    def _made(self) -> HttpClient:
        if self._client is None:
            from legato.deploy.transport import Transport

            self._client = Transport()
        return self._client

    async def send(self, request: HttpRequest) -> HttpResponse:
        return await self._made().send(request)

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        return await self._made().download(request, path, limit)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


__all__ = ["LazyHttp"]
