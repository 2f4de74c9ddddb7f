"""The life of a received message: RFC 7252 sections 4.2, 4.3, 4.5 and 5.2."""

from __future__ import annotations

import errno

import pytest

from tests.messaging.engine import GROUP, OURS, PEER, EngineEndpoint, Fate, Server, content, get, make_engine
from trio_coap.messaging.errors import PendingLimitReached, ReplyMessageError
from trio_coap.messaging.parameters import Limits, TransmissionParameters
from trio_coap.messaging.received import RcvdMessageCacheEntry, ReceivedState
from trio_coap.wire.codes import ACK, CON, NON, RST, Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Message, Request, Response

CONTENT = Response(Code.CONTENT, b"22.3 C", type=ACK, message_id=0x1234, token=b"\x20")


def received(request: Request | None = None) -> tuple[EngineEndpoint, RcvdMessageCacheEntry]:
    """Return an engine with one request that nobody has answered yet."""
    engine, server = make_engine(), Server()
    engine.request_listener = server
    engine.hear(request or get(message_id=0x1234), PEER)
    (entry,) = server.entries
    return engine, entry


def response(**fields) -> Response:
    fields = {"type": ACK, "message_id": 0x1234, "token": b"\x20", **fields}
    return Response(Code.CONTENT, b"22.3 C", **fields)


def diagnostic_of(entry: RcvdMessageCacheEntry, message: Message | None) -> str:
    with pytest.raises(ReplyMessageError) as caught:
        entry.reply(message=message)
    assert caught.value.args == (caught.value.diagnostic, entry, message)
    assert caught.value.cache_entry is entry
    assert caught.value.message is message
    assert caught.value.diagnostic in str(caught.value)
    return caught.value.diagnostic


# reply()


def test_without_a_message_the_reply_is_an_empty_acknowledgement() -> None:
    engine, entry = received()
    reply = entry.reply()
    assert engine.take_one() == reply == Message(type=ACK, message_id=0x1234)
    assert entry.reply_message == reply


def test_a_reset_is_empty() -> None:
    engine, entry = received()
    reply = entry.reply(reset=True)
    assert engine.take_one() == reply == Message(type=RST, message_id=0x1234)


def test_a_response_is_piggybacked() -> None:
    engine, entry = received()
    assert entry.reply(message=response()) == engine.take_one() == CONTENT


def test_a_response_without_a_message_id_gets_it() -> None:
    engine, entry = received()
    entry.reply(message=response(message_id=None))
    assert engine.take_one() == CONTENT


def test_a_second_reply_is_refused() -> None:
    _, entry = received()
    entry.reply()
    assert diagnostic_of(entry, response()) == ReplyMessageError.ALREADY_GIVEN == "Message already has reply"
    assert diagnostic_of(entry, None) == ReplyMessageError.ALREADY_GIVEN


def test_a_reply_with_another_message_id_is_refused() -> None:
    _, entry = received()
    diagnostic = diagnostic_of(entry, response(message_id=1))
    assert diagnostic == ReplyMessageError.ID_MISMATCH == "Message IDs do not match"


def test_a_reply_that_is_a_request_is_refused() -> None:
    _, entry = received()
    diagnostic = diagnostic_of(entry, get(type=ACK, message_id=0x1234))
    assert diagnostic == ReplyMessageError.NOT_RESPONSE == "Non-empty reply is not a response"


@pytest.mark.parametrize("type", [CON, NON, RST])
def test_a_reply_of_another_type_than_ack_is_refused(type) -> None:
    _, entry = received()
    diagnostic = diagnostic_of(entry, response(type=type))
    assert diagnostic == ReplyMessageError.RESPONSE_NOT_ACK == "Piggy-backed response is not ACK"


def test_a_reply_with_another_token_is_refused() -> None:
    _, entry = received()
    diagnostic = diagnostic_of(entry, response(token=b"\x21"))
    assert diagnostic == ReplyMessageError.TOKEN_MISMATCH == "Tokens do not match"


def test_the_diagnostics_come_in_the_order_of_the_seed() -> None:
    """Each message has one fault less than the one before."""
    _, entry = received()
    not_response = Request(Code.GET, type=CON, message_id=1, token=b"\x21")
    not_ack = Response(Code.CONTENT, type=CON, message_id=0x1234, token=b"\x21")
    assert diagnostic_of(entry, not_response) == ReplyMessageError.ID_MISMATCH
    not_response.message_id = 0x1234
    assert diagnostic_of(entry, not_response) == ReplyMessageError.NOT_RESPONSE
    assert diagnostic_of(entry, not_ack) == ReplyMessageError.RESPONSE_NOT_ACK
    not_ack.type = ACK
    assert diagnostic_of(entry, not_ack) == ReplyMessageError.TOKEN_MISMATCH
    entry.reply()
    not_response.message_id = 1
    assert diagnostic_of(entry, not_response) == ReplyMessageError.ALREADY_GIVEN


def test_a_refused_reply_sends_nothing() -> None:
    engine, entry = received()
    diagnostic_of(entry, response(token=b"\x21"))
    assert not engine.outbox
    assert entry.reply_message is None
    entry.reply(message=response())
    assert engine.take_one() == CONTENT


def test_a_reset_with_a_message_is_refused() -> None:
    _, entry = received()
    with pytest.raises(LocalProtocolError, match="empty"):
        entry.reply(reset=True, message=response())


def test_a_non_is_not_acknowledged() -> None:
    _, entry = received(get(type=NON, message_id=0x1234))
    with pytest.raises(LocalProtocolError, match="no acknowledging"):
        entry.reply()


def test_a_non_may_be_reset() -> None:
    engine, entry = received(get(type=NON, message_id=0x1234))
    entry.reply(reset=True)
    assert engine.take_one() == Message(type=RST, message_id=0x1234)


def test_an_entry_that_is_gone_gives_no_reply() -> None:
    engine, entry = received()
    engine.run_until(1000)
    with pytest.raises(LocalProtocolError, match="in no cache"):
        entry.reply()
    with pytest.raises(LocalProtocolError, match="in no cache"):
        entry.process_timeout(1000.0)


# respond()


def test_an_answer_in_time_is_piggybacked() -> None:
    engine, entry = received()
    assert entry.respond(Response(Code.CONTENT, b"22.3 C"), 0.05) is None
    assert engine.take_one() == CONTENT
    engine.run_until(200)
    assert not engine.outbox


def test_the_empty_acknowledgement_goes_after_its_delay() -> None:
    engine, entry = received()
    engine.run_until(0.0999)
    assert not engine.outbox
    engine.run_until(0.1)
    assert engine.take_one() == Message(type=ACK, message_id=0x1234)
    assert entry.state is ReceivedState.REPLIED


def test_the_delay_can_be_set() -> None:
    engine = make_engine(parameters=TransmissionParameters(empty_ack_delay=1.5))
    engine.request_listener = Server()
    engine.hear(get(message_id=1), PEER)
    engine.run_until(1.4)
    assert not engine.outbox
    engine.run_until(1.5)
    assert engine.take_one().type is ACK


def test_after_the_empty_acknowledgement_the_answer_is_a_con_of_its_own() -> None:
    engine, entry = received()
    engine.run_until(1.0)
    engine.take()
    own = entry.respond(Response(Code.CONTENT, b"22.3 C"), 1.0)
    message = engine.take_one()
    assert (message.type, message.code, message.token) == (CON, Code.CONTENT, b"\x20")
    assert own is not None
    assert own.message_id == message.message_id != 0x1234


def test_that_con_is_retransmitted_and_its_sender_learns_its_fate() -> None:
    engine, entry = received()
    fate = Fate()
    engine.run_until(1.0)
    engine.take()
    parameters = TransmissionParameters(max_retransmit=1)
    entry.respond(Response(Code.CONTENT), 1.0, listener=fate, parameters=parameters)
    engine.run_until(240)
    assert len(engine.outbox) == 2
    assert len(fate.failures) == 1


def test_the_answer_of_its_own_may_be_a_non_if_it_says_so() -> None:
    engine, entry = received()
    engine.run_until(1.0)
    engine.take()
    entry.respond(Response(Code.CONTENT, type=NON), 1.0)
    assert engine.take_one().type is NON


def test_a_non_request_gets_a_non_response() -> None:
    engine, entry = received(get(type=NON, message_id=0x1234))
    own = entry.respond(Response(Code.CONTENT, b"22.3 C"), 0.0)
    message = engine.take_one()
    assert (message.type, message.code, message.token) == (NON, Code.CONTENT, b"\x20")
    assert own is not None
    assert entry.reply_message == message


def test_a_non_request_is_not_acknowledged() -> None:
    engine, _entry = received(get(type=NON, message_id=0x1234))
    engine.run_until(1000)
    assert not engine.outbox


@pytest.mark.parametrize("type", [CON, NON])
def test_a_handler_slower_than_exchange_lifetime_still_answers(type) -> None:
    engine, entry = received(get(type=type, message_id=0x1234))
    engine.run_until(1000)
    engine.take()
    assert entry.cache is None
    assert engine.known_remote(PEER) is None
    entry.respond(Response(Code.CONTENT), 1000.0)
    message = engine.take_one()
    assert (message.type, message.token) == (type, b"\x20")
    engine.run_until(3000)
    assert engine.known_remote(PEER) is None
    assert engine.statistics().received == engine.statistics().sent == 0
    assert engine.counters.received_octets == 0


def test_an_answer_that_has_no_room_is_refused() -> None:
    engine = make_engine(limits=Limits(max_pending_per_remote=1))
    server = Server()
    engine.request_listener = server
    for message_id in range(3):
        engine.hear(get(message_id=message_id), PEER)
    engine.run_until(1.0)
    first, second, third = server.entries
    first.respond(Response(Code.CONTENT), 1.0)
    second.respond(Response(Code.CONTENT), 1.0)
    with pytest.raises(PendingLimitReached):
        third.respond(Response(Code.CONTENT), 1.0)


def test_the_answer_leaves_from_the_address_that_was_asked() -> None:
    engine, server = make_engine(), Server()
    engine.request_listener = server
    engine.hear(get(message_id=1), PEER, OURS)
    server.entries[0].respond(Response(Code.CONTENT), 0.0)
    assert engine.outbox[0].local_address is OURS


def test_the_answer_to_a_group_request_waits_for_a_moment_of_its_leisure() -> None:
    """Section 8.2; it tells the driver which group was asked, so that it leaves by that interface."""
    engine, server = make_engine(), Server()
    engine.request_listener = server
    request = get(type=NON, message_id=1)
    engine.hear(request, PEER, GROUP)
    (entry,) = server.entries
    assert entry.respond(Response(Code.CONTENT), 0.0) is None
    assert entry.respond_at is not None
    assert 0 < entry.respond_at < engine.parameters.default_leisure
    engine.hear(request, PEER, GROUP)
    engine.process_due(entry.respond_at - 0.001)
    assert engine.outbox == []
    engine.process_due(entry.respond_at)
    (datagram,) = engine.outbox
    assert (datagram.local_address, datagram.message.type) == (GROUP, NON)
    assert entry.time_due == engine.parameters.non_lifetime


def test_a_duplicate_of_a_group_request_is_answered_again_after_another_leisure() -> None:
    """It reaches all members too, who must not answer at once; and several are answered once."""
    engine, server = make_engine(), Server()
    engine.request_listener = server
    request = get(type=NON, message_id=1)
    engine.hear(request, PEER, GROUP)
    (entry,) = server.entries
    entry.respond(Response(Code.CONTENT), 0.0)
    engine.run_until(10)
    first = engine.take_one()
    for _ in range(3):
        engine.hear(request, PEER, GROUP)
    assert engine.outbox == []
    assert entry.time_due is not None
    assert 10 < entry.time_due < 10 + engine.parameters.default_leisure
    engine.run_until(20)
    assert [(datagram.local_address, datagram.message) for datagram in engine.outbox] == [(GROUP, first)]
    assert entry.time_due == engine.parameters.non_lifetime
    engine.run_until(engine.parameters.non_lifetime - 0.001)
    engine.hear(request, PEER, GROUP)
    engine.run_until(engine.parameters.non_lifetime)
    assert entry.cache is None


def test_an_answer_that_is_forgotten_in_its_leisure_is_counted() -> None:
    engine, server = make_engine(limits=Limits(max_remembered=1)), Server()
    engine.request_listener = server
    engine.hear(get(type=NON, message_id=1), PEER, GROUP)
    (entry,) = server.entries
    entry.respond(Response(Code.CONTENT), 0.0)
    engine.hear(get(type=NON, message_id=2), PEER, GROUP)
    assert entry.cache is None
    engine.process_due(engine.parameters.default_leisure)
    assert engine.outbox == []
    assert engine.statistics().turned_away["responses to group requests"] == 1


def test_a_group_request_gets_neither_acknowledgement_nor_reset() -> None:
    engine, server = make_engine(), Server()
    engine.request_listener = server
    engine.hear(get(type=NON, message_id=1), PEER, GROUP)
    (entry,) = server.entries
    assert entry.is_multicast
    with pytest.raises(LocalProtocolError):
        entry.reply(reset=True)


# Duplicates


@pytest.mark.parametrize("type", [CON, NON])
def test_a_duplicate_gets_the_same_octets_again(type) -> None:
    """CoAPy dropped it."""
    engine, server = make_engine(), Server(content())
    engine.request_listener = server
    request = get(type=type, message_id=0x1234)
    engine.hear(request, PEER)
    assert engine.hear(request, PEER) is None
    first, second = engine.outbox
    assert first.data == second.data


@pytest.mark.parametrize("type", [CON, NON])
def test_the_listener_is_called_once_and_receptions_are_counted(type) -> None:
    engine, server = make_engine(), Server(content())
    engine.request_listener = server
    for _ in range(3):
        engine.hear(get(type=type, message_id=0x1234), PEER)
    (entry,) = server.entries
    assert entry.reception_count == 3
    assert engine.statistics().duplicates == 2


def test_a_duplicate_of_what_is_not_answered_yet_is_only_counted() -> None:
    engine, entry = received()
    engine.hear(get(message_id=0x1234), PEER)
    assert not engine.outbox
    assert entry.reception_count == 2


def test_a_duplicate_after_the_empty_acknowledgement_gets_that_again() -> None:
    engine, entry = received()
    engine.run_until(0.5)
    entry.respond(Response(Code.CONTENT), 0.5)
    engine.take()
    engine.hear(get(message_id=0x1234), PEER)
    assert engine.take_one() == Message(type=ACK, message_id=0x1234)


def test_a_duplicate_of_a_rejected_message_is_reset_again() -> None:
    engine = make_engine()
    engine.hear(get(message_id=0x1234), PEER)
    engine.hear(get(message_id=0x1234), PEER)
    assert engine.take() == [Message(type=RST, message_id=0x1234)] * 2


@pytest.mark.parametrize(("type", "lifetime"), [(CON, 247), (NON, 145)])
def test_a_message_id_is_new_after_its_lifetime(type, lifetime: float) -> None:
    engine, server = make_engine(), Server(content())
    engine.request_listener = server
    engine.hear(get(type=type, message_id=0x1234), PEER)
    engine.run_until(lifetime - 0.1)
    engine.hear(get(type=type, message_id=0x1234), PEER)
    assert len(server.entries) == 1
    engine.run_until(lifetime)
    engine.hear(get(type=type, message_id=0x1234), PEER)
    assert len(server.entries) == 2


@pytest.mark.parametrize("answers_at", [None, 0.05, 0.5, 200.0])
def test_an_entry_is_forgotten_at_the_end_of_its_lifetime(answers_at: float | None) -> None:
    engine, entry = received()
    if answers_at is not None:
        engine.run_until(answers_at)
        entry.respond(Response(Code.CONTENT, type=NON), answers_at)
    engine.run_until(246.9)
    assert entry.cache is not None
    engine.run_until(247)
    assert entry.cache is None


def test_a_duplicate_of_a_non_gets_the_first_of_several_responses() -> None:
    engine, entry = received(get(type=NON, message_id=0x1234))
    for number in range(3):
        entry.respond(Response(Code.CONTENT, f"notification {number}".encode()), 0.0)
    engine.take()
    engine.hear(get(type=NON, message_id=0x1234), PEER)
    assert engine.take_one().payload == b"notification 0"


def test_the_octets_of_several_responses_are_not_counted_twice() -> None:
    engine, entry = received(get(type=NON, message_id=0x1234))
    for number in range(3):
        entry.respond(Response(Code.CONTENT, b"x" * (number + 1)), 0.0)
    size = len(entry.message.encode()) + len(entry.reply_octets)
    assert engine.counters.received_octets == engine.state_of(PEER).received_octets == entry.size == size
    engine.run_until(1000)
    assert engine.counters.received_octets == 0


def test_a_reply_that_cannot_be_sent_is_no_exception() -> None:
    engine, entry = received()
    engine.send_error = OSError(errno.EPERM, "Operation not permitted")
    entry.reply()
    engine.send_error = None
    engine.hear(get(message_id=0x1234), PEER)
    assert engine.take_one() == Message(type=ACK, message_id=0x1234)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (Code.GET, True),
        (Code.PUT, True),
        (Code.DELETE, True),
        (Code.FETCH, True),
        (Code.IPATCH, True),
        (Code.POST, False),
        (Code.PATCH, False),
        (Code.of(0, 31), False),
    ],
)
def test_idempotent_requests_may_be_forgotten(code: Code, expected: bool) -> None:
    _, entry = received(get(code=code, message_id=1))
    assert entry.is_forgettable is expected


def test_an_entry_knows_where_its_message_came_from() -> None:
    engine, entry = received()
    assert entry.remote is engine.state_of(PEER)
    assert entry.message.source_endpoint is PEER
    assert entry.message.destination_endpoint is engine
    assert entry.cache is entry.remote.rcvd_cache
    assert entry.expires_at == 247


# Beyond what is usual


def test_the_answer_to_a_group_request_goes_although_its_leisure_outlasts_the_memory() -> None:
    parameters = TransmissionParameters(ack_timeout=0.2, max_retransmit=0, max_latency=0.1, default_leisure=100.0)
    engine = make_engine(parameters=parameters)
    engine.request_listener = server = Server(content())
    engine.hear(get(type=NON, message_id=1), PEER, GROUP)
    (entry,) = server.entries
    assert entry.respond_at is not None
    assert entry.respond_at > 2 * parameters.non_lifetime
    engine.run_until(entry.respond_at - parameters.non_lifetime)
    engine.hear(get(type=NON, message_id=1), PEER, GROUP)
    engine.run_until(100.0)
    assert engine.take_one().type is NON
    assert len(server.entries) == 1
    assert engine.statistics().turned_away == {}
    engine.run_until(200.0)
    assert engine.statistics().remotes == engine.counters.received == engine.counters.received_octets == 0


def test_of_two_answers_to_a_group_request_the_first_is_not_lost() -> None:
    engine = make_engine()
    engine.request_listener = server = Server(content())
    engine.hear(get(type=NON, message_id=1), PEER, GROUP)
    (entry,) = server.entries
    entry.respond(Response(Code.CONTENT, b"second"), 0.0)
    assert engine.take_one().payload == b"second"
    engine.run_until(engine.parameters.default_leisure)
    assert engine.take_one().payload == b"22.3 C"
    assert entry.respond_at is None
    engine.run_until(1000.0)
    assert engine.statistics().remotes == engine.counters.received == engine.counters.received_octets == 0


@pytest.mark.parametrize("answers", [False, True])
def test_at_a_time_that_was_assigned_an_entry_goes_and_nothing_is_sent(answers: bool) -> None:
    engine = make_engine()
    engine.request_listener = Server(content() if answers else None)
    engine.hear(get(type=NON, message_id=1), PEER)
    engine.outbox.clear()
    entry = engine.state_of(PEER).rcvd_cache[1]
    entry.time_due = 100.0
    engine.run_until(100.0)
    assert engine.outbox == []
    assert entry.cache is None
    assert engine.counters.received == engine.counters.received_octets == 0


class Leaving(Server):
    """Who answers, and goes at once."""

    def __init__(self, engine: EngineEndpoint) -> None:
        super().__init__(content())
        self.engine = engine

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        super().request_received(request, entry, now)
        self.engine.end_leisure(now)
        self.engine.abandon()


def test_an_endpoint_that_closes_while_a_request_is_passed_on_does_not_remember_it() -> None:
    engine = make_engine()
    engine.request_listener = Leaving(engine)
    engine.hear(get(type=NON, message_id=1), PEER, GROUP)
    assert engine.take_one().type is NON
    assert engine.counters.received == engine.counters.received_octets == 0
    assert engine.queue.earliest() == float("inf")
    assert len(engine.queue) == 0


def test_an_answer_whose_leisure_ends_while_the_request_is_passed_on_is_remembered() -> None:
    engine = make_engine()
    server = Leaving(engine)
    engine.abandon = lambda: None  # type: ignore[method-assign]
    engine.request_listener = server
    for _ in range(2):
        engine.hear(get(type=NON, message_id=1), PEER, GROUP)
        engine.run_until(engine.now + 10)
    first, second = engine.take()
    assert first == second
    assert len(server.entries) == 1
    engine.run_until(1000.0)
    assert engine.counters.received == engine.counters.received_octets == 0
