"""A server made with aiocoap, run as a program: ``aiocoap_server.py HOST PORT``.

- ``/note``: GET, PUT and DELETE; what was put comes back with its Content-Format and an ETag, or is 2.03; 4.04 while there is nothing.
- ``/count``: POST counts up and returns the number: a handler that runs twice for one request is found out.
- ``/slow``: GET takes longer than aiocoap waits for a response to piggyback (EMPTY_ACK_DELAY, 0.1 s).
- ``/reading``: GET as JSON only.
"""

from __future__ import annotations

import asyncio
import sys

import aiocoap
from aiocoap import resource
from aiocoap.numbers import codes
from aiocoap.numbers.constants import TransportTuning

SLOW = 0.25
"""In seconds."""


class Impatient(TransportTuning):  # type: ignore[misc]  # see pyproject.toml: aiocoap is not read
    """Repeats after a twentieth of the usual time, and more often."""

    ACK_TIMEOUT = 0.1
    ACK_RANDOM_FACTOR = 1.2
    MAX_RETRANSMIT = 8


def answer(code: codes.Code, payload: bytes = b"", content_format: int | None = None) -> aiocoap.Message:
    return aiocoap.Message(code=code, payload=payload, content_format=content_format, transport_tuning=Impatient())


class Note(resource.Resource):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.content: tuple[bytes, int | None] | None = None

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        if self.content is None:
            return answer(codes.NOT_FOUND, b"no note")
        payload, content_format = self.content
        response = answer(codes.CONTENT, payload, content_format)
        resource.hashing_etag(request, response)
        return response

    async def render_put(self, request: aiocoap.Message) -> aiocoap.Message:
        is_new = self.content is None
        self.content = (request.payload, request.opt.content_format)
        return answer(codes.CREATED if is_new else codes.CHANGED)

    async def render_delete(self, request: aiocoap.Message) -> aiocoap.Message:
        self.content = None
        return answer(codes.DELETED)


class Count(resource.Resource):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self.number += 1
        return answer(codes.CHANGED, str(self.number).encode(), 0)


class Slow(resource.Resource):  # type: ignore[misc]
    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        await asyncio.sleep(SLOW)
        return answer(codes.CONTENT, b"late", 0)


class Reading(resource.Resource):  # type: ignore[misc]
    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        if request.opt.accept not in (None, 50):
            return answer(codes.NOT_ACCEPTABLE)
        return answer(codes.CONTENT, b'{"celsius":21}', 50)


async def main(host: str, port: int) -> None:
    site = resource.Site()
    site.add_resource(["note"], Note())
    site.add_resource(["count"], Count())
    site.add_resource(["slow"], Slow())
    site.add_resource(["reading"], Reading())
    await aiocoap.Context.create_server_context(site, bind=(host, port), transports=["udp6"])
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
