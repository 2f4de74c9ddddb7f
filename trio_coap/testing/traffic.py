"""The way of a datagram through a virtual network: from the sender over the link to the receiver's inbox.

Rule 1: its fate is decided when it is sent, by a generator seeded with the network's seed, source, destination and number.
Rule 2: whether somebody listens is decided when it arrives.  Rule 3: every datagram is recorded, whatever becomes of it.
"""

from __future__ import annotations

import errno
import random
from functools import partial
from typing import final

import attrs
import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.testing.datagram import Datagram
from trio_coap.testing.delivery import DeliveryQueue
from trio_coap.testing.endpoint import Arrived, PortUnreachable, VirtualEndpoint
from trio_coap.testing.host import Host
from trio_coap.testing.link import Link, Transit
from trio_coap.testing.orders import Orders
from trio_coap.testing.topology import Topology
from trio_coap.testing.trace import Fate, Trace, TraceRecord, address_text

ICMP_QUOTE = 520
"""Octets of a datagram that an ICMP error quotes at most; what Linux gives for IPv4."""


@attrs.define(eq=False)
class _Flow:
    """What goes from one address to another, as others see them."""

    key: str
    count: int = 0
    # By receiver: several for a group.
    last_arrival: dict[str, float] = attrs.Factory(dict)


@final
class Traffic:
    """Everything that is sent over one network."""

    def __init__(self, seed: int | str, link: Link, topology: Topology, orders: Orders, trace: Trace) -> None:
        """Let nothing be on its way."""
        self.in_flight = DeliveryQueue()
        self._seed = seed
        self._topology = topology
        self._orders = orders
        self._trace = trace
        self._links: dict[tuple[str | None, str | None], Link] = {(None, None): link}
        self._busy_until: dict[tuple[str, str], float] = {}
        self._flows: dict[tuple[Endpoint, Endpoint], _Flow] = {}

    def link_between(self, sender: str | None, receiver: str | None) -> Link:
        """Return the link from one host to another: the most specific one that was set."""
        links = self._links
        if len(links) == 1:
            return links[None, None]
        for key in ((sender, receiver), (sender, None), (None, receiver)):
            if key in links:
                return links[key]
        return links[None, None]

    def set_link(self, sender: str | None, receiver: str | None, link: Link) -> None:
        """Set the link from one host to another; None stands for all."""
        self._links[sender, receiver] = link
        # What is sent from now on may overtake what was sent over the link that was.
        for flow in self._flows.values():
            flow.last_arrival.clear()

    def send(self, sender: VirtualEndpoint | None, source: Endpoint, destination: Endpoint, octets: bytes) -> None:
        """Send a datagram on its way, as seen by others from *source*.

        Args:
          sender: who sends it; None if it is forged, so that no ICMP error goes back.
          source, destination: from where and to where.
          octets: what it carries.
        """
        flow = self._flows.get((source, destination))
        if flow is None:
            key = f"{address_text(source)}|{address_text(destination)}"
            flow = self._flows[source, destination] = _Flow(key)
        flow.count += 1
        owner = sender.owner if sender is not None else self._topology.owner_of(source)
        origin = owner.name if owner is not None else ""
        receivers: list[tuple[Host | None, VirtualEndpoint | None]] = [(self._topology.owner_of(destination), None)]
        if destination.is_multicast:
            members = self._topology.members_of(destination)
            receivers = [(member.owner, member) for member in members] or [(None, None)]
        now = trio.current_time()
        for host, member in receivers:
            receiver = host.name if host is not None else ""
            datagram = Datagram(now, source, destination, octets, flow.count, origin, receiver)
            self._forward(flow, datagram, sender, host, member)

    def _forward(
        self,
        flow: _Flow,
        datagram: Datagram,
        sender: VirtualEndpoint | None,
        host: Host | None,
        member: VirtualEndpoint | None,
    ) -> None:
        """Decide the fate of *datagram* at one receiver, record it, and let its copies arrive."""
        fate, transits, octets = self._decide(flow, datagram)
        arrives_at = tuple([self._arrival(flow, datagram, transit) for transit in transits])
        if len(arrives_at) > 1:
            arrives_at = tuple(sorted(arrives_at))
        changed = octets if octets != datagram.octets else None
        position = self._trace.append(TraceRecord(datagram, fate, arrives_at, changed))
        if host is None:
            return
        for at in arrives_at:
            arrival = partial(self._arrive, position, datagram, octets, sender, host, member)
            self.in_flight.push(at, f"{flow.key}|{datagram.receiver}", datagram.number, arrival)

    def _decide(self, flow: _Flow, datagram: Datagram) -> tuple[Fate, tuple[Transit, ...], bytes]:
        """Return the fate of *datagram*, how its copies travel, and what they carry."""
        action = self._orders.action_for(datagram)
        octets = datagram.octets if action is None else action.apply(datagram.octets)
        link = self.link_between(datagram.sender, datagram.receiver)
        if not datagram.receiver:
            return Fate.NOBODY, (), octets
        if self._orders.is_partitioned(datagram.sender, datagram.receiver):
            return Fate.PARTITIONED, (), octets
        if link.mtu is not None and len(octets) > link.mtu:
            return Fate.TOO_BIG, (), octets
        if action is not None:
            transit = Transit(link.latency + action.delay, keeps_order=not action.delay)
            return (Fate.DELIVERED if action.copies else Fate.DROPPED), (transit,) * action.copies, octets
        if not link.is_random:
            return Fate.DELIVERED, (Transit(link.latency),), octets
        member = f"|{datagram.receiver}" if datagram.destination.is_multicast else ""
        transits = link.draw(random.Random(f"{self._seed}|{flow.key}|{datagram.number}{member}"))
        return (Fate.DELIVERED if transits else Fate.LOST), transits, octets

    def _arrival(self, flow: _Flow, datagram: Datagram, transit: Transit) -> float:
        """Return when a copy of *datagram* arrives, in seconds."""
        starts_at = datagram.time
        bandwidth = self.link_between(datagram.sender, datagram.receiver).bandwidth
        if bandwidth is not None:
            ends = datagram.sender, datagram.receiver
            starts_at = max(starts_at, self._busy_until.get(ends, 0.0)) + len(datagram.octets) / bandwidth
            self._busy_until[ends] = starts_at
        at = starts_at + transit.delay
        if transit.keeps_order:
            at = flow.last_arrival[datagram.receiver] = max(at, flow.last_arrival.get(datagram.receiver, at))
        return at

    def _arrive(
        self,
        position: int,
        datagram: Datagram,
        octets: bytes,
        sender: VirtualEndpoint | None,
        host: Host,
        member: VirtualEndpoint | None,
    ) -> None:
        """Put what has arrived into the inbox of who listens; if nobody does, its sender learns of it."""
        destination = datagram.destination
        listener = member or self._topology.listener_at(destination)
        if listener is None or listener.is_closed:
            if member is None:
                self._bounce(position, datagram, octets, sender, host)
            return
        local_address = self._topology.local_address(listener, destination)
        if not listener._put(Arrived(octets, datagram.source, local_address)):
            self._trace.change(position, Fate.INBOX_FULL)

    def _bounce(
        self, position: int, datagram: Datagram, octets: bytes, sender: VirtualEndpoint | None, host: Host
    ) -> None:
        """Let an ICMP error go back to the sender of what arrived at a closed port, if the host does that."""
        if not host.port_unreachable:
            self._trace.change(position, Fate.PORT_SILENT)
            return
        self._trace.change(position, Fate.PORT_UNREACHABLE)
        if sender is None or self._orders.is_partitioned(host.name, datagram.sender):
            return
        remote = datagram.destination
        error = ConnectionRefusedError(errno.ECONNREFUSED, f"port {remote.port} of {remote.uri_host} is unreachable")
        at = trio.current_time() + self.link_between(host.name, datagram.sender).latency
        arrival = partial(_put_error, sender, PortUnreachable(remote, octets[:ICMP_QUOTE], error))
        self.in_flight.push(
            at, f"{address_text(remote)}|icmp|{address_text(datagram.source)}", datagram.number, arrival
        )


def _put_error(sender: VirtualEndpoint, error: PortUnreachable) -> None:
    """Put *error* into the inbox of *sender*; one that is full loses it."""
    sender._put(error)
