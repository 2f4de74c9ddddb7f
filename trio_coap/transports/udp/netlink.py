"""News of interfaces that come, go and change, from the kernel (Linux: rtnetlink(7)).

=================================================  ==========================================================
what the kernel says                               what it means
=================================================  ==========================================================
RTM_NEWLINK, RTM_NEWADDR                           an interface has come or changed: look at all of them
RTM_DELLINK                                        an interface has gone, and what was joined on it
RTM_DELADDR of a link-local address                IPv6 has gone from an interface: likewise
RTM_DELADDR otherwise                              nothing
ENOBUFS, or a message that is cut short            news were lost: anything may have gone
=================================================  ==========================================================

Rule: only the kernel is believed, not what another process sends.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from socket import AF_INET6, AF_UNSPEC
from typing import final

import attrs

_GROUPS = 0x111
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR."""

_NEWLINK, _DELLINK, _NEWADDR, _DELADDR = 16, 17, 20, 21
_SCOPE_LINK = 253
"""The socket module does not have them; the values are Linux's (linux/rtnetlink.h)."""

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port ID
_LINK = struct.Struct("=BxHi")  # struct ifinfomsg, as far as the index: family, type, index
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index

_SIZE = 65_536
"""Octets of a receive buffer: more than the kernel puts into one datagram."""

MAX_READ = 64
"""Datagrams that are read in one go."""


@final
@attrs.frozen
class News:
    """What has become of the interfaces."""

    gone: frozenset[int] = frozenset()
    """Indices of those that have gone; another one may be there under the same index by now."""

    is_incomplete: bool = False
    """Whether there was more, so that any may have gone."""


@final
class InterfaceWatch:
    """A socket that learns of interfaces that come, go and change."""

    def __init__(self) -> None:
        """Begin to learn.

        Raises:
          OSError: where there is no such thing.
        """
        if not hasattr(socket, "AF_NETLINK"):
            raise OSError("this system does not tell of interfaces that come and go")
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._sock.setblocking(False)
            self._sock.bind((0, _GROUPS))
        except BaseException:
            self._sock.close()
            raise

    def fileno(self) -> int:
        """Return the file descriptor, for who waits until it is readable; -1 once it is closed."""
        return self._sock.fileno()

    def read(self) -> News | None:
        """Return what has happened since; None if nothing has that matters.

        Raises:
          OSError: if there will be no more news.
        """
        changes: list[int | None] = []
        is_incomplete = False
        for _ in range(MAX_READ):
            try:
                data, _, flags, (sender, _) = self._sock.recvmsg(_SIZE)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                is_incomplete = True
                continue
            if sender == 0:
                is_incomplete = is_incomplete or bool(flags & socket.MSG_TRUNC)
                changes.extend(_read_changes(data))
        if not changes and not is_incomplete:
            return None
        return News(frozenset(index for index in changes if index is not None), is_incomplete)

    def close(self) -> None:
        """Learn no more; closing twice is fine."""
        self._sock.close()


def _read_changes(data: bytes) -> Iterator[int | None]:
    """Yield the index of each interface that has gone, and None for what has come or changed."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        body = data[offset + _HEADER.size : offset + length]
        if kind in (_NEWLINK, _NEWADDR):
            yield None
        elif kind == _DELLINK and len(body) >= _LINK.size:
            family, _, index = _LINK.unpack_from(body)
            if family == AF_UNSPEC:  # That of a bridge has lost a port, no more.
                yield index
        elif kind == _DELADDR and len(body) >= _ADDRESS.size:
            family, _, _, scope, index = _ADDRESS.unpack_from(body)
            if family == AF_INET6 and scope == _SCOPE_LINK:
                yield index
        offset += max(_HEADER.size, (length + 3) & ~3)
