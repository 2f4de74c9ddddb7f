"""The received messages of one remote endpoint: RFC 7252 section 4.5."""

from __future__ import annotations

from tests.messaging.engine import GROUP, OURS, PEER, EngineEndpoint, Server, content, get, make_engine
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.parameters import Limits
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.wire.codes import ACK, CON, NON, Code
from trio_coap.wire.message import Message, Request, Response


def serving(limit: int) -> EngineEndpoint:
    engine = make_engine(limits=Limits(max_remembered=limit))
    engine.request_listener = Server(content())
    return engine


def remembered(request: Request | None = None) -> EngineEndpoint:
    engine = serving(1000)
    engine.hear(request or get(message_id=1), PEER, OURS)
    engine.outbox.clear()
    return engine


def test_an_entry_of_what_is_kept_knows_all_that_it_knew() -> None:
    engine = remembered()
    entry = engine.state_of(PEER).rcvd_cache[1]
    assert entry.message.type is CON
    assert entry.message.options.uri_path == ("t",)
    assert entry.message.message_id == entry.message_id == 1
    assert entry.message.source_endpoint is PEER
    assert entry.local_address is OURS
    assert entry.reply_message is not None
    assert (entry.reply_message.type, entry.reply_message.code) == (ACK, Code.CONTENT)
    assert entry.created_at == entry.activated_at == 0.0
    assert entry.time_due == entry.expires_at == 247
    assert entry.reception_count == 1
    assert entry.cache is engine.state_of(PEER).rcvd_cache


def test_another_address_of_ours_is_not_forgotten() -> None:
    engine = remembered()
    ours = Endpoint(("192.0.2.77", 5683))
    engine.hear(get(message_id=2), PEER, ours)
    engine.hear(get(message_id=3), PEER)
    cache = engine.state_of(PEER).rcvd_cache
    assert [cache[message_id].local_address for message_id in (1, 2, 3)] == [OURS, ours, None]


def test_the_queue_has_what_is_kept() -> None:
    engine = remembered()
    engine.request_listener = Server()
    engine.hear(get(type=NON, message_id=2), PEER)
    assert [entry.message_id for entry in engine.queue] == [2, 1]  # type: ignore[union-attr]
    assert len(engine.queue) == 2
    assert engine.queue.earliest() == 145
    first = engine.queue.peek()
    assert first is not None
    assert first.message_id == 2  # type: ignore[union-attr]
    assert engine.queue.peek(100) is None


def test_processing_an_entry_early_forgets_it() -> None:
    engine = remembered()
    entry = engine.state_of(PEER).rcvd_cache[1]
    entry.process_timeout(1.0)
    assert entry.cache is None
    assert entry.time_due is None
    assert engine.statistics().remotes == 0


def test_an_entry_can_be_given_another_time() -> None:
    engine = remembered()
    entry = engine.state_of(PEER).rcvd_cache[1]
    entry.time_due = 100
    assert engine.state_of(PEER).rcvd_cache[1] is entry
    assert engine.queue.earliest() == entry.time_due == 100


def test_two_entries_of_one_message_say_the_same() -> None:
    engine = remembered()
    cache = engine.state_of(PEER).rcvd_cache
    one, other = cache[1], cache[1]
    engine.hear(get(message_id=1), PEER)
    assert one.reception_count == other.reception_count == 2
    one.time_due = 100.0
    assert other.time_due == one.time_due == 100.0
    other.time_due = 50.0
    assert one.time_due == 50.0
    assert len(engine.queue) == 1


def test_late_responses_are_kept_too() -> None:
    engine = make_engine()
    server = Server()
    engine.request_listener = server
    engine.hear(get(type=NON, message_id=1), PEER)
    (entry,) = server.entries
    assert entry.is_kept
    entry.respond(Response(Code.CONTENT, b"late"), 3.0)
    (sent,) = engine.take()
    engine.hear(get(type=NON, message_id=1), PEER)
    assert engine.take() == [sent]
    assert engine.state_of(PEER).rcvd_cache[1].reply_message == sent


def test_a_message_stands_for_its_id() -> None:
    engine = remembered()
    cache = engine.state_of(PEER).rcvd_cache
    message = Message(type=CON, message_id=1)
    assert message in cache
    assert cache[message].message_id == 1
    assert cache.get(message) is not None
    assert cache.get(7) is None
    assert cache.get(7, "nothing") == "nothing"
    assert list(cache) == list(cache.keys()) == [1]
    assert [message_id for message_id, _ in cache.items()] == [1]


# Which address of ours a message came to


ELSEWHERE = Endpoint(("192.0.2.77", 5683))


def test_a_repeated_reply_leaves_from_the_address_that_was_asked() -> None:
    engine = make_engine()
    engine.request_listener = Server(content())
    addresses = {1: GROUP, 2: OURS, 3: ELSEWHERE, 4: None, 5: OURS}
    for message_id, local_address in addresses.items():
        engine.hear(get(type=NON, message_id=message_id), PEER, local_address)
    engine.run_until(10)
    for _ in range(2):
        engine.outbox.clear()
        for message_id, local_address in addresses.items():
            engine.hear(get(type=NON, message_id=message_id), PEER, local_address)
            engine.run_until(engine.now + 10)
        assert [datagram.local_address for datagram in engine.outbox] == list(addresses.values())


def test_another_address_may_become_the_usual_one() -> None:
    engine = serving(1000)
    engine.hear(get(type=NON, message_id=0), PEER, GROUP)
    engine.run_until(100)
    for message_id in range(1, 100):
        engine.hear(get(message_id=message_id), PEER, OURS)
    engine.run_until(200)  # By now the group request is forgotten.
    for message_id in range(100, 200):
        engine.hear(get(message_id=message_id), PEER, OURS)
    cache = engine.state_of(PEER).rcvd_cache
    assert {entry.local_address for entry in cache.values()} == {OURS}
    engine.run_until(347)
    assert len(cache) == 100
    assert len(cache._elsewhere) == 0


# Two entries of one message, and two messages with one ID


def received(request: Request) -> tuple[EngineEndpoint, RcvdMessageCacheEntry]:
    """Return an engine that remembers one message at a time, and the entry of a request that nobody has answered."""
    engine, server = make_engine(limits=Limits(max_remembered=1)), Server()
    engine.request_listener = server
    engine.hear(request, PEER)
    return engine, server.entries[0]


def forgotten(engine: EngineEndpoint) -> bool:
    """Let all expire, and return whether nothing is left."""
    engine.run_until(1000)
    counters = engine.counters
    return counters.received == counters.received_octets == len(engine.queue) == engine.statistics().remotes == 0


def test_two_entries_of_one_message_remember_the_first_answer() -> None:
    engine, entry = received(get(type=NON, message_id=1))
    other = engine.state_of(PEER).rcvd_cache[1]
    entry.respond(Response(Code.CONTENT, b"first"), 0.0)
    other.respond(Response(Code.CONTENT, b"the second one"), 0.0)
    first, _ = engine.take()
    engine.hear(get(type=NON, message_id=1), PEER)
    assert engine.take() == [first]
    assert engine.state_of(PEER).received_octets == len(get(type=NON, message_id=1).encode()) + len(first.encode())
    assert forgotten(engine)


def test_an_entry_that_is_given_a_time_has_the_answer_that_was_given_meanwhile() -> None:
    engine, entry = received(get(type=NON, message_id=1))
    other = engine.state_of(PEER).rcvd_cache[1]
    entry.respond(Response(Code.CONTENT, b"first"), 0.0)
    other.time_due = 50.0
    assert other.reply_message == engine.take_one()
    assert forgotten(engine)


def test_of_two_entries_of_a_group_request_one_answers() -> None:
    engine = make_engine()
    engine.request_listener = server = Server()
    engine.hear(get(type=NON, message_id=1), PEER, GROUP)
    (entry,) = server.entries
    other = engine.state_of(PEER).rcvd_cache[1]
    other.respond(Response(Code.CONTENT, b"of the other"), 0.0)
    entry.respond(Response(Code.CONTENT, b"of the first"), 0.0)
    assert engine.statistics().turned_away == {"responses to group requests": 1}
    other.respond(Response(Code.CONTENT, b"of the other"), 0.0)
    engine.run_until(10)
    assert [message.payload for message in engine.take()] == [b"of the other"]
    assert engine.statistics().turned_away == {"responses to group requests": 2}
    assert forgotten(engine)


def test_an_entry_that_was_given_a_time_does_not_outlive_its_message() -> None:
    engine, entry = received(get(type=NON, message_id=1))
    engine.state_of(PEER).rcvd_cache[1].time_due = 50.0
    entry.respond(Response(Code.CONTENT), 0.0)
    assert len(engine.take()) == 1
    assert entry.time_due == 145
    assert forgotten(engine)
    assert engine.outbox == []


def test_an_answer_is_not_taken_for_that_to_another_message_with_its_id() -> None:
    engine, entry = received(get(type=NON, message_id=1))
    engine.hear(get(type=NON, message_id=2), PEER)  # One more than is remembered.
    engine.hear(get("another", message_id=1), PEER)
    assert entry.cache is None
    entry.respond(Response(Code.CONTENT, b"late"), 0.0)
    engine.run_until(1)
    late, acknowledgement = engine.take()
    assert (late.payload, acknowledgement) == (b"late", Message(type=ACK, message_id=1))
    engine.hear(get("another", message_id=1), PEER)
    assert engine.take() == [acknowledgement]
    assert forgotten(engine)
