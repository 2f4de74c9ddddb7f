"""Which of our addresses a datagram came to, and which one an answer leaves from (IPV6_PKTINFO, IP_PKTINFO; RFC 3542).

Rule 1: an answer leaves from the address that was asked, by whichever interface leads back: that may be another one than the
question came in by.  Only a link-local address goes with its interface.  Rule 2: a group is no source address, so that what
answers a group request names the interface only, and the system picks the address (:rfc:`7252` section 8.2).  Rule 3: what a
socket can tell is found out by trying.  Rule 4: who sends to all on a link asks a group, which nobody need join: each of
them would acknowledge it at once otherwise.
"""

from __future__ import annotations

import socket
import struct
import sys
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import final

import attrs

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.message import EndpointAddress
from trio_coap.wire.recent import Recent

MAX_ADDRESSES = 4096
"""Addresses of ours whose endpoint is kept at hand, or twice as many: a whole prefix may be routed to this host."""

ANCILLARY_SIZE = 128
"""Octets that the ancillary data of a datagram take, at most."""

Ancillary = list[tuple[int, int, bytes]]
"""Ancillary data as Python's sockets have it: level, kind, octets."""

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)
"""The socket module of older Pythons does not have it; the value is Linux's (linux/in.h)."""

_KINDS = frozenset({(socket.IPPROTO_IPV6, getattr(socket, "IPV6_PKTINFO", None)), (socket.IPPROTO_IP, IP_PKTINFO)})
"""Levels and kinds of the ancillary data that tell."""

_IPV6_PKTINFO = struct.Struct("=16sI")  # struct in6_pktinfo: address, interface index
_IPV4_PKTINFO = struct.Struct("=I4s4s")  # struct in_pktinfo: interface index, our address, destination in the header
_LIMITED_BROADCAST = "255.255.255.255"
_DISCARD_PORT = 9
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"


@final
@attrs.frozen
class GroupAddress:
    """A group as it is reached through some interfaces of this host; or all on a link, by the broadcast address."""

    endpoint: Endpoint
    """Address of the group, and port."""

    interfaces: tuple[int, ...]
    """Indices of the interfaces: the one that a datagram came in by, or those that it is to go out by."""

    is_multicast = True

    @property
    def port(self) -> int:
        """The transport-layer port."""
        return self.endpoint.port

    @property
    def hostinfo(self) -> str:
        """The authority component of URIs of the group."""
        return self.endpoint.hostinfo

    @property
    def uri(self) -> str:
        """Scheme and authority."""
        return self.endpoint.uri


@final
class PacketInfo:
    """Reads and writes the packet information of one socket."""

    def __init__(self, family: int, port: int) -> None:
        """Begin for a socket on which :func:`enable_packet_info` has succeeded.

        Args:
          family: of the socket.
          port: that it is bound to.
        """
        self._is_ipv4 = family == AF_INET
        self._port = port
        self._known: Recent[tuple[int, int, bytes], Endpoint | GroupAddress] = Recent(MAX_ADDRESSES)

    def read(self, ancillary: Ancillary) -> Endpoint | GroupAddress | None:
        """Return the address that a datagram came to, if *ancillary* says so."""
        for item in ancillary:
            known = self._known.young.get(item) or self._known.find(item)
            if known is not None:
                return known
            if item[:2] in _KINDS:
                return self._learn(item)
        return None

    def write(self, source: EndpointAddress, is_ipv4: bool) -> Ancillary:
        """Return what makes a datagram leave from *source*; of a group, by its first interface.

        Args:
          source: an address that a datagram came to.
          is_ipv4: whether the destination is an IPv4 address.
        """
        if isinstance(source, GroupAddress):
            return self.on_interface(source.interfaces[0], is_ipv4)
        if not isinstance(source, Endpoint) or source.is_multicast or not isinstance(source.in_addr, bytes):
            return []
        return self._pack(source.in_addr, source.scope_id)

    def on_interface(self, interface: int, is_ipv4: bool, source: bytes | None = None) -> Ancillary:
        """Return what makes a datagram leave by *interface*, from *source* (in network byte order) if that is given."""
        return self._pack(source or bytes(4 if is_ipv4 else 16), interface)

    def _pack(self, address: bytes, interface: int) -> Ancillary:
        if self._is_ipv4:
            assert IP_PKTINFO is not None
            return [(socket.IPPROTO_IP, IP_PKTINFO, _IPV4_PKTINFO.pack(interface, address, bytes(4)))]
        # On a socket of IPv6, IPv4 addresses are IPv4-mapped, the unspecified one too.
        packed = _MAPPED_PREFIX + address if len(address) == 4 else address
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IPV6_PKTINFO.pack(packed, interface))]

    def _learn(self, item: tuple[int, int, bytes]) -> Endpoint | GroupAddress:
        level, _, data = item
        if level == socket.IPPROTO_IPV6:
            packed, interface = _IPV6_PKTINFO.unpack(data)
        else:
            interface, _, packed = _IPV4_PKTINFO.unpack(data)
        literal = socket.inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)
        endpoint = Endpoint((literal, self._port, 0, interface), AF_UNSPEC)
        is_group = endpoint.is_multicast or (endpoint.family == AF_INET and is_broadcast(str(endpoint.sockaddr[0])))
        address = GroupAddress(endpoint, (interface,)) if is_group else endpoint
        self._known.put(item, address)
        return address


def is_broadcast(address: str) -> bool:
    """Return whether *address*, to which a datagram came, is a broadcast address of IPv4.

    Its netmask is not needed for that: the system lets nobody connect to one who has not asked for it.
    """
    if address == _LIMITED_BROADCAST:
        return True
    try:
        with socket.socket(AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, _DISCARD_PORT))  # That sends nothing.
    except PermissionError:
        return True
    except OSError:
        pass  # It went away meanwhile, say.
    return False


def enable_packet_info(sock: socket.socket) -> bool:
    """Ask for the destination address of each datagram; say whether the socket will tell."""
    try:
        if sock.family == AF_INET6 and hasattr(socket, "IPV6_RECVPKTINFO"):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif sock.family == AF_INET and IP_PKTINFO is not None:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            return False
    except OSError:
        return False
    return True
