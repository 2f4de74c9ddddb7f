"""How sending a message can fail, and how replying can be done wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_coap.wire.errors import CoapError, LocalProtocolError

if TYPE_CHECKING:
    from trio_coap.messaging.endpoint import Endpoint
    from trio_coap.messaging.received import RcvdMessageCacheEntry
    from trio_coap.wire.message import Message


class DeliveryError(CoapError):
    """A message did not get through.

    Attributes:
      reason: what went wrong, as a short text.
      destination_endpoint: to whom it was sent.
      transmissions: how often it was sent.
      elapsed: seconds from the first transmission to the failure.
    """

    def __init__(self, reason: str, destination_endpoint: Endpoint, transmissions: int, elapsed: float) -> None:
        # All args, so that copies and pickles are complete.
        super().__init__(reason, destination_endpoint, transmissions, elapsed)
        self.reason = reason
        self.destination_endpoint = destination_endpoint
        self.transmissions = transmissions
        self.elapsed = elapsed

    def __str__(self) -> str:
        times = "once" if self.transmissions == 1 else f"{self.transmissions} times"
        return f"{self.reason}: {self.destination_endpoint.uri}, sent {times} in {self.elapsed:.3g} s"


class TransmissionTimeout(DeliveryError):
    """Nobody acknowledged a Confirmable message within MAX_TRANSMIT_WAIT (:rfc:`7252` section 4.2)."""


class ResetReceived(DeliveryError):
    """The peer answered with a Reset: it could not process the message (:rfc:`7252` section 4.2)."""


class NetworkError(DeliveryError):
    """The network said that the message cannot be delivered.

    Attributes:
      os_error: what the operating system reported.
    """

    def __init__(self, destination_endpoint: Endpoint, transmissions: int, elapsed: float, os_error: OSError) -> None:
        reason = os_error.strerror or str(os_error)
        super().__init__(reason, destination_endpoint, transmissions, elapsed)
        self.args = (destination_endpoint, transmissions, elapsed, os_error)
        self.os_error = os_error


class PendingLimitReached(LocalProtocolError):
    """Too many messages wait for one remote endpoint already (``Limits.max_pending_per_remote``)."""


class SendLimitReached(PendingLimitReached):
    """Too much that was sent is remembered already (``Limits.max_sent``, ``max_sent_octets``, or message IDs)."""


class ReplyMessageError(LocalProtocolError):
    """A reply does not fit the message that it replies to.

    ``args`` are ``(diagnostic, cache_entry, message)``; the diagnostic is one of the constants.  The entry is alive in its
    endpoint only: in a pickle it is None.
    """

    ALREADY_GIVEN = "Message already has reply"
    ID_MISMATCH = "Message IDs do not match"
    NOT_RESPONSE = "Non-empty reply is not a response"
    RESPONSE_NOT_ACK = "Piggy-backed response is not ACK"
    TOKEN_MISMATCH = "Tokens do not match"

    def __init__(self, diagnostic: str, cache_entry: RcvdMessageCacheEntry | None, message: Message | None) -> None:
        super().__init__(diagnostic, cache_entry, message)
        self.diagnostic = diagnostic
        self.cache_entry = cache_entry
        self.message = message

    def __str__(self) -> str:
        received = None if self.cache_entry is None else self.cache_entry.message
        return f"{self.diagnostic}: {self.message!r} to {received!r}"

    def __copy__(self) -> ReplyMessageError:
        return ReplyMessageError(self.diagnostic, self.cache_entry, self.message)

    def __reduce__(self) -> tuple[type[ReplyMessageError], tuple[str, None, Message | None]]:
        return ReplyMessageError, (self.diagnostic, None, self.message)
