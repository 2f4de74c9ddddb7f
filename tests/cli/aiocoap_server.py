"""A server made with aiocoap, for the command to talk to: run with the port, it serves until killed."""

from __future__ import annotations

import asyncio
import sys

import aiocoap
from aiocoap import resource


class Kept(resource.Resource):  # type: ignore[misc]
    """Keeps what PUT sends."""

    content = b"nothing yet"

    async def render_get(self, request):
        return aiocoap.Message(payload=self.content, content_format=0)

    async def render_put(self, request):
        self.content = request.payload
        return aiocoap.Message(code=aiocoap.CHANGED)

    async def render_fetch(self, request):
        return aiocoap.Message(payload=b"fetched " + request.payload)


class Separate(resource.Resource):  # type: ignore[misc]
    """Answers in a message of its own."""

    async def render_get(self, request):
        await asyncio.sleep(0.4)
        return aiocoap.Message(payload=b"at last")


async def serve(port: int) -> None:
    site = resource.Site()
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader))
    site.add_resource(["kept"], Kept())
    site.add_resource(["separate"], Separate())
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port))
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
