"""Opening a UDP endpoint, for its own sake or for a client or server (:func:`open_endpoint`, :func:`use_endpoint`)."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypedDict, Unpack, cast

from trio_coap.messaging.local import RandomSource
from trio_coap.messaging.parameters import Limits, TransmissionParameters
from trio_coap.transports.driver import DrivenEndpoint, run_endpoint
from trio_coap.transports.udp.endpoint import SocketEndpoint
from trio_coap.wire.errors import LocalProtocolError

_logger = logging.getLogger(__name__)


class SocketArguments(TypedDict, total=False):
    """Keyword arguments of :meth:`SocketEndpoint.create_bound_endpoint`, besides host and port."""

    rng: RandomSource
    """Where random numbers come from; by default the system's source, which nobody can guess."""

    parameters: TransmissionParameters
    """The transmission parameters."""

    limits: Limits
    """How much to remember."""

    reuse_port: bool
    """Whether other sockets of this user may share the port (SO_REUSEPORT); by default not."""

    sock: socket.socket | None
    """A bound UDP socket, instead of host and port; the endpoint closes it.  See
    :func:`open_shared_sockets`."""

    multicast_hops: int
    """How many hops datagrams to groups go; by default 1, the link."""


class EndpointArguments(SocketArguments, total=False):
    """Keyword arguments that say what an endpoint is to be, besides host and port."""

    groups: Sequence[str]
    """Addresses of groups to join, such as :data:`ALL_COAP_NODES`; by default none.  Those of a family that the socket
    lacks, as on a host without IPv6, are passed over with a warning in the log, unless all are."""

    interfaces: Sequence[str] | None
    """Names of the interfaces on which the groups are joined; by default all, those that come later too."""


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
      LocalProtocolError: if a group cannot be joined; see :meth:`SocketEndpoint.join_group`.  If a socket is given, and
        an address as well.
    """
    if arguments.get("sock") is not None and (host, port) != ("::", 0):
        raise LocalProtocolError("a socket is given; host and port would be for a new one")
    groups, interfaces = arguments.get("groups", ()), arguments.get("interfaces")
    of_socket = {name: value for name, value in arguments.items() if name not in ("groups", "interfaces")}
    endpoint = SocketEndpoint.create_bound_endpoint(host=host, port=port, **cast(SocketArguments, of_socket))
    async with run_endpoint(endpoint):
        _join_groups(endpoint, groups, interfaces)
        yield endpoint


def _join_groups(endpoint: SocketEndpoint, groups: Sequence[str], interfaces: Sequence[str] | None) -> None:
    """Join *groups*; those of a family that the socket lacks are passed over, unless all are."""
    families = endpoint.capabilities
    able = [group for group in groups if (families.ipv6_groups if ":" in group else families.ipv4_groups)]
    for group in able or groups:
        endpoint.join_group(group, interfaces)
    for group in groups:
        if group not in able:
            _logger.warning("%s cannot join %s: its socket is of the other family", endpoint, group)


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
        if port is None:
            port = default_port if arguments.get("sock") is None else 0
        async with open_endpoint("::" if host is None else host, port, **arguments) as own:
            yield own
        return
    if host is not None or port is not None or arguments:
        raise LocalProtocolError("an endpoint is given; host, port and the rest would be for a new one")
    yield endpoint
