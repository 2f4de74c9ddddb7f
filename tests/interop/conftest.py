"""What the tests with peers share: their servers, a server and a client of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from tests.interop.house import House, open_house
from tests.interop.peers import HOSTS, Peer, aiocoap_server, libcoap_server
from trio_coap import Client, open_client


@pytest.fixture(scope="module", params=HOSTS)
def libcoap(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """libcoap's example server, on either address family."""
    with libcoap_server(request.param) as peer:
        yield peer


@pytest.fixture(scope="module", params=HOSTS)
def aiocoap(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A server made with aiocoap, on either address family."""
    with aiocoap_server(request.param) as peer:
        yield peer


@pytest.fixture(params=HOSTS)
async def house(request: pytest.FixtureRequest, nursery: trio.Nursery) -> House:
    """A server of ours, on either address family."""
    return await open_house(nursery, request.param)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of ours; both families go over its one socket."""
    async with open_client() as client:
        yield client
