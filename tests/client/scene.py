"""The stage of most tests of the client: a client, and a peer that the test plays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from tests.client.support import Peer, open_peer
from trio_coap import Client, TransmissionParameters, open_client
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS
from trio_coap.testing import VirtualEndpoint, VirtualNetwork


@attrs.frozen
class Scene:
    """A client, and a peer that the test plays."""

    client: Client
    endpoint: VirtualEndpoint
    peer: Peer
    network: VirtualNetwork

    @property
    def uri(self) -> str:
        return f"{self.peer.uri}/r"


@asynccontextmanager
async def open_scene(
    network: VirtualNetwork, *, parameters: TransmissionParameters = DEFAULT_PARAMETERS
) -> AsyncIterator[Scene]:
    async with (
        network.open_endpoint("client", parameters=parameters) as endpoint,
        open_client(endpoint=endpoint) as client,
    ):
        with open_peer(network) as peer:
            yield Scene(client, endpoint, peer, network)
