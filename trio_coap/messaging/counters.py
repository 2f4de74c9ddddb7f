"""What an endpoint counts while it runs."""

from __future__ import annotations

from collections import Counter
from typing import final


@final
class Counters:
    """The counters of an endpoint; see :class:`~trio_coap.EndpointStatistics` for what they count."""

    __slots__ = (
        "duplicates",
        "received",
        "received_octets",
        "rejected",
        "retransmissions",
        "rx_messages",
        "rx_octets",
        "sent",
        "sent_octets",
        "turned_away",
        "tx_messages",
        "tx_octets",
    )

    sent_octets: int
    """Octets that are kept of sent messages."""

    received_octets: int
    """Octets that are kept of received messages and the replies to them."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.tx_messages = self.tx_octets = 0
        self.rx_messages = self.rx_octets = 0
        self.retransmissions = self.duplicates = 0
        self.sent = self.sent_octets = 0
        self.received = self.received_octets = 0
        self.rejected: Counter[str] = Counter()
        self.turned_away: Counter[str] = Counter()
