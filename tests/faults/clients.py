"""Clients of a platform that is being broken: they ask until there is an answer."""

import asyncio
from typing import Any

import httpx

ATTEMPT_SECONDS = 4.0
AGAIN_SECONDS = 0.2


class Clients:
    """Use as `async with Clients(url) as clients`. Each request says by its token whose it is."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        self._http = httpx.AsyncClient(base_url=url, timeout=ATTEMPT_SECONDS, limits=limits)

    async def __aenter__(self) -> "Clients":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(
        self, token: str, path: str, body: Any, key: str | None = None, *, refusals: tuple[int, ...] = ()
    ) -> httpx.Response:
        """POST until there is an answer. A refusal that wasn't foreseen is a defect of test or platform: an error."""
        headers = {"Authorization": f"Bearer {token}"} | ({} if key is None else {"Idempotency-Key": key})
        while True:
            try:
                response = await self._http.post(path, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if response.status_code < 500:
                assert response.is_success or response.status_code in refusals, response.text
                return response
            await asyncio.sleep(AGAIN_SECONDS)

    async def look(self, token: str, path: str) -> Any:
        """GET once. None if there is no answer just now."""
        try:
            response = await self._http.get(path, headers={"Authorization": f"Bearer {token}"})
        except httpx.TransportError:
            return None
        return response.json() if response.is_success else None
