"""Looking up host names with Trio's resolver."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from socket import SOCK_DGRAM

import trio

from trio_coap.messaging.endpoint import SockAddr
from trio_coap.wire.errors import shorten


async def resolve_addresses(host: str, port: int, family: int) -> Sequence[SockAddr]:
    """Return the socket addresses that *host* stands for, in the resolver's order.

    Numeric hosts touch neither a thread nor the network.  Both families are asked for as they are: AI_V4MAPPED and
    AI_ADDRCONFIG fail on hosts without IPv6.

    Raises:
      OSError: socket.gaierror, if the name does not resolve.
    """
    try:
        found = await trio.socket.getaddrinfo(host, port, family=family, type=SOCK_DGRAM)
    except UnicodeError as exc:  # An empty label, or one that is too long.
        raise socket.gaierror(socket.EAI_NONAME, f"{shorten(host)} is not a host name: {exc}") from exc
    return [sockaddr for *_, sockaddr in found]
