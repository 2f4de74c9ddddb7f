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
Rule 4: a message can be superseded by a newer one (:rfc:`7641` section 4.5.2); it is not repeated then, but the newer one
goes out when it would have been, with an entry and a message ID of its own, on the attempts that are left.  Rule 5: of
what is completed, octets are kept and nothing else: there are ten thousands of them, and they are hardly ever looked at.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, final

from trio_coap.messaging.cache import MessageCache, MessageCacheEntry
from trio_coap.messaging.errors import DeliveryError, NetworkError, ResetReceived, TransmissionTimeout
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.wire.codes import ACK, CON, RST, MessageType
from trio_coap.wire.errors import LocalProtocolError, RemoteProtocolError
from trio_coap.wire.message import EndpointAddress, Message, Response, decode_message_untrusted, encode_message
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


_PENDING, _UNACKNOWLEDGED = SentState.PENDING, SentState.UNACKNOWLEDGED
_FINAL_WAIT, _COMPLETED = SentState.FINAL_WAIT, SentState.COMPLETED


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
      state: where it stands.
      transmissions: how often it was sent so far, the first time included.
      reply_type: whether an ACK or a RST came for it; None for neither.
      listener: who wants to know; None if nobody does (any more).
      when_sent: is called when congestion control has let the message go for the first time; None if nobody waits for it.
      octets: the datagram, encoded when the message was given to us; its ID is right once it has one.  Of a completed
        message only header and token are kept, and :attr:`message` is a copy with no option but Max-Age.
      size: how much is kept, in octets; :attr:`superseding` included.
      is_solicited: whether it responds to a request.
      superseding: the message that goes out instead at the next transmission, or None.
    """

    __slots__ = (
        "_answers",
        "_attempts",
        "_begun_at",
        "_heir",
        "_local_address",
        "_parameters",
        "_remote",
        "_timeout",
        "is_solicited",
        "listener",
        "octets",
        "reply_type",
        "size",
        "state",
        "superseding",
        "transmissions",
        "when_sent",
    )

    def __init__(
        self,
        cache: MessageCache[SentMessageCacheEntry],
        message: Message,
        now: float,
        remote: RemoteEndpointState,
        octets: bytes,
        parameters: TransmissionParameters,
        listener: SentListener | None,
        local_address: EndpointAddress | None,
        answers: RcvdMessageCacheEntry | None,
        is_solicited: bool,
        is_pending: bool,
    ) -> None:
        """Enter *message*; :meth:`RemoteEndpointState.submit` sends it.

        Args:
          cache: the remote endpoint's cache of sent messages.
          message: a CON or NON message; without an ID if none is free.
          now: the current time, in seconds.
          remote: what is known of the destination.
          octets: the datagram.
          parameters: for this message.
          listener: who wants to know what becomes of it.
          local_address: which of our addresses it leaves from; by default the kernel chooses.
          answers: the request, if it is a response and that is known.
          is_solicited: whether it is a response.
          is_pending: False if it is sent at once, and need not stand among the pending ones.
        """
        # Not by super().__init__(), which has more to decide: one is made for each request.
        self._cache = cache
        self._message = message
        self.message_id = message.message_id
        self.created_at = self._begun_at = now
        self.activated_at = self.queue_time = None
        self.queue_place = -1
        self.state = _PENDING
        self.transmissions = self._attempts = 0
        self.reply_type: MessageType | None = None
        self.listener = listener
        self.when_sent: Callable[[], None] | None = None
        self.octets = octets
        self.is_solicited = is_solicited
        self.superseding: Message | None = None
        self._answers = answers
        self._heir: SentMessageCacheEntry | None = None
        self._remote, self._parameters, self._local_address = remote, parameters, local_address
        self._timeout = 0.0
        self.size = size = len(octets) + len(message.payload)
        cache._add(self, is_pending=is_pending)
        local = remote.local
        counters, table = local.counters, local.known_groups.table
        counters.sent += 1
        counters.sent_octets += size
        if table is not None and self.message_id is not None:
            table.enter(self.message_id)

    @property
    def message(self) -> Message:
        """The message; once it is completed, a copy of what is kept of it."""
        try:
            return self._message
        except AttributeError:
            message = decode_message_untrusted(self.octets)
            message.source_endpoint = self._remote.local
            message.destination_endpoint = self.destination_endpoint
            return message

    @property
    def reply_message(self) -> Message | None:
        """The ACK or RST that came for the message, without what an ACK has carried; None before."""
        return None if self.reply_type is None else Message(type=self.reply_type, message_id=self.message_id)

    @property
    def destination_endpoint(self) -> Endpoint:
        """To whom it goes."""
        return self._remote.endpoint

    @property
    def parameters(self) -> TransmissionParameters:
        """The transmission parameters that hold for the message."""
        return self._parameters

    @property
    def is_confirmable(self) -> bool:
        """True for a CON message."""
        return not self.octets[0] & 0x30

    @property
    def is_outstanding(self) -> bool:
        """True while the message takes an NSTART slot (section 4.7)."""
        return self.state in _OUTSTANDING

    @property
    def newest(self) -> SentMessageCacheEntry:
        """The entry of the message that superseded this one in the end; this one, if none did."""
        entry = self
        while entry._heir is not None:
            entry = entry._heir
        return entry

    @property
    def attempts(self) -> int:
        """How often the message was sent so far, with the ones that it superseded."""
        return self._attempts

    @property
    def is_probe(self) -> bool:
        """True for a NON of our own accord, to which PROBING_RATE applies: no response, and not to a group."""
        return bool(self.octets[0] & 0x30) and not self.is_solicited and not self.destination_endpoint.is_multicast

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
        self.activated_at = self._begun_at = now
        self.transmissions = self._attempts = 1
        if self._message.type is CON:
            remote, parameters = self._remote, self._parameters
            self.state = _UNACKNOWLEDGED
            remote.outstanding += 1
            self._timeout = timeout = remote.draw_timeout(parameters)
            if parameters.max_retransmit and self.queue_time is None:
                remote.sent_cache._await(self, now + timeout)
            else:
                self._set_due(now, is_last=not parameters.max_retransmit)
            self._send(now)
            if self.when_sent is not None:
                self._tell_that_it_went()
            return
        self.state = _COMPLETED
        if self.queue_time is None:
            self._remote.sent_cache._keep(self, now + self._parameters.non_lifetime)
        else:
            self.time_due = self._expires(now)
        octets = self.octets
        if self._answers is not None:
            self._answers.response_sent(octets)
        self._shed()
        self._send(now, octets)
        if self.when_sent is not None:
            self._tell_that_it_went()

    def retransmit(self, now: float) -> None:
        """Send the message again, with twice the time to wait for an acknowledgement (section 4.2)."""
        if self.superseding is not None and self._hand_over(self.superseding, now):
            return
        self.transmissions += 1
        self._repeat(now)

    def supersede(self, message: Message) -> None:
        """Let *message* go out at the next transmission instead of this one (:rfc:`7641` section 4.5.2).

        What was never sent is replaced on the spot.  Otherwise *message* is sent when this one would be repeated, with
        a message ID of its own, and :attr:`newest` is its entry then; the attempts and the time to giving up go on
        counting.  If an ACK comes before, *message* is not sent; if it comes after, it does not count, unlike a Reset.

        Args:
          message: of the same type, with the same token, to the same destination.

        Raises:
          LocalProtocolError: if it cannot be encoded, or this one is completed.
        """
        if self.state is _COMPLETED:
            raise LocalProtocolError(f"{self.message!r} is completed, nothing can go out instead")
        octets = _encode(message, self.message_id or 0)
        if self.transmissions:
            self._put_behind(message, octets)
            return
        message.message_id = self.message_id
        self._count_octets(_kept(message, octets) - self.size)
        self._message, self.octets = message, octets

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
        type = message.type
        if type is not ACK and type is not RST:
            raise RemoteProtocolError(f"a CON or NON is replied to by an ACK or RST, not by {message!r}")
        if self.transmissions == 0 or self.reply_type is not None:
            return False
        if type is ACK and self.octets[0] & 0x30:
            return False
        self.reply_type = type
        listener, newer = self.listener, self.superseding
        # The ID stays reserved until expiry: a late duplicate must find this entry (section 4.4).
        self.complete(now)
        if listener is not None:
            if type is RST:
                listener.message_failed(self, self._error(ResetReceived, "reset by the peer", now), now)
            elif self._heir is None:  # Otherwise it is the newer message that must arrive.
                self.superseding = newer  # For the listener, who alone can still send it.
                listener.message_acknowledged(self, now)
                self.superseding = None
        return True

    def complete(self, now: float) -> None:
        """Stop: no more transmissions, the NSTART slot is free, nobody listens.

        The message ID stays reserved until it expires.  A message that was never sent is just taken out.
        """
        self.listener = self.when_sent = None
        cache = self._cache
        if cache is None:
            return
        remote = self._remote
        if self.transmissions == 0:
            remote.withdraw(self, now)
        elif self.state is not _COMPLETED:
            assert self.activated_at is not None
            self.state = _COMPLETED
            remote.outstanding -= 1
            cache._put_off(self, self.activated_at + self._parameters.exchange_lifetime)
            self._shed()
        if cache._pending:
            remote.release(now)

    def fail(self, os_error: OSError, now: float) -> None:
        """End the exchange because the network said that it is in vain."""
        listener = self.listener
        error = NetworkError(self.destination_endpoint, self._attempts, self._elapsed(now), os_error)
        self.complete(now)
        if listener is not None:
            listener.message_failed(self, error, now)

    def _hand_over(self, message: Message, now: float) -> bool:
        """Send *message* on the attempts that are left; False if there is no room or no message ID for it."""
        remote, cache = self._remote, self._require_cache()
        try:
            remote.require_room(message, is_response=self.is_solicited)
            message_id = message.message_id = remote.next_message_id()
            octets = _encode(message, message_id)
        except LocalProtocolError:
            return False
        assert self.activated_at is not None
        # The heir takes the NSTART slot; the ID of what it supersedes stays reserved, and a Reset for that one counts.
        self.state = _COMPLETED
        self.time_due = self._expires(self.activated_at)
        self._shed()
        heir = self._heir = SentMessageCacheEntry(
            cache,
            message,
            now,
            remote,
            octets,
            self._parameters,
            self.listener,
            self._local_address,
            None,
            self.is_solicited,
            True,
        )
        heir.state = _UNACKNOWLEDGED
        heir.activated_at, heir.transmissions = now, 1
        heir._begun_at, heir._attempts, heir._timeout = self._begun_at, self._attempts, self._timeout
        heir._repeat(now)
        return True

    def _repeat(self, now: float) -> None:
        self._attempts += 1
        self._timeout *= 2
        self._set_due(now, is_last=self._attempts > self._parameters.max_retransmit)
        self._remote.local.counters.retransmissions += 1
        self._send(now)

    def _set_due(self, now: float, *, is_last: bool) -> None:
        time_due = now + self._timeout
        if is_last:
            self.state = _FINAL_WAIT
            time_due = self._begun_at + self._parameters.max_transmit_wait
        self.time_due = time_due

    @property
    def _is_shed(self) -> bool:
        return self.state is _COMPLETED

    def _shed(self) -> None:
        """Let go of what nobody needs any more: an ICMP error is known by header and token."""
        message = self._message
        max_age = message.options.max_age if isinstance(message, Response) else None
        if max_age is None:
            del self._message
        else:
            self._message = message.replace(payload=b"", options=Options(max_age=max_age))
        kept = 4 + len(message.token)
        self.octets = self.octets[:kept]
        self._answers = self.superseding = None
        self._remote.local.counters.sent_octets -= self.size - kept
        self.size = kept

    def _expires(self, since: float) -> float:
        parameters = self._parameters
        return since + (parameters.non_lifetime if self.octets[0] & 0x30 else parameters.exchange_lifetime)

    def _put_behind(self, message: Message, octets: bytes) -> None:
        # In place of the one that stood behind it before, if any did.
        self.superseding = message
        self._count_octets(_kept(self._message, self.octets) + _kept(message, octets) - self.size)

    def _count_octets(self, octets: int) -> None:
        self.size += octets
        self._remote.local.counters.sent_octets += octets

    def _send(self, now: float, octets: bytes = b"") -> None:
        remote = self._remote
        octets = octets or self.octets
        error = remote.local.transmit(octets, remote.endpoint, self._local_address)
        if error is None:
            remote.count_unanswered(len(octets), now)
        else:
            self.fail(error, now)

    def _tell_that_it_went(self) -> None:
        when_sent, self.when_sent = self.when_sent, None
        if when_sent is not None:
            when_sent()

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
        return cls(reason, self.destination_endpoint, self._attempts, self._elapsed(now))

    def _elapsed(self, now: float) -> float:
        return 0.0 if self.activated_at is None else now - self._begun_at


def with_message_id(octets: bytes, message_id: int) -> bytes:
    """Return the datagram *octets* with another message ID."""
    return octets[:2] + message_id.to_bytes(2, "big") + octets[4:]


def _kept(message: Message, octets: bytes) -> int:
    return len(octets) + len(message.payload)


def _encode(message: Message, message_id: int) -> bytes:
    return encode_message(message.type, message.code, message_id, message.token, message.options, message.payload)


_OUTSTANDING = frozenset({_UNACKNOWLEDGED, _FINAL_WAIT})

_WHEN_DUE: dict[SentState, Callable[[SentMessageCacheEntry, float], None]] = {
    _PENDING: SentMessageCacheEntry._start_late,
    _UNACKNOWLEDGED: SentMessageCacheEntry.retransmit,
    _FINAL_WAIT: SentMessageCacheEntry._give_up,
    _COMPLETED: SentMessageCacheEntry._expire,
}
