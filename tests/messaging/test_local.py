"""The engine as drivers and applications call it."""

from __future__ import annotations

import errno
import math
import random
from typing import Any

import pytest

from tests.messaging.engine import (
    GROUP,
    OTHER,
    OURS,
    PEER,
    EngineEndpoint,
    Fate,
    Server,
    Waiter,
    content,
    get,
    make_engine,
)
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import NetworkError
from trio_coap.messaging.local import TOKEN_LENGTH, LocalEndpoint
from trio_coap.messaging.parameters import Limits, TransmissionParameters
from trio_coap.wire.codes import ACK, CON, NON, RST, Code
from trio_coap.wire.errors import LocalProtocolError, MessageFormatError
from trio_coap.wire.message import Message, Response

REFUSED = OSError(errno.ECONNREFUSED, "Connection refused")


class PlainEndpoint(LocalEndpoint):
    """A local endpoint that cannot do anything."""


def plain(address: tuple[Any, ...] = ("192.0.2.1", 5683), **fields) -> PlainEndpoint:
    return PlainEndpoint(address, **fields)


# Interning


def test_constructing_twice_gives_the_same_object() -> None:
    rng = random.Random(1)
    endpoint = plain(rng=rng)
    endpoint.remote_state(PEER)
    assert plain(rng=rng) is endpoint
    assert endpoint.statistics().remotes == 1
    assert PlainEndpoint.lookup_endpoint(("192.0.2.1", 5683)) is endpoint
    endpoint._forget()


@pytest.mark.parametrize("other", [{"parameters": TransmissionParameters(nstart=2)}, {"limits": Limits(max_remotes=1)}])
def test_an_endpoint_that_exists_does_not_change_its_parameters(other: dict[str, Any]) -> None:
    rng = random.Random(1)
    endpoint = plain(rng=rng)
    with pytest.raises(LocalProtocolError, match="exists already"):
        plain(rng=rng, **other)
    endpoint._forget()
    other_endpoint = plain(rng=rng, **other)
    assert other_endpoint is not endpoint
    other_endpoint._forget()


def test_a_peer_that_was_known_before_is_no_obstacle() -> None:
    peer = Endpoint(("192.0.2.77", 5683))
    endpoint = plain(("192.0.2.77", 5683), rng=random.Random(1))
    assert isinstance(endpoint, PlainEndpoint)
    assert Endpoint(("192.0.2.77", 5683)) is peer


def test_what_a_driver_provides_is_abstract() -> None:
    endpoint = plain(("192.0.2.78", 5683), rng=random.Random(1))
    with pytest.raises(NotImplementedError):
        endpoint.clock()
    with pytest.raises(NotImplementedError):
        endpoint.rawsendto(b"", PEER)
    endpoint._wake_earlier(0.0)  # A driver without a sleeping task need not do anything.


async def test_receiving_is_for_a_driver_too() -> None:
    with pytest.raises(NotImplementedError):
        await plain(("192.0.2.79", 5683), rng=random.Random(1)).rawrecvfrom()


# send()


def test_the_destination_may_be_that_of_the_message() -> None:
    engine = make_engine()
    request = PEER.create_request("/t")
    entry = engine.send(request)
    assert entry.destination_endpoint is PEER
    assert engine.outbox[0].destination is PEER
    assert request.source_endpoint is engine


def test_a_given_destination_goes_first() -> None:
    engine = make_engine()
    request = PEER.create_request("/t")
    engine.send(request, OTHER)
    assert engine.outbox[0].destination is request.destination_endpoint is OTHER


def test_time_and_local_address_may_be_given() -> None:
    engine = make_engine()
    entry = engine.send(get(), PEER, now=7.0, local_address=OURS)
    assert entry.activated_at == 7
    assert engine.outbox[0].local_address is OURS


def spoilt(message: Message, **fields) -> Message:
    """Return *message* with fields assigned that its constructor would not take."""
    for name, value in fields.items():
        setattr(message, name, value)
    return message


REFUSALS = [
    (Message(type=ACK, message_id=1), PEER, "reply"),
    (Message(type=RST, message_id=1), PEER, "reply"),
    (get(), None, "destination"),
    (get(), GROUP, "group"),
    (spoilt(get(), token=bytes(9)), PEER, "token"),
    (spoilt(get(), message_id=65536), PEER, "message ID"),
    (spoilt(Message(), payload=b"x"), PEER, "empty"),
]


@pytest.mark.parametrize(("message", "destination", "text"), REFUSALS)
def test_what_cannot_be_sent_is_refused_and_leaves_nothing_behind(
    message: Message, destination: Endpoint | None, text: str
) -> None:
    engine = make_engine()
    with pytest.raises(LocalProtocolError, match=text):
        engine.send(message, destination)
    assert not engine.outbox
    assert engine.statistics().sent == engine.statistics().remotes == 0


def test_what_cannot_be_sent_does_not_stop_what_can() -> None:
    engine = make_engine()
    first = engine.send(get(), PEER)
    with pytest.raises(LocalProtocolError):
        engine.send(spoilt(get(), token=bytes(9)), PEER)
    second = engine.send(get(), PEER)
    engine.hear(Message(type=ACK, message_id=first.message_id), PEER)
    assert second.transmissions == 1


def test_a_ping_is_an_empty_con() -> None:
    engine, fate = make_engine(), Fate()
    entry = engine.send(Message(type=CON), PEER, listener=fate)
    ping = engine.take_one()
    assert ping == Message(type=CON, message_id=entry.message_id)
    engine.hear(Message(type=RST, message_id=entry.message_id), PEER)
    assert len(fate.failures) == 1


# Tokens


def test_tokens_are_drawn_at_random() -> None:
    engine = make_engine()
    tokens = {engine.new_token(PEER) for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {TOKEN_LENGTH}


def test_a_token_in_use_is_not_drawn_again() -> None:
    twin, engine = make_engine(seed=3), make_engine(seed=3)
    taken = twin.new_token(PEER)
    engine.tokens[PEER, taken] = Waiter()
    assert engine.new_token(PEER) != taken
    assert make_engine(seed=3).new_token(OTHER) == taken


# Time


def test_process_due_says_when_the_next_entry_is_due() -> None:
    engine = make_engine()
    assert engine.process_due(0.0) == math.inf
    entry = engine.send(get(), PEER)
    assert engine.process_due(0.0) == entry.time_due
    entry.complete(0.0)
    assert engine.process_due(0.0) == 247


def test_process_due_does_a_limited_number() -> None:
    engine = make_engine(parameters=TransmissionParameters(nstart=10))
    for _ in range(10):
        engine.send(get(), PEER)
    engine.take()
    assert engine.process_due(3.0, limit=4) <= 3
    assert len(engine.take()) == 4
    assert engine.process_due(3.0) > 3
    assert len(engine.take()) == 6


def test_who_sleeps_is_told_of_earlier_times() -> None:
    engine = make_engine()
    entry = engine.send(get(type=NON), PEER)
    con = engine.send(get(), PEER)
    assert engine.woken == [entry.time_due, con.time_due]


# Receiving without tasks


async def test_receive_returns_the_message() -> None:
    engine = make_engine()
    engine.request_listener = Server(content())
    engine.inbox = [(get(message_id=1).encode(), PEER)] * 2
    message = await engine.receive()
    assert message == get(message_id=1)
    assert message is not None
    assert (message.source_endpoint, message.destination_endpoint) == (PEER, engine)
    assert await engine.receive() is None


async def test_receive_ignores_another_version() -> None:
    engine = make_engine()
    engine.inbox = [(bytes.fromhex("80011234"), PEER), (b"\x40", PEER)]
    assert await engine.receive() is None
    assert await engine.receive() is None
    assert not engine.outbox


def test_a_new_token_is_not_one_of_a_group_request() -> None:
    engine, twin = make_engine(), make_engine()
    first, second = twin.new_token(PEER), twin.new_token(PEER)
    engine.rng = random.Random(7252)
    engine.tokens[None, first] = Waiter()
    assert engine.new_token(PEER) == second


def test_states_of_endpoints_with_which_nothing_is_exchanged_do_not_pile_up() -> None:
    engine = make_engine()
    entry = engine.send(get(), PEER)
    for number in range(10_000):
        engine.next_message_id(Endpoint(("198.51.100.1", 1 + number)))
    assert engine.statistics().remotes <= 2 * 64 + 2
    assert engine.state_of(PEER).sent_cache[entry.message_id] is entry


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_a_system_short_of_memory_loses_a_datagram_and_not_an_exchange(number: int) -> None:
    engine, fate = make_engine(), Fate()
    engine.send_error = OSError(number, "short")
    entry = engine.send(get(), PEER, listener=fate)
    assert not fate.failures
    engine.send_error = None
    engine.run_until(3)
    assert len(engine.outbox) == 1
    assert entry.transmissions == 2
    assert engine.statistics().turned_away == {"the system's memory for datagrams": 1}


def test_whatever_sending_raises_fails_the_message_and_goes_no_further() -> None:
    engine, fate = make_engine(), Fate()
    engine.send(get(), PEER, listener=fate)
    engine.send_error = ValueError("no socket")
    engine.run_until(3)
    (failure,) = fate.failures
    assert isinstance(failure, NetworkError)
    assert "no socket" in str(failure)
    assert failure.os_error.__cause__ is engine.send_error


async def test_receive_raises_what_is_no_message() -> None:
    engine = make_engine()
    engine.inbox = [(bytes.fromhex("40011234ff"), PEER)]
    with pytest.raises(MessageFormatError):
        await engine.receive()
    assert engine.take_one() == Message(type=RST, message_id=0x1234)


async def test_rawrecvfrom_passes_the_size_on() -> None:
    engine = make_engine()
    engine.inbox = [(bytes(3000), PEER)]
    assert await engine.rawrecvfrom() == (bytes(2048), PEER)


# Remote endpoints


def test_the_state_of_a_remote_is_made_once() -> None:
    engine = make_engine()
    assert engine.known_remote(PEER) is None
    state = engine.remote_state(PEER)
    assert engine.remote_state(PEER) is engine.known_remote(PEER) is state
    assert engine.remote_state(OTHER) is not state


def test_the_statistics_are_a_snapshot() -> None:
    engine = make_engine()
    engine.request_listener = Server(content())
    engine.tokens[PEER, b"\x20"] = Waiter()
    engine.send(get(), PEER)
    engine.send(get(), PEER)
    engine.run_until(10)
    engine.hear(get(message_id=1), OTHER)
    engine.hear(get(message_id=1), OTHER)
    before = engine.statistics()
    assert (before.tx_messages, before.tx_octets) == (5, 3 * 7 + 2 * 12)
    assert (before.rx_messages, before.rx_octets) == (2, 14)
    assert (before.retransmissions, before.duplicates) == (2, 1)
    assert (before.remotes, before.sent, before.received, before.pending, before.tokens) == (2, 2, 1, 1, 1)
    assert before.rejected == before.turned_away == {}
    engine.run_until(1000)
    assert before.sent == 2
    assert engine.statistics().sent == engine.statistics().received == engine.statistics().remotes == 0


# ICMP


def test_an_error_that_quotes_a_message_fails_it() -> None:
    engine, fate = make_engine(), Fate()
    entry = engine.send(get(), PEER, listener=fate)
    assert engine.error_received(PEER, entry.octets, REFUSED, 1.0)
    (error,) = fate.failures
    assert isinstance(error, NetworkError)
    assert (error.os_error, error.elapsed) == (REFUSED, 1)
    assert not entry.is_outstanding


def test_the_beginning_of_the_message_will_do() -> None:
    engine, fate = make_engine(), Fate()
    entry = engine.send(get(), PEER, listener=fate)
    assert engine.error_received(PEER, entry.octets[:5], REFUSED, 1.0)


def quotes(entry) -> dict[str, bytes]:
    octets = entry.octets
    return {
        "nothing": b"",
        "header cut off": octets[:3],
        "token cut off": octets[:4],
        "another token": octets[:4] + b"\x21" + octets[5:],
        "another message ID": octets[:2] + bytes([octets[2] ^ 1]) + octets[3:],
        "another type": bytes([octets[0] ^ 0x10]) + octets[1:],
        "something behind": octets + b"x",
    }


@pytest.mark.parametrize("what", list(quotes(make_engine().send(get(), PEER))))
def test_an_error_that_quotes_something_else_does_not_count(what: str) -> None:
    """aiocoap fails every request to a remote on any ICMP message that names it."""
    engine, fate = make_engine(), Fate()
    entry = engine.send(get(), PEER, listener=fate)
    assert not engine.error_received(PEER, quotes(entry)[what], REFUSED, 1.0)
    assert not fate.failures
    assert engine.statistics().rejected == {"an ICMP error that quotes nothing we sent": 1}


def test_an_error_about_a_message_to_a_group_does_not_count() -> None:
    """Nobody sends one (RFC 1122 section 3.2.2): it is forged, or about one way of several."""
    engine, fate = make_engine(), Fate()
    entry = engine.send(get(type=NON), GROUP, listener=fate)
    assert not engine.error_received(GROUP, entry.octets, REFUSED, 1.0)
    assert not fate.failures


@pytest.mark.parametrize("remote", [OTHER, GROUP])
def test_an_error_about_another_remote_does_not_count(remote: Endpoint) -> None:
    engine, fate = make_engine(), Fate()
    entry = engine.send(get(), PEER, listener=fate)
    engine.send(get(message_id=1, type=NON), OTHER)
    assert not engine.error_received(remote, entry.octets, REFUSED, 1.0)
    assert not fate.failures


def test_an_error_about_what_was_not_sent_yet_does_not_count() -> None:
    engine, fate = make_engine(), Fate()
    engine.send(get(), PEER)
    waiting = engine.send(get(), PEER, listener=fate)
    assert not engine.error_received(PEER, waiting.message.encode(), REFUSED, 1.0)
    assert not fate.failures


def test_an_error_after_the_acknowledgement_changes_nothing() -> None:
    engine, fate = make_engine(), Fate()
    entry = engine.send(get(), PEER, listener=fate)
    engine.hear(Message(type=ACK, message_id=entry.message_id), PEER)
    assert engine.error_received(PEER, entry.octets, REFUSED, 1.0)
    assert not fate.failures
    assert engine.state_of(PEER).outstanding == 0


# Closing


def busy_engine() -> tuple[EngineEndpoint, Waiter, Fate, Server]:
    """Return an engine with a bit of everything."""
    engine, waiter, fate, server = make_engine(), Waiter(), Fate(), Server()
    engine.request_listener = server
    engine.tokens[PEER, b"\x20"] = waiter
    for _ in range(3):
        engine.send(get(), PEER, listener=fate)
        engine.send(get(type=NON), PEER, listener=fate)
    for message_id in range(3):
        engine.hear(get(message_id=message_id), OTHER)
    server.entries[0].reply()
    engine.take()
    return engine, waiter, fate, server


def test_abandoning_leaves_nothing_behind() -> None:
    engine, _, _, _ = busy_engine()
    engine.abandon()
    statistics = engine.statistics()
    assert statistics.sent == statistics.received == statistics.remotes == statistics.tokens == 0
    assert statistics.pending == engine.counters.received_octets == len(engine.queue) == 0
    assert engine.queue.earliest() == math.inf
    assert engine.request_listener is None
    engine.run_until(1000)
    assert not engine.outbox


def test_abandoning_tells_who_waits() -> None:
    engine, waiter, fate, _ = busy_engine()
    engine.abandon()
    assert waiter.is_closed
    assert fate.closed == 6
    assert not fate.failures


def test_abandoning_starts_nothing_that_waited() -> None:
    engine, fate = make_engine(), Fate()
    first = engine.send(get(), PEER)
    engine.send(get(), PEER, listener=fate)
    engine.take()

    class Canceller(Waiter):
        def endpoint_closed(self) -> None:
            first.complete(1.0)

    engine.tokens[PEER, b"\x20"] = Canceller()
    engine.abandon()
    assert not engine.outbox
    assert not fate.failures


def test_completing_after_abandoning_is_harmless() -> None:
    engine = make_engine()
    entry = engine.send(get(), PEER)
    engine.abandon()
    entry.complete(2.0)
    assert len(engine.queue) == 0


@pytest.mark.parametrize("type", [CON, NON])
def test_a_handler_may_close_its_endpoint(type) -> None:
    engine = make_engine()

    class Closer(Server):
        def request_received(self, request, entry, now: float) -> None:
            engine.abandon()

    engine.request_listener = Closer()
    engine.hear(get(type=type, message_id=1), PEER)
    assert engine.statistics().received == len(engine.queue) == 0


@pytest.mark.parametrize("type", [CON, NON])
def test_an_answer_after_abandoning_is_not_remembered(type) -> None:
    engine, server = make_engine(), Server()
    engine.request_listener = server
    engine.hear(get(type=type, message_id=1), PEER)
    engine.abandon()
    server.entries[0].respond(Response(Code.CONTENT), 2.0)
    assert engine.counters.received_octets == engine.statistics().received == 0
