"""What an endpoint has counted, for who asks: imported by the methods that say it, as few programs do."""

from __future__ import annotations

import attrs

from trio_coap.messaging.counters import Counters


@attrs.frozen
class SocketStatistics:
    """What an endpoint's socket has counted, as part of :class:`EndpointStatistics`."""

    receive_buffer: int
    """SO_RCVBUF as the system tells it, in octets; Linux counts its own overhead as well, and tells twice of what was
    granted."""

    send_buffer: int
    """SO_SNDBUF, likewise."""

    kernel_drops: int | None
    """Datagrams that the kernel dropped because the receive buffer was full; None where it does not tell."""

    send_drops: int
    """Datagrams that did not fit into the send buffer."""

    truncated: int
    """Datagrams that were too long to be read, and passed over."""

    errors_believed: int
    """ICMP errors that quote what we sent: its exchange is over, if it was not before."""

    errors_ignored: dict[str, int]
    """ICMP errors that ended nothing, by reason."""


@attrs.frozen
class EndpointStatistics:
    """A snapshot of an endpoint's counters; see :meth:`trio_coap.LocalEndpoint.statistics`."""

    tx_messages: int
    """Datagrams sent, retransmissions included."""

    tx_octets: int
    """Octets sent, likewise."""

    rx_messages: int
    """Datagrams received, duplicates and malformed ones included."""

    rx_octets: int
    """Octets received, likewise."""

    retransmissions: int
    """Confirmable messages sent again because nobody acknowledged them."""

    duplicates: int
    """Messages received again."""

    remotes: int
    """Remote endpoints with state."""

    sent: int
    """Sent messages that are remembered or still on their way."""

    received: int
    """Received messages that are remembered."""

    pending: int
    """Messages that are held back by NSTART, PROBING_RATE or a full message-ID space."""

    tokens: int
    """Requests whose response is awaited."""

    rejected: dict[str, int]
    """What was rejected or ignored, by reason."""

    turned_away: dict[str, int]
    """What was refused or forgotten because of a limit, by the limit's name."""

    socket: SocketStatistics | None = None
    """What the socket has counted; None where there is none."""


def take_snapshot(counters: Counters, *, remotes: int, pending: int, tokens: int) -> EndpointStatistics:
    """Return what *counters* say now, with what is counted elsewhere."""
    return EndpointStatistics(
        tx_messages=counters.tx_messages,
        tx_octets=counters.tx_octets,
        rx_messages=counters.rx_messages,
        rx_octets=counters.rx_octets,
        retransmissions=counters.retransmissions,
        duplicates=counters.duplicates,
        remotes=remotes,
        sent=counters.sent,
        received=counters.received,
        pending=pending,
        tokens=tokens,
        rejected=dict(counters.rejected),
        turned_away=dict(counters.turned_away),
    )
