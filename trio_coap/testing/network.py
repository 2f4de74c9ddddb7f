"""An in-memory network for tests: repeatable, without sockets and without threads.

Rule 1: what happens to a datagram depends on the seed, its source, its destination and its number between the two, and on
nothing else; Trio runs tasks in another order every time.  Rule 2: time is Trio's, so that under
:class:`trio.testing.MockClock` hours pass in an instant.  Rule 3: nothing is sent to anybody from within a send.
"""

from __future__ import annotations

import errno
import random
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self, Unpack, final

import trio

from trio_coap.messaging.endpoint import COAP_PORT, Endpoint
from trio_coap.messaging.local import RandomSource
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.testing.datagram import Action
from trio_coap.testing.endpoint import INBOX_SIZE, VirtualEndpoint
from trio_coap.testing.host import Host
from trio_coap.testing.link import Link, LinkProperties
from trio_coap.testing.names import NetworkResolver
from trio_coap.testing.orders import Filter, Orders, Script
from trio_coap.testing.topology import AnyHost, Topology
from trio_coap.testing.trace import MAX_TRACE, Trace, address_text
from trio_coap.testing.traffic import Traffic
from trio_coap.transports.driver import raise_single, run_endpoint
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress, Message


@final
class VirtualNetwork:
    """A network in memory, to which endpoints attach; an async context manager that runs it.

    Example::

        async with VirtualNetwork(seed=1, loss=0.3) as network:
            async with network.open_endpoint("server", 5683) as server, network.open_endpoint("client") as client:
                ...
            print(network.format_trace())

    While it runs, the names of its hosts are the only ones that resolve, and resolving takes no thread.

    Attributes:
      seed: on which all that is left to chance depends.
      trace: what happened.
    """

    def __init__(
        self, seed: int | str = 0, *, max_trace: int = MAX_TRACE, **properties: Unpack[LinkProperties]
    ) -> None:
        """Make a network.

        Args:
          seed: the same seed gives the same trace.
          max_trace: how many records the trace keeps.
          properties: of the links between hosts that have none of their own; see :class:`Link`.
        """
        self.seed = seed
        self.trace = Trace(max_trace)
        self._orders = Orders()
        self._topology = Topology()
        self._traffic = Traffic(seed, Link(**properties), self._topology, self._orders, self.trace)
        self._is_running = False
        self._running: AbstractAsyncContextManager[None] | None = None

    # Running.

    async def __aenter__(self) -> Self:
        if self._running is not None:
            raise LocalProtocolError("the network is running already")
        self._running = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._running is not None
        running, self._running = self._running, None
        return await running.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        """Deliver while the body runs; when the scope around is cancelled, the body ends first."""
        scope = trio.CancelScope(shield=True)
        previous = trio.socket.set_custom_hostname_resolver(NetworkResolver(self._topology.addresses_of))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._deliver, scope)
                self._is_running = True
                try:
                    yield
                finally:
                    self._is_running = False
                    scope.cancel()
        except BaseExceptionGroup as group:
            raise_single(group)
        finally:
            trio.socket.set_custom_hostname_resolver(previous)

    async def _deliver(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._traffic.in_flight.run()

    # Hosts.

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Its hosts, in the order in which they were made."""
        return tuple(self._topology.hosts.values())

    def host(self, *addresses: str, name: str | None = None, port_unreachable: bool = True) -> Host:
        """Make a host.

        Args:
          addresses: its numeric addresses, the preferred one first; without any it gets one of 10.0.0.0/16.
          name: what resolves to its addresses; by default the first of them.
          port_unreachable: whether a datagram to a port on which nobody listens is answered with an ICMP error.

        Raises:
          LocalProtocolError: if another host has that name or one of the addresses, or one is not numeric.
        """
        return self._topology.make_host(addresses, name, port_unreachable=port_unreachable)

    def find_host(self, host: AnyHost) -> Host:
        """Return the host that *host* is, or whose name or address it is.

        Raises:
          LocalProtocolError: if there is none.
        """
        return self._topology.require_host(host)

    def add_address(self, host: AnyHost, address: str) -> None:
        """Give *host* one more address."""
        self._topology.add_address(host, address)

    def remove_address(self, address: str) -> None:
        """Take *address* away from the host that has it; what is sent there is lost from now on."""
        self._topology.remove_address(address)

    # Endpoints.

    @asynccontextmanager
    async def open_endpoint(
        self,
        host: AnyHost | None = None,
        port: int = 0,
        *,
        rng: RandomSource | None = None,
        parameters: TransmissionParameters = DEFAULT_PARAMETERS,
        limits: Limits = DEFAULT_LIMITS,
        inbox_size: int = INBOX_SIZE,
    ) -> AsyncIterator[VirtualEndpoint]:
        """Open an endpoint, run its tasks while the body runs, and close it; see :func:`trio_coap.open_endpoint`.

        Args:
          host: a host or its name, for all of its addresses; or one of its addresses, for that alone.  A host that
            there is not yet is made.  By default a new one.
          port: 0 chooses one.
          rng: by default seeded with the network's seed and the host's name, so that tokens, message IDs and timeouts
            are the same every time.
          parameters, limits: see :class:`trio_coap.LocalEndpoint`.
          inbox_size: how many datagrams wait until they are processed; more are dropped.

        Raises:
          OSError: if the port is taken.
        """
        endpoint = self.create_bound_endpoint(
            host, port, rng=rng, parameters=parameters, limits=limits, inbox_size=inbox_size
        )
        async with run_endpoint(endpoint):
            yield endpoint

    def create_bound_endpoint(
        self,
        host: AnyHost | None = None,
        port: int = 0,
        *,
        rng: RandomSource | None = None,
        parameters: TransmissionParameters = DEFAULT_PARAMETERS,
        limits: Limits = DEFAULT_LIMITS,
        inbox_size: int = INBOX_SIZE,
    ) -> VirtualEndpoint:
        """Return an endpoint whose tasks do not run, to close with ``close()``; see :meth:`open_endpoint`.

        With its ``rawsendto`` and ``rawrecvfrom`` a test plays a peer, octet by octet.
        """
        owner, address = self._topology.find_or_make(host)
        port = port or owner.free_port()
        owner.require_free(address, port)
        opening = owner.count_opening(port)
        endpoint = VirtualEndpoint(
            host=address or owner.address,
            port=port,
            network=self,
            owner=owner,
            rng=rng or random.Random(f"{self.seed}|{owner.name}|{port}|{opening}"),
            parameters=parameters,
            limits=limits,
            is_wildcard=address is None,
            inbox_size=inbox_size,
        )
        owner.bind(endpoint, address, port)
        return endpoint

    # Links and orders.

    @property
    def link(self) -> Link:
        """The link between hosts that have none of their own; it can be set, also while datagrams are on their way."""
        return self._traffic.link_between(None, None)

    @link.setter
    def link(self, link: Link) -> None:
        self._traffic.set_link(None, None, link)

    def set_link(self, source: AnyHost | None, destination: AnyHost | None, link: Link) -> None:
        """Set the link from one host to another, in this direction; None stands for all hosts.

        The most specific one counts: both hosts given, then the source alone, then the destination alone.
        """
        self._traffic.set_link(self._name(source), self._name(destination), link)

    def partition(self, *groups: AnyHost | Iterable[AnyHost]) -> None:
        """Let nothing pass between the hosts of different groups, until :meth:`heal`.

        With one group, nothing passes between it and all others; with several, others reach all of them.  What is
        on its way still arrives.
        """
        if not groups:
            raise LocalProtocolError("a partition takes at least one group")
        named = [[group] if isinstance(group, Host | str) else group for group in groups]
        self._orders.add_partition([self.find_host(host).name for host in group] for group in named)

    def heal(self) -> None:
        """Remove all partitions."""
        self._orders.heal()

    def script(
        self,
        actions: Sequence[Action] | Mapping[int, Action],
        *,
        source: AnyHost | Endpoint | None = None,
        destination: AnyHost | Endpoint | None = None,
    ) -> Script:
        """Decide about the next datagrams, one by one.

        Args:
          actions: for the first, the second and so on; or by number, counted from 1.  The link decides about others.
          source, destination: count only datagrams from there and to there.

        Returns:
          The script, which says how far it is.  Several count independently.
        """
        script = Script(actions, _end(source), _end(destination))
        self._orders.add_script(script)
        return script

    def add_filter(self, decide: Filter) -> None:
        """Ask *decide* about every datagram, synchronously; it returns an action, or None to leave it to others."""
        self._orders.add_filter(decide)

    def remove_filter(self, decide: Filter) -> None:
        """Ask *decide* no more."""
        self._orders.remove_filter(decide)

    @contextmanager
    def filtering(self, decide: Filter) -> Iterator[None]:
        """Ask *decide* about every datagram while the body runs; see :meth:`add_filter`."""
        self.add_filter(decide)
        try:
            yield
        finally:
            self.remove_filter(decide)

    def inject(self, octets: bytes | Message, source: Endpoint | str, destination: Endpoint | str) -> None:
        """Send a datagram that claims to come from *source*.

        Args:
          octets: what it carries.
          source, destination: endpoints, or addresses with the port behind them (``"10.0.0.1:5683"``); without one,
            it is that of CoAP.
        """
        self._require_running()
        data = octets.encode() if isinstance(octets, Message) else octets
        self._traffic.send(None, _remote(source), _remote(destination), data)

    def rebind(self, endpoint: VirtualEndpoint, address: str | None = None, port: int | None = None) -> Endpoint:
        """Let *endpoint* appear at another address from now on, as a translator (NAT) does that forgot about it.

        What is sent to where it was before is lost.

        Args:
          endpoint: whom it is about; itself it learns nothing of it.
          address: a numeric address; by default the one that it has.
          port: by default another one than before.

        Returns:
          The endpoint as others see it now.

        Raises:
          OSError: if somebody else is there.
          trio.ClosedResourceError: if *endpoint* is closed.
        """
        if endpoint.is_closed:
            raise trio.ClosedResourceError(f"{endpoint!r} is closed")
        return self._topology.translate(endpoint, address, port)

    def outside_address(self, endpoint: VirtualEndpoint) -> Endpoint:
        """Return *endpoint* as others see it."""
        return self._topology.seen_from_outside(endpoint)

    def format_trace(self) -> str:
        """Return the trace as text, a line for each datagram and receiver; see :meth:`Trace.format`."""
        return self.trace.format()

    # What endpoints call.

    def send(
        self, endpoint: VirtualEndpoint, octets: bytes, destination: Endpoint, local_address: EndpointAddress | None
    ) -> None:
        """Send a datagram for *endpoint*.

        Raises:
          OSError: if the network does not run, or the endpoint has no address of the destination's family.
        """
        self._require_running()
        remote = _remote(destination)
        self._traffic.send(endpoint, self._topology.source_of(endpoint, remote, local_address), remote, octets)

    def detach(self, endpoint: VirtualEndpoint) -> None:
        """Let nothing reach *endpoint* any more."""
        endpoint.owner.unbind(endpoint)
        self._topology.forget(endpoint)

    def _require_running(self) -> None:
        if not self._is_running:
            raise OSError(errno.ENETDOWN, "the virtual network does not run")

    def _name(self, host: AnyHost | None) -> str | None:
        return None if host is None else self.find_host(host).name


def _remote(end: Endpoint | str) -> Endpoint:
    """Return the remote endpoint that is meant."""
    if isinstance(end, str):
        host, colon, port = end.rpartition(":") if end.count(":") == 1 or "]:" in end else (end, "", "")
        return Endpoint(host=host.strip("[]"), port=int(port) if colon else COAP_PORT)
    if isinstance(end, VirtualEndpoint):
        return end.remote
    if end.family is None:
        raise OSError(errno.EADDRNOTAVAIL, f"{end!r} has no address; Endpoint.resolve() looks names up")
    return end if end.security_mode is None else Endpoint(end.sockaddr)


def _end(end: AnyHost | Endpoint | None) -> str | None:
    """Return what :meth:`Datagram.involves` takes."""
    if isinstance(end, Host):
        return end.name
    return address_text(_remote(end)) if isinstance(end, Endpoint) else end


@asynccontextmanager
async def open_network(
    seed: int | str = 0, *, max_trace: int = MAX_TRACE, **properties: Unpack[LinkProperties]
) -> AsyncIterator[VirtualNetwork]:
    """Open a virtual network and run it while the body runs; see :class:`VirtualNetwork`.

    When the scope around is cancelled, the body ends first and the network after it.
    """
    async with VirtualNetwork(seed, max_trace=max_trace, **properties) as network:
        yield network
