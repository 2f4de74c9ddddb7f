"""Real sockets in the place of the virtual network, for stages and peers that do not know the difference.

A :class:`LoopbackNetwork` has the two methods of a :class:`~trio_coap.testing.VirtualNetwork` that open things.  Rule 1: the
side under test is a :class:`~trio_coap.SocketEndpoint` for all addresses, as it is by default; the peer is a plain socket, which knows nothing of the package but
how an address is written.  Rule 2: every port is the kernel's choice, so that nothing disturbs anything.  Rule 3: random
numbers are seeded with the name of the host, as on the virtual network.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trio_coap import Endpoint, Limits, SocketEndpoint, TransmissionParameters
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS
from trio_coap.transports.driver import run_endpoint

LOOPBACK = "127.0.0.1"


class LoopbackEndpoint(SocketEndpoint):
    """The side under test."""

    @property
    def remote(self) -> Endpoint:
        """This endpoint as others see it."""
        return Endpoint(host=LOOPBACK, port=self.port)


class PlainSocket:
    """What a peer sends and receives with, octet by octet."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._socket.setblocking(False)
        self._receiving = trio.socket.from_stdlib_socket(self._socket)
        self.remote = Endpoint(self._socket.getsockname())

    async def rawrecvfrom(self, bufsize: int) -> tuple[bytes, Endpoint]:
        data, address = await self._receiving.recvfrom(bufsize)
        return data, Endpoint(address)

    def rawsendto(self, data: bytes, destination: Endpoint) -> None:
        self._socket.sendto(data, destination.sockaddr)

    def close(self) -> None:
        self._receiving.close()


class LoopbackNetwork:
    """Opens endpoints and peers on the loopback interface, whatever host and port they are meant to be."""

    @asynccontextmanager
    async def open_endpoint(
        self,
        host: str,
        port: int = 0,
        *,
        parameters: TransmissionParameters = DEFAULT_PARAMETERS,
        limits: Limits = DEFAULT_LIMITS,
    ) -> AsyncIterator[LoopbackEndpoint]:
        endpoint = LoopbackEndpoint.create_bound_endpoint(
            host="::", port=0, rng=random.Random(host), parameters=parameters, limits=limits
        )
        async with run_endpoint(endpoint):
            yield endpoint

    def create_bound_endpoint(self, host: str, port: int = 0) -> PlainSocket:
        return PlainSocket()
