"""The server of aiocoap that is measured: a site with one resource, as its documentation shows.

Run as ``python -m bench.aiocoap_server HOST PORT``.
"""

from __future__ import annotations

import asyncio
import sys

import aiocoap
from aiocoap import resource


class Greeting(resource.Resource):  # type: ignore[misc]  # aiocoap is not read; see pyproject.toml.
    """Answers GET."""

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        """Return a few octets."""
        return aiocoap.Message(payload=b"hello world")


async def main(host: str, port: int) -> None:
    """Serve until killed."""
    site = resource.Site()
    site.add_resource(["t"], Greeting())
    await aiocoap.Context.create_server_context(site, bind=(host, port))
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
