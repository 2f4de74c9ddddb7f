"""How fast 1 MiB goes block-wise over loopback sockets, down (GET) and up (PUT), in blocks of 1024 octets (:rfc:`7959`).

Both ends are of the same make, each a process on a core of its own.  What a transfer costs in virtual time, with losses, is
measured in :mod:`bench.blocks`.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable

import trio

from bench.children import MEASURED, OTHER, free_port, processor_time, python, require_aiocoap, running
from bench.rounds import Benchmark, Contestant, Goal, Measure
from trio_coap import Request, Site, open_client, serve

BODY = random.Random(7959).randbytes(1024 * 1024)
MAX_TRANSFERS = 60
"""From one local endpoint: each takes 1024 of 65,536 message IDs."""

DOWN = Measure("GET", "MB/s", is_higher_better=True)
DOWN_CPU, UP_CPU = Measure("GET, CPU", "ms"), Measure("PUT, CPU", "ms")
"""Of both ends, for one transfer."""

UP = Measure("PUT", "MB/s", is_higher_better=True)

Transfer = Callable[[], Awaitable[None]]


def make_site() -> Site:
    """Return a site of this package that gives and takes the body."""
    site = Site()

    @site.get("/body")
    def get(request: Request) -> bytes:
        return BODY

    @site.put("/body")
    def put(request: Request) -> None:
        assert len(request.payload) == len(BODY)

    return site


async def serve_ours() -> None:
    """Serve the body with this package, and say the port."""
    site = make_site()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(lambda task_status: serve(site, "127.0.0.1", 0, task_status=task_status))
        print(server.endpoint.port, flush=True)


async def serve_aiocoap() -> None:
    """Serve the body with aiocoap, and say the port."""
    import aiocoap
    from aiocoap import resource

    class Body(resource.Resource):  # type: ignore[misc]
        async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
            return aiocoap.Message(code=aiocoap.CONTENT, payload=BODY)

        async def render_put(self, request: aiocoap.Message) -> aiocoap.Message:
            assert len(request.payload) == len(BODY)
            return aiocoap.Message(code=aiocoap.CHANGED)

    site = resource.Site()
    site.add_resource(["body"], Body())
    port = free_port()
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
    print(port, flush=True)
    await asyncio.get_running_loop().create_future()


async def _repeat(transfer: Transfer, seconds: float, server: int) -> list[float]:
    """Repeat *transfer* for *seconds* or a little more; the first one does not count.

    Args:
      transfer: moves the body once.
      seconds: for how long.
      server: the process of the server, in which this may be.

    Returns:
      MB a second, and milliseconds of processor time of both processes for one transfer.
    """
    processes = {server, os.getpid()}
    await transfer()
    processor_started_at = sum(map(processor_time, processes))
    started_at = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - started_at) < seconds or not count:
        if count + 1 == MAX_TRANSFERS:
            break
        await transfer()
        count += 1
    processor = sum(map(processor_time, processes)) - processor_started_at
    return [count * len(BODY) / elapsed / 1e6, processor / count * 1e3]


async def move_ours(port: int, seconds: float, server: int) -> list[list[float]]:
    """Return what :func:`_repeat` does, down and up, of this package's client."""
    uri = f"coap://127.0.0.1:{port}/body"

    async def down() -> None:
        response = await client.get(uri)
        assert response.payload == BODY

    async def up() -> None:
        (await client.put(uri, BODY)).raise_for_code()

    speeds = []
    for transfer in (down, up):
        async with open_client(host="127.0.0.1") as client:
            speeds.append(await _repeat(transfer, seconds, server))
    return speeds


async def move_aiocoap(port: int, seconds: float, server: int) -> list[list[float]]:
    """Return the same of aiocoap's client."""
    import aiocoap

    uri = f"coap://127.0.0.1:{port}/body"

    async def down() -> None:
        response = await context.request(aiocoap.Message(code=aiocoap.GET, uri=uri)).response
        assert response.payload == BODY

    async def up() -> None:
        response = await context.request(aiocoap.Message(code=aiocoap.PUT, uri=uri, payload=BODY)).response
        assert response.code.is_successful()

    speeds = []
    for transfer in (down, up):
        context = await aiocoap.Context.create_client_context(transports=["udp6"])
        speeds.append(await _repeat(transfer, seconds, server))
        await context.shutdown()
    return speeds


def measure(name: str, seconds: float) -> dict[str, float]:
    """Measure transfers between two processes.

    Raises:
      Skipped: if aiocoap is meant, and is not installed.
    """
    if name == "aiocoap":
        require_aiocoap()
    with running(python("blockwise", "serve", name), OTHER) as server:
        port = server.read()
        with running(python("blockwise", "move", name, port, seconds, server.process.pid), MEASURED) as client:
            figures = map(float, client.read().split())
    names = [measure.name for measure in (DOWN, DOWN_CPU, UP, UP_CPU)]
    return {name: figure for name, figure in zip(names, figures, strict=True) if not math.isnan(figure)}


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    seconds = 3.0 if is_full else 0.4
    contestants: dict[str, Contestant] = {
        "ours": lambda: measure("ours", seconds),
        "aiocoap": lambda: measure("aiocoap", seconds),
    }
    return [
        Benchmark(
            "blockwise",
            "1 MiB block-wise over loopback, blocks of 1024",
            (DOWN, UP, DOWN_CPU, UP_CPU),
            contestants,
            reference="aiocoap",
            goals=(
                Goal("1 MiB block-wise, GET, times aiocoap", "ours", "aiocoap", DOWN.name, 3, 5),
                Goal("1 MiB block-wise, PUT, times aiocoap", "ours", "aiocoap", UP.name, 3, 5),
            ),
            notes=("Both ends of one make, on a core each; one block at a time. CPU: of both ends, for one transfer.",),
        )
    ]


def _run(words: list[str]) -> None:
    role, name = words[:2]
    if role == "serve":
        if name == "aiocoap":
            asyncio.run(serve_aiocoap())
        else:
            trio.run(serve_ours)
    else:
        port, seconds, server = int(words[2]), float(words[3]), int(words[4])
        if name == "aiocoap":
            figures = asyncio.run(move_aiocoap(port, seconds, server))
        else:
            figures = trio.run(move_ours, port, seconds, server)
        print(*figures[0], *figures[1])


if __name__ == "__main__":
    _run(sys.argv[1:])
