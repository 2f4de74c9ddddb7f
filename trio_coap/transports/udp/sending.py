"""Sending datagrams through one socket, at once or never.

Rule 1: what does not fit into the kernel's buffer is lost and counted.  Rule 2: an ICMP error about an earlier datagram makes
a send fail once, whoever it was about: it is tried again.  Rule 3: what goes to a group goes out by each interface.
Rule 4: what cannot leave from the address that was asked, because that is gone, leaves from another; an error counts as
such when it comes twice, as a router's "no route" about somebody else looks the same.  Rule 5: what a firewall of this host
refuses is not tried again: no ICMP error says that, so that it is about this very datagram.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from socket import AF_INET, AF_INET6
from typing import Any, final

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.statistics import Counters
from trio_coap.transports.udp.groups import find_interfaces, find_loopbacks
from trio_coap.transports.udp.pktinfo import Ancillary, GroupAddress, PacketInfo
from trio_coap.wire.message import EndpointAddress
from trio_coap.wire.recent import Recent

SEND_ATTEMPTS = 5
"""A pending ICMP error makes a send fail once, whoever it is about; so does the next one; and a source address that is
gone makes it fail twice."""

SEND_BUFFER = "the socket's send buffer"
"""The counter of datagrams that did not fit into it."""

MAX_WAYS = 4096
"""Pairs of a destination and an address of ours for which it is kept how the socket wants them, or twice as many."""

_SOURCE_GONE = frozenset({errno.EINVAL, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENODEV})
"""What sending from an address that is not ours, or by an interface that is gone, fails with."""

_LOOPBACK = bytes((127, 0, 0, 1))
"""Through the loopback interface, a datagram to a group of IPv4 must say where it comes from."""


@final
class Sender:
    """Sends through one socket.

    Attributes:
      has_errors: True when a send has met an ICMP error, so that there is something in the error queue.
    """

    def __init__(
        self,
        sock: socket.socket,
        family: int | None,
        endpoint_family: int | None,
        packet_info: PacketInfo | None,
        *,
        reports_errors: bool,
        counters: Counters,
    ) -> None:
        """Send through *sock*.

        Args:
          sock: a socket, or something that acts like one.
          family: of the socket.
          endpoint_family: of the address that it is bound to.
          packet_info: for a socket that tells, and takes, addresses of ours.
          reports_errors: whether it reports ICMP errors.
          counters: of the endpoint.
        """
        self._sock = sock
        self._family = family
        self._endpoint_family = endpoint_family
        self._packet_info = packet_info
        self._reports_errors = reports_errors
        self._counters = counters
        self._ways: Recent[tuple[Endpoint, EndpointAddress | None], tuple[Ancillary, tuple[Any, ...]]] = Recent(
            MAX_WAYS
        )
        self.has_errors = False

    def send(self, data: bytes, destination: Endpoint, local_address: EndpointAddress | None) -> None:
        """Send *data*.

        Args:
          data: the datagram.
          destination: to whom.
          local_address: which of our addresses it leaves from, or by which interfaces.

        Raises:
          OSError: if the system says that it cannot be delivered.
        """
        pair = destination, local_address
        way = self._ways.young.get(pair) or self._ways.find(pair)
        if way is not None:
            ancillary, sockaddr = way
            self._send(data, ancillary, sockaddr)
            return
        sockaddr = self._find_sockaddr(destination)
        if destination.is_multicast:
            self._send_to_group(data, destination, sockaddr, local_address)
            return
        ancillary = []
        if local_address is not None and self._packet_info is not None:
            ancillary = self._packet_info.write(local_address, destination.family == AF_INET)
        self._ways.put(pair, (ancillary, sockaddr))
        self._send(data, ancillary, sockaddr)

    def _find_sockaddr(self, destination: Endpoint) -> tuple[Any, ...]:
        sockaddr: tuple[Any, ...] = destination.sockaddr
        family = destination.family
        if family is None:
            # The socket would ask a resolver, and block.
            raise OSError(errno.EADDRNOTAVAIL, "a name is no address; Endpoint.resolve() looks it up")
        if family == AF_INET:
            return ("::ffff:" + sockaddr[0], sockaddr[1]) if self._family == AF_INET6 else sockaddr
        if self._endpoint_family == AF_INET:
            raise OSError(errno.EAFNOSUPPORT, "the socket speaks IPv4 only")
        return sockaddr

    def _send_to_group(
        self, data: bytes, group: Endpoint, sockaddr: tuple[Any, ...], local_address: EndpointAddress | None
    ) -> None:
        """Send by each interface; it fails if it fails on all of them."""
        if self._packet_info is None:
            self._send(data, [], sockaddr)
            return
        is_ipv4 = group.family == AF_INET
        loopbacks = find_loopbacks() if is_ipv4 else frozenset[int]()
        error = OSError(errno.ENETUNREACH, f"there is no interface by which to reach {group.hostinfo}")
        has_sent = False
        for index in _interfaces(group, local_address):
            source = _LOOPBACK if index in loopbacks else None
            try:
                self._send(data, self._packet_info.on_interface(index, is_ipv4, source), sockaddr, may_drop=False)
                has_sent = True
            except OSError as exc:
                error = exc  # It may have no address of this family.
        if not has_sent:
            raise error

    def _send(self, data: bytes, ancillary: Ancillary, sockaddr: tuple[Any, ...], *, may_drop: bool = True) -> None:
        """Send from the address in *ancillary*; without one, if it is gone and *may_drop*."""
        failures = failures_of_source = 0
        while True:
            try:
                if ancillary:
                    self._sock.sendmsg([data], ancillary, 0, sockaddr)
                else:
                    self._sock.sendto(data, sockaddr)
            except BlockingIOError:
                self._counters.turned_away[SEND_BUFFER] += 1
            except OSError as exc:
                if exc.errno == errno.EPERM:
                    raise OSError(exc.errno, f"a firewall of this host refuses it: {exc.strerror}") from exc
                self.has_errors = self._reports_errors
                is_source_suspect = bool(ancillary) and may_drop and exc.errno in _SOURCE_GONE
                failures += 1
                if failures == SEND_ATTEMPTS or not (self._reports_errors or is_source_suspect):
                    raise
                failures_of_source += is_source_suspect
                if failures_of_source == (2 if self._reports_errors else 1):
                    ancillary = []
                continue
            return


def _interfaces(group: Endpoint, local_address: EndpointAddress | None) -> Iterable[int]:
    """Return by which interfaces to send to *group*."""
    if isinstance(local_address, GroupAddress):
        return local_address.interfaces
    return (group.scope_id,) if group.scope_id else find_interfaces()
