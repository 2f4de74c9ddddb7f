"""Names of hosts, resolved without a thread."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, final

import trio

from trio_coap.messaging.addresses import canonical_address

FindAddresses = Callable[[str], Sequence[str]]
"""Returns the numeric addresses that a name stands for; none if it is unknown."""

AddressInfo = tuple[Any, Any, int, str, Any]
"""Family, type, protocol, canonical name and socket address, as ``getaddrinfo`` has them."""


@final
class NetworkResolver(trio.abc.HostnameResolver):
    """Resolves the names of one network's hosts, and no others: asking a real resolver would need a thread."""

    def __init__(self, find_addresses: FindAddresses) -> None:
        """Ask *find_addresses*."""
        self._find_addresses = find_addresses

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Return the addresses of *host*, the preferred one first; see :func:`socket.getaddrinfo`.

        Raises:
          OSError: socket.gaierror, if the network has no host of that name with an address of that family.
        """
        await trio.lowlevel.checkpoint()
        name = (host or b"").decode("ascii", errors="replace")
        found: list[AddressInfo] = []
        for literal in self._find_addresses(name):
            address = canonical_address(literal, int(port or 0))
            if family in (socket.AF_UNSPEC, address.family):
                kind = type or socket.SOCK_DGRAM
                found.append((socket.AddressFamily(address.family or 0), kind, proto, "", address.sockaddr))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"the virtual network has no host {name!r}")
        return found

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Return host and port of *sockaddr* in numeric form; see :func:`socket.getnameinfo`."""
        await trio.lowlevel.checkpoint()
        return str(sockaddr[0]), str(sockaddr[1])
