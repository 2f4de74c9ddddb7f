"""How fast NONs of our own accord go to who does not answer: PROBING_RATE, RFC 7252 section 4.7."""

from __future__ import annotations

import errno
import math

import pytest

from tests.messaging.engine import PEER, EngineEndpoint, Fate, Server, content, get, make_engine
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.wire.codes import ACK, NON, RST, Code
from trio_coap.wire.errors import MessageFormatError
from trio_coap.wire.message import Message, Response


def acknowledge(engine: EngineEndpoint, entry: SentMessageCacheEntry) -> None:
    engine.hear(Message(type=ACK, message_id=entry.message_id), PEER)


def probe(engine: EngineEndpoint, octets: int = 20, **fields) -> SentMessageCacheEntry:
    """Send a NON of *octets* octets."""
    request = get(type=NON, token=b"", **fields)
    request.payload = bytes(octets - 7)
    entry = engine.send(request, PEER)
    assert len(request.encode()) == octets
    return entry


def times(engine: EngineEndpoint) -> list[float]:
    return [datagram.at for datagram in engine.outbox]


def test_the_first_non_to_a_silent_remote_is_free() -> None:
    engine = make_engine()
    engine.now = 3.0
    probe(engine)
    assert times(engine) == [3]


def test_the_first_nstart_are_free() -> None:
    engine = make_engine(parameters=TransmissionParameters(nstart=3))
    for _ in range(5):
        probe(engine)
    assert len(engine.outbox) == 3


def test_after_that_the_rate_holds_on_average() -> None:
    engine = make_engine()
    for _ in range(6):
        probe(engine)
    engine.run_until(1000)
    assert times(engine) == [0, 20, 40, 60, 80, 100]


def test_the_rate_is_an_average_and_not_a_gap() -> None:
    engine = make_engine()
    probe(engine)
    engine.run_until(60)
    for _ in range(4):
        probe(engine)
    engine.run_until(1000)
    assert times(engine) == [0, 60, 60, 60, 80]


def test_a_held_message_is_in_the_queue_and_not_in_the_pending_fifo() -> None:
    engine = make_engine()
    probe(engine)
    held = [probe(engine) for _ in range(3)]
    state = engine.state_of(PEER)
    assert not state.sent_cache.pending()
    assert held[0].time_due == engine.queue.earliest() == 20
    assert state.pending == 3
    assert held[0].state is SentState.PENDING
    assert held[0].activated_at is None
    assert len(engine.queue) == 2
    assert [entry.time_due for entry in held[1:]] == [None, None]


def test_held_messages_go_in_the_order_in_which_they_were_given() -> None:
    engine = make_engine()
    messages = [probe(engine, octets).message for octets in (20, 40, 10, 30)]
    engine.run_until(1000)
    assert [datagram.message.message_id for datagram in engine.outbox] == [message.message_id for message in messages]
    assert times(engine) == [0, 20, 60, 70]


def test_holding_back_thousands_costs_one_timeout_each() -> None:
    engine = make_engine(parameters=TransmissionParameters(probing_rate=1000))
    for _ in range(3000):
        probe(engine)
    engine.woken.clear()
    steps = 0
    while len(engine.outbox) < 3000:
        engine.now = engine.queue.earliest()
        engine.process_due(engine.now, limit=1)
        steps += 1
    assert steps < 2 * 3000


def test_the_rate_is_a_parameter() -> None:
    engine = make_engine(parameters=TransmissionParameters(probing_rate=10))
    for _ in range(3):
        probe(engine)
    engine.run_until(1000)
    assert times(engine) == [0, 2, 4]


def test_an_infinite_rate_holds_nothing_back() -> None:
    engine = make_engine(parameters=TransmissionParameters(probing_rate=math.inf))
    for _ in range(100):
        probe(engine)
    assert len(engine.outbox) == 100


def test_retransmissions_count_for_the_rate() -> None:
    engine = make_engine()
    engine.send(get(), PEER)
    engine.run_until(100)
    octets = engine.state_of(PEER).unanswered_octets
    assert octets == sum(len(datagram.data) for datagram in engine.outbox) == 5 * 7
    probe(engine)
    probe(engine)
    assert engine.queue.earliest() < 247
    engine.run_until(200)
    assert len(engine.outbox) == 7


def test_hearing_something_releases_what_is_held() -> None:
    engine = make_engine()
    for _ in range(4):
        probe(engine)
    engine.now = 5.0
    engine.hear(Message(type=RST, message_id=0), PEER)
    engine.run_until(1000)
    assert times(engine) == [0, 5, 25, 45]


def test_hearing_something_malformed_releases_it_too() -> None:
    engine = make_engine()
    for _ in range(2):
        probe(engine)
    engine.now = 5.0
    with pytest.raises(MessageFormatError):
        engine.datagram_received(bytes.fromhex("50011234ff"), PEER, 5.0)
    assert times(engine) == [0, 5]


def test_a_state_that_was_asked_for_counts_what_is_heard_once() -> None:
    engine = make_engine()
    engine.request_listener = Server(content())
    engine.next_message_id(PEER)
    engine.hear(get(message_id=1), PEER)
    assert engine.state_of(PEER).rx_messages == 1


def test_to_a_remote_that_talks_nothing_is_held_back() -> None:
    engine, server = make_engine(), Server()
    engine.request_listener = server
    for message_id in range(10):
        engine.hear(get(type=NON, message_id=message_id), PEER)
        probe(engine)
    assert len(engine.outbox) == 10


def test_responses_are_exempt() -> None:
    engine, server = make_engine(), Server()
    engine.request_listener = server
    for message_id in range(10):
        engine.hear(get(type=NON, message_id=message_id), PEER)
    for entry in server.entries:
        entry.respond(Response(Code.CONTENT, bytes(100)), 0.0)
    assert len(engine.outbox) == 10


def test_a_held_message_can_be_taken_back() -> None:
    engine = make_engine()
    _, second, third = probe(engine), probe(engine, 30), probe(engine, 40)
    second.complete(1.0)
    assert second.cache is None
    engine.run_until(1000)
    assert [datagram.message.message_id for datagram in engine.outbox][1:] == [third.message_id]
    assert times(engine) == [0, 20]


def test_taking_back_one_in_the_middle_leaves_the_others_in_order() -> None:
    engine = make_engine()
    _, second, third, fourth = (probe(engine, octets) for octets in (20, 30, 40, 50))
    third.complete(1.0)
    engine.run_until(1000)
    sent = [datagram.message.message_id for datagram in engine.outbox]
    assert sent[1:] == [second.message_id, fourth.message_id]


def test_the_rate_outlives_the_lifetime_of_the_messages() -> None:
    engine = make_engine()
    probe(engine, 1000)
    engine.run_until(500)
    probe(engine)
    engine.run_until(999)
    assert times(engine) == [0]
    engine.run_until(1000)
    assert times(engine) == [0, 1000]


def test_the_rate_outlives_a_message_that_was_taken_back() -> None:
    engine = make_engine()
    probe(engine, 1000)
    probe(engine).complete(1.0)
    engine.run_until(500)
    probe(engine)
    assert len(engine.outbox) == 1


def test_when_the_rate_is_paid_for_the_remote_is_forgotten() -> None:
    engine = make_engine()
    probe(engine, 1000)
    held = probe(engine, 30)
    engine.run_until(999)
    held.complete(999.0)
    assert engine.known_remote(PEER) is not None
    engine.run_until(1000)
    assert engine.known_remote(PEER) is None
    assert engine.statistics().sent == 0


def test_taking_back_the_last_message_forgets_the_remote() -> None:
    engine = make_engine()
    probe(engine, 200)
    slow = TransmissionParameters(probing_rate=0.1)
    held = engine.send(get(type=NON), PEER, parameters=slow)
    engine.run_until(1500)
    assert held.transmissions == 0
    held.complete(1500.0)
    assert engine.known_remote(PEER) is None


def test_a_con_is_forgotten_after_exchange_lifetime_however_long_it_was() -> None:
    engine = make_engine()
    entry = engine.send(get(payload=bytes(1000)), PEER)
    engine.run_until(247)
    assert entry.cache is None
    assert engine.known_remote(PEER) is None


def test_what_could_not_be_sent_does_not_count() -> None:
    engine, fate = make_engine(), Fate()
    engine.send_error = OSError(errno.ENETUNREACH, "Network is unreachable")
    for _ in range(3):
        engine.send(get(type=NON), PEER, listener=fate)
    assert len(fate.failures) == 3
    state = engine.state_of(PEER)
    assert (state.tx_messages, state.tx_octets, state.tx_octets_since_heard) == (0, 0, 0)
    assert engine.statistics().tx_messages == 0
