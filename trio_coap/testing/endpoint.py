"""Endpoints of a virtual network: the engine and the two tasks of every driver, without a socket.

Rule: the receive task takes from a bounded inbox, as it would from a socket's receive buffer: what does not fit is
dropped and counted.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trio_coap.messaging.endpoint import COAP_PORT, Endpoint
from trio_coap.messaging.local import RandomSource
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.messaging.remote import RemoteEndpointState
from trio_coap.testing.host import Host
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress

if TYPE_CHECKING:
    from trio_coap.testing.network import VirtualNetwork

INBOX_SIZE = 1024
"""Datagrams that wait for the receive task, by default; a socket's receive buffer holds some such number."""

BATCH = 32
"""Datagrams processed in one go before other tasks get their turn, as from a socket."""


@final
@attrs.frozen
class Arrived:
    """A datagram in an inbox."""

    octets: bytes
    source: Endpoint
    local_address: Endpoint


@final
@attrs.frozen
class PortUnreachable:
    """An ICMP error in an inbox."""

    remote: Endpoint
    quoted: bytes
    error: OSError


@final
class VirtualEndpoint(DrivenEndpoint):
    """A local endpoint on a host of a virtual network.

    :meth:`VirtualNetwork.open_endpoint` makes one, runs its tasks and closes it.

    Attributes:
      network: the network that it is attached to.
      owner: the host that it is on.
    """

    network: VirtualNetwork
    owner: Host

    def __init__(
        self,
        sockaddr: tuple[Any, ...] | None = None,
        family: int | None = 0,
        security_mode: str | None = None,
        host: str | None = None,
        port: int = COAP_PORT,
        *,
        network: VirtualNetwork,
        owner: Host,
        rng: RandomSource,
        parameters: TransmissionParameters = DEFAULT_PARAMETERS,
        limits: Limits = DEFAULT_LIMITS,
        is_wildcard: bool = False,
        inbox_size: int = INBOX_SIZE,
    ) -> None:
        """Make an endpoint that nothing reaches yet; see :meth:`VirtualNetwork.create_bound_endpoint`."""
        super().__init__(sockaddr, family, security_mode, host, port, rng=rng, parameters=parameters, limits=limits)
        self.network = network
        self.owner = owner
        self._is_wildcard = is_wildcard
        self._groups: set[str] = set()
        self._send_inbox, self._inbox = trio.open_memory_channel[Arrived | PortUnreachable](inbox_size)

    @classmethod
    def _realm(cls, options: dict[str, Any]) -> Hashable:
        # Two networks may have the same addresses; and a remote endpoint is no local one.
        return cls, options.get("network")

    @property
    def is_wildcard(self) -> bool:
        """Whether it listens on all addresses of its host."""
        return self._is_wildcard

    @property
    def groups(self) -> frozenset[str]:
        """The addresses of the groups that it has joined."""
        return frozenset(self._groups)

    @property
    def remote(self) -> Endpoint:
        """This endpoint as others see it: a remote endpoint, to send to."""
        return self.network.outside_address(self)

    def join_group(self, address: str) -> None:
        """Receive what is sent to the group at *address* and this endpoint's port; joining twice is fine."""
        self._require_open()
        self._groups.add(_group(address))

    def leave_group(self, address: str) -> None:
        """Receive no more what is sent to the group at *address*; leaving twice is fine."""
        self._groups.discard(_group(address))

    def remote_state(self, endpoint: Endpoint) -> RemoteEndpointState:
        """Return what is known of *endpoint*; see :meth:`LocalEndpoint.remote_state`.

        Raises:
          LocalProtocolError: if it is a virtual endpoint itself; its :attr:`remote` is what one sends to.
        """
        if isinstance(endpoint, VirtualEndpoint):
            raise LocalProtocolError(f"{endpoint!r} is the local end; send to its .remote")
        return super().remote_state(endpoint)

    def _close_transport(self) -> None:
        self._groups.clear()
        self.network.detach(self)
        # In this order, so that who waits learns that it is closed, not that nothing more comes.
        self._inbox.close()
        self._send_inbox.close()

    def _rawsendto(
        self, data: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None = None
    ) -> None:
        self._require_open()
        self.network.send(self, data, destination_endpoint, local_address)

    def _put(self, item: Arrived | PortUnreachable) -> bool:
        """Put *item* into the inbox; False if it is full."""
        if self.is_closed:
            return True
        try:
            self._send_inbox.send_nowait(item)
        except trio.WouldBlock:
            self.counters.turned_away["the inbox"] += 1
            return False
        return True

    async def _rawrecvfrom(self, bufsize: int) -> tuple[bytes, Endpoint]:
        while True:
            item = await self._inbox.receive()
            if isinstance(item, Arrived):
                return item.octets[:bufsize], item.source

    async def _receive_task(self) -> None:
        try:
            while True:
                self._take(await self._inbox.receive())
                for _ in range(BATCH - 1):
                    try:
                        item = self._inbox.receive_nowait()
                    except trio.WouldBlock:
                        break
                    self._take(item)
        except trio.ClosedResourceError:
            return

    def _take(self, item: Arrived | PortUnreachable) -> None:
        now = trio.current_time()
        if isinstance(item, Arrived):
            self._deliver(item.octets, item.source, now, item.local_address)
        else:
            self._deliver_error(item.remote, item.quoted, item.error, now)


def _group(address: str) -> str:
    """Return the address of a group in canonical form."""
    group = Endpoint(host=address)
    if not group.is_multicast:
        raise LocalProtocolError(f"{address} is not the address of a group")
    return str(group.sockaddr[0])
