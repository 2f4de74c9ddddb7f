"""Hosts of a virtual network: their addresses, and who listens on their ports."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, final

from trio_coap.messaging.addresses import canonical_address
from trio_coap.wire.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_coap.testing.endpoint import VirtualEndpoint

FIRST_EPHEMERAL_PORT = 49152
"""The first of the ports that are given to who asks for none (:rfc:`6335` section 6)."""

LAST_PORT = 65535


@final
class Host:
    """A host with a name and one or more addresses; :meth:`VirtualNetwork.host` makes one.

    Attributes:
      name: its name, which resolves to its addresses.
      port_unreachable: whether a datagram to a port on which nobody listens is answered with an ICMP error; otherwise
        with silence.
    """

    def __init__(self, name: str, addresses: list[str], *, port_unreachable: bool = True) -> None:
        """Make a host that belongs to no network yet; see :meth:`VirtualNetwork.host`."""
        self.name = name
        self.port_unreachable = port_unreachable
        self._addresses = addresses
        # By port and address; None stands for all addresses.
        self._by_port: dict[int, dict[str | None, VirtualEndpoint]] = {}
        self._next_port = FIRST_EPHEMERAL_PORT
        self._openings: dict[int, int] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its numeric addresses, the preferred one first."""
        return tuple(self._addresses)

    @property
    def address(self) -> str:
        """The preferred one of its addresses."""
        return self._addresses[0]

    @property
    def endpoints(self) -> tuple[VirtualEndpoint, ...]:
        """The endpoints that are open on it."""
        return tuple(endpoint for bound in self._by_port.values() for endpoint in bound.values())

    def add_address(self, address: str) -> None:
        """Take *address*, in canonical form; :meth:`VirtualNetwork.add_address` does so."""
        self._addresses.append(address)

    def remove_address(self, address: str) -> None:
        """Give *address* back; :meth:`VirtualNetwork.remove_address` does so.

        Raises:
          LocalProtocolError: if it is the only one.
        """
        if len(self._addresses) == 1:
            raise LocalProtocolError(f"{address} is the only address of {self.name}")
        self._addresses.remove(address)

    def address_of_family(self, family: int | None) -> str | None:
        """Return its preferred address of *family*, or None if it has none."""
        return next((a for a in self._addresses if canonical_address(a, 0).family == family), None)

    def find_endpoint(self, address: str, port: int) -> VirtualEndpoint | None:
        """Return who listens on *port* of *address*, or None."""
        bound = self._by_port.get(port, {})
        return bound.get(address) or bound.get(None)

    def free_port(self) -> int:
        """Return a port on which nobody listens, another one each time.

        Raises:
          OSError: if there is none.
        """
        for _ in range(FIRST_EPHEMERAL_PORT, LAST_PORT + 1):
            port = self._next_port
            self._next_port = port + 1 if port < LAST_PORT else FIRST_EPHEMERAL_PORT
            if port not in self._by_port:
                return port
        raise OSError(errno.EADDRINUSE, f"all ports of {self.name} are taken")

    def require_free(self, address: str | None, port: int) -> None:
        """Check that nobody listens on *port* of *address*, or of any address if it is None.

        Raises:
          OSError: if somebody does.
        """
        bound = self._by_port.get(port)
        if bound and (address is None or None in bound or address in bound):
            raise OSError(errno.EADDRINUSE, f"port {port} of {address or self.name} is taken")

    def bind(self, endpoint: VirtualEndpoint, address: str | None, port: int) -> None:
        """Let *endpoint* listen on *port* of *address*, or of all addresses if it is None."""
        self.require_free(address, port)
        self._by_port.setdefault(port, {})[address] = endpoint

    def unbind(self, endpoint: VirtualEndpoint) -> None:
        """Let *endpoint* listen no more."""
        bound = self._by_port.get(endpoint.port, {})
        for address in [address for address, known in bound.items() if known is endpoint]:
            del bound[address]
        if not bound:
            self._by_port.pop(endpoint.port, None)

    def count_opening(self, port: int) -> int:
        """Return how often an endpoint was opened on *port* before."""
        before = self._openings.get(port, 0)
        self._openings[port] = before + 1
        return before

    def __repr__(self) -> str:
        return f"<Host {self.name} {' '.join(self._addresses)}>"


def numeric_address(address: str) -> str:
    """Return *address* in canonical form, without brackets and zone.

    Raises:
      LocalProtocolError: if it is no numeric address.
    """
    return canonical_address(address.removeprefix("[").removesuffix("]"), 0).host


def is_numeric(address: str) -> bool:
    """Return whether *address* is a numeric one."""
    try:
        numeric_address(address)
    except LocalProtocolError:
        return False
    return True
