"""Socket addresses in their one form.

Rule: an IPv4 address is never written as an IPv4-mapped IPv6 one, so that a peer is the same peer through a
dual-stack socket; and a scope identifier counts for link-local and group addresses only.
"""

from __future__ import annotations

import unicodedata
from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton
from typing import final

import attrs

from trio_coap.wire.errors import LocalProtocolError

_KINDS: dict[int, str] = {AF_INET: "an IPv4", AF_INET6: "an IPv6", AF_UNSPEC: "a numeric"}
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
_LOOPBACK = bytes(15) + b"\x01"


@final
@attrs.frozen
class SocketAddress:
    """A transport address in canonical form, or a name that stands for an endpoint without one."""

    family: int | None
    """AF_INET, AF_INET6, or None for a name."""

    host: str
    """The numeric address without zone, or the name in Net-Unicode."""

    port: int
    """The transport-layer port."""

    scope_id: int = 0
    """The zone of an IPv6 address, as an interface index; 0 for none."""

    @property
    def in_addr(self) -> bytes | str:
        """The address in network byte order, or the name."""
        return self.host if self.family is None else inet_pton(self.family, self.host)

    @property
    def sockaddr(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """The address as Python's sockets take it."""
        if self.family == AF_INET6:
            return self.host, self.port, 0, self.scope_id
        return self.host, self.port

    @property
    def literal(self) -> str:
        """The address with its zone, if it has one, without brackets."""
        return f"{self.host}%{self.scope_id}" if self.scope_id else self.host


def canonical_address(host: str, port: int, family: int | None = AF_UNSPEC, scope_id: int = 0) -> SocketAddress:
    """Return the one form of an address.

    Args:
      host: a numeric address, of IPv6 with or without a numeric zone (``fe80::1%2``), or with *family* None any name.
      port: 0 to 65535.
      family: AF_INET, AF_INET6, AF_UNSPEC for either, or None for a name.
      scope_id: the zone, if *host* has none.

    Raises:
      LocalProtocolError: if *host* is not numeric, or not of that family, or *port* is out of range.
    """
    if not 0 <= port <= 0xFFFF:
        raise LocalProtocolError(f"a port is 0 to 65535, not {port}")
    if family is None:
        return SocketAddress(None, unicodedata.normalize("NFC", host), port)
    address, _, zone = host.partition("%")
    if zone:
        if not zone.isascii() or not zone.isdigit():
            raise LocalProtocolError(f"the zone of {host!r} is a name; await Endpoint.resolve() knows its number")
        if len(zone) > 10 or int(zone) > 0xFFFF_FFFF:
            raise LocalProtocolError(f"a numeric zone has 32 bits, which {zone[:11]} has not")
        scope_id = int(zone)
    if family in (AF_INET, AF_UNSPEC) and not zone:
        packed = _packed(AF_INET, address)
        if packed is not None:
            return SocketAddress(AF_INET, inet_ntop(AF_INET, packed), port)
    if family in (AF_INET6, AF_UNSPEC):
        packed = _packed(AF_INET6, address)
        if packed is not None:
            return _canonical_ipv6(packed, port, scope_id)
    if family not in _KINDS:
        raise LocalProtocolError(f"the address family {family!r} is none of AF_INET, AF_INET6, AF_UNSPEC and None")
    kind = _KINDS[family]
    raise LocalProtocolError(f"{host!r} is not {kind} address; await Endpoint.resolve() looks names up")


def is_group(packed: bytes) -> bool:
    """Return whether an address in network byte order is that of a multicast group."""
    return packed[0] == 0xFF if len(packed) == 16 else packed[0] >> 4 == 0xE


def is_link_local(packed: bytes) -> bool:
    """Return whether an address in network byte order is in fe80::/10."""
    return len(packed) == 16 and packed[0] == 0xFE and packed[1] >> 6 == 2


def is_loopback(packed: bytes) -> bool:
    """Return whether an address in network byte order is in 127.0.0.0/8, or is ::1."""
    return packed[0] == 127 if len(packed) == 4 else packed == _LOOPBACK


def _canonical_ipv6(packed: bytes, port: int, scope_id: int) -> SocketAddress:
    if packed.startswith(_MAPPED_PREFIX):
        return SocketAddress(AF_INET, inet_ntop(AF_INET, packed[12:]), port)
    has_scope = is_link_local(packed) or is_group(packed)
    return SocketAddress(AF_INET6, inet_ntop(AF_INET6, packed), port, scope_id if has_scope else 0)


def _packed(family: int, address: str) -> bytes | None:
    try:
        return inet_pton(family, address)
    except (OSError, ValueError):  # ValueError: an embedded null character
        return None
