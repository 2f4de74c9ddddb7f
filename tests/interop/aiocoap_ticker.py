"""A server made with aiocoap whose ``/ticks`` can be observed, run as a program: ``aiocoap_ticker.py HOST PORT``.

A POST to ``/ticks`` is a tick: GET returns their number, and observers are notified.  Those of ``/long`` get it a thousand times.
"""

from __future__ import annotations

import asyncio
import sys

import aiocoap
from aiocoap import resource
from aiocoap.numbers import codes


class Ticks(resource.ObservableResource):  # type: ignore[misc]  # see pyproject.toml: aiocoap is not read
    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(code=codes.CONTENT, payload=self.payload, content_format=0)

    @property
    def payload(self) -> bytes:
        return str(self.number).encode()

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self.number += 1
        self.updated_state()
        return aiocoap.Message(code=codes.CHANGED)


class LongTicks(Ticks):
    @property
    def payload(self) -> bytes:
        return f"{self.number:4}".encode() * 1000


async def main(host: str, port: int) -> None:
    site = resource.Site()
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader))
    site.add_resource(["ticks"], Ticks())
    site.add_resource(["long"], LongTicks())
    await aiocoap.Context.create_server_context(site, bind=(host, port), transports=["udp6"])
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
