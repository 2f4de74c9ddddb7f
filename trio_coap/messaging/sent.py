"""The life of a message that we send: transmission, retransmission, giving up (:rfc:`7252` sections 4.2 and 4.3).

======================  ==========================================  =======================================
state                   what is due                                 and then
======================  ==========================================  =======================================
``PENDING``             nothing (NSTART, no message ID), or the     first transmission: ``UNACKNOWLEDGED``,
                        first transmission (PROBING_RATE, or        a NON ``COMPLETED``; pending again without
                        ``time_due`` was assigned)                  an NSTART slot
``UNACKNOWLEDGED``      the next retransmission                     the same, after the last ``FINAL_WAIT``
``FINAL_WAIT``          giving up, MAX_TRANSMIT_WAIT after the      ``COMPLETED``
                        first transmission
``COMPLETED``           the end of the message ID's lifetime        removed
======================  ==========================================  =======================================

Rule 1: an ACK or RST counts in every state after the first transmission, and leads to ``COMPLETED``.  Rule 2: the
octets are encoded once.  Rule 3: this module knows messages, not requests: who sent one listens for its fate.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, final

from trio_coap.messaging.cache import MessageCache, MessageCacheEntry
from trio_coap.messaging.errors import DeliveryError, NetworkError, ResetReceived, TransmissionTimeout
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.wire.codes import ACK, CON, NON, RST
from trio_coap.wire.errors import RemoteProtocolError
from trio_coap.wire.message import EndpointAddress, Message, Response
from trio_coap.wire.options import Options

if TYPE_CHECKING:
    from trio_coap.messaging.endpoint import Endpoint
    from trio_coap.messaging.received import RcvdMessageCacheEntry
    from trio_coap.messaging.remote import RemoteEndpointState

DEFAULT_MAX_AGE = 60
"""In seconds (:rfc:`7252` section 5.10.5)."""


class SentState(enum.Enum):
    """Where a sent message stands; the table is at the top of the module."""

    PENDING = enum.auto()
    UNACKNOWLEDGED = enum.auto()
    FINAL_WAIT = enum.auto()
    COMPLETED = enum.auto()


class SentListener(Protocol):
    """Who sent a message and wants to know what becomes of it; called synchronously, and must not raise."""

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """The peer has acknowledged the message, empty-handed or with a response."""

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """The message did not get through, or was reset."""

    def endpoint_closed(self) -> None:
        """The endpoint has been closed: nothing more will become of the message."""


@final
class SentMessageCacheEntry(MessageCacheEntry):
    """A CON or NON message on its way to one remote endpoint.

    Attributes:
      destination_endpoint: to whom it goes.
      state: where it stands.
      transmissions: how often it was sent so far, the first time included.
      reply_message: the ACK or RST that came for it, or None.
      listener: who wants to know; None if nobody does (any more).
      octets: the datagram, encoded when the message was given to us; its ID is right once it has one.  Of a completed
        message only header and token are kept, and :attr:`message` is a copy with no option but Max-Age.
      size: how much is kept, in octets.
      is_solicited: whether it responds to a request.
    """

    __slots__ = (
        "_answers",
        "_local_address",
        "_parameters",
        "_remote",
        "_timeout",
        "destination_endpoint",
        "is_solicited",
        "listener",
        "octets",
        "reply_message",
        "size",
        "state",
        "transmissions",
    )

    def __init__(
        self,
        cache: MessageCache[SentMessageCacheEntry],
        message: Message,
        destination_endpoint: Endpoint,
        now: float,
        *,
        remote: RemoteEndpointState,
        octets: bytes,
        parameters: TransmissionParameters | None = None,
        listener: SentListener | None = None,
        local_address: EndpointAddress | None = None,
        answers: RcvdMessageCacheEntry | None = None,
    ) -> None:
        """Enter *message* as pending; :meth:`RemoteEndpointState.submit` sends it.

        Args:
          cache: the remote endpoint's cache of sent messages.
          message: a CON or NON message; without an ID if none is free.
          destination_endpoint: to whom it goes.
          now: the current time, in seconds.
          remote: what is known of the destination.
          octets: the datagram.
          parameters: for this message; by default the cache's.
          listener: who wants to know what becomes of it.
          local_address: which of our addresses it leaves from; by default the kernel chooses.
          answers: the request, if it is a response.
        """
        super().__init__(cache, message, now, activate=False)
        self.destination_endpoint = destination_endpoint
        self.state = SentState.PENDING
        self.transmissions = 0
        self.reply_message: Message | None = None
        self.listener = listener
        self.octets = octets
        self.is_solicited = answers is not None
        self.size = 0
        self._answers = answers
        self._remote = remote
        self._parameters = parameters or cache.parameters
        self._local_address = local_address
        self._timeout = 0.0
        remote.local.counters.sent += 1
        self._count_octets(len(octets) + len(message.payload))

    @property
    def parameters(self) -> TransmissionParameters:
        """The transmission parameters that hold for the message."""
        return self._parameters

    @property
    def is_outstanding(self) -> bool:
        """True while the message takes an NSTART slot (section 4.7)."""
        return self.state in _OUTSTANDING

    @property
    def is_probe(self) -> bool:
        """True for a NON of our own accord, to which PROBING_RATE applies: no response, and not to a group."""
        return self.message.type is NON and not self.is_solicited and not self.destination_endpoint.is_multicast

    @property
    def stale_at(self) -> float | None:
        """When a response is no longer fresh, in seconds: Max-Age after the entry was made; None for a request."""
        if not isinstance(self.message, Response):
            return None
        max_age = self.message.options.max_age
        return self.created_at + (DEFAULT_MAX_AGE if max_age is None else max_age)

    def is_quoted_by(self, quoted: bytes) -> bool:
        """Return whether *quoted* is the beginning of the datagram, header and token at the least."""
        if len(quoted) < 4 + len(self.message.token):
            return False
        return self.octets.startswith(quoted) or (self._is_shed and quoted.startswith(self.octets))

    def process_timeout(self, now: float) -> None:
        """Do what the table says for the state; see :meth:`MessageCacheEntry.process_timeout`."""
        self._require_cache()
        _WHEN_DUE[self.state](self, now)

    def transmit(self, now: float) -> None:
        """Send the message for the first time: its life cycle starts (section 4.2)."""
        self.activated_at = now
        self.transmissions = 1
        if self.message.type is CON:
            self.state = SentState.UNACKNOWLEDGED
            self._remote.outstanding += 1
            self._timeout = self._remote.draw_timeout(self._parameters)
            last = self._parameters.max_retransmit == 0
            self._set_due(now, is_last=last)
            self._send(now)
            return
        self.state = SentState.COMPLETED
        self.time_due = self._expires(now)
        octets = self.octets
        if self._answers is not None:
            self._answers.response_sent(self.message, octets)
        self._shed()
        self._send(now, octets)

    def retransmit(self, now: float) -> None:
        """Send the message again, with twice the time to wait for an acknowledgement (section 4.2)."""
        self.transmissions += 1
        self._timeout *= 2
        self._set_due(now, is_last=self.transmissions > self._parameters.max_retransmit)
        self._remote.local.counters.retransmissions += 1
        self._send(now)

    def process_reply(self, message: Message, now: float) -> bool:
        """Take an ACK or RST into account and stop retransmitting.

        Args:
          message: the ACK or RST, already matched by remote endpoint *and* message ID.
          now: the current time, in seconds.

        Returns:
          Whether it counted: the first one after the first transmission does, but no ACK of a NON message.

        Raises:
          RemoteProtocolError: if *message* is neither ACK nor RST.
        """
        if message.type is not ACK and message.type is not RST:
            raise RemoteProtocolError(f"a CON or NON is replied to by an ACK or RST, not by {message!r}")
        if self.transmissions == 0 or self.reply_message is not None:
            return False
        if message.type is ACK and self.message.type is not CON:
            return False
        self.reply_message = message
        listener = self.listener
        # The ID stays reserved until expiry: a late duplicate must find this entry (section 4.4).
        self.complete(now)
        if listener is not None:
            if message.type is ACK:
                listener.message_acknowledged(self, now)
            else:
                listener.message_failed(self, self._error(ResetReceived, "reset by the peer", now), now)
        return True

    def complete(self, now: float) -> None:
        """Stop: no more transmissions, the NSTART slot is free, nobody listens.

        The message ID stays reserved until it expires.  A message that was never sent is just taken out.
        """
        self.listener = None
        if self.cache is None:
            return
        if self.transmissions == 0:
            self._remote.withdraw(self, now)
        elif self.state is not SentState.COMPLETED:
            assert self.activated_at is not None
            self.state = SentState.COMPLETED
            self._remote.outstanding -= 1
            self.time_due = self._expires(self.activated_at)
            self._shed()
        self._remote.release(now)

    def fail(self, os_error: OSError, now: float) -> None:
        """End the exchange because the network said that it is in vain."""
        listener = self.listener
        error = NetworkError(self.destination_endpoint, self.transmissions, self._elapsed(now), os_error)
        self.complete(now)
        if listener is not None:
            listener.message_failed(self, error, now)

    def _set_due(self, now: float, *, is_last: bool) -> None:
        time_due = now + self._timeout
        if is_last:
            assert self.activated_at is not None
            self.state = SentState.FINAL_WAIT
            time_due = self.activated_at + self._parameters.max_transmit_wait
        self.time_due = time_due

    @property
    def _is_shed(self) -> bool:
        return self.state is SentState.COMPLETED

    def _shed(self) -> None:
        """Let go of what nobody needs any more: an ICMP error is known by header and token."""
        message = self.message
        max_age = message.options.max_age if isinstance(message, Response) else None
        self.message = message.replace(
            payload=b"", options=_NO_OPTIONS if max_age is None else Options(max_age=max_age)
        )
        self.octets = self.octets[: 4 + len(message.token)]
        self._answers = None
        self._count_octets(len(self.octets) - self.size)

    def _count_octets(self, octets: int) -> None:
        self.size += octets
        self._remote.local.counters.sent_octets += octets

    def _send(self, now: float, octets: bytes = b"") -> None:
        remote = self._remote
        octets = octets or self.octets
        error = remote.local.transmit(octets, self.destination_endpoint, self._local_address)
        if error is None:
            remote.count_unanswered(len(octets), now)
        else:
            self.fail(error, now)

    def _start_late(self, now: float) -> None:
        self._remote.start_late(self, now)

    def _give_up(self, now: float) -> None:
        listener = self.listener
        error = self._error(TransmissionTimeout, "no acknowledgement", now)
        self.complete(now)
        if listener is not None:
            listener.message_failed(self, error, now)

    def _expire(self, now: float) -> None:
        self._remote.forget_sent(self, now)

    def _error(self, cls: type[DeliveryError], reason: str, now: float) -> DeliveryError:
        return cls(reason, self.destination_endpoint, self.transmissions, self._elapsed(now))

    def _elapsed(self, now: float) -> float:
        return 0.0 if self.activated_at is None else now - self.activated_at


_NO_OPTIONS = Options()

_OUTSTANDING = frozenset({SentState.UNACKNOWLEDGED, SentState.FINAL_WAIT})

_WHEN_DUE: dict[SentState, Callable[[SentMessageCacheEntry, float], None]] = {
    SentState.PENDING: SentMessageCacheEntry._start_late,
    SentState.UNACKNOWLEDGED: SentMessageCacheEntry.retransmit,
    SentState.FINAL_WAIT: SentMessageCacheEntry._give_up,
    SentState.COMPLETED: SentMessageCacheEntry._expire,
}
