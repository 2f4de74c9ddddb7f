"""What the tests of the testing package share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from trio_coap.testing import VirtualEndpoint, VirtualNetwork

Collect = Callable[[VirtualEndpoint, float], Awaitable[list[tuple[float, bytes]]]]


@pytest.fixture
async def ends(coap_network: VirtualNetwork) -> AsyncIterator[tuple[VirtualEndpoint, VirtualEndpoint]]:
    """Two endpoints without tasks, 10.0.0.1:1000 on host a and 10.0.0.2:2000 on host b."""
    a = coap_network.host("10.0.0.1", name="a")
    b = coap_network.host("10.0.0.2", name="b")
    first = coap_network.create_bound_endpoint(a, 1000)
    second = coap_network.create_bound_endpoint(b, 2000)
    yield first, second
    first.close()
    second.close()


@pytest.fixture
def collect() -> Collect:
    async def collect_until(endpoint: VirtualEndpoint, until: float) -> list[tuple[float, bytes]]:
        """Return what arrives at *endpoint* until then, each with the time rounded to a microsecond."""
        found = []
        with trio.move_on_at(until):
            while True:
                data, _ = await endpoint.rawrecvfrom()
                found.append((round(trio.current_time(), 6), data))
        return found

    return collect_until
