"""A client made with aiocoap that repeats early, run as a program: ``aiocoap_client.py URI METHOD:PATH...``.

It sends the requests one after the other, and prints code and payload of each response on a line.  ``aiocoap-client``
itself waits for 2 to 3 s before it repeats a request, which cannot be set from outside.
"""

from __future__ import annotations

import asyncio
import sys

import aiocoap
from aiocoap.numbers.constants import TransportTuning


class Impatient(TransportTuning):  # type: ignore[misc]  # see pyproject.toml: aiocoap is not read
    """Repeats after a twentieth of the usual time, and more often."""

    ACK_TIMEOUT = 0.1
    ACK_RANDOM_FACTOR = 1.2
    MAX_RETRANSMIT = 8


async def main(uri: str, requests: list[str]) -> None:
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    for request in requests:
        method, path = request.split(":")
        message = aiocoap.Message(code=aiocoap.Code[method], uri=uri + path, transport_tuning=Impatient())
        response = await context.request(message).response
        print(response.code.dotted, response.payload.decode(), flush=True)
    await context.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
