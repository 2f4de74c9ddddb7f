"""Testing what speaks CoAP: a network in memory, repeatable, in virtual time.

With :class:`trio.testing.MockClock` (of pytest-trio: the fixture ``autojump_clock``) hours pass in an instant.

Names are imported when they are first asked for (:pep:`562`): pytest loads the plugin, and with it this module, in every run.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_NAMES = {
    "trio_coap.testing.datagram": (
        "CORRUPT",
        "DELIVER",
        "DROP",
        "DUPLICATE",
        "Action",
        "Datagram",
        "change",
        "corrupt",
        "delay",
    ),
    "trio_coap.testing.endpoint": ("VirtualEndpoint",),
    "trio_coap.testing.host": ("Host",),
    "trio_coap.testing.link": ("Link",),
    "trio_coap.testing.network": ("VirtualNetwork", "open_network"),
    "trio_coap.testing.orders": ("Filter", "Script"),
    "trio_coap.testing.pair": ("open_pair",),
    "trio_coap.testing.relay": ("LossyRelay", "open_relay"),
    "trio_coap.testing.scheduling": ("seeded_scheduling",),
    "trio_coap.testing.trace": ("Fate", "Trace", "TraceRecord", "format_trace"),
}
"""Module: what of it is here; the same as what type checkers read above."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names}

if not TYPE_CHECKING:  # Otherwise type checkers would believe that every name is here.

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)  # The next look-up does not come here.
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
