"""What a local endpoint knows of one remote endpoint, and the congestion control towards it (:rfc:`7252` section 4.7).

Rule 1: at most NSTART Confirmable messages are outstanding; more wait in the pending FIFO.  A Non-confirmable request
takes no slot; PROBING_RATE bounds it instead.  Section 4.7 would count it as outstanding while a response is "still
expected", and leaves undefined how long that is: a publisher's NON, which nobody answers, must not keep Confirmable requests
waiting for MAX_RTT.  Rule 2: Non-confirmable
messages of our own accord go to a silent endpoint at PROBING_RATE on average, the first NSTART of them at once; a
response to a request is not of our own accord.  Rule 3: a message ID is never used again within its lifetime; when
none is free, messages wait in the pending FIFO too.  Non-confirmable responses leave a part of the IDs to all others,
or whoever asks in somebody else's name could silence us towards that one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, final

from trio_coap.messaging.cache import MessageCache
from trio_coap.messaging.errors import PendingLimitReached, SendLimitReached
from trio_coap.messaging.memory import RESERVED_SHARE
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.received import GROUP_RESPONSES, RcvdMessageCacheEntry
from trio_coap.messaging.receivedcache import ReceivedCache
from trio_coap.messaging.sent import SentListener, SentMessageCacheEntry, SentState, with_message_id
from trio_coap.wire.codes import CON
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress, Message, encode_message

if TYPE_CHECKING:
    from trio_coap.messaging.endpoint import Endpoint
    from trio_coap.messaging.expiry import ExpiryOrder
    from trio_coap.messaging.local import LocalEndpoint

_COMPLETED = SentState.COMPLETED

MESSAGE_IDS = 0x10000
"""How many message IDs there are between a pair of endpoints (:rfc:`7252` section 3)."""


@final
class RemoteEndpointState:
    """State relevant to the communication with one remote endpoint.

    Attributes:
      endpoint: the remote endpoint.
      local: the local endpoint whose state this is.
      sent_cache: the messages sent to it.
      rcvd_cache: the messages received from it.
      last_heard_at: when the last message came from it, in seconds; None if none ever did.
      rx_messages, rx_octets: what was received from it, duplicates included.
      tx_messages, tx_octets: what was sent to it, retransmissions included.
      unanswered_messages, unanswered_octets: likewise, without ACK, RST and repeated replies: what PROBING_RATE goes by.
      received_octets: what is kept of messages from it and of the replies to them, in octets.
      forgettable: the messages from it that may be forgotten early, the oldest first; None as long as it need not forget
        its own.
      held: NONs that PROBING_RATE holds back, in the order in which they were given.
      outstanding: how many Confirmable messages await their acknowledgement.
      stray_replies: ACKs and RSTs from it for nothing that was sent.
    """

    __slots__ = (
        "_is_releasing",
        "_next_message_id",
        "_tx_octets_when_heard",
        "_unheard_since",
        "endpoint",
        "forgettable",
        "held",
        "last_heard_at",
        "local",
        "outstanding",
        "rcvd_cache",
        "received_octets",
        "rx_messages",
        "rx_octets",
        "sent_cache",
        "stray_replies",
        "tx_messages",
        "tx_octets",
        "unanswered_messages",
        "unanswered_octets",
    )

    def __init__(self, endpoint: Endpoint, local: LocalEndpoint) -> None:
        """Start with nothing known of *endpoint*."""
        self.endpoint = endpoint
        self.local = local
        queue, parameters = local.queue, local.parameters
        self.sent_cache: MessageCache[SentMessageCacheEntry] = MessageCache(
            endpoint, True, queue=queue, parameters=parameters, clock=local.clock, on_removed=self._sent_removed
        )
        self.rcvd_cache = ReceivedCache(self, local.memory)
        self.last_heard_at: float | None = None
        self.rx_messages = 0
        self.rx_octets = 0
        self.tx_messages = 0
        self.tx_octets = 0
        self._tx_octets_when_heard = 0
        self.unanswered_messages = 0
        self.unanswered_octets = 0
        self.received_octets = 0
        self.forgettable: ExpiryOrder | None = None
        self.outstanding = 0
        self.stray_replies = 0
        self._unheard_since = 0.0
        self._next_message_id: int | None = None
        self._is_releasing = False
        self.held: OrderedDict[SentMessageCacheEntry, None] = OrderedDict()

    @property
    def last_heard_clk(self) -> float | None:
        """The same as ``last_heard_at``, by the name that CoAPy gives it."""
        return self.last_heard_at

    @property
    def tx_octets_since_heard(self) -> int:
        """What was sent to it since :attr:`last_heard_at`, in octets."""
        return self.tx_octets - self._tx_octets_when_heard

    @property
    def pending(self) -> int:
        """How many messages are held back."""
        return len(self.sent_cache._pending) + len(self.held)

    @property
    def is_idle(self) -> bool:
        """True if nothing would be lost by forgetting this state."""
        return not self.sent_cache and not self.rcvd_cache

    def next_message_id(self) -> int:
        """Return a message ID for a message to the endpoint.

        IDs are sequential from a random start; one that is still in the sent cache is passed over (section 4.4).  To the
        members of a group, a group request and a message of their own come from the same endpoint: these have no ID in
        common either.

        Raises:
          LocalProtocolError: if all are in use; SendLimitReached, if they are so with those towards groups or members.
        """
        taken, local = self.sent_cache.by_id, self.local
        if len(taken) >= MESSAGE_IDS:
            raise LocalProtocolError(f"all message IDs for {self.endpoint.uri} are in use")
        message_id = self._next_message_id
        if message_id is None:
            message_id = local.rng.randrange(MESSAGE_IDS)
        if local.known_groups.states:
            message_id = self._next_besides_groups(message_id)
        while message_id in taken:
            message_id = (message_id + 1) % MESSAGE_IDS
        self._next_message_id = (message_id + 1) % MESSAGE_IDS
        return message_id

    def _next_besides_groups(self, first: int) -> int:
        message_id = self.local.known_groups.next_free(first, self)
        if message_id is None:
            self.local.counters.turned_away["message IDs besides groups"] += 1
            raise SendLimitReached(f"no message ID for {self.endpoint.uri} is free towards groups and their members")
        return message_id

    def draw_timeout(self, parameters: TransmissionParameters) -> float:
        """Return the time to the first retransmission, in seconds: random, so that senders do not synchronize."""
        shortest = parameters.ack_timeout
        fraction = int.from_bytes(self.local.random.take(4), "big") / 0x1_0000_0000
        return shortest + shortest * (parameters.ack_random_factor - 1) * fraction

    def submit(
        self,
        message: Message,
        now: float,
        *,
        parameters: TransmissionParameters | None = None,
        listener: SentListener | None = None,
        local_address: EndpointAddress | None = None,
        answers: RcvdMessageCacheEntry | None = None,
        is_solicited: bool = False,
    ) -> SentMessageCacheEntry:
        """Send *message*, now or as soon as congestion control allows.

        Args:
          message: a CON or NON message.
          now: the current time, in seconds.
          parameters: for this message; by default the local endpoint's.
          listener: who wants to know what becomes of it.
          local_address: which of our addresses it leaves from.
          answers: the request, if it is a response, to which PROBING_RATE does not apply.
          is_solicited: True for a response without *answers*, such as a notification: the remote has asked for it.

        Raises:
          PendingLimitReached: if too many messages wait already; SendLimitReached, if too many are remembered.
          LocalProtocolError: if the message cannot be encoded, or its ID is in use.
        """
        cache, local = self.sent_cache, self.local
        parameters = parameters or local.parameters
        pending = cache._pending
        is_response = is_solicited or answers is not None
        # Most messages go out at once, and need not go through the FIFO.
        waits = (pending or self.outstanding >= parameters.nstart) if message.type is CON else not is_response
        try:
            octets = self._admit(message, is_response)
            waits = waits or message.message_id is None
            entry = SentMessageCacheEntry(
                cache,
                message,
                now,
                self,
                octets,
                parameters,
                listener,
                local_address,
                answers,
                is_response,
                bool(waits),
            )
        except LocalProtocolError:
            local.forget_remote_if_idle(self)
            raise
        if not waits:
            entry.transmit(now)
        elif entry.message_id is not None and (len(pending) == 1 or message.type is not CON):
            self._start(entry, now)
        # Otherwise it stands behind those that wait already.
        return entry

    def probe(self, entry: SentMessageCacheEntry, now: float) -> None:
        """Send a NON now, if PROBING_RATE allows, or hold it back."""
        if not self.held and self._allowed_at(entry.parameters) <= now:
            entry.transmit(now)
            return
        # Its time is known when it is the first that is held: until then nothing is due, and it is not in the queue.
        self.sent_cache._suspend(entry, is_pending=False)
        self.held[entry] = None
        self.release_held(now)

    def release_held(self, now: float) -> None:
        """Send what PROBING_RATE held back, as far as it now allows, and say when the next one is due."""
        while self.held:
            entry = next(iter(self.held))
            allowed_at = self._allowed_at(entry.parameters)
            if allowed_at > now:
                self.sent_cache._reposition(entry, allowed_at)
                return
            del self.held[entry]
            entry.transmit(now)

    def start_late(self, entry: SentMessageCacheEntry, now: float) -> None:
        """Send a message that waits until now; if it may not go yet, it goes back to where it waits."""
        if entry in self.held:
            self.release_held(now)
            if entry in self.held and next(iter(self.held)) is not entry:
                self.sent_cache._suspend(entry, is_pending=False)
        elif not self._number(entry) or not self._start(entry, now):
            self.sent_cache._suspend(entry)

    def release(self, now: float) -> None:
        """Send what waits in the pending FIFO, as far as there are NSTART slots and message IDs."""
        pending = self.sent_cache.pending()
        if not pending or self._is_releasing:
            return  # A message that fails at once frees its slot from within this very loop.
        self._is_releasing = True
        try:
            while pending:
                entry = next(iter(pending))
                if not self._number(entry) or not self._start(entry, now):
                    break
        finally:
            self._is_releasing = False

    def count_heard(self, octets: int, now: float) -> None:
        """Take a received datagram into account; what PROBING_RATE holds back may go, by :meth:`release_held`."""
        self.last_heard_at = now
        self.rx_messages += 1
        self.rx_octets += octets
        self._tx_octets_when_heard = self.tx_octets
        self.unanswered_messages = 0
        self.unanswered_octets = 0

    def count_unanswered(self, octets: int, now: float) -> None:
        """Take a sent CON or NON into account, which the peer may answer."""
        if self.unanswered_messages == 0:
            self._unheard_since = now
        self.unanswered_messages += 1
        self.unanswered_octets += octets

    def send_reply(self, octets: bytes, local_address: EndpointAddress | None) -> None:
        """Send an ACK or RST, or a reply again; nothing can be done if that fails, the peer will ask again."""
        self.local.transmit(octets, self.endpoint, local_address)

    def may_repeat(self, octets: int) -> bool:
        """Say whether a reply of so many octets may answer a duplicate; see :class:`RemoteListener`."""
        listener = self.local.remote_listener
        return listener is None or listener.may_repeat(self, octets, self.local.clock())

    def withdraw(self, entry: SentMessageCacheEntry, now: float) -> None:
        """Take out a message that was never sent."""
        was_held = entry in self.held
        self.sent_cache._remove(entry)
        if was_held:
            self.release_held(now)

    def forget_sent(self, entry: SentMessageCacheEntry, now: float) -> None:
        """Take out a message whose lifetime is over: its message ID is free.

        The last NON of our own accord stays as long as PROBING_RATE forbids another: that must not be forgotten.
        """
        is_last = len(self.sent_cache) == 1 + len(self.held)
        if is_last and entry.is_probe:
            paid_at = self._allowed_at(entry.parameters)
            if paid_at > now:
                entry.time_due = paid_at
                return
        self.sent_cache._remove(entry)
        self.release(now)

    def forget_received(self, entry: RcvdMessageCacheEntry) -> None:
        """Take out a message whose lifetime is over."""
        self.rcvd_cache._remove(entry)

    def require_room(self, message: Message, *, is_response: bool) -> None:
        """Refuse what is too much; who asks must not use up what we need to ask ourselves.

        Raises:
          SendLimitReached: if there is no room for *message*.
        """
        limits, counters = self.local.limits, self.local.counters
        has_room = 2 * counters.sent < limits.max_sent and 2 * counters.sent_octets < limits.max_sent_octets
        if has_room and 2 * len(self.sent_cache.by_id) < MESSAGE_IDS:
            return  # Nearly always, and there are no shares to be computed.
        share = RESERVED_SHARE if is_response else 0
        limit = None
        if counters.sent >= _without_share(limits.max_sent, share):
            limit = "max_sent"
        elif counters.sent_octets >= _without_share(limits.max_sent_octets, share):
            limit = "max_sent_octets"
        elif (
            message.type is not CON and len(self.sent_cache.keys()) >= _without_share(MESSAGE_IDS, share) < MESSAGE_IDS
        ):
            limit = "message IDs for responses"
        if limit is not None:
            counters.turned_away[limit] += 1
            raise SendLimitReached(f"{message!r} to {self.endpoint.uri} is too much ({limit})")

    def _admit(self, message: Message, is_response: bool) -> bytes:
        """Give *message* an ID, if one is free, and return its octets; raise if there is no room for it."""
        if self.sent_cache._pending or self.held:
            self._require_place()
        self.require_room(message, is_response=is_response)
        # Now, not when it goes out: what cannot be encoded is the caller's mistake, and the caller learns of it.
        message_id = message.message_id
        if message_id is None and len(self.sent_cache.by_id) < MESSAGE_IDS:
            message_id = self.next_message_id()
        octets = encode_message(
            message.type, message.code, message_id or 0, message.token, message.options, message.payload
        )
        message.message_id = message_id
        return octets

    def _require_place(self) -> None:
        """Raise if too many messages wait."""
        waiting = self.pending
        if waiting >= self.local.limits.max_pending_per_remote:
            self.local.counters.turned_away["max_pending_per_remote"] += 1
            raise PendingLimitReached(f"{waiting} messages wait for {self.endpoint.uri} already")

    def _start(self, entry: SentMessageCacheEntry, now: float) -> bool:
        """Begin with a pending message that has its ID; False if it must wait for an NSTART slot."""
        if entry.is_probe:
            self.probe(entry, now)
        elif entry.message.type is not CON or self.outstanding < entry.parameters.nstart:
            entry.transmit(now)
        else:
            return False
        return True

    def _number(self, entry: SentMessageCacheEntry) -> bool:
        """See to it that *entry* has a message ID; False if none is free."""
        if entry.message_id is not None:
            return True
        if len(self.sent_cache.keys()) >= MESSAGE_IDS:
            return False
        try:
            message_id = self.next_message_id()
        except SendLimitReached:
            return False
        self.sent_cache.number(entry, message_id)
        if self.local.known_groups.table is not None:
            self.local.known_groups.table.enter(message_id)
        entry.octets = with_message_id(entry.octets, message_id)
        return True

    def _allowed_at(self, parameters: TransmissionParameters) -> float:
        """Return when PROBING_RATE allows the next NON, in seconds."""
        if self.unanswered_messages < parameters.nstart:
            return self._unheard_since
        return self._unheard_since + self.unanswered_octets / parameters.probing_rate

    def _sent_removed(self, entry: SentMessageCacheEntry) -> None:
        if self.held:
            self.held.pop(entry, None)
        if entry.state is not _COMPLETED:
            if entry.is_outstanding:
                self.outstanding -= 1
            entry.state = _COMPLETED
        local = self.local
        counters, table = local.counters, local.known_groups.table
        counters.sent -= 1
        counters.sent_octets -= entry.size
        if table is not None and entry.message_id is not None:
            table.leave(entry.message_id)
        if not self.sent_cache:
            local.forget_remote_if_idle(self)

    def received_removed(self, entry: RcvdMessageCacheEntry) -> None:
        """Learn that the entry of a message has been removed from the cache."""
        if entry.respond_at is not None:
            self.local.counters.turned_away[GROUP_RESPONSES] += 1
        self.records_removed(entry.size)

    def records_removed(self, size: int, number: int = 1) -> None:
        """Learn that so many messages have been removed from the cache, of so many octets in all, replies included."""
        self.received_octets -= size
        local = self.local
        counters = local.counters
        counters.received -= number
        counters.received_octets -= size
        if not self.rcvd_cache.kept:
            local.forget_remote_if_idle(self)


def _without_share(limit: int, share: int) -> int:
    return limit - limit // share if share else limit
