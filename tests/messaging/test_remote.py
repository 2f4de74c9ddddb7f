"""Congestion control and message IDs towards one remote endpoint: RFC 7252 sections 4.4 and 4.7."""

from __future__ import annotations

import errno
import math

import pytest

from tests.messaging.engine import OTHER, PEER, EngineEndpoint, Server, content, get, make_engine
from trio_coap.messaging import remote
from trio_coap.messaging.errors import PendingLimitReached, SendLimitReached
from trio_coap.messaging.parameters import Limits, TransmissionParameters
from trio_coap.messaging.remote import MESSAGE_IDS
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.wire.codes import ACK, CON, NON, RST, Code
from trio_coap.wire.errors import LocalProtocolError, MessageFormatError
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


# Message IDs


def test_message_ids_are_sequential() -> None:
    engine = make_engine(parameters=TransmissionParameters(nstart=100))
    ids = [engine.send(get(), PEER).message_id or 0 for _ in range(50)]
    assert ids == [(ids[0] + number) % MESSAGE_IDS for number in range(50)]


def test_message_ids_start_at_random() -> None:
    starts = {make_engine(seed=seed).next_message_id(PEER) for seed in range(20)}
    assert len(starts) > 15


def test_each_remote_has_message_ids_of_its_own() -> None:
    engine = make_engine()
    assert engine.next_message_id(PEER) != engine.next_message_id(OTHER)
    engine.send(get(message_id=7), PEER)
    engine.send(get(message_id=7), OTHER)


def test_message_ids_wrap_around() -> None:
    engine = make_engine()
    state = engine.remote_state(PEER)
    state._next_message_id = 0xFFFF
    assert [state.next_message_id(), state.next_message_id()] == [0xFFFF, 0]


def test_a_message_id_that_is_still_in_the_sent_cache_is_passed_over() -> None:
    engine = make_engine()
    first = engine.next_message_id(PEER)
    for offset in (1, 2, 4):
        engine.send(get(message_id=(first + offset) % MESSAGE_IDS), PEER)
    assert engine.next_message_id(PEER) == (first + 3) % MESSAGE_IDS
    assert engine.next_message_id(PEER) == (first + 5) % MESSAGE_IDS


def test_a_message_id_of_ones_own_is_used_once() -> None:
    engine = make_engine()
    engine.send(get(message_id=7), PEER)
    with pytest.raises(LocalProtocolError, match="message ID 7"):
        engine.send(get(message_id=7), PEER)
    assert engine.statistics().sent == len(engine.state_of(PEER).sent_cache) == 1


def full_engine() -> EngineEndpoint:
    """Return an engine that has used all message IDs."""
    engine = make_engine(
        parameters=TransmissionParameters(probing_rate=math.inf, nstart=2),
        limits=Limits(max_pending_per_remote=100),
    )
    for _ in range(MESSAGE_IDS):
        engine.send(get(type=NON), PEER)
    engine.take()
    return engine


def test_a_burst_of_65536_messages_is_free_and_the_next_one_waits() -> None:
    engine = full_engine()
    state = engine.state_of(PEER)
    assert len(state.sent_cache) == MESSAGE_IDS
    with pytest.raises(LocalProtocolError, match="in use"):
        state.next_message_id()
    engine.now = 1.0
    first, second, third = engine.send(get(), PEER), engine.send(get(type=NON), PEER), engine.send(get(), PEER)
    waiting = [first.message, second.message]
    assert first.message_id is None
    assert list(state.sent_cache.pending()) == [first, second, third]
    assert state.pending == engine.statistics().pending == 3
    assert len(state.sent_cache) == MESSAGE_IDS + 3
    assert not engine.outbox
    third.complete(2.0)
    assert len(state.sent_cache) == MESSAGE_IDS + 2
    engine.run_until(145)
    assert engine.take() == waiting
    assert first.message_id == first.message.message_id is not None
    assert first.octets == first.message.encode()
    assert state.sent_cache[first.message_id] is first
    assert third.transmissions == 0
    engine.run_until(1000)
    assert engine.statistics().sent == 0


def test_what_waits_for_a_message_id_is_dropped_when_the_endpoint_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MESSAGE_IDS", 16)
    engine = make_engine(parameters=TransmissionParameters(probing_rate=math.inf))
    for message_id in range(16):
        engine.send(get(type=NON, message_id=message_id), PEER)
    waiting = engine.send(get(), PEER)
    assert waiting.message_id is None
    engine.abandon()
    assert waiting.cache is None
    assert len(engine.queue) == 0


# NSTART


def test_one_message_is_outstanding_and_the_others_wait_in_order() -> None:
    engine = make_engine()
    entries = [engine.send(get(payload=bytes([number])), PEER) for number in range(4)]
    state = engine.state_of(PEER)
    assert list(state.sent_cache.pending()) == entries[1:]
    assert [entry.time_due for entry in entries[1:]] == [None] * 3
    assert state.outstanding == 1
    for entry in entries:
        assert engine.take_one().payload == entry.message.payload
        acknowledge(engine, entry)
    assert state.outstanding == 0


def test_nstart_messages_are_outstanding() -> None:
    engine = make_engine(parameters=TransmissionParameters(nstart=3))
    for _ in range(10):
        engine.send(get(), PEER)
    assert len(engine.outbox) == engine.state_of(PEER).outstanding == 3


def test_nstart_counts_for_each_remote() -> None:
    engine = make_engine()
    engine.send(get(), PEER)
    engine.send(get(), OTHER)
    assert len(engine.outbox) == 2


@pytest.mark.parametrize("how", ["ACK", "RST", "cancel", "give up", "send error", "ICMP"])
def test_whatever_ends_an_exchange_frees_its_slot(how: str) -> None:
    engine = make_engine()
    first, second = engine.send(get(), PEER), engine.send(get(), PEER)
    if how == "ACK":
        acknowledge(engine, first)
    elif how == "RST":
        engine.hear(Message(type=RST, message_id=first.message_id), PEER)
    elif how == "cancel":
        first.complete(0.0)
    elif how == "give up":
        engine.run_until(93)
    elif how == "ICMP":
        engine.error_received(PEER, first.octets, OSError(errno.ECONNREFUSED, "Connection refused"), 0.0)
    else:
        first.fail(OSError(errno.EHOSTUNREACH, "No route to host"), 0.0)
    assert second.state is SentState.UNACKNOWLEDGED
    assert engine.state_of(PEER).outstanding == 1


def test_a_message_that_waits_is_activated_when_it_is_sent() -> None:
    engine = make_engine()
    first, second = engine.send(get(), PEER), engine.send(get(), PEER)
    before = (second.created_at, second.activated_at, second.expires_at)
    engine.now = 5.0
    acknowledge(engine, first)
    after = (second.created_at, second.activated_at, second.expires_at)
    assert [before, after] == [(0, None, None), (0, 5, 252)]


def test_a_non_does_not_wait_behind_confirmable_messages() -> None:
    engine = make_engine()
    engine.send(get(), PEER)
    engine.send(get(), PEER)
    engine.hear(Message(type=RST, message_id=0), PEER)
    engine.send(get(type=NON), PEER)
    assert len(engine.outbox) == 2


def test_a_response_takes_a_slot_too() -> None:
    engine, server = make_engine(), Server()
    engine.request_listener = server
    engine.hear(get(message_id=1), PEER)
    engine.run_until(1.0)
    server.entries[0].respond(Response(Code.CONTENT), 1.0)
    assert engine.send(get(), PEER).state is SentState.PENDING


def test_too_many_pending_messages_are_refused() -> None:
    engine = make_engine(limits=Limits(max_pending_per_remote=2))
    for _ in range(3):
        engine.send(get(), PEER)
    request = get()
    with pytest.raises(PendingLimitReached, match="2 messages"):
        engine.send(request, PEER)
    assert request.message_id is None
    assert engine.statistics().turned_away == {"max_pending_per_remote": 1}
    assert engine.statistics().sent == 3


# A time of one's own


def test_a_pending_message_that_gets_a_time_goes_out_then() -> None:
    engine = make_engine(parameters=TransmissionParameters(nstart=2))
    first, second, third = (engine.send(get(), PEER) for _ in range(3))
    engine.now = 1.0
    third.time_due = 5.0
    assert (third.activated_at, third.state) == (1.0, SentState.PENDING)
    acknowledge(engine, first)
    acknowledge(engine, second)
    assert third.transmissions == 0
    engine.run_until(5)
    assert third.state is SentState.UNACKNOWLEDGED
    assert third.activated_at == 5


def test_without_a_slot_it_is_pending_again() -> None:
    engine = make_engine()
    first, second, third = (engine.send(get(), PEER) for _ in range(3))
    second.time_due = 1.0
    engine.process_due(1.0)
    assert second.time_due is second.activated_at is None
    assert list(engine.state_of(PEER).sent_cache.pending()) == [third, second]
    for entry in (first, third):
        acknowledge(engine, entry)
    assert second.state is SentState.UNACKNOWLEDGED


def test_what_waits_for_a_message_id_may_get_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MESSAGE_IDS", 4)
    engine = make_engine(parameters=TransmissionParameters(probing_rate=math.inf))
    for _ in range(4):
        engine.send(get(type=NON), PEER)
    engine.take()
    waiting = engine.send(get(), PEER)
    waiting.time_due = 100.0
    assert engine.state_of(PEER).sent_cache.all_entries()[-1] is waiting
    engine.run_until(144)
    assert waiting.message_id is waiting.time_due is None
    engine.run_until(145)
    assert engine.take() == [waiting.message]


def test_a_message_with_a_time_can_be_taken_back() -> None:
    engine = make_engine()
    _, second = engine.send(get(), PEER), engine.send(get(), PEER)
    second.time_due = 5.0
    second.complete(1.0)
    assert second.cache is None
    assert engine.state_of(PEER).outstanding == 1


@pytest.mark.parametrize("which", [0, 1])
def test_a_time_does_not_outrun_the_probing_rate(which: int) -> None:
    engine = make_engine()
    probe(engine)
    held = [probe(engine) for _ in range(2)]
    held[which].time_due = 5.0
    engine.run_until(1000)
    assert times(engine) == [0, 20, 40]


# How much is sent


def test_a_completed_message_keeps_header_token_and_max_age_only() -> None:
    engine = make_engine()
    request = get(payload=bytes(1000))
    entry = engine.send(request, PEER)
    datagram = entry.octets
    assert engine.counters.sent_octets == entry.size == len(datagram) + 1000
    acknowledge(engine, entry)
    assert entry.octets == datagram[:5]
    assert engine.counters.sent_octets == entry.size == 5
    assert (entry.message.type, entry.message.token, entry.message.payload, len(entry.message.options)) == (
        request.type,
        request.token,
        b"",
        0,
    )
    assert len(request.payload) == 1000
    assert entry.is_quoted_by(datagram)
    assert not entry.is_quoted_by(datagram[:4])
    assert not entry.is_quoted_by(datagram[:4] + b"\x21")
    engine.run_until(247)
    assert engine.counters.sent_octets == 0


def test_a_completed_response_still_knows_when_it_is_stale() -> None:
    engine = make_engine()
    entry = engine.send(Response(Code.CONTENT, bytes(100), max_age=7, type=NON), PEER)
    assert entry.state is SentState.COMPLETED
    assert entry.stale_at == 7
    assert entry.message.payload == b""


def test_the_number_of_sent_messages_is_limited() -> None:
    engine, server = make_engine(limits=Limits(max_sent=32)), Server()
    engine.request_listener = server
    for message_id in range(40):
        engine.hear(get(type=NON, message_id=message_id), PEER)
    for entry in server.entries[:30]:
        entry.respond(Response(Code.CONTENT), 0.0)
    with pytest.raises(SendLimitReached, match="max_sent"):
        server.entries[30].respond(Response(Code.CONTENT), 0.0)
    for _ in range(2):
        engine.send(get(), OTHER)
    with pytest.raises(PendingLimitReached):
        engine.send(get(), OTHER)
    assert engine.statistics().sent == 32
    assert engine.statistics().turned_away == {"max_sent": 2}
    engine.run_until(1000)
    engine.send(get(), OTHER)


def test_the_octets_of_sent_messages_are_limited() -> None:
    engine, server = make_engine(limits=Limits(max_sent_octets=3200)), Server()
    engine.request_listener = server
    for message_id in range(3):
        engine.hear(get(message_id=message_id), PEER)
    engine.run_until(1.0)
    for entry in server.entries[:2]:
        entry.respond(Response(Code.CONTENT, bytes(750)), 1.0)
    with pytest.raises(SendLimitReached, match="max_sent_octets"):
        server.entries[2].respond(Response(Code.CONTENT), 1.0)
    engine.send(get(payload=bytes(1000)), OTHER)
    with pytest.raises(SendLimitReached):
        engine.send(get(), OTHER)
    assert engine.statistics().turned_away == {"max_sent_octets": 2}


def test_responses_do_not_use_up_the_message_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MESSAGE_IDS", 32)
    engine = make_engine(parameters=TransmissionParameters(probing_rate=math.inf))
    server = engine.request_listener = Server()
    for message_id in range(40):
        engine.hear(get(type=NON, message_id=message_id), PEER)
    for entry in server.entries[:30]:
        entry.respond(Response(Code.CONTENT), 0.0)
    with pytest.raises(SendLimitReached, match="message IDs"):
        server.entries[30].respond(Response(Code.CONTENT), 0.0)
    assert engine.statistics().turned_away == {"message IDs for responses": 1}
    assert [engine.send(get(type=type), PEER).transmissions for type in (CON, NON)] == [1, 1]
    assert engine.send(get(type=NON), PEER).message_id is None


# Counters


def test_the_counters_of_the_seed_count() -> None:
    engine = make_engine()
    entry = engine.send(get(), PEER)
    engine.run_until(10)
    state = engine.state_of(PEER)
    assert state.endpoint is PEER
    assert state.last_heard_at is state.last_heard_clk is None
    assert (state.tx_messages, state.tx_octets, state.tx_octets_since_heard) == (3, 21, 21)
    acknowledge(engine, entry)
    acknowledge(engine, entry)
    assert state.last_heard_at == state.last_heard_clk == 10
    assert (state.rx_messages, state.rx_octets) == (2, 8)
    assert state.tx_octets_since_heard == 0
    assert (state.tx_messages, state.tx_octets) == (3, 21)


def test_duplicates_and_their_answers_count_too() -> None:
    engine = make_engine()
    engine.request_listener = Server(content())
    for _ in range(2):
        engine.hear(get(message_id=1), PEER)
    state = engine.state_of(PEER)
    assert (state.rx_messages, state.rx_octets) == (2, 14)
    assert (state.tx_messages, state.tx_octets) == (2, 24)


def test_every_datagram_to_or_from_a_known_remote_counts() -> None:
    engine = make_engine()
    engine.request_listener = Server(content())
    engine.hear(get(message_id=1), PEER)
    state = engine.state_of(PEER)
    assert (state.rx_messages, state.rx_octets, state.tx_messages, state.tx_octets_since_heard) == (1, 7, 1, 12)
    engine.now = 1.0
    engine.hear(Message(type=CON, message_id=2), PEER)
    with pytest.raises(MessageFormatError):
        engine.datagram_received(bytes.fromhex("40011234ff"), PEER, 1.0)
    engine.hear(Response(Code.CONTENT, type=CON, message_id=3), PEER)
    assert engine.datagram_received(b"\x40", PEER, 1.0) is None
    statistics = engine.statistics()
    assert state.rx_messages == statistics.rx_messages == 5
    assert state.rx_octets == statistics.rx_octets
    assert state.tx_messages == statistics.tx_messages == 4
    assert state.tx_octets == statistics.tx_octets
    assert (state.last_heard_at, state.tx_octets_since_heard, state.unanswered_octets) == (1, 0, 0)


def test_clearing_a_cache_keeps_the_account() -> None:
    engine, server = make_engine(), Server(content())
    engine.request_listener = server
    engine.hear(get(message_id=1), PEER)
    engine.send(get(), PEER)
    state = engine.state_of(PEER)
    state.sent_cache.clear()
    assert (engine.counters.sent, state.outstanding) == (0, 0)
    assert engine.send(get(), PEER).state is SentState.UNACKNOWLEDGED
    for _ in range(3):
        probe(engine)
    state.sent_cache.clear()
    assert (engine.counters.sent, state.outstanding, state.pending) == (0, 0, 0)
    state.rcvd_cache.clear()
    assert (engine.counters.received, engine.counters.received_octets) == (0, 0)
    assert engine.known_remote(PEER) is None
    assert len(engine.queue) == 0


def test_a_remote_is_idle_when_nothing_is_remembered() -> None:
    engine = make_engine()
    state = engine.remote_state(PEER)
    assert state.is_idle
    engine.send(get(), PEER)
    assert not state.is_idle
