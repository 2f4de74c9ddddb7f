"""A client made with aiocoap that observes, run as a program: ``aiocoap_watcher.py URI COUNT``.

It prints the payload of the first response and of the notifications, a line for each, and leaves after COUNT of them.
"""

from __future__ import annotations

import asyncio
import sys

import aiocoap


async def main(uri: str, count: int) -> None:
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    request = context.request(aiocoap.Message(code=aiocoap.GET, uri=uri, observe=0))
    print((await request.response).payload.decode(), flush=True)
    seen = 1
    async for notification in request.observation:
        print(notification.payload.decode(), flush=True)
        seen += 1
        if seen >= count:
            break
    request.observation.cancel()
    await context.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
