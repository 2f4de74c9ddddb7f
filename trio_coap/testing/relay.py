"""A relay that loses datagrams, on real sockets: for tests with peers that are other programs.

Rule: whether a datagram is lost depends on the seed, its direction and its number in that direction, and on nothing else.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from trio_coap.messaging.endpoint import Endpoint, SockAddr
from trio_coap.transports.driver import raise_single
from trio_coap.wire.errors import LocalProtocolError

MAX_DATAGRAM = 65_535
"""The largest UDP datagram, in octets."""

MAX_CLIENTS = 256
"""Clients of a relay, each of which takes a socket; datagrams of more are dropped."""


@final
@attrs.define(eq=False)
class RelayDirection:
    """What a relay does in one direction, and what it has counted."""

    name: str
    """``"forward"``: to the target; or ``"back"``: from it."""

    seed: int | str
    loss: float
    """The share of datagrams that are lost, 0 to 1."""

    drop: frozenset[int]
    """The numbers of datagrams that are lost in any case, counted from 1."""

    passed: int = 0
    """Datagrams that were passed on."""

    dropped: int = 0
    """Datagrams that were not."""

    def passes(self) -> bool:
        """Count one more datagram, and say whether it is passed on."""
        number = self.passed + self.dropped + 1
        is_lost = random.Random(f"{self.seed}|{self.name}|{number}").random() < self.loss
        if is_lost or number in self.drop:
            self.dropped += 1
            return False
        self.passed += 1
        return True


@final
class LossyRelay:
    """A UDP relay on loopback; :func:`open_relay` makes one.

    Attributes:
      forward: what goes to the target.
      back: what comes from it.
    """

    def __init__(
        self, target: Endpoint, front: trio.socket.SocketType, forward: RelayDirection, back: RelayDirection
    ) -> None:
        """Make a relay; see :func:`open_relay`."""
        self.forward = forward
        self.back = back
        self._target = target
        self._front = front
        self._sockets: dict[SockAddr, trio.socket.SocketType] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens."""
        host, port = self._front.getsockname()[:2]
        return host, port

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, as an endpoint to send to."""
        return Endpoint(self._front.getsockname())

    @property
    def uri(self) -> str:
        """Where it listens, as scheme and authority."""
        return self.endpoint.uri

    async def _run(self, nursery: trio.Nursery) -> None:
        """Pass on what clients send."""
        while True:
            data, client = await _receive(self._front)
            upstream = self._sockets.get(client)
            if upstream is None and len(self._sockets) < MAX_CLIENTS:
                upstream = self._sockets[client] = trio.socket.socket(self._front.family, socket.SOCK_DGRAM)
                await upstream.connect(self._target.sockaddr)
                nursery.start_soon(self._return, upstream, client)
            if upstream is not None and self.forward.passes():
                await _send(upstream, data)

    async def _return(self, upstream: trio.socket.SocketType, client: SockAddr) -> None:
        """Pass on what the target sends to one client."""
        while True:
            data, _ = await _receive(upstream)
            if self.back.passes():
                await _send(self._front, data, client)

    def _close(self) -> None:
        self._front.close()
        for upstream in self._sockets.values():
            upstream.close()


@asynccontextmanager
async def open_relay(
    target: Endpoint | tuple[str, int],
    *,
    loss: float = 0.0,
    seed: int | str = 0,
    drop_forward: Collection[int] = (),
    drop_back: Collection[int] = (),
) -> AsyncIterator[LossyRelay]:
    """Open a relay to *target* while the body runs.

    Each client gets a socket of its own towards the target, which tells them apart by their ports.

    Args:
      target: where datagrams go: an endpoint, or numeric host and port.
      loss: the share that is lost in each direction, 0 to 1.
      seed: the same seed loses the same ones, by direction and number.
      drop_forward, drop_back: the numbers of those that are lost in any case, to the target and from it, counted
        from 1 over all clients.

    Raises:
      LocalProtocolError: if the target is a name.
      OSError: if there is no socket to be had.
    """
    remote = target if isinstance(target, Endpoint) else Endpoint(target)
    if remote.family not in (socket.AF_INET, socket.AF_INET6):
        raise LocalProtocolError(f"{remote!r} has no address; Endpoint.resolve() looks names up")
    front = trio.socket.socket(remote.family, socket.SOCK_DGRAM)
    forward = RelayDirection("forward", seed, loss, frozenset(drop_forward))
    back = RelayDirection("back", seed, loss, frozenset(drop_back))
    relay = LossyRelay(remote, front, forward, back)
    try:
        await front.bind(("::1" if remote.family == socket.AF_INET6 else "127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay._run, nursery)
            yield relay
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise_single(group)
    finally:
        relay._close()


async def _receive(sock: trio.socket.SocketType) -> tuple[bytes, SockAddr]:
    while True:
        try:
            return await sock.recvfrom(MAX_DATAGRAM)
        except OSError:
            await trio.lowlevel.checkpoint()  # An ICMP error about an earlier datagram: as good as a loss.


async def _send(sock: trio.socket.SocketType, data: bytes, destination: SockAddr | None = None) -> None:
    try:
        if destination is None:
            await sock.send(data)
        else:
            await sock.sendto(data, destination)
    except OSError:
        return  # Likewise.
