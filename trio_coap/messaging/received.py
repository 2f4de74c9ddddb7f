"""The life of a message that we received: acknowledgement, response, duplicates (:rfc:`7252` sections 4 and 5.2).

==============  ============================================================  ===================
state           what is due                                                   and then
==============  ============================================================  ===================
``RECEIVED``    of a CON: the empty ACK, if no response came before           ``REPLIED``
``RECEIVED``    of a group request: the response, at a moment of its leisure  ``REPLIED``
``RECEIVED``    of a NON: the end of the message ID's lifetime                removed
``REPLIED``     of a group request that came again: the response once more    ``REPLIED``
``REPLIED``     the end of the message ID's lifetime                          removed
==============  ============================================================  ===================

Rule 1: a duplicate gets the octets of the reply again, and goes no further.  Rule 2: of what only waits for the end of its
message ID's lifetime, octets are kept and nothing else (:mod:`~trio_coap.messaging.receivedcache`): a server remembers a
hundred thousand of them, and they are hardly ever looked at.  Whoever has such an entry sees what is kept through it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, final

from trio_coap.messaging import records
from trio_coap.messaging.cache import MessageCache, MessageCacheEntry
from trio_coap.messaging.errors import ReplyMessageError
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentListener, SentMessageCacheEntry
from trio_coap.wire.codes import ACK, CON, NON, RST
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress, Message, Response, decode_message_untrusted, encode_message

if TYPE_CHECKING:
    from trio_coap.messaging.receivedcache import ReceivedCache
    from trio_coap.messaging.remote import RemoteEndpointState


class ReceivedState(enum.Enum):
    """Where a received message stands; the table is at the top of the module."""

    RECEIVED = enum.auto()
    REPLIED = enum.auto()


GROUP_RESPONSES = "responses to group requests"
"""The counter of those that could not be sent when their moment came, or whose request was forgotten before."""


@final
class RcvdMessageCacheEntry(MessageCacheEntry):
    """A CON or NON message from one remote endpoint, and what it was answered.

    Attributes:
      is_kept: whether a record has been made of the entry.
      reply_octets: the datagram of the ACK or RST that was sent for it, or of a NON request of the response; empty before.
      local_address: which of our addresses it came to, where the socket tells.
      is_multicast: whether that is a group's.
    """

    __slots__ = (
        "_datagram",
        "_decoded",
        "_delayed",
        "_remote",
        "is_kept",
        "is_multicast",
        "local_address",
        "reply_octets",
    )

    def __init__(
        self,
        cache: ReceivedCache,
        message: Message,
        now: float,
        *,
        remote: RemoteEndpointState,
        datagram: bytes,
        local_address: EndpointAddress | None = None,
    ) -> None:
        """Remember *message*; the message layer gives it a time when it has been passed on.

        Args:
          cache: the remote endpoint's cache of received messages.
          message: a CON or NON message of that endpoint.
          now: the current time, in seconds.
          remote: what is known of the source.
          datagram: the octets of *message*.
          local_address: which of our addresses the message came to.
        """
        # Not by super().__init__(), which has more to decide: one is made for each message that comes in.
        self._cache = cache
        self._decoded: Message | None = message
        self.message_id = message.message_id
        self.created_at = self.activated_at = now
        self.queue_time = None
        self.queue_place = -1
        self.is_kept = False
        self.reply_octets = b""
        self._datagram = datagram
        self._delayed: tuple[Response, float, TransmissionParameters | None, SentListener | None] | None = None
        self.local_address = local_address
        self.is_multicast = local_address is not None and local_address.is_multicast
        self._remote = remote
        size = len(datagram)
        cache._add(self, is_pending=False)
        counters = remote.local.counters
        counters.received += 1
        counters.received_octets += size
        remote.received_octets += size

    @classmethod
    def of_record(
        cls, message_id: int, record: bytes, remote: RemoteEndpointState, local_address: EndpointAddress | None
    ) -> RcvdMessageCacheEntry:
        """Make an entry of what is kept of a message.

        Args:
          message_id: the message's.
          record: see :mod:`trio_coap.messaging.records`.
          remote: what is known of the source.
          local_address: which of our addresses the message came to.
        """
        self = cls.__new__(cls)
        self.created_at, self._datagram, self.reply_octets = records.unpack(record)
        self.activated_at = self.created_at
        self.message_id = message_id
        self.local_address = local_address
        self.is_multicast = local_address is not None and local_address.is_multicast
        self.is_kept = True
        self._delayed = None
        self._remote = remote
        self._cache = remote.rcvd_cache
        self._decoded = None
        self.queue_time = None
        self.queue_place = -1
        return self

    @property
    def cache(self) -> MessageCache[RcvdMessageCacheEntry] | None:
        """The cache to which the entry belongs; None once it has been removed."""
        if not self.is_kept:
            return self._cache
        cache = self._remote.rcvd_cache
        return cache if cache.has(self) else None

    @property
    def time_due(self) -> float | None:
        """See :attr:`MessageCacheEntry.time_due`."""
        if not self.is_kept:
            return self.queue_time
        cache = self.cache
        if cache is None:
            return None
        # A duplicate may have made an entry of the record, which has something to do.
        active = cache.by_id.get(self.message_id)  # type: ignore[arg-type]
        return self._expires(self.created_at) if active is None else active.queue_time

    @time_due.setter
    def time_due(self, time_due: float) -> None:
        cache = self._require_cache()
        if self.is_kept:
            self._look_up_reply()
            self._remote.rcvd_cache.revive(self)
            self.is_kept = False
        cache._reposition(self, time_due)

    @property
    def reception_count(self) -> int:
        """How often it was received, the first time included; once it has been removed, that is not known any more."""
        return 1 + self._remote.rcvd_cache.repetitions.get(self.message_id, 0)  # type: ignore[arg-type]

    @property
    def message(self) -> Message:
        """The message; once it has a reply, or a record has been made of it, it is decoded anew each time."""
        if self._decoded is not None:
            return self._decoded
        remote = self._remote
        return decode_message_untrusted(self._datagram, remote.endpoint, remote.local, self.local_address)

    @property
    def size(self) -> int:
        """How much is kept for it, in octets: its datagram, and that of the reply."""
        return len(self._datagram) + len(self.reply_octets)

    @property
    def state(self) -> ReceivedState:
        """Where it stands."""
        return ReceivedState.REPLIED if self.reply_octets else ReceivedState.RECEIVED

    @property
    def reply_message(self) -> Message | None:
        """What :attr:`reply_octets` say; None before."""
        return decode_message_untrusted(self.reply_octets) if self.reply_octets else None

    @property
    def is_confirmable(self) -> bool:
        """True for a CON message."""
        return not self._datagram[0] & 0x30

    @property
    def remote(self) -> RemoteEndpointState:
        """What is known of the source."""
        return self._remote

    @property
    def is_harmless(self) -> bool:
        """True if the message is of a kind that may be executed twice."""
        return records.is_harmless(self._datagram)

    @property
    def is_forgettable(self) -> bool:
        """True if executing the message twice does no harm (:rfc:`7252` section 4.5).

        Besides idempotent requests and responses, these are requests that were rejected or answered by an error.
        """
        return self.is_harmless or records.was_in_vain(self.reply_octets)

    @property
    def owes_acknowledgement(self) -> bool:
        """True as long as neither ACK nor RST was sent for a CON; a group request gets neither (section 8.1)."""
        return not self.reply_octets and not self._datagram[0] & 0x30 and not self.is_multicast

    @property
    def is_being_passed_on(self) -> bool:
        """True as long as the message layer has not given the entry its time: a listener is just being told."""
        return self.queue_time is None and not self.is_kept

    def is_reply_quoted_by(self, quoted: bytes) -> bool:
        """Return whether *quoted* is the beginning of the reply's datagram, header and token at the least."""
        reply = self.reply_octets
        return bool(reply) and len(quoted) >= 4 + (reply[0] & 15) and reply.startswith(quoted)

    @property
    def respond_at(self) -> float | None:
        """When the response to a group request goes out, in seconds; None if there is none that waits."""
        return None if self._delayed is None else self._delayed[1]

    def process_timeout(self, now: float) -> None:
        """Do what the table says for the state; see :meth:`MessageCacheEntry.process_timeout`."""
        self._require_cache()
        if self._delayed is not None:
            self._respond_after_leisure(now)
        elif self.owes_acknowledgement:
            self.reply()
        elif self.is_multicast and self.reply_octets and not self.is_kept and now < self._expires(self.created_at):
            self.keep()
            self._repeat()
        else:
            self._remote.forget_received(self)

    def receive_again(self) -> None:
        """Take a duplicate into account: it is answered as before (section 4.5).

        It need not be as long as the first one, and so says nothing about how much its source may be sent.
        """
        repetitions, message_id = self._remote.rcvd_cache.repetitions, self.message_id
        assert message_id is not None
        repetitions[message_id] = repetitions.get(message_id, 0) + 1
        if not self.reply_octets:
            return
        if not self.is_multicast:
            self._repeat()
            return
        # A duplicate reaches all members too: nobody answers it at once, and one answer is enough for several.
        expires_at = self._expires(self.created_at)
        if self.time_due == expires_at:
            self.time_due = min(expires_at, self._remote.local.clock() + self._draw_leisure())

    def _repeat(self) -> None:
        if self._remote.may_repeat(len(self.reply_octets)):
            self._remote.send_reply(self.reply_octets, self.local_address)

    def _draw_leisure(self) -> float:
        local = self._remote.local
        return local.rng.uniform(0.0, local.parameters.default_leisure)

    def reply(self, reset: bool = False, message: Message | None = None) -> Message:
        """Send the ACK or RST for the message.

        Args:
          reset: True for a RST; without *message* only.
          message: a response of type ACK, to be piggybacked; without one an empty ACK or RST is sent.

        Returns:
          The reply.

        Raises:
          ReplyMessageError: if the message has a reply, or *message* is not a proper reply to it.
          LocalProtocolError: if the entry is in no cache any more, a group request or a NON is
            to be acknowledged, or *reset* is given with a message.
        """
        self._require_cache()
        self._look_up_reply()
        self._check_reply(message)
        if reset and message is not None:
            raise LocalProtocolError("a Reset is empty; give either reset or a message")
        if self.is_multicast or not (self.is_confirmable or reset):
            # Sections 4.3 and 8.1: there is no ACK to a NON, and neither ACK nor RST to a group request.
            raise LocalProtocolError(f"there is no acknowledging {self.message!r}")
        if message is None:
            message = Message(type=RST if reset else ACK, message_id=self.message_id)
        message.message_id = self.message_id
        self._complete(message.encode())
        self._remote.send_reply(self.reply_octets, self.local_address)
        return message

    def respond(
        self,
        response: Response,
        now: float,
        *,
        parameters: TransmissionParameters | None = None,
        listener: SentListener | None = None,
    ) -> SentMessageCacheEntry | None:
        """Send *response* in the way that is still open (section 5.2).

        It is piggybacked if the ACK is still owed.  Otherwise it goes as a message of its own: a CON for a CON
        request unless the response is of type NON, a NON for a NON request.  That to a group request goes at a random
        moment of DEFAULT_LEISURE after the request (section 8.2), so that not all members answer at once.

        Args:
          response: the response; its token, type and message ID are set here.
          now: the current time, in seconds.
          parameters: for a response that goes as a message of its own.
          listener: who wants to know what becomes of such a message.

        Returns:
          The entry of that message; None for a piggybacked response, and for one that waits.

        Raises:
          PendingLimitReached: if too many messages wait for the source already, or too much that was sent is remembered.
        """
        if self.is_multicast and self.cache is not None and self._delayed is None:
            self._delayed = response, max(now, self.created_at + self._draw_leisure()), parameters, listener
            if not self.is_being_passed_on:
                self.time_due = self._delayed[1]
            return None
        return self._respond(response, now, parameters, listener)

    def _respond_after_leisure(self, now: float) -> None:
        assert self._delayed is not None
        response, _, parameters, listener = self._delayed
        self._delayed = None
        if not self.is_being_passed_on:  # Otherwise it gets its place after that.
            self.keep()
        try:
            self._respond(response, now, parameters, listener)
        except LocalProtocolError:
            self._remote.local.counters.turned_away[GROUP_RESPONSES] += 1

    def _respond(
        self,
        response: Response,
        now: float,
        parameters: TransmissionParameters | None,
        listener: SentListener | None,
    ) -> SentMessageCacheEntry | None:
        datagram = self._datagram
        response.token = token = datagram[4 : 4 + (datagram[0] & 15)]
        if self.owes_acknowledgement:
            message_id = self.message_id
            assert message_id is not None
            response.type = ACK
            response.message_id = message_id
            octets = encode_message(ACK, response.code, message_id, token, response.options, response.payload)
            self._complete(octets)
            self._remote.local.transmit(octets, self._remote.endpoint, self.local_address)
            return None
        if not self.is_confirmable:
            response.type = NON
        elif response.type is not NON:
            response.type = CON
        # A handler may take longer than the message is remembered, and than anything is known of the source.
        self._remote = self._remote.local.remote_state(self._remote.endpoint)
        return self._remote.submit(
            response,
            now,
            parameters=parameters,
            listener=listener,
            local_address=self.local_address,
            answers=self,
        )

    def response_sent(self, octets: bytes) -> None:
        """Learn that a response goes out as a message of its own.

        A duplicate of a NON gets the first response again; what comes after it are notifications.
        """
        if self.cache is None:
            return
        self._look_up_reply()
        if not self.reply_octets:
            self._complete(octets)

    def _look_up_reply(self) -> None:
        """Take over the reply that the message got through another entry, made of the same record."""
        if self.is_kept and not self.reply_octets:
            assert self.message_id is not None
            self.reply_octets = self._remote.rcvd_cache.reply_of(self.message_id)

    def _check_reply(self, message: Message | None) -> None:
        diagnostic = None
        if self.reply_octets:
            diagnostic = ReplyMessageError.ALREADY_GIVEN
        elif message is None:
            return
        elif message.message_id is not None and message.message_id != self.message_id:
            diagnostic = ReplyMessageError.ID_MISMATCH
        elif not isinstance(message, Response):
            diagnostic = ReplyMessageError.NOT_RESPONSE
        elif message.type is not ACK:
            diagnostic = ReplyMessageError.RESPONSE_NOT_ACK
        elif message.token != self.message.token:
            diagnostic = ReplyMessageError.TOKEN_MISMATCH
        if diagnostic is not None:
            raise ReplyMessageError(diagnostic, self, message)

    def _complete(self, octets: bytes) -> None:
        """Remember the reply, and let go of all but octets."""
        self.reply_octets = octets
        self._decoded = None
        if self._cache is None or (self.is_kept and self.cache is None):
            return  # A handler may outlive its endpoint.
        kept, remote = len(octets), self._remote
        remote.received_octets += kept
        remote.local.counters.received_octets += kept
        if (self.queue_time is None and not self.is_kept) or self._delayed is not None:
            return  # It is just being passed on, or has another response to send.
        self.keep()
        if self.is_forgettable and not self.is_harmless:
            remote.local.memory.may_be_forgotten_after_all(self)

    def keep(self) -> None:
        """Let what only waits for the end of its ID's lifetime become a record, or write it anew."""
        remote = self._remote
        cache = remote.rcvd_cache
        if self.is_kept:
            cache.revive(self)  # Another entry of the record may stand for the message.
        elif self.queue_time is not None:
            remote.local.queue.discard(self)
        cache.keep(self, self._datagram, self.reply_octets)

    def step_aside(self) -> None:
        """Let another entry, made of the same record, stand for the message; a response that waits is not sent."""
        local = self._remote.local
        local.queue.discard(self)
        self.is_kept = True
        if self._delayed is not None:
            self._delayed = None
            local.counters.turned_away[GROUP_RESPONSES] += 1

    def is_of_record(self, record: bytes) -> bool:
        """Return whether *record* is of the same message."""
        return records.is_of(record, self.created_at, self._datagram)

    def is_of_same_message(self, other: RcvdMessageCacheEntry) -> bool:
        """Return whether *other* is an entry of the same message."""
        return self.created_at == other.created_at and self._datagram == other._datagram

    def _expires(self, since: float) -> float:
        parameters = self.parameters
        return since + (parameters.exchange_lifetime if self.is_confirmable else parameters.non_lifetime)
