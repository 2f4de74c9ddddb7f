"""Opening a UDP socket the way CoAP wants it.

Rule: what a socket can do is found out by trying, not by the platform's name.
"""

from __future__ import annotations

import logging
import socket

from trio_coap.messaging.addresses import canonical_address

_logger = logging.getLogger(__name__)

BUFFER_SIZE = 4 * 1024 * 1024
"""Octets to ask for in each direction: the usual default holds some 256 small datagrams, a burst has more."""


def open_socket(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Return a non-blocking UDP socket that is bound to *host* and *port*.

    Bound to ``::`` it serves IPv4 too; on a host without IPv6 it is then an IPv4 socket.

    Args:
      host: a numeric address of this host, or ``::`` or ``0.0.0.0`` for all.
      port: 0 lets the kernel choose.
      reuse_port: whether other sockets of this user may share the port (SO_REUSEPORT).

    Raises:
      OSError: if the address is not to be had.
    """
    address = canonical_address(host, port)
    family = address.family
    assert family is not None
    sockaddr = address.sockaddr
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError:
        if address.host != "::":
            raise
        _logger.info("there is no IPv6 on this host; listening on 0.0.0.0 instead of ::")
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sockaddr = ("0.0.0.0", port)
    try:
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.host != "::"))
        # No SO_REUSEADDR: for UDP it lets a second process steal the port in silence.
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _enlarge_buffers(sock)
        sock.bind(sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


def _enlarge_buffers(sock: socket.socket) -> None:
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
        granted = sock.getsockopt(socket.SOL_SOCKET, option)
        if granted < BUFFER_SIZE:
            _logger.debug("asked for a socket buffer of %d octets, got %d", BUFFER_SIZE, granted)
