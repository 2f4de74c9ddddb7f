"""Opening a UDP socket the way CoAP wants it.

Rule: what a socket can do is found out by trying, not by the platform's name.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

from trio_coap.messaging.addresses import SocketAddress, canonical_address, is_group
from trio_coap.transports.udp.groups import ignore_foreign_groups
from trio_coap.wire.errors import LocalProtocolError

_logger = logging.getLogger(__name__)

BUFFER_SIZE = 4 * 1024 * 1024
"""Octets to ask for in each direction: the usual default holds some 256 small datagrams, a burst has more."""

_WILDCARDS = {"::": "::", "0.0.0.0": "::ffff:0.0.0.0"}
"""The addresses that stand for all, and what an IPv6 socket is bound to for them."""


def open_socket(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Return a non-blocking UDP socket that is bound to *host* and *port*.

    Bound to ``::`` it serves IPv4 too; on a host without IPv6 it is then an IPv4 socket.  Bound to ``0.0.0.0`` it is
    an IPv6 socket for IPv4-mapped addresses, where there is such a thing: only that tells which address was asked.  Where a
    socket cannot serve both families, ``::`` is IPv6 only.

    Args:
      host: a numeric address of this host, or ``::`` or ``0.0.0.0`` for all.
      port: 0 lets the kernel choose.
      reuse_port: whether other sockets of this user may share the port (SO_REUSEPORT).

    Raises:
      OSError: if the address is not to be had.
      LocalProtocolError: if it is that of a group.
    """
    address = canonical_address(host, port)
    _require_no_group(address)
    sock, sockaddr = _make_socket(address)
    try:
        sock.setblocking(False)
        # No SO_REUSEADDR: for UDP it lets a second process steal the port in silence.
        if reuse_port:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise OSError(errno.ENOPROTOOPT, "sockets cannot share a port on this system")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _enlarge_buffers(sock)
        # Before there is anything to receive: it may wait for its worker while another one has joined already.
        ignore_foreign_groups(sock)
        sock.bind(sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


def open_shared_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """Return sockets that share one port, for as many worker processes.

    The kernel gives each remote endpoint to one of them, and stays with that as long as all are open: so the parent
    process keeps them all, hands one to each worker, and the same one to whoever replaces it.

    Args:
      host, port: see :func:`open_socket`.
      count: how many.

    Raises:
      OSError: if the address is not to be had, or the system cannot share ports.
    """
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(open_socket(host, port, reuse_port=True))
            port = sockets[0].getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def loopback_address(family: int | None) -> str:
    """Return by which loopback address a socket that is bound to all addresses of *family* is reached on this host.

    One for all of IPv6 serves IPv4 too, and there may be sockets of IPv6 without any address (``disable_ipv6``).
    """
    if family == socket.AF_INET6:
        with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
            return "::1"
    return "127.0.0.1"


def require_usable(sock: socket.socket) -> None:
    """Let pass a socket that an endpoint can use.

    Raises:
      LocalProtocolError: if it is none of UDP, not bound, or bound to the address of a group.
    """
    if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise LocalProtocolError(f"{sock!r} is no UDP socket")
    host, port = sock.getsockname()[:2]
    if not port:
        raise LocalProtocolError(f"{sock!r} is not bound to a port")
    _require_no_group(canonical_address(host, port))


def _require_no_group(address: SocketAddress) -> None:
    packed = address.in_addr
    if isinstance(packed, bytes) and is_group(packed):
        # Such a socket does not tell what comes to a group: it would be acknowledged, and answered at once.
        raise LocalProtocolError(f"{address.literal} is a group: bind to :: (or 0.0.0.0), and join it")


def _make_socket(address: SocketAddress) -> tuple[socket.socket, tuple[Any, ...]]:
    """Return a socket for *address*, and what to bind it to."""
    assert address.family is not None
    if address.host not in _WILDCARDS:
        sock = socket.socket(address.family, socket.SOCK_DGRAM)
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock, address.sockaddr
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    except OSError:
        if address.host == "::":
            _logger.info("there is no IPv6 on this host; listening on 0.0.0.0 instead of ::")
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("0.0.0.0", address.port)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        if address.host == "0.0.0.0":
            sock.close()
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("0.0.0.0", address.port)
        _logger.info("this host has no sockets for both families; listening on :: without IPv4")
    return sock, (_WILDCARDS[address.host], address.port)


def _enlarge_buffers(sock: socket.socket) -> None:
    for name, option in (("SO_RCVBUF", socket.SO_RCVBUF), ("SO_SNDBUF", socket.SO_SNDBUF)):
        with suppress(OSError):  # BSD refuses what is too much, instead of giving less.
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
        granted = sock.getsockopt(socket.SOL_SOCKET, option)
        if sys.platform == "linux":
            granted //= 2  # It counts its own overhead as well, and doubles what it is asked for.
        if granted < BUFFER_SIZE:
            _logger.info("asked for %d octets of %s, got %d", BUFFER_SIZE, name, granted)


_SO_MEMINFO = 55
_DROPS = 8
"""Linux's number of the option, and the word of it that counts datagrams dropped because the buffer was full."""


def kernel_drops(sock: socket.socket) -> int | None:
    """Return how many datagrams the kernel has dropped for want of room; None where it does not tell."""
    if sys.platform != "linux":
        return None
    try:
        words = struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))
    except (OSError, struct.error):
        return None
    return int(words[_DROPS])
