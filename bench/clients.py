"""Requests a second of clients, one at a time and 32 at a time, against a sink that is faster than all of them.

Rule: message IDs between a pair of endpoints are finite (:rfc:`7252` section 4.4), and reusing them to look fast is cheating:
each client goes on from a new local endpoint every 60,000 requests.  That counts as a part of its time.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from bench.children import MEASURED, OTHER, python, require_aiocoap, running
from bench.load import build
from bench.minimalclient import MinimalClient
from bench.rounds import Benchmark, Contestant, Goal, Measure
from trio_coap import TransmissionParameters, open_client

PER_ENDPOINT = 60_000
"""Requests from one local endpoint; there are 65,536 message IDs."""

WARMUP = 0.3
"""Seconds of requests that are not counted."""

ANSWER = b"hello world"
SINGLE, MANY = 1, 32

Get = Callable[[], Awaitable[bytes]]
"""Does one request and returns the payload of its response."""

OpenGet = Callable[[int], AbstractAsyncContextManager[Get]]
"""Opens a client for requests to a port of this host."""


class Quota:
    """When to stop: after so many requests from one endpoint, and after so many seconds in all."""

    def __init__(self, ends_at: float) -> None:
        """Stop at *ends_at*, in seconds of ``time.perf_counter()``."""
        self.ends_at = ends_at
        self.started = 0

    def take(self) -> bool:
        """Say whether one more request may be sent."""
        if self.started >= PER_ENDPOINT or time.perf_counter() >= self.ends_at:
            return False
        self.started += 1
        return True


async def _work(get: Get, quota: Quota) -> None:
    while quota.take():
        payload = await get()
        assert payload == ANSWER, payload


async def run_on_trio(open_get: OpenGet, port: int, tasks: int, seconds: float) -> int:
    """Send requests from so many tasks for some seconds, and return how many it were."""
    total = 0
    started_at = time.perf_counter()
    while time.perf_counter() < started_at + seconds:
        quota = Quota(started_at + seconds)
        async with open_get(port) as get, trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(_work, get, quota)
        total += quota.started
    return total


async def run_on_asyncio(open_get: OpenGet, port: int, tasks: int, seconds: float) -> int:
    """Send requests from so many tasks for some seconds, and return how many it were."""
    total = 0
    started_at = time.perf_counter()
    while time.perf_counter() < started_at + seconds:
        quota = Quota(started_at + seconds)
        async with open_get(port) as get:
            await asyncio.gather(*[_work(get, quota) for _ in range(tasks)])
        total += quota.started
    return total


@asynccontextmanager
async def open_ours(port: int) -> AsyncIterator[Get]:
    """Open this package's client."""
    uri = f"coap://127.0.0.1:{port}/t"
    async with open_client(host="127.0.0.1", parameters=TransmissionParameters(nstart=MANY)) as client:

        async def get() -> bytes:
            return (await client.get(uri)).payload

        yield get


@asynccontextmanager
async def open_aiocoap(port: int) -> AsyncIterator[Get]:
    """Open aiocoap's client; its NSTART is always 1."""
    import aiocoap

    uri = f"coap://127.0.0.1:{port}/t"
    context = await aiocoap.Context.create_client_context(transports=["udp6"])

    async def get() -> bytes:
        response = await context.request(aiocoap.Message(code=aiocoap.GET, uri=uri)).response
        payload: bytes = response.payload
        return payload

    try:
        yield get
    finally:
        await context.shutdown()


@asynccontextmanager
async def open_minimal(port: int) -> AsyncIterator[Get]:
    """Open the client that does what is possible, without deadlines."""
    async with MinimalClient.open(port) as client:
        yield client.get


@asynccontextmanager
async def open_minimal_with_deadline(port: int) -> AsyncIterator[Get]:
    """Open the same, each request with a deadline."""
    async with MinimalClient.open(port) as client:

        async def get() -> bytes:
            with trio.fail_after(10):
                return await client.get()

        yield get


CLIENTS: dict[str, Callable[[int, int, float], int]] = {
    "ours": lambda *how: trio.run(run_on_trio, open_ours, *how),
    "aiocoap": lambda *how: asyncio.run(run_on_asyncio(open_aiocoap, *how)),
    "minimal": lambda *how: trio.run(run_on_trio, open_minimal, *how),
    "minimal, with deadlines": lambda *how: trio.run(run_on_trio, open_minimal_with_deadline, *how),
}
"""Each sends requests to a port, from so many tasks, for some seconds, and returns how many it were."""


def rate(name: str, port: int, tasks: int, seconds: float) -> tuple[float, float]:
    """Return requests a second, and microseconds of processor time for each; imports and first requests come before."""
    CLIENTS[name](port, tasks, WARMUP)
    started_at, processor_started_at = time.perf_counter(), time.process_time()
    total = CLIENTS[name](port, tasks, seconds)
    elapsed, processor = time.perf_counter() - started_at, time.process_time() - processor_started_at
    return total / elapsed, processor / total * 1e6


def measure(name: str, seconds: float) -> dict[str, float]:
    """Measure one client in a process of its own, with 1 and 32 tasks.

    Raises:
      Skipped: if a program is missing.
    """
    if name == "aiocoap":
        require_aiocoap()
    figures = {}
    with running([str(build("sink"))], OTHER) as sink:
        port = sink.read()
        for measure, tasks in ((AT_ONE, SINGLE), (AT_MANY, MANY)):
            with running(python("clients", name, port, tasks, seconds), MEASURED) as client:
                figures[measure.name], figures[CPU.name] = map(float, client.read(seconds + 30).split())
    return figures


AT_ONE = Measure("1 at a time", "requests/s", is_higher_better=True)
AT_MANY = Measure("32 at a time", "requests/s", is_higher_better=True)
CPU = Measure("CPU at 32", "µs")


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    seconds = 3.0 if is_full else 0.5
    contestants: dict[str, Contestant] = {name: lambda name=name: measure(name, seconds) for name in CLIENTS}  # type: ignore[misc]
    return [
        Benchmark(
            "clients",
            "Clients: requests against a sink",
            (AT_ONE, AT_MANY, CPU),
            contestants,
            reference="aiocoap",
            limit="minimal",
            goals=(
                Goal("client, 1 at a time, times aiocoap", "ours", "aiocoap", AT_ONE.name, 3, 4),
                Goal("client, 32 at a time, times aiocoap", "ours", "aiocoap", AT_MANY.name, 9, 14),
            ),
            notes=(
                f"CON GET, answered with {len(ANSWER)} octets by a sink in C on the other core; NSTART is 32, but aiocoap's 1.",
                "Each client goes on from a new local endpoint every 60,000 requests.",
                "minimal: a dictionary of message IDs; no retransmission, no options to read, nothing remembered.",
            ),
        )
    ]


if __name__ == "__main__":
    print(*rate(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
