"""What a UDP socket can do on this host, found out when it is opened.

Rule: where something is missing the endpoint does without, and says so here and in the log.
"""

from __future__ import annotations

import logging
import socket
from socket import AF_INET, AF_INET6
from typing import final

import attrs

from trio_coap.transports.udp.groups import can_join

_logger = logging.getLogger(__name__)


@final
@attrs.frozen
class Capabilities:
    """What an endpoint's socket can do."""

    ipv4: bool
    """It speaks IPv4."""

    ipv6: bool
    """It speaks IPv6; with IPv4 as well it is a dual-stack socket."""

    local_addresses: bool
    """It tells which address a datagram came to, so that an answer leaves from there.  An endpoint that is bound to one
    address needs nobody to tell it."""

    errors: bool
    """It reports ICMP errors, so that a request to nobody fails at once; otherwise it fails when its retransmissions
    end."""

    ipv4_groups: bool
    """It can join groups of IPv4."""

    ipv6_groups: bool
    """It can join groups of IPv6."""

    @property
    def is_dual_stack(self) -> bool:
        """Whether one socket serves both families."""
        return self.ipv4 and self.ipv6


NO_CAPABILITIES = Capabilities(False, False, False, False, False, False)
"""Of an endpoint without a socket."""


def find_capabilities(sock: socket.socket, *, is_wildcard: bool, tells: bool, reports: bool) -> Capabilities:
    """Return what *sock* can do.

    Args:
      sock: the socket, bound.
      is_wildcard: whether it is bound to all addresses.
      tells: whether packet information could be enabled.
      reports: whether the error queue could be enabled.
    """
    is_ipv6 = sock.family == AF_INET6
    # To 0.0.0.0 a socket of IPv6 is bound as ::ffff:0.0.0.0.
    is_mapped = is_ipv6 and sock.getsockname()[0].startswith("::ffff:")
    is_v6only = is_ipv6 and bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    capabilities = Capabilities(
        ipv4=not is_ipv6 or is_mapped or (is_wildcard and not is_v6only),
        ipv6=is_ipv6 and not is_mapped,
        local_addresses=tells or not is_wildcard,
        errors=reports,
        # Of a request that does not tell that it came to a group nobody knows that it is not to be acknowledged.
        ipv4_groups=tells and not is_v6only and can_join(AF_INET, sock),
        ipv6_groups=tells and not is_mapped and can_join(AF_INET6, sock),
    )
    for what, works in (("local addresses of datagrams", capabilities.local_addresses), ("ICMP errors", reports)):
        if not works:
            _logger.info("this host's sockets do not tell the %s", what)
    return capabilities
