"""ICMP errors from the kernel's error queue (Linux: IPV6_RECVERR, IP_RECVERR and MSG_ERRQUEUE).

Rule 1: an undrained queue eats the receive buffer, or keeps the receive task awake for nothing, so it is drained
whenever something hints at it.  Rule 2: what is not the end of an exchange is passed over: errors of our own host, and
news about the way (time exceeded, packet too big, source quench; :rfc:`7252` section 4.2).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, Self, final

import attrs

IPV6_RECVERR = 25
IP_RECVERR = 11
"""The socket module does not have them; the values are Linux's (linux/in6.h, linux/in.h)."""

MAX_DRAINED = 64
"""Errors read in one go; what is left wakes the receive task again."""

_QUOTED_SIZE = 2048
_ANCILLARY_SIZE = 512
_EXTENDED_ERROR = struct.Struct("=IBBBxII")

_ORIGIN_ICMP = 2
_ORIGIN_ICMP6 = 3

_ABOUT_THE_WAY = frozenset(
    {
        (_ORIGIN_ICMP, 4, None),  # source quench
        (_ORIGIN_ICMP, 11, None),  # time exceeded
        (_ORIGIN_ICMP, 3, 4),  # fragmentation needed
        (_ORIGIN_ICMP6, 2, None),  # packet too big
        (_ORIGIN_ICMP6, 3, None),  # time exceeded
    }
)


@final
@attrs.frozen
class SockExtendedErr:
    """An entry of the error queue: Linux's ``struct sock_extended_err``."""

    errno: int
    """The error, such as ECONNREFUSED."""

    origin: int
    """Who reports it: 1 this host, 2 ICMP, 3 ICMPv6."""

    type: int
    """The ICMP type."""

    code: int
    """The ICMP code."""

    info: int
    """More about it: the MTU, for a packet too big."""

    data: int
    """Not used for ICMP."""

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read the structure from the beginning of *data*.

        Raises:
          ValueError: if there are fewer than 16 octets.
        """
        if len(data) < _EXTENDED_ERROR.size:
            raise ValueError(f"a sock_extended_err has {_EXTENDED_ERROR.size} octets, not {len(data)}")
        return cls(*_EXTENDED_ERROR.unpack_from(data))

    @property
    def ends_exchange(self) -> bool:
        """Whether the destination cannot be reached, rather than something being the matter on the way there."""
        if self.origin not in (_ORIGIN_ICMP, _ORIGIN_ICMP6):
            return False
        return not {(self.origin, self.type, None), (self.origin, self.type, self.code)} & _ABOUT_THE_WAY

    def to_os_error(self) -> OSError:
        """Return the error as Python has it."""
        return OSError(self.errno, os.strerror(self.errno))


@final
@attrs.frozen
class QueuedError:
    """What the error queue says of one datagram."""

    sockaddr: tuple[Any, ...]
    """Where the datagram was sent to."""

    quoted: bytes
    """The beginning of the datagram, possibly nothing."""

    error: SockExtendedErr
    """What went wrong."""


def enable_errors(sock: socket.socket) -> bool:
    """Have the kernel queue ICMP errors of both families; say whether it will."""
    if sys.platform != "linux":
        return False
    try:
        # With only one of the two the errors of the other family vanish.
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    except OSError:
        return False
    return True


def drain_errors(sock: socket.socket) -> Iterator[QueuedError]:
    """Take up to MAX_DRAINED entries from the error queue of *sock*."""
    for _ in range(MAX_DRAINED):
        try:
            quoted, ancillary, _, sockaddr = sock.recvmsg(_QUOTED_SIZE, _ANCILLARY_SIZE, socket.MSG_ERRQUEUE)
        except OSError:
            return  # Nothing is left.
        for level, kind, data in ancillary:
            if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
                yield QueuedError(sockaddr, quoted, SockExtendedErr.load(data))
