"""The UDP endpoint: an engine, a socket and a receive task.

Rule 1: one wake-up reads what is there, up to a bound, so that one fast peer starves nobody.  Rule 2: sending never
blocks and never waits; what does not fit into the kernel's buffer is lost and counted, and a Confirmable message is
sent again anyway.  Rule 3: on a socket for all addresses of the host an answer leaves from the address that the
question came to.  Rule 4: an ICMP error ends the one exchange whose datagram it quotes, and nothing else.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import Any, Self, TypedDict, Unpack

import trio

from trio_coap.messaging.addresses import canonical_address
from trio_coap.messaging.endpoint import COAP_PORT, Endpoint
from trio_coap.messaging.local import MAX_DATAGRAM, RandomSource
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.transports.driver import SYSTEM_RANDOM, DrivenEndpoint, run_endpoint
from trio_coap.transports.udp.errors import drain_errors, enable_errors
from trio_coap.transports.udp.sockets import open_socket
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress

BATCH = 32
"""Datagrams read in one go before other tasks get their turn."""

MAX_SOURCES = 4096
"""Source addresses, and addresses of ours, whose endpoint is kept at hand; at the limit the table starts anew."""

SEND_ATTEMPTS = 3
"""A pending ICMP error makes a send fail once, whoever it is about; so does the next one."""

_ANCILLARY_SIZE = 128
_PKTINFO = struct.Struct("=16sI")  # struct in6_pktinfo: address and interface index


class SocketEndpoint(DrivenEndpoint):
    """A local endpoint with a UDP socket."""

    def _reset(self) -> None:
        self._socket: socket.socket | None = None
        self._socket_family: int | None = None
        self._is_wildcard = False
        self._reports_errors = False
        self._has_errors = False
        self._socket_changed = trio.Event()
        self._sources: dict[tuple[Any, ...], Endpoint] = {}
        self._local_addresses: dict[tuple[bytes, int], Endpoint] = {}
        super()._reset()

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
    ) -> Self:
        """Return an endpoint with a socket bound to its address.

        :func:`open_endpoint` does this, runs the endpoint's tasks and closes it.

        Args:
          sockaddr, family, security_mode, host, port: see :class:`Endpoint`; port 0 lets the kernel choose one.
          rng, parameters, limits: see :class:`LocalEndpoint`.
          reuse_port: whether other sockets may share the port (SO_REUSEPORT).

        Raises:
          OSError: if the address is not to be had.
          trio.BusyResourceError: if this process has an endpoint there already, which shares its port.
        """
        wanted = cls._canonical_sockinfo(sockaddr, family, security_mode, host, port)
        if wanted.family is None:
            raise LocalProtocolError("a socket is bound to a numeric address, not to a name")
        sock = open_socket(wanted.literal, wanted.port, reuse_port=reuse_port)
        try:
            endpoint = cls(sock.getsockname(), AF_UNSPEC, security_mode, rng=rng, parameters=parameters, limits=limits)
            if endpoint.bound_socket is not None:
                raise trio.BusyResourceError(f"{endpoint!r} has a socket already")
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
            is_real = isinstance(sock, socket.socket)  # A stand-in has no options, and need not tell its family.
            self._socket_family = sock.family if is_real else self.family
            self._is_wildcard = is_real and not any(self.in_addr) and _enable_pktinfo(sock)
            self._reports_errors = is_real and enable_errors(sock)
        previous, self._socket = self._socket, sock
        self._sources.clear()
        self._local_addresses.clear()
        if previous is not None and previous is not sock:
            _wake_readers(previous)
        self._socket_changed.set()
        self._socket_changed = trio.Event()

    def set_bound_socket(self, sock: socket.socket | None) -> socket.socket | None:
        """Set :attr:`bound_socket`; the endpoint closes it when it is closed.

        A running endpoint goes on with the new socket.  Without one it waits, and what it sends fails.

        Args:
          sock: a non-blocking UDP socket bound to this endpoint's address, or something that has the methods
            getsockname, recvfrom, sendto, fileno and close of one; or None.

        Returns:
          The previous socket, which is now the caller's to close, or None.

        Raises:
          LocalProtocolError: if it is bound to another address.
        """
        previous = self._socket
        self.bound_socket = sock
        return previous

    def _close_transport(self) -> None:
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
        sockaddr = destination_endpoint.sockaddr
        if destination_endpoint.family is None:
            # The socket would ask a resolver, and block.
            raise OSError(errno.EADDRNOTAVAIL, "a name is no address; Endpoint.resolve() looks it up")
        if destination_endpoint.family == AF_INET:
            if self._socket_family == AF_INET6:
                sockaddr = ("::ffff:" + sockaddr[0], sockaddr[1])
        elif self.family == AF_INET:
            raise OSError(errno.EAFNOSUPPORT, "the socket speaks IPv4 only")
        for attempt in range(SEND_ATTEMPTS):
            try:
                if local_address is None or not isinstance(local_address, Endpoint):
                    sock.sendto(data, sockaddr)
                else:
                    self._send_from(sock, data, sockaddr, local_address)
            except BlockingIOError:
                self.counters.turned_away["the socket's send buffer"] += 1
            except OSError:
                # An ICMP error about an earlier datagram, whoever that was for, makes one send fail.
                self._has_errors = self._reports_errors
                if not self._reports_errors or attempt + 1 == SEND_ATTEMPTS:
                    raise
                continue
            return

    async def _rawrecvfrom(self, bufsize: int) -> tuple[bytes, Endpoint]:
        while True:
            sock = self._require_socket()
            await trio.lowlevel.wait_readable(sock)
            try:
                data, sockaddr = sock.recvfrom(bufsize)
            except OSError:
                # Somebody else was quicker, or an ICMP error was reported, which would wake us again and again.
                self._process_errors(sock, trio.current_time())
                continue
            return data, self._source(sockaddr)

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
            try:
                if self._is_wildcard:
                    data, ancillary, _, sockaddr = sock.recvmsg(MAX_DATAGRAM, _ANCILLARY_SIZE)
                    local_address = self._local_address(ancillary)
                else:
                    data, sockaddr = sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                if count == 0 or self._has_errors:
                    self._process_errors(sock, now)
                return False
            except OSError:
                self._has_errors = True  # An ICMP error about some earlier datagram; no exception of recv is fatal.
                continue
            self._deliver(data, self._sources.get(sockaddr) or self._source(sockaddr), now, local_address)
        if self._has_errors and self._socket is not None:
            self._process_errors(self._socket, now)
        return True

    def _process_errors(self, sock: socket.socket, now: float) -> None:
        """Drain the error queue: a wake-up that brings no datagram means that something is in it."""
        self._has_errors = False
        if not self._reports_errors:
            return
        for queued in drain_errors(sock):
            if queued.error.ends_exchange:
                self.error_received(self._source(queued.sockaddr), queued.quoted, queued.error.to_os_error(), now)
            else:
                self.counters.rejected["an ICMP error about the way"] += 1

    def _source(self, sockaddr: tuple[Any, ...]) -> Endpoint:
        if len(self._sources) >= MAX_SOURCES:
            self._sources.clear()
        endpoint = self._sources[sockaddr] = Endpoint(sockaddr, AF_UNSPEC, self.security_mode)
        return endpoint

    def _local_address(self, ancillary: list[tuple[int, int, bytes]]) -> Endpoint | None:
        """Return the address of ours that a datagram came to."""
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                packed, interface = _PKTINFO.unpack(data)
                key = (packed, interface)
                known = self._local_addresses.get(key)
                if known is None:
                    if len(self._local_addresses) >= MAX_SOURCES:
                        self._local_addresses.clear()  # A whole prefix may be routed to this host.
                    host = socket.inet_ntop(AF_INET6, packed)
                    known = self._local_addresses[key] = Endpoint((host, self.port, 0, interface), AF_UNSPEC)
                return known
        return None

    def _send_from(self, sock: socket.socket, data: bytes, sockaddr: tuple[Any, ...], source: Endpoint) -> None:
        """Send with a source address; without one if it went away meanwhile, or is that of a group."""
        ancillary = []
        if not source.is_multicast:
            host = source.sockaddr[0] if source.family == AF_INET6 else f"::ffff:{source.sockaddr[0]}"
            pktinfo = _PKTINFO.pack(socket.inet_pton(AF_INET6, host), source.scope_id)
            ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, pktinfo)]
        try:
            sock.sendmsg([data], ancillary, 0, sockaddr)
        except OSError as exc:
            if not ancillary or exc.errno not in (errno.EINVAL, errno.ENETUNREACH, errno.EADDRNOTAVAIL):
                raise
            sock.sendto(data, sockaddr)

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


def _enable_pktinfo(sock: socket.socket) -> bool:
    """Ask for the destination address of each datagram; say whether the socket will tell."""
    if getattr(sock, "family", None) != AF_INET6 or not hasattr(socket, "IPV6_RECVPKTINFO"):
        return False
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    except OSError:
        return False
    return True


class EndpointArguments(TypedDict, total=False):
    """Keyword arguments that say what an endpoint is to be, besides host and port."""

    rng: RandomSource
    """Where random numbers come from; by default the system's source, which nobody can guess."""

    parameters: TransmissionParameters
    """The transmission parameters."""

    limits: Limits
    """How much to remember."""

    reuse_port: bool
    """Whether other sockets of this user may share the port (SO_REUSEPORT); by default not."""


@asynccontextmanager
async def open_endpoint(
    host: str = "::", port: int = 0, **arguments: Unpack[EndpointArguments]
) -> AsyncIterator[SocketEndpoint]:
    """Open a UDP endpoint, run its tasks while the body runs, and close it.

    On leaving, who still waits for a response gets :exc:`trio.ClosedResourceError`.  When the scope around is
    cancelled, the body ends first and the endpoint after it.

    Args:
      host: a numeric address of this host; ``::`` for all addresses of both families.
      port: 0 lets the kernel choose.
      arguments: see :class:`EndpointArguments`.

    Raises:
      OSError: if the address is not to be had.
    """
    endpoint = SocketEndpoint.create_bound_endpoint(host=host, port=port, **arguments)
    async with run_endpoint(endpoint):
        yield endpoint


@asynccontextmanager
async def use_endpoint(
    endpoint: DrivenEndpoint | None,
    host: str | None,
    port: int | None,
    default_port: int,
    arguments: EndpointArguments,
) -> AsyncIterator[DrivenEndpoint]:
    """Lend *endpoint* to the body, or without one open an endpoint for it.

    Raises:
      LocalProtocolError: if both are given, an endpoint and something about a new one.
    """
    if endpoint is None:
        port = default_port if port is None else port
        async with open_endpoint("::" if host is None else host, port, **arguments) as own:
            yield own
        return
    if host is not None or port is not None or arguments:
        raise LocalProtocolError("an endpoint is given; host, port and the rest would be for a new one")
    yield endpoint
