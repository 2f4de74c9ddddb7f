"""What a server counts."""

from __future__ import annotations

from typing import final

import attrs

from trio_coap.messaging.statistics import EndpointStatistics


@final
@attrs.frozen(kw_only=True)
class ServerStatistics(EndpointStatistics):
    """A snapshot of the counters of a server and of its endpoint; see :meth:`trio_coap.Server.statistics`."""

    running_handlers: int
    """Tasks of ``async def`` handlers, those of notifications not counted."""

    handlers_cancelled: int
    """Handlers that were cancelled because their client did not want the response any more."""

    observers: int
    """Who observes something."""

    challenges: int
    """Responses 4.01 with an Echo option, for an address to be verified or a request to be shown fresh."""

    verified_addresses: int
    """Addresses that are remembered as verified."""
