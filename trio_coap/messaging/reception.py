"""What happens to a message that arrives (:rfc:`7252` sections 4.2, 4.3, 4.5 and 5.3.2).

======================  ======================================================================================
what arrives            what happens
======================  ======================================================================================
malformed               CON: Reset; everything else: silence (section 4.2)
a duplicate             answered as before, goes no further (section 4.5)
empty CON               Reset: the CoAP ping (section 4.3)
empty NON               ignored (section 4.3)
request                 to the request listener; without one, Reset or silence, and no memory
response in CON or NON  to who waits for its token; otherwise Reset, to a NON too (section 4.3), and no memory
ACK                     to the message it acknowledges, and a response in it to who waits for it
RST                     to the message it rejects; for an ACK of ours, to the remote listener
an ICMP error           to the message that it quotes; the remote listener learns of it too
======================  ======================================================================================

Rule 1: an ACK or RST counts only if it comes from where the message went to.  Rule 2: a group request is answered by
the request listener or not at all (section 8.1).  Rule 3: what is
rejected without a listener's doing leaves nothing behind.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, final

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.memory import Memory
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.rejections import Rejections
from trio_coap.wire.codes import ACK, CON, NON, RST
from trio_coap.wire.errors import MessageFormatError
from trio_coap.wire.message import EndpointAddress, Message, Request, Response, decode_message_untrusted

UNGUESSABLE = 4
"""Octets of a token that nobody guesses (:rfc:`7252` section 5.3.1)."""

if TYPE_CHECKING:
    from trio_coap.messaging.local import LocalEndpoint, ResponseListener
    from trio_coap.messaging.remote import RemoteEndpointState


class Reason(enum.Enum):
    """Why a well-formed message is rejected or ignored: a text, by which it is counted, and a section of RFC 7252."""

    CON_TO_GROUP = "a Confirmable request to a group", "8.1"
    NOT_SERVED = "a request, and nobody serves here", "4.2"
    RESPONSE_TO_GROUP = "a response to a group", "8.1"
    UNKNOWN_TOKEN = "a response with an unknown token", "5.3.2"
    EMPTY_TO_GROUP = "an empty message to a group", "8.1"
    EMPTY_NON = "an empty Non-confirmable message", "4.3"
    ACK_TO_NOTHING = "an acknowledgement for nothing that was sent", "4.2"
    RST_TO_NOTHING = "a Reset for nothing that was sent", "4.2"
    RST_WITH_CONTENT = "a Reset that is not empty", "4.2"
    ACK_WITH_REQUEST = "an acknowledgement that carries a request", "4.2"
    RESPONSE_TO_NO_REQUEST = "a piggybacked response to what is no request", "5.2.1"
    ANOTHER_TOKEN = "a piggybacked response with another token", "5.3.2"
    SECOND_ACK = "an acknowledgement that does not fit, or a second one", "4.2"
    SECOND_RST = "a Reset that does not fit, or a second one", "4.2"
    FOREIGN_ERROR = "an ICMP error that quotes nothing we sent", "4.2"


MAX_STRAY_REPLIES = 8
"""A remote endpoint with more ACKs and RSTs for nothing than these may be somebody who guesses message IDs in its name:
what it acknowledges then says nothing of its address.  Guessing comes true once in 8,000 times at best."""


@final
class Reception:
    """The receiving half of a local endpoint's engine."""

    __slots__ = ("_counters", "_local", "memory", "rejections")

    def __init__(self, local: LocalEndpoint) -> None:
        """Receive for *local*."""
        self._local = local
        self._counters = local.counters
        self.rejections = Rejections(local.counters, local.limits.max_logged_rejections)
        self.memory = Memory(local)

    def process_datagram(
        self, data: bytes, source: Endpoint, now: float, local_address: EndpointAddress | None
    ) -> Message | None:
        """Process a datagram; see :meth:`LocalEndpoint.datagram_received`."""
        counters = self._counters
        counters.rx_messages += 1
        counters.rx_octets += len(data)
        state = self._local.known_remote(source)
        if state is not None:
            state.count_heard(len(data), now)
        try:
            message = decode_message_untrusted(data, source, self._local, local_address)
        except MessageFormatError as exc:
            if state is not None:
                state.release_held(now)
            self._reject_malformed(exc, source, now, local_address)
            return None
        if message.type is CON or message.type is NON:
            result = self._process_message(message, source, state, data, now)
        else:
            result = self._process_reply(message, source, state, now)
        # After all else: who learns of a failure may do what it likes, close the endpoint too.
        if state is not None and state.held:
            state.release_held(now)
        return result

    def _reject_malformed(
        self, exc: MessageFormatError, source: Endpoint, now: float, local_address: EndpointAddress | None
    ) -> None:
        self.rejections.count(exc.rule, exc.section, source, now, f"at octet {exc.offset}")
        if exc.message_type is None:
            return  # Sections 3 and 4.1: what cannot even be read as a header is ignored.
        if exc.message_type == CON and not (local_address is not None and local_address.is_multicast):
            self._local.transmit(Message(type=RST, message_id=exc.message_id).encode(), source, local_address)
        raise exc

    def _process_message(
        self, message: Message, source: Endpoint, state: RemoteEndpointState | None, data: bytes, now: float
    ) -> Message | None:
        """Process a CON or NON message."""
        message_id = message.message_id
        assert message_id is not None
        if state is not None:
            cache = state.rcvd_cache
            if message_id in cache.kept or message_id in cache.by_id:
                self._counters.duplicates += 1
                cache[message_id].receive_again()
                return None
        if message.code == 0:
            return self._process_empty(message, source, now)
        request_listener = self._local.request_listener
        is_request = isinstance(message, Request)
        local_address = message.local_address
        is_to_group = local_address is not None and local_address.is_multicast
        if (not is_request or is_to_group or request_listener is None) and not self._is_served(message, source, now):
            return message
        if state is None or not self.memory.has_ample_room:
            if not self.memory.make_room(state):
                return None
            if state is None or self._local.known_remote(source) is None:  # Making room may have forgotten it, too.
                state = self._local.remote_state(source)
                state.count_heard(len(data), now)
        entry = RcvdMessageCacheEntry(
            state.rcvd_cache, message, now, remote=state, datagram=data, local_address=local_address
        )
        if is_request:
            assert isinstance(message, Request)
            assert request_listener is not None
            request_listener.request_received(message, entry, now)
        else:
            assert isinstance(message, Response)
            self._pass_response(message, entry, now)
        if entry._cache is not None:  # Unless the endpoint has been closed meanwhile.
            self.memory.enter(entry, state, now)
        return message

    def _is_served(self, message: Message, source: Endpoint, now: float) -> bool:
        """Say whether somebody here takes *message*; if not, it is rejected, and not remembered.

        A duplicate is rejected in the same way, without any memory of the first.
        """
        is_multicast = message.is_multicast_locally
        is_resettable = not is_multicast
        if isinstance(message, Request):
            if is_multicast and message.type is CON:
                reason = Reason.CON_TO_GROUP
            elif self._local.request_listener is None:
                reason = Reason.NOT_SERVED
                is_resettable = is_resettable and message.type is CON
            else:
                return True
        elif is_multicast:
            reason = Reason.RESPONSE_TO_GROUP  # Neither ACK nor Reset may answer it.
        elif self._response_listener(message, source) is None:
            reason = Reason.UNKNOWN_TOKEN
        else:
            return True
        self._reject(reason, source, now)
        if is_resettable:
            self._reset(message, source)
        return False

    def _reset(self, message: Message, source: Endpoint) -> None:
        reset = Message(type=RST, message_id=message.message_id)
        self._local.transmit(reset.encode(), source, message.local_address)

    def _response_listener(self, message: Message, source: Endpoint) -> ResponseListener | None:
        tokens = self._local.tokens
        listener = tokens.get((source, message.token))
        return tokens.get((None, message.token)) if listener is None else listener

    def _process_empty(self, message: Message, source: Endpoint, now: float) -> Message | None:
        if message.is_multicast_locally:
            self._reject(Reason.EMPTY_TO_GROUP, source, now)
            return None
        if message.type is NON:
            self._reject(Reason.EMPTY_NON, source, now)
            return None
        self._reset(message, source)
        return message

    def _pass_response(self, response: Response, entry: RcvdMessageCacheEntry, now: float) -> None:
        listener = self._response_listener(response, entry.remote.endpoint)
        assert listener is not None
        # The token of a group request is known to a whole group.
        is_secret = len(response.token) >= UNGUESSABLE and (entry.remote.endpoint, response.token) in self._local.tokens
        is_accepted = listener.response_received(response, now)
        remote_listener = self._local.remote_listener
        if is_accepted and remote_listener is not None and is_secret:
            remote_listener.address_proved(entry.remote.endpoint, now)
        # Rejecting a NON may be done in silence (section 4.3).  The listener may have closed the endpoint.
        if response.type is CON and entry.cache is not None:
            entry.reply(reset=not is_accepted)

    def _process_reply(
        self, message: Message, source: Endpoint, state: RemoteEndpointState | None, now: float
    ) -> Message | None:
        """Process an ACK or RST."""
        message_id = message.message_id
        assert message_id is not None
        entry = None if state is None else state.sent_cache.by_id.get(message_id)
        if state is None or entry is None:
            return self._process_stray_reply(message, source, state, now)
        # Most are empty, and there is nothing to be wrong with them.
        reason = _fault_of_content(message, entry.message) if message.code else None
        if reason is None and not entry.process_reply(message, now):
            reason = Reason.SECOND_ACK if message.type is ACK else Reason.SECOND_RST
        if reason is not None:
            # Section 4.2: rejecting an ACK or RST means ignoring it.
            self._reject(reason, source, now)
            return None
        remote_listener = self._local.remote_listener
        if remote_listener is not None and message.type is ACK and state.stray_replies <= MAX_STRAY_REPLIES:
            remote_listener.address_proved(source, now)
        if isinstance(message, Response):
            listener = self._local.tokens.get((source, message.token))
            if listener is not None:
                listener.response_received(message, now)
        return message

    def _process_stray_reply(
        self, message: Message, source: Endpoint, state: RemoteEndpointState | None, now: float
    ) -> Message | None:
        """Process an ACK or RST for nothing that was sent in a CON or NON."""
        message_id = message.message_id
        assert message_id is not None
        if message.type is RST and message.code == 0 and self._reject_reply(state, message_id, now):
            return message
        if state is not None:
            state.stray_replies += 1
        self._reject(Reason.ACK_TO_NOTHING if message.type is ACK else Reason.RST_TO_NOTHING, source, now)
        return None

    def _reject_reply(self, state: RemoteEndpointState | None, message_id: int, now: float) -> bool:
        """Take an RST for an ACK of ours into account; False if it is for nothing."""
        received = None if state is None else state.rcvd_cache.find(message_id)
        reply = b"" if received is None else received.reply_octets
        if received is None or not reply or reply[0] >> 4 & 3 != ACK:
            return False
        self._lose_interest(received, now)
        return True

    def _lose_interest(self, received: RcvdMessageCacheEntry, now: float) -> None:
        listener, request = self._local.remote_listener, received.message
        if listener is not None and isinstance(request, Request):
            listener.interest_lost(received.remote.endpoint, request, now)

    def process_error(self, remote: Endpoint, quoted: bytes, os_error: OSError, now: float) -> bool:
        """Process an ICMP error; see :meth:`LocalEndpoint.error_received`."""
        # Nobody sends one about a message to a group (RFC 1122 section 3.2.2): it would be about one way of several.
        state = None if remote.is_multicast else self._local.known_remote(remote)
        if state is not None and len(quoted) >= 4:
            message_id = int.from_bytes(quoted[2:4], "big")
            entry = state.sent_cache.by_id.get(message_id)
            if entry is not None and entry.transmissions and entry.is_quoted_by(quoted):
                listener = self._local.remote_listener
                entry.fail(os_error, now)
                if listener is not None:
                    listener.interest_lost(remote, None, now)
                return True
            received = state.rcvd_cache.find(message_id)
            if received is not None and received.is_reply_quoted_by(quoted):
                self._lose_interest(received, now)
                return True
        self._reject(Reason.FOREIGN_ERROR, remote, now)
        return False

    def _reject(self, reason: Reason, source: Endpoint, now: float) -> None:
        text, section = reason.value
        self.rejections.count(text, section, source, now)


def _fault_of_content(message: Message, answered: Message) -> Reason | None:
    """Return what is wrong with an ACK or RST that is not empty, and is for *answered*; None for nothing."""
    if message.type is RST:
        return Reason.RST_WITH_CONTENT
    if not isinstance(message, Response):
        return Reason.ACK_WITH_REQUEST
    if not isinstance(answered, Request):
        return Reason.RESPONSE_TO_NO_REQUEST
    return None if message.token == answered.token else Reason.ANOTHER_TOKEN
