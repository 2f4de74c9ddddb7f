"""Who is where on a virtual network: hosts, addresses, groups and address translation."""

from __future__ import annotations

import errno
from itertools import count
from typing import TYPE_CHECKING, final

from trio_coap.messaging.addresses import canonical_address
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.testing.host import Host, is_numeric, numeric_address
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress

if TYPE_CHECKING:
    from trio_coap.testing.endpoint import VirtualEndpoint

AnyHost = Host | str
"""A host, its name, or one of its addresses."""

FIRST_OUTSIDE_PORT = 61_000
"""The first of the ports that address translation chooses from."""


@final
class Topology:
    """The hosts of a network, by name and by address."""

    def __init__(self) -> None:
        """Start without hosts."""
        self.hosts: dict[str, Host] = {}
        self._by_address: dict[str, Host] = {}
        self._outside: dict[VirtualEndpoint, Endpoint] = {}
        self._inside: dict[Endpoint, VirtualEndpoint] = {}
        self._numbers = count(1)
        # From where an endpoint sends, by family and by the address that it wants; forgotten when addresses change.
        self._sources: dict[tuple[VirtualEndpoint, int | None, EndpointAddress | None], Endpoint] = {}

    # Hosts.

    def make_host(self, addresses: tuple[str, ...], name: str | None, *, port_unreachable: bool) -> Host:
        """Make a host; see :meth:`VirtualNetwork.host`."""
        literals = list(dict.fromkeys(map(numeric_address, addresses))) or [self._free_address()]
        for literal in literals:
            self._require_free(literal)
        name = name or literals[0]
        if name in self.hosts:
            raise LocalProtocolError(f"there is a host {name!r} already")
        host = self.hosts[name] = Host(name, literals, port_unreachable=port_unreachable)
        self._by_address.update(dict.fromkeys(literals, host))
        return host

    def find_host(self, host: AnyHost) -> Host | None:
        """Return the host that *host* is, or whose name or address it is."""
        if isinstance(host, Host):
            return host if self.hosts.get(host.name) is host else None
        found = self.hosts.get(host)
        if found is None and is_numeric(host):
            found = self._by_address.get(numeric_address(host))
        return found

    def require_host(self, host: AnyHost) -> Host:
        """Return the host that *host* is, or whose name or address it is.

        Raises:
          LocalProtocolError: if the network has none.
        """
        found = self.find_host(host)
        if found is None:
            raise LocalProtocolError(f"the network has no host {host!r}")
        return found

    def find_or_make(self, host: AnyHost | None) -> tuple[Host, str | None]:
        """Return a host and the address that was meant, None for all; the host is made if need be."""
        if host is None:
            return self.make_host((), None, port_unreachable=True), None
        if isinstance(host, Host) or (host in self.hosts and not is_numeric(host)):
            return self.require_host(host), None
        if not is_numeric(host):
            return self.make_host((), host, port_unreachable=True), None
        literal = numeric_address(host)
        owner = self._by_address.get(literal)
        return owner or self.make_host((literal,), None, port_unreachable=True), literal

    def add_address(self, host: AnyHost, address: str) -> None:
        """Give *host* one more address."""
        literal = numeric_address(address)
        found = self.require_host(host)
        self._require_free(literal)
        found.add_address(literal)
        self._sources.clear()
        self._by_address[literal] = found

    def remove_address(self, address: str) -> None:
        """Take *address* away from the host that has it."""
        literal = numeric_address(address)
        self.require_host(literal).remove_address(literal)
        del self._by_address[literal]
        self._sources.clear()

    def addresses_of(self, name: str) -> tuple[str, ...]:
        """Return the addresses of the host called *name*, in any case; none if there is no such host."""
        host = self.hosts.get(name)
        if host is None:
            host = next((known for known in self.hosts.values() if known.name.lower() == name.lower()), None)
        return host.addresses if host is not None else ()

    # Endpoints.

    def owner_of(self, remote: Endpoint) -> Host | None:
        """Return the host that has the address *remote*, as others see it."""
        endpoint = self._inside.get(remote)
        return endpoint.owner if endpoint is not None else self._by_address.get(str(remote.sockaddr[0]))

    def listener_at(self, remote: Endpoint) -> VirtualEndpoint | None:
        """Return who listens at *remote*, as others see it."""
        endpoint = self._inside.get(remote)
        if endpoint is not None:
            return endpoint
        host = self._by_address.get(str(remote.sockaddr[0]))
        found = host.find_endpoint(str(remote.sockaddr[0]), remote.port) if host is not None else None
        # Who is behind a translator is not reached by the address inside.
        return None if found is not None and found in self._outside else found

    def members_of(self, group: Endpoint) -> list[VirtualEndpoint]:
        """Return who has joined *group*, on its port."""
        literal = group.sockaddr[0]
        members = [e for host in self.hosts.values() for e in host.endpoints if literal in e.groups]
        return [endpoint for endpoint in members if endpoint.port == group.port]

    def source_of(
        self, endpoint: VirtualEndpoint, destination: Endpoint, local_address: EndpointAddress | None
    ) -> Endpoint:
        """Return the address from which a datagram of *endpoint* leaves, as others see it.

        Raises:
          OSError: if its host has no address of that family.
        """
        key = endpoint, destination.family, local_address
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = self._outside.get(endpoint) or self._choose_source(
                endpoint, destination, local_address
            )
        return source

    def _choose_source(
        self, endpoint: VirtualEndpoint, destination: Endpoint, local_address: EndpointAddress | None
    ) -> Endpoint:
        literal = None
        if not endpoint.is_wildcard:
            literal = str(endpoint.sockaddr[0])
        elif isinstance(local_address, Endpoint) and local_address.sockaddr[0] in endpoint.owner.addresses:
            literal = str(local_address.sockaddr[0])
        if literal is None or canonical_address(literal, 0).family != destination.family:
            literal = endpoint.owner.address_of_family(destination.family) if endpoint.is_wildcard else None
        if literal is None:
            raise OSError(errno.ENETUNREACH, f"{endpoint!r} has no address to send to {destination.hostinfo} from")
        return Endpoint(host=literal, port=endpoint.port)

    def local_address(self, endpoint: VirtualEndpoint, destination: Endpoint) -> Endpoint:
        """Return *destination* as *endpoint*, which is there, sees it."""
        return destination if destination not in self._inside else Endpoint(endpoint.sockaddr)

    def seen_from_outside(self, endpoint: VirtualEndpoint) -> Endpoint:
        """Return the address of *endpoint* as others see it: the preferred one, if it has several."""
        return self._outside.get(endpoint) or Endpoint(endpoint.sockaddr)

    def translate(self, endpoint: VirtualEndpoint, address: str | None, port: int | None) -> Endpoint:
        """Give *endpoint* another address, as others see it; see :meth:`VirtualNetwork.rebind`."""
        literal = numeric_address(address) if address else str(self.seen_from_outside(endpoint).sockaddr[0])
        outside = Endpoint(host=literal, port=port or FIRST_OUTSIDE_PORT)
        while self.listener_at(outside) is not None:
            if port is not None:
                raise OSError(errno.EADDRINUSE, f"{outside.hostinfo} is taken")
            outside = Endpoint(host=literal, port=outside.port + 1)
        self.forget(endpoint)
        self._outside[endpoint] = outside
        self._inside[outside] = endpoint
        return outside

    def forget(self, endpoint: VirtualEndpoint) -> None:
        """Forget the translation of *endpoint*."""
        self._sources.clear()
        outside = self._outside.pop(endpoint, None)
        if outside is not None:
            del self._inside[outside]

    def _free_address(self) -> str:
        while True:
            number = next(self._numbers)
            literal = f"10.0.{number >> 8}.{number & 255}"
            if literal not in self._by_address:
                return literal

    def _require_free(self, literal: str) -> None:
        if literal in self._by_address:
            raise LocalProtocolError(f"{literal} belongs to {self._by_address[literal]!r} already")
