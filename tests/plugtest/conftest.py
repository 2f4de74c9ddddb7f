"""The plugtest server on loopback in the loop of the test, and raw clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio

from tests.plugtest.rawclient import RawClient, open_raw_client
from trio_coap import TransmissionParameters
from trio_coap.cli.plugtest import Plugtest, serve_plugtest

PERIOD = 0.3
"""Seconds from one state of the observable resources to the next."""

DELAY = 0.2
"""Seconds that a separate response takes."""

HASTY = TransmissionParameters(ack_timeout=0.25, ack_random_factor=1.0, max_retransmit=3, empty_ack_delay=0.02)
"""Repeats after 0.25, 0.75 and 1.75 s, and gives up after 3.75 s."""


@pytest.fixture
async def plugtest(nursery: trio.Nursery) -> Plugtest:
    return await nursery.start(partial(serve_plugtest, "127.0.0.1", 0, period=PERIOD, delay=DELAY, parameters=HASTY))


@pytest.fixture
def address(plugtest: Plugtest) -> tuple[str, int]:
    host, port = plugtest.server.endpoint.sockaddr[:2]
    return host, port


@pytest.fixture
async def client(address: tuple[str, int]) -> AsyncIterator[RawClient]:
    async with open_raw_client(address) as opened:
        yield opened


@pytest.fixture
async def other(address: tuple[str, int]) -> AsyncIterator[RawClient]:
    """Another client."""
    async with open_raw_client(address) as opened:
        yield opened
