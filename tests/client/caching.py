"""What the tests of the cache share: a client with a cache, and a server that answers as it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from trio_coap import Client, Code, Request, Response, ResponseCache
from trio_coap.testing import open_pair


@attrs.define
class House:
    """A server that answers as it is told to, and keeps what it was asked."""

    answer: Callable[[Request], Response] = lambda request: Response(Code.CONTENT, b"1")
    requests: list[Request] = attrs.Factory(list)
    delays: list[float] = attrs.Factory(list)
    """How long the next requests take, in seconds; those behind them take no time."""
    client: Client = attrs.field(init=False)
    network: object = None

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.answer(request)
        if self.delays:
            await trio.sleep(self.delays.pop(0))
        return answer

    @property
    def cache(self) -> ResponseCache:
        assert self.client.cache is not None
        return self.client.cache

    @property
    def asked(self) -> int:
        return len(self.requests)

    def says(self, payload: bytes = b"1", code: Code = Code.CONTENT, **options) -> None:
        """Answer with this from now on, or with 2.03 if the request names its ETag."""
        response = Response(code, payload, **options)

        def answer(request: Request) -> Response:
            if request.code not in (Code.GET, Code.FETCH):
                return Response(Code.CHANGED)
            if response.options.etag is not None and response.options.etag in request.options.etags:
                return Response(Code.VALID, **options)
            return response.replace()

        self.answer = answer

    async def get(self, uri: str = "/r", **arguments) -> bytes:
        return (await self.client.get(uri, **arguments)).payload


@asynccontextmanager
async def open_house(cache: ResponseCache | None = None) -> AsyncIterator[House]:
    house = House()
    async with open_pair(house) as (client, server):
        client.cache = cache or ResponseCache()
        house.client = client
        house.network = server.endpoint.network  # type: ignore[attr-defined]
        yield house
