"""Membership in groups, on interfaces that are there and on those that come later (:rfc:`7252` section 12.8).

Rule 1: a group is joined on each interface that can do multicast, or on those that are named.  Rule 2: what cannot be
joined is logged once and passed over: the others work.  Rule 3: who follows the interfaces says when to look at them
(:mod:`trio_coap.transports.udp.following`).
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Sequence
from socket import AF_INET, AF_INET6
from typing import final

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.errors import LocalProtocolError

_logger = logging.getLogger(__name__)

ALL_COAP_NODES = ("224.0.1.187", "ff02::fd", "ff05::fd")
"""The All CoAP Nodes groups: of IPv4, and of IPv6 on the link and on the site (:rfc:`7252` section 12.8)."""

MAX_INTERFACES = 256
"""Interfaces that are joined on, or sent to, at most: a host of containers may have thousands."""

_IPV6_MULTICAST_ALL = 29
_IP_MULTICAST_ALL = 49
_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_LOOPBACK, _IFF_MULTICAST = 0x1, 0x8, 0x1000
"""The socket module does not have them; the values are Linux's."""

_IFREQ = struct.Struct("16sh14x")  # struct ifreq, as far as its flags go
_IP_MREQN = struct.Struct("=4s4si")  # group, our address, interface index
_IPV6_MREQ = struct.Struct("=16sI")  # group, interface index


def find_interfaces(names: Sequence[str] | None = None) -> dict[int, str]:
    """Return the interfaces of this host by their index.

    Args:
      names: only these; by default all that can do multicast and are up, without the loopback interface unless it is
        the only one.

    Raises:
      LocalProtocolError: if there is no interface of one of the names.
    """
    present = {name: index for index, name in socket.if_nameindex()}
    if names is not None:
        for name in names:
            if name not in present:
                raise LocalProtocolError(f"there is no interface {name!r}; there are {', '.join(sorted(present))}")
        return {present[name]: name for name in names}
    flags = _interface_flags(list(present)[:MAX_INTERFACES])
    wanted = _IFF_UP | _IFF_MULTICAST
    usable = {name for name, flag in flags.items() if flag & wanted == wanted and not flag & _IFF_LOOPBACK}
    usable = usable or {name for name, flag in flags.items() if flag & _IFF_LOOPBACK}
    return {present[name]: name for name in flags if name in usable}


def find_loopbacks() -> frozenset[int]:
    """Return the indices of the loopback interfaces; there is one, as a rule."""
    present = {name: index for index, name in socket.if_nameindex()}
    return frozenset(present[name] for name, flag in _interface_flags(list(present)).items() if flag & _IFF_LOOPBACK)


@final
class Memberships:
    """The groups that one socket has joined."""

    def __init__(self, sock: socket.socket) -> None:
        """Begin without any."""
        self._sock = sock
        self._wanted: dict[Endpoint, tuple[str, ...] | None] = {}
        self._joined: set[tuple[Endpoint, int]] = set()
        self._failed: set[tuple[Endpoint, int]] = set()

    @property
    def wanted(self) -> dict[Endpoint, tuple[str, ...] | None]:
        """The groups with the names of the interfaces on which to join them; None for all."""
        return dict(self._wanted)

    @property
    def joined(self) -> frozenset[tuple[Endpoint, int]]:
        """The groups with the indices of the interfaces on which they are joined."""
        return frozenset(self._joined)

    def join(self, group: Endpoint, names: Iterable[str] | None) -> None:
        """Join *group* on the interfaces *names*, or on all, besides those on which it was joined before.

        Raises:
          LocalProtocolError: if there is no such interface, or it is no group, or none of the socket's family.
        """
        if not group.is_multicast:
            raise LocalProtocolError(f"{group.hostinfo} is not the address of a group")
        if group.family == AF_INET6 and self._sock.family == AF_INET:
            raise LocalProtocolError(f"the socket speaks IPv4 only; it cannot join {group.hostinfo}")
        wanted = None if names is None else tuple(names)
        if wanted is not None:
            find_interfaces(wanted)
            former = self._wanted.get(group, ())
            wanted = None if former is None else tuple(dict.fromkeys((*former, *wanted)))
        self._wanted[group] = wanted
        self.refresh()

    def rejoin(self, wanted: dict[Endpoint, tuple[str, ...] | None]) -> None:
        """Join what another socket had joined, on interfaces that are there or that come."""
        self._wanted.update(wanted)
        self.refresh()

    def leave(self, group: Endpoint) -> None:
        """Leave *group* on all interfaces; leaving twice is fine."""
        self._wanted.pop(group, None)
        self._drop({entry for entry in self._joined if entry[0] is group})
        self._failed = {entry for entry in self._failed if entry[0] is not group}

    def renew(self, indices: Collection[int] | None = None) -> None:
        """Join again on interfaces that have gone and may be back, by their *indices*; by default on all."""
        self._drop({entry for entry in self._joined if indices is None or entry[1] in indices})
        self.refresh()

    def refresh(self) -> None:
        """Join on interfaces that have come since; forget those that have gone."""
        present = dict(socket.if_nameindex())
        # The kernel keeps a socket's membership of IPv4 on an interface that is gone, and counts it.
        self._drop({entry for entry in self._joined if entry[1] not in present})
        self._failed = {entry for entry in self._failed if entry[1] in present}
        everywhere = find_interfaces()
        for group, names in self._wanted.items():
            wanted = everywhere if names is None else {i: name for i, name in present.items() if name in names}
            if group.scope_id:
                wanted = {index: name for index, name in wanted.items() if index == group.scope_id}
            for index, name in wanted.items():
                self._join_on(group, index, name)

    def _drop(self, entries: set[tuple[Endpoint, int]]) -> None:
        self._joined -= entries
        for entry in entries:
            try:
                self._set(entry, is_join=False)
            except OSError as exc:
                _logger.debug("leaving %s on interface %d: %s", entry[0].hostinfo, entry[1], exc)

    def _join_on(self, group: Endpoint, index: int, name: str) -> None:
        entry = (group, index)
        if entry in self._joined:
            return
        try:
            self._set(entry, is_join=True)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:  # Joined before: that is what is wanted.
                if entry not in self._failed:
                    # The kernel allows 20 IPv4 memberships for a socket, for example (igmp_max_memberships).
                    _logger.warning("cannot join %s on %s: %s", group.hostinfo, name, exc)
                self._failed.add(entry)
                return
        self._joined.add(entry)

    def _set(self, entry: tuple[Endpoint, int], *, is_join: bool) -> None:
        group, index = entry
        packed = group.in_addr
        assert isinstance(packed, bytes)
        if group.family == AF_INET:
            kind = socket.IP_ADD_MEMBERSHIP if is_join else socket.IP_DROP_MEMBERSHIP
            self._sock.setsockopt(socket.IPPROTO_IP, kind, _IP_MREQN.pack(packed, bytes(4), index))
        else:
            kind = socket.IPV6_JOIN_GROUP if is_join else socket.IPV6_LEAVE_GROUP
            self._sock.setsockopt(socket.IPPROTO_IPV6, kind, _IPV6_MREQ.pack(packed, index))


def set_hops(sock: socket.socket, hops: int) -> None:
    """Set how far datagrams to groups go; 1 is the link.

    Raises:
      LocalProtocolError: if that is not 1 to 255.
    """
    if not 1 <= hops <= 255:
        raise LocalProtocolError(f"hops are 1 to 255, not {hops}")
    if sock.family == AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, hops)
    except OSError as exc:
        if sock.family == AF_INET:
            raise
        _logger.debug("this socket of IPv6 has no hops of IPv4: %s", exc)  # That is Linux's.


def can_join(family: int, sock: socket.socket) -> bool:
    """Say whether *sock* can join groups of *family*."""
    if family == AF_INET6:
        return sock.family == AF_INET6 and hasattr(socket, "IPV6_JOIN_GROUP")
    # IPv4 groups on a socket of IPv6: that is Linux's.
    return hasattr(socket, "IP_ADD_MEMBERSHIP") and (sock.family == AF_INET or sys.platform == "linux")


def ignore_foreign_groups(sock: socket.socket) -> None:
    """Receive nothing for groups that only others on this host have joined."""
    if sys.platform != "linux":
        return
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        if sock.family == AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    except OSError as exc:
        _logger.debug("this socket gets what is for groups that others have joined: %s", exc)


def _interface_flags(names: Sequence[str]) -> dict[str, int]:
    """Return the flags of interfaces; where the system does not tell, those of one that is up and can do multicast."""
    if sys.platform != "linux":
        return {name: _IFF_UP | _IFF_MULTICAST | (_IFF_LOOPBACK if name.startswith("lo") else 0) for name in names}
    import fcntl

    flags = {}
    with socket.socket(AF_INET, socket.SOCK_DGRAM) as sock:
        for name in names:
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0))
            except OSError:
                continue  # It has gone meanwhile.
            flags[name] = int(_IFREQ.unpack(answer)[1]) & 0xFFFF
    return flags
