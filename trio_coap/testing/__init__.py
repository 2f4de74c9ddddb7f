"""Testing what speaks CoAP: a network in memory, repeatable, in virtual time.

With :class:`trio.testing.MockClock` (of pytest-trio: the fixture ``autojump_clock``) hours pass in an instant.
"""

from trio_coap.testing.datagram import (
    CORRUPT,
    DELIVER,
    DROP,
    DUPLICATE,
    Action,
    Datagram,
    change,
    corrupt,
    delay,
)
from trio_coap.testing.endpoint import VirtualEndpoint
from trio_coap.testing.host import Host
from trio_coap.testing.link import Link
from trio_coap.testing.network import VirtualNetwork, open_network
from trio_coap.testing.orders import Filter, Script
from trio_coap.testing.pair import open_pair
from trio_coap.testing.relay import LossyRelay, open_relay
from trio_coap.testing.scheduling import seeded_scheduling
from trio_coap.testing.trace import Fate, Trace, TraceRecord, format_trace

__all__ = [
    "CORRUPT",
    "DELIVER",
    "DROP",
    "DUPLICATE",
    "Action",
    "Datagram",
    "Fate",
    "Filter",
    "Host",
    "Link",
    "LossyRelay",
    "Script",
    "Trace",
    "TraceRecord",
    "VirtualEndpoint",
    "VirtualNetwork",
    "change",
    "corrupt",
    "delay",
    "format_trace",
    "open_network",
    "open_pair",
    "open_relay",
    "seeded_scheduling",
]
