"""The scene of the tests of observations by a client: a client, and a server that is played by hand."""

from __future__ import annotations

import attrs

from tests.observing import Peer, state
from trio_coap import (
    CON,
    Client,
    Code,
    Observation,
    Options,
    Request,
    Response,
)
from trio_coap.testing import VirtualEndpoint, VirtualNetwork


@attrs.frozen
class Scene:
    client: Client
    endpoint: VirtualEndpoint
    peer: Peer
    network: VirtualNetwork

    def observe(self) -> Observation:
        return self.client.observe(self.peer.uri)

    async def establish(self, number: int = 1, *, max_age: int | None = None) -> Request:
        """Answer the registration."""
        request = await self.peer.receive_request()
        assert request.options.observe == 0
        self.peer.answer(request, state(number, max_age=max_age))
        return request

    async def expect_deregistration(self, token: bytes) -> None:
        request = await self.peer.receive_request()
        assert (request.type, request.code, request.token) == (CON, Code.GET, token)
        assert request.options == Options(observe=1, uri_path=["r"])
        self.peer.answer(request, Response(Code.CONTENT))
