"""The CoAP ping: an empty Confirmable message, answered by a Reset (:rfc:`7252` section 4.3)."""

from __future__ import annotations

from typing import final

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError, ResetReceived
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.message import Message


@final
class _Pong:
    """Waits for what becomes of a ping."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.at = 0.0
        self.error: Exception | None = None

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """Some peers acknowledge a ping, which is not what the RFC says, but shows that they are there."""
        self.at = now
        self.arrived.set()

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """A Reset is the answer; everything else is a failure."""
        self.at = now
        self.error = None if isinstance(error, ResetReceived) else error
        self.arrived.set()

    def endpoint_closed(self) -> None:
        """Nothing more will come."""
        self.error = trio.ClosedResourceError("the endpoint was closed")
        self.arrived.set()


async def send_ping(
    endpoint: DrivenEndpoint, remote: Endpoint, parameters: TransmissionParameters | None = None
) -> float:
    """Ping *remote* and return the round-trip time, in seconds; see :meth:`Client.ping`."""
    pong = _Pong()
    entry = endpoint.send(Message(), remote, parameters=parameters, listener=pong)
    try:
        await pong.arrived.wait()
    finally:
        entry.complete(endpoint.clock())
    if pong.error is not None:
        raise pong.error
    # NSTART may have held it back; what is answered has been sent.
    assert entry.activated_at is not None
    return pong.at - entry.activated_at
