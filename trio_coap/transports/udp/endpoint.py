"""The UDP endpoint: an engine, a socket and a receive task.

Rule 1: one wake-up reads what is there, up to a bound, so that one fast peer starves nobody.  Rule 2: sending never
blocks and never waits; what does not fit into the kernel's buffer is lost and counted, and a Confirmable message is
sent again anyway.  Rule 3: on a socket for all addresses of the host an answer leaves from the address that the
question came to.  Rule 4: an ICMP error ends the one exchange whose datagram it quotes, and nothing else.  Rule 5: what
goes to a group goes out by each interface, as one message.  Rule 6: while it is in groups, a third task in the nursery
follows the interfaces (:mod:`trio_coap.transports.udp.following`).
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Iterable
from socket import AF_INET, AF_UNSPEC
from typing import TYPE_CHECKING, Any, Self

import attrs
import trio

from trio_coap.messaging.addresses import canonical_address
from trio_coap.messaging.endpoint import COAP_PORT, Endpoint
from trio_coap.messaging.local import MAX_DATAGRAM, RandomSource
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.transports.driver import SYSTEM_RANDOM, DrivenEndpoint
from trio_coap.transports.udp.capabilities import NO_CAPABILITIES, Capabilities, find_capabilities
from trio_coap.transports.udp.errors import drain_errors, enable_errors
from trio_coap.transports.udp.following import GroupFollower
from trio_coap.transports.udp.groups import find_interfaces, ignore_foreign_groups, set_hops
from trio_coap.transports.udp.pktinfo import ANCILLARY_SIZE, GroupAddress, PacketInfo, enable_packet_info
from trio_coap.transports.udp.sending import SEND_BUFFER, Sender
from trio_coap.transports.udp.sockets import kernel_drops, open_socket, require_usable
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress, Message
from trio_coap.wire.recent import Recent

if TYPE_CHECKING:
    from trio_coap.messaging.statistics import EndpointStatistics

BATCH = 32
"""Datagrams read in one go before other tasks get their turn."""

_TRUNCATED = int(socket.MSG_TRUNC)
"""As a number: Python's flags are enums, and find out which one a result is by functions written in Python."""

MAX_SOURCES = 4096
"""Source addresses whose endpoint is kept at hand, or twice as many."""


class SocketEndpoint(DrivenEndpoint):
    """A local endpoint with a UDP socket."""

    def _reset(self) -> None:
        self._socket: socket.socket | None = None
        self._sender: Sender | None = None
        self._packet_info: PacketInfo | None = None
        self._reports_errors = False
        self._has_errors = False
        self._socket_changed = trio.Event()
        self._sources: Recent[tuple[Any, ...], Endpoint] = Recent(MAX_SOURCES)
        self._multicast_hops = 1
        self._truncated = 0
        self._errors_believed = 0
        self._errors_ignored: Counter[str] = Counter()
        self.capabilities: Capabilities = NO_CAPABILITIES
        super()._reset()
        if hasattr(self, "queue"):  # Otherwise the constructor is still at work, and calls again.
            self._groups = GroupFollower(self.queue)

    @classmethod
    def create_bound_endpoint(
        cls,
        sockaddr: tuple[Any, ...] | None = None,
        family: int = AF_UNSPEC,
        security_mode: str | None = None,
        host: str | None = None,
        port: int = COAP_PORT,
        *,
        rng: RandomSource = SYSTEM_RANDOM,
        parameters: TransmissionParameters = DEFAULT_PARAMETERS,
        limits: Limits = DEFAULT_LIMITS,
        reuse_port: bool = False,
        multicast_hops: int = 1,
        sock: socket.socket | None = None,
    ) -> Self:
        """Return an endpoint with a socket bound to its address.

        :func:`open_endpoint` does this, runs the endpoint's tasks and closes it.

        Args:
          sockaddr, family, security_mode, host, port: see :class:`Endpoint`; port 0 lets the kernel choose one.
          rng, parameters, limits: see :class:`LocalEndpoint`.
          reuse_port: whether other sockets may share the port (SO_REUSEPORT).
          multicast_hops: how many hops datagrams to groups go; 1 is the link.
          sock: a bound UDP socket, instead of an address: one of :func:`open_shared_sockets`, say.

        Raises:
          OSError: if the address is not to be had.
          LocalProtocolError: if *sock* is of no use, or the address is that of a group.
          trio.BusyResourceError: if this process has an endpoint there already, which shares its port.
        """
        if sock is None:
            wanted = cls._canonical_sockinfo(sockaddr, family, security_mode, host, port)
            if wanted.family is None:
                raise LocalProtocolError("a socket is bound to a numeric address, not to a name")
            sock = open_socket(wanted.literal, wanted.port, reuse_port=reuse_port)
        try:
            require_usable(sock)
            endpoint = cls(sock.getsockname(), AF_UNSPEC, security_mode, rng=rng, parameters=parameters, limits=limits)
            if endpoint.bound_socket is not None:
                raise trio.BusyResourceError(f"{endpoint!r} has a socket already")
            endpoint._multicast_hops = multicast_hops
            endpoint.bound_socket = sock
        except BaseException:
            sock.close()
            raise
        return endpoint

    @property
    def bound_socket(self) -> socket.socket | None:
        """The socket, or None.

        Assigning needs a socket, or something that acts like one, whose ``getsockname()`` is this endpoint's
        address.
        """
        return self._socket

    @bound_socket.setter
    def bound_socket(self, sock: socket.socket | None) -> None:
        if sock is not None:
            bound = sock.getsockname()
            if canonical_address(bound[0], bound[1], AF_UNSPEC, *bound[3:4]).sockaddr != self.sockaddr:
                raise LocalProtocolError(f"the socket is bound to {bound}, the endpoint's address is {self.sockaddr}")
        self._groups.use_socket(None)
        self._packet_info = None
        self.capabilities = NO_CAPABILITIES
        self._reports_errors = False
        self._sender = None
        if sock is not None:
            self._set_up(sock)
        previous, self._socket = self._socket, sock
        self._sources.clear()
        if previous is not None and previous is not sock:
            _wake_readers(previous)
        self._socket_changed.set()
        self._socket_changed = trio.Event()

    def _set_up(self, sock: socket.socket) -> None:
        family = self.family
        if isinstance(sock, socket.socket):  # A stand-in has no options, and need not tell its family.
            family = sock.family
            sock.setblocking(False)
            set_hops(sock, self._multicast_hops)
            is_wildcard = self.is_unspecified
            tells = is_wildcard and enable_packet_info(sock)
            self._packet_info = PacketInfo(family, self.port) if tells else None
            self._reports_errors = enable_errors(sock)
            self.capabilities = find_capabilities(
                sock, is_wildcard=is_wildcard, tells=tells, reports=self._reports_errors
            )
            ignore_foreign_groups(sock)
            if tells:
                self._groups.use_socket(sock)
        self._sender = Sender(
            sock,
            family,
            self.family,
            self._packet_info,
            reports_errors=self._reports_errors,
            counters=self.counters,
        )

    def set_bound_socket(self, sock: socket.socket | None) -> socket.socket | None:
        """Set :attr:`bound_socket`; the endpoint closes it when it is closed.

        A running endpoint goes on with the new socket, in the same groups.  Without one it waits, and what it sends
        fails.

        Args:
          sock: a UDP socket bound to this endpoint's address, or something that does not block and has the methods
            getsockname, recvfrom, sendto, fileno and close of one; or None.

        Returns:
          The previous socket, which is now the caller's to close, or None.

        Raises:
          LocalProtocolError: if it is bound to another address.
        """
        previous = self._socket
        self.bound_socket = sock
        return previous

    def join_group(self, address: str, interfaces: Iterable[str] | None = None) -> None:
        """Receive what is sent to a group at this endpoint's port, on interfaces that come later too.

        Joining twice is fine.  An interface on which the group cannot be joined is passed over, with a warning in the log.

        Args:
          address: of the group; of IPv6 possibly with a numeric zone, for one interface.
          interfaces: their names; by default all that can do multicast, without the loopback interface.

        Raises:
          LocalProtocolError: if *address* is not that of a group that the socket can join, there is no such interface,
            or the endpoint is bound to one address: what is sent to groups does not get there.
          trio.ClosedResourceError: if the endpoint has been closed.
        """
        self._require_open()
        sock = self._require_socket()
        group = Endpoint(host=address, port=self.port)
        self._require_groups(group, address)
        self._groups.join(sock, group, interfaces, self.clock())

    def _require_groups(self, group: Endpoint, address: str) -> None:
        if not self.is_unspecified:
            raise LocalProtocolError(f"{self!r} is not open for all addresses of this host; bind it to ::")
        if self._packet_info is None:
            # A request to a group would look like any other, and be acknowledged and answered as such.
            raise LocalProtocolError(f"cannot join {address}: this host's sockets do not tell what comes to a group")
        is_able = self.capabilities.ipv4_groups if group.family == AF_INET else self.capabilities.ipv6_groups
        if group.is_multicast and not is_able:
            raise LocalProtocolError(f"{self!r} cannot join {address}: its socket is of the other family")

    def leave_group(self, address: str) -> None:
        """Receive no more what is sent to the group at *address*; leaving twice is fine."""
        self._groups.leave(Endpoint(host=address, port=self.port))

    def group_address(self, group: Endpoint, interfaces: Iterable[str]) -> GroupAddress:
        """See :meth:`DrivenEndpoint.group_address`."""
        if self._packet_info is None:
            raise LocalProtocolError(f"{self!r} cannot choose interfaces; bind it to ::")
        indices = tuple(find_interfaces(tuple(interfaces)))
        if group.scope_id and indices != (group.scope_id,):
            raise LocalProtocolError(f"{group.hostinfo} has a zone: it is reached by no other interface")
        return GroupAddress(group, indices)

    def statistics(self) -> EndpointStatistics:
        """Return a snapshot of what the endpoint and its socket have counted; see :class:`EndpointStatistics`."""
        from trio_coap.messaging.statistics import SocketStatistics

        sock = self._socket
        statistics = super().statistics()
        if not isinstance(sock, socket.socket):
            return statistics
        of_socket = SocketStatistics(
            receive_buffer=sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
            send_buffer=sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            kernel_drops=kernel_drops(sock),
            send_drops=self.counters.turned_away[SEND_BUFFER],
            truncated=self._truncated,
            errors_believed=self._errors_believed,
            errors_ignored=dict(self._errors_ignored),
        )
        return attrs.evolve(statistics, socket=of_socket)

    def _close_transport(self) -> None:
        self._groups.close()
        sock = self._socket
        self.bound_socket = None
        if sock is not None:
            sock.close()

    def _rawsendto(
        self, data: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None = None
    ) -> None:
        sock = self._socket
        if sock is None:
            self._require_open()
            raise OSError(errno.ENOTCONN, "the endpoint has no socket")
        sender = self._sender
        assert sender is not None
        try:
            sender.send(data, destination_endpoint, local_address)
        finally:
            if sender.has_errors:
                sender.has_errors = False
                self._has_errors = True

    async def receive(self) -> Message | None:
        """See :meth:`LocalEndpoint.receive`."""
        data, source, local_address = await self._read_one(MAX_DATAGRAM)
        return self.datagram_received(data, source, self.clock(), local_address)

    async def _rawrecvfrom(self, bufsize: int) -> tuple[bytes, Endpoint]:
        data, source, _ = await self._read_one(bufsize)
        return data, source

    async def _read_one(self, bufsize: int) -> tuple[bytes, Endpoint, EndpointAddress | None]:
        while True:
            sock = self._require_socket()
            await trio.lowlevel.wait_readable(sock)
            local_address = None
            try:
                if self._packet_info is None:
                    data, sockaddr = sock.recvfrom(bufsize)
                else:
                    data, ancillary, _, sockaddr = sock.recvmsg(bufsize, ANCILLARY_SIZE)
                    local_address = self._packet_info.read(ancillary)
            except OSError:
                # Somebody else was quicker, or an ICMP error was reported, which would wake us again and again.
                self._process_errors(sock, trio.current_time())
                continue
            source = self._source(sockaddr)
            if source is not None:
                return data, source, local_address

    def _start_tasks(self, nursery: trio.Nursery) -> None:
        super()._start_tasks(nursery)
        self._groups.run_in(nursery)

    async def _receive_task(self) -> None:
        while not self.is_closed:
            sock = self._socket
            if sock is None:
                await self._socket_changed.wait()
                continue
            try:
                await trio.lowlevel.wait_readable(sock)
            except trio.ClosedResourceError:
                continue  # The endpoint has another socket now, or none.
            while self._receive_batch():
                await trio.lowlevel.checkpoint()

    def _receive_batch(self) -> bool:
        """Read and deliver at most BATCH datagrams; False when there are no more."""
        now = trio.current_time()
        for count in range(BATCH):
            sock = self._socket
            if sock is None:
                return False
            local_address = None
            packet_info = self._packet_info
            try:
                if packet_info is not None:
                    data, ancillary, flags, sockaddr = sock.recvmsg(MAX_DATAGRAM, ANCILLARY_SIZE)
                    local_address = packet_info.read(ancillary)
                    if flags & _TRUNCATED:
                        self._truncated += 1
                        continue  # What is left of it is no message.
                else:
                    data, sockaddr = sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                if count == 0 or self._has_errors:
                    self._process_errors(sock, now)
                return False
            except OSError:
                self._has_errors = True  # An ICMP error about some earlier datagram; no exception of recv is fatal.
                continue
            source = self._sources.young.get(sockaddr) or self._source(sockaddr)
            if source is not None:
                self._deliver(data, source, now, local_address)
        if self._has_errors and self._socket is not None:
            self._process_errors(self._socket, now)
        return True

    def _process_errors(self, sock: socket.socket, now: float) -> None:
        """Drain the error queue: a wake-up that brings no datagram means that something is in it."""
        self._has_errors = False
        if not self._reports_errors:
            return
        for queued in drain_errors(sock):
            remote = self._source(queued.sockaddr)
            if remote is None or not queued.error.ends_exchange:
                self._errors_ignored["about the way, or of our own host"] += 1
            elif self._deliver_error(remote, queued.quoted, queued.error.to_os_error(), now):
                self._errors_believed += 1
            else:
                self._errors_ignored["quotes nothing that was sent"] += 1

    def _source(self, sockaddr: tuple[Any, ...]) -> Endpoint | None:
        """Return who has *sockaddr*; None if that is nobody, of whom :attr:`_sources` knows nothing."""
        known = self._sources.find(sockaddr)
        if known is not None:
            return known
        endpoint = Endpoint(sockaddr, AF_UNSPEC, self.security_mode)
        if not endpoint.port or endpoint.is_unspecified:
            # The system takes 0.0.0.0 for this very host: the answer would go to whoever listens here.
            self.count_rejection("a source that cannot be answered", "RFC 1122 section 3.2.1.3", endpoint)
            return None
        self._sources.put(sockaddr, endpoint)
        return endpoint

    def _require_socket(self) -> socket.socket:
        if self._socket is None:
            raise trio.ClosedResourceError(f"{self!r} has no socket")
        return self._socket


def _wake_readers(sock: socket.socket) -> None:
    """Have who waits for *sock* look again."""
    try:
        trio.lowlevel.notify_closing(sock)
    except RuntimeError:
        return  # Outside of a Trio program nobody waits.
