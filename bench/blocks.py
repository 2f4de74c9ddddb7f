"""What a streamed body costs, up and down, through a virtual network that loses and reorders (:rfc:`7959`).

Both sides stream: nobody holds the body.  Each octet is compared.  Time is measured without tracemalloc, which makes everything
slow, and memory in a run of its own.  Whatever messages are about, the message layer remembers exchanges for
EXCHANGE_LIFETIME, to recognize duplicates, and the decoder some options: about 2 MiB have passed when both hold what they ever
will.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import AsyncIterator

import attrs
import trio
from trio.testing import MockClock

from trio_coap import BlockLimits, Code, Site, StreamedRequest, TransmissionParameters, block_policy
from trio_coap.testing import open_network, open_pair

MIB = 1024 * 1024
SIZES = (MIB, 4 * MIB, 10 * MIB)
LOSS = REORDERING = 0.1
PARAMETERS = TransmissionParameters(max_retransmit=7, max_latency=5)
"""One try in five fails, so that some of thousands fail five times in a row (the default); the lifetimes are short, see above."""


@attrs.frozen
class Cost:
    """What one transfer took."""

    real: float
    """Seconds of the machine."""

    virtual: float
    """Seconds of the network."""

    datagrams: int
    """Sent by both sides."""

    peak: int
    """Octets of memory at most."""


async def pieces(size: int) -> AsyncIterator[bytes]:
    """Give *size* octets, no two blocks of them equal."""
    for number in range(size // 1024):
        yield number.to_bytes(4, "big") * 256


async def check(body: AsyncIterator[bytes], size: int) -> None:
    """Read *body*, and compare it with :func:`pieces`."""
    octets = 0
    async for chunk in body:
        number, offset = divmod(octets, 1024)
        assert offset == 0, "blocks of 1024 octets are expected here"
        assert chunk == number.to_bytes(4, "big") * 256, f"octet {octets} is wrong"
        octets += len(chunk)
    assert octets == size, f"{octets} octets have come, not {size}"


def make_site(size: int) -> Site:
    """Return a server that takes a body of *size* octets, and gives one."""
    site = Site()

    @site.put("/body")
    @block_policy(streams=True, max_body=size)
    async def put(request: StreamedRequest) -> None:
        await check(request.stream(), size)

    @site.get("/body")
    async def get(request: object) -> AsyncIterator[bytes]:
        async for piece in pieces(size):
            yield piece

    return site


async def transfer(code: Code, size: int) -> tuple[float, int]:
    """Transfer a body and return the virtual seconds and the datagrams that it took."""
    async with (
        open_network(1, loss=LOSS, reordering=REORDERING, reordering_delay=0.05, max_trace=10) as network,
        open_pair(make_site(size), network=network, parameters=PARAMETERS, block_limits=BlockLimits()) as pair,
    ):
        client, server = pair
        started_at = trio.current_time()
        body = pieces(size) if code is Code.PUT else b""
        async with client.stream(code, "/body", body) as response:
            response.raise_for_code()
            if code is Code.GET:
                await check(response.stream(), size)
        sent = [endpoint.statistics().tx_messages for endpoint in (client.endpoint, server.endpoint)]
        return trio.current_time() - started_at, sum(sent)


def measure(code: Code, size: int) -> Cost:
    """Measure one transfer."""
    started_at = time.process_time()
    virtual, datagrams = trio.run(transfer, code, size, clock=MockClock(autojump_threshold=0))
    real = time.process_time() - started_at
    tracemalloc.start()
    trio.run(transfer, code, size, clock=MockClock(autojump_threshold=0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(real, virtual, datagrams, peak)


def main() -> None:
    """Measure and print a table."""
    print(
        f"Streamed bodies, {LOSS:.0%} of datagrams lost, {REORDERING:.0%} reordered; CPU seconds, peaks of tracemalloc"
    )
    print(f"{'body':<14}{'CPU s':>10}{'virtual s':>12}{'datagrams':>12}{'peak KiB':>12}{'ratio':>8}")
    for code, direction in ((Code.PUT, "up"), (Code.GET, "down")):
        costs = [measure(code, size) for size in SIZES]
        for size, cost in zip(SIZES, costs, strict=True):
            name = f"{size // MIB} MiB {direction}"
            shown = f"{cost.real:>10.2f}{cost.virtual:>12,.0f}{cost.datagrams:>12,}{cost.peak / 1024:>12,.0f}"
            print(f"{name:<14}{shown}{cost.peak / costs[0].peak:>8.2f}")


if __name__ == "__main__":
    main()
