"""How many received messages are remembered: RFC 7252 section 4.5."""

from __future__ import annotations

import pytest

from tests.messaging.engine import (
    GROUP,
    OTHER,
    PEER,
    EngineEndpoint,
    Server,
    Waiter,
    content,
    get,
    make_engine,
)
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.memory import MAX_FORGOTTEN, RESERVED_SHARE
from trio_coap.messaging.parameters import DEFAULT_LIMITS, Limits
from trio_coap.wire.codes import ACK, CON, NON, RST, Code, MessageType
from trio_coap.wire.message import Message, Response

RESET = Message(type=RST, message_id=0x1234)
MALFORMED = bytes.fromhex("40011234ff")
"""A CON request with a payload marker and nothing behind it."""


def serving(answers: bool = True, limits: Limits = DEFAULT_LIMITS) -> tuple[EngineEndpoint, Server]:
    engine, server = make_engine(limits=limits), Server(content() if answers else None)
    engine.request_listener = server
    return engine, server


def waiting(accepts: bool = True) -> tuple[EngineEndpoint, Waiter]:
    """Return an engine that waits for a response from PEER with the token 20."""
    engine, waiter = make_engine(), Waiter(accepts=accepts)
    engine.tokens[PEER, b"\x20"] = waiter
    return engine, waiter


def response(type: MessageType = CON, *, token: bytes = b"\x20", message_id: int = 0x1234) -> Response:
    return Response(Code.CONTENT, b"22.3 C", type=type, token=token, message_id=message_id)


def rejected(engine: EngineEndpoint) -> dict[str, int]:
    return engine.statistics().rejected


def test_the_oldest_idempotent_exchange_is_forgotten_first() -> None:
    engine, server = serving(limits=Limits(max_remembered=3))
    engine.hear(get(code=Code.POST, message_id=1), PEER)
    for message_id in (2, 3, 4):
        engine.hear(get(message_id=message_id), PEER)
    assert list(engine.state_of(PEER).rcvd_cache) == [1, 3, 4]
    assert len(server.entries) == 4
    assert engine.statistics().turned_away == {"max_remembered": 1}
    assert engine.statistics().received == 3


def test_what_is_forgotten_early_and_owes_an_acknowledgement_gives_it() -> None:
    engine, server = serving(answers=False, limits=Limits(max_remembered=1))
    engine.hear(get(message_id=1), PEER)
    engine.hear(get(message_id=2), PEER)
    assert engine.take() == [Message(type=ACK, message_id=1)]
    server.entries[0].respond(Response(Code.CONTENT), 0.0)
    assert engine.take_one().type is CON


def test_when_nothing_may_be_forgotten_a_request_goes_unanswered() -> None:
    engine, server = serving(limits=Limits(max_remembered=2))
    for message_id in (1, 2, 3):
        engine.hear(get(code=Code.POST, message_id=message_id), PEER)
    assert len(server.entries) == len(engine.outbox) == 2
    engine.run_until(247)
    engine.hear(get(code=Code.POST, message_id=3), PEER)
    assert len(server.entries) == 3


def test_making_room_may_forget_the_source_itself() -> None:
    engine, server = serving(limits=Limits(max_remembered=1))
    engine.hear(get(message_id=1), PEER)
    for _ in range(2):
        engine.hear(get(message_id=2), PEER)
    assert [entry.message_id for entry in server.entries] == [1, 2]
    assert server.entries[1].reception_count == 2
    assert engine.state_of(PEER).rx_messages == 2


def test_entries_that_expired_are_skipped_when_room_is_made() -> None:
    engine, server = serving(limits=Limits(max_remembered=3))
    engine.hear(get(message_id=1), PEER)
    for message_id in (2, 3):
        engine.hear(get(type=NON, message_id=message_id), PEER)
    engine.run_until(150)
    for message_id in (4, 5, 6):
        engine.hear(get(message_id=message_id), PEER)
    assert list(engine.state_of(PEER).rcvd_cache) == [4, 5, 6]
    engine.hear(get(message_id=7), PEER)
    assert list(engine.state_of(PEER).rcvd_cache) == [5, 6, 7]
    assert len(server.entries) == 7


def test_what_is_skipped_may_be_all_there_is() -> None:
    engine, _ = serving(limits=Limits(max_remembered=2))
    engine.hear(get(type=CON, message_id=1), PEER)
    engine.hear(get(type=NON, message_id=2), PEER)
    engine.state_of(PEER).rcvd_cache[1].process_timeout(1.0)
    engine.run_until(145)
    for message_id in (3, 4, 5):
        engine.hear(get(code=Code.POST, message_id=message_id), PEER)
    assert list(engine.state_of(PEER).rcvd_cache) == [3, 4]


def test_the_octets_of_remembered_replies_are_limited() -> None:
    engine, server = serving(limits=Limits(max_remembered_octets=2000))
    server.answer = content("x" * 1000)
    for message_id in range(10):
        engine.hear(get(message_id=message_id), PEER)
    assert len(server.entries) == 10
    assert engine.counters.received_octets == 2 * (1000 + 6 + 7)  # Of two exchanges: the reply and the request.
    assert engine.statistics().turned_away["max_remembered_octets"] == 8


def test_the_octets_of_requests_count() -> None:
    engine, _ = serving()
    engine.hear(get(message_id=1, payload=bytes(1000)), PEER)
    assert engine.counters.received_octets == 7 + 1 + 1000 + 12
    engine.state_of(PEER).rcvd_cache.clear()
    assert engine.counters.received_octets == 0


def test_the_number_of_remotes_is_limited() -> None:
    engine, server = serving(limits=Limits(max_remotes=2))
    peers = [Endpoint((f"198.51.100.{number}", 5683)) for number in range(4)]
    for peer in peers:
        engine.hear(get(code=Code.POST, message_id=1), peer)
    assert len(server.entries) == engine.statistics().remotes == 2
    assert engine.statistics().turned_away == {"max_remotes": 2}
    engine.hear(get(message_id=2), peers[0])
    assert len(server.entries) == 3
    engine.run_until(1000)
    engine.hear(get(message_id=1), peers[3])
    assert len(server.entries) == 4


def test_at_the_limit_the_remote_with_the_oldest_messages_is_forgotten() -> None:
    engine, server = serving(limits=Limits(max_remotes=2))
    peers = [Endpoint((f"198.51.100.{number}", 5683)) for number in range(4)]
    for peer in peers:
        engine.hear(get(message_id=1), peer)
    assert len(server.entries) == 4
    assert [engine.known_remote(peer) is not None for peer in peers] == [False, False, True, True]


def test_making_room_for_a_remote_costs_a_few_entries_at_most() -> None:
    engine, server = serving(limits=Limits(max_remotes=1))
    for message_id in range(20):
        engine.hear(get(message_id=message_id), PEER)
    engine.hear(get(message_id=1), OTHER)
    assert len(server.entries) == 20
    assert engine.statistics().received == 20 - MAX_FORGOTTEN
    engine.hear(get(message_id=1), OTHER)
    assert len(server.entries) == 21


def test_making_room_gives_up_after_a_few_entries() -> None:
    engine, server = serving(limits=Limits(max_remembered_octets=100_000))
    for message_id in range(40):
        engine.hear(get(message_id=message_id), PEER)
    server.answer = content("x" * 99_990)
    engine.hear(get(code=Code.POST, message_id=100), PEER)
    assert engine.counters.received_octets > 100_000
    engine.hear(get(message_id=101), PEER)
    assert engine.statistics().received == 41 - MAX_FORGOTTEN
    assert len(server.entries) == 41


@pytest.mark.parametrize("code", [Code.BAD_REQUEST, Code.METHOD_NOT_ALLOWED, Code.SERVICE_UNAVAILABLE])
def test_what_was_answered_by_an_error_may_be_forgotten(code: Code) -> None:
    engine, server = serving(limits=Limits(max_remembered=2))
    server.answer = lambda request: Response(code)
    for message_id in (1, 2, 3):
        engine.hear(get(code=Code(31), message_id=message_id), PEER)
    assert [message.code for message in engine.take()] == [code] * 3
    assert list(engine.state_of(PEER).rcvd_cache) == [2, 3]


def test_what_was_answered_by_an_error_or_reset_later_may_be_forgotten() -> None:
    engine, server = serving(answers=False, limits=Limits(max_remembered=2))
    for message_id in (1, 2):
        engine.hear(get(code=Code.POST, message_id=message_id), PEER)
    server.entries[1].reply(reset=True)
    engine.hear(get(code=Code.POST, message_id=3), PEER)
    assert list(engine.state_of(PEER).rcvd_cache) == [1, 3]
    server.entries[0].respond(Response(Code.NOT_FOUND), 0.0)
    engine.hear(get(code=Code.POST, message_id=4), PEER)
    assert list(engine.state_of(PEER).rcvd_cache) == [3, 4]


def test_what_was_executed_is_not_forgotten() -> None:
    engine, server = serving(limits=Limits(max_remembered=2))
    for message_id in (1, 2, 3):
        engine.hear(get(code=Code.POST, message_id=message_id), PEER)
    assert list(engine.state_of(PEER).rcvd_cache) == [1, 2]
    assert len(server.entries) == 2


@pytest.mark.parametrize("type", [CON, NON])
def test_what_nobody_takes_leaves_nothing_behind(type) -> None:
    engine = make_engine()
    for _ in range(2):
        engine.hear(response(type), PEER)
        engine.hear(get(type=type, message_id=2), PEER)
        engine.hear(get(type=type, message_id=3), PEER, GROUP)
    assert engine.statistics().remotes == engine.statistics().received == 0
    assert engine.take() == [RESET, *([Message(type=RST, message_id=2)] if type is CON else [])] * 2


def test_one_remote_does_not_make_those_of_others_forgotten() -> None:
    engine, server = serving(limits=Limits(max_remembered=100))
    engine.hear(get(message_id=1), PEER)
    for message_id in range(1000):
        engine.hear(get(type=NON, message_id=message_id), OTHER)
    assert len(server.entries) == 1001
    assert 1 in engine.state_of(PEER).rcvd_cache
    assert len(engine.state_of(OTHER).rcvd_cache) == 100 - 100 // RESERVED_SHARE - 1


def test_what_one_remote_may_not_forget_leaves_room_for_others() -> None:
    engine, server = serving(limits=Limits(max_remembered=100))
    for message_id in range(1000):
        engine.hear(get(code=Code.POST, message_id=message_id), OTHER)
    assert len(server.entries) == 94
    engine.hear(get(code=Code.POST, message_id=1), PEER)
    assert len(server.entries) == 95


def test_what_is_gone_is_not_kept_for_forgetting() -> None:
    engine, _ = serving()
    for message_id in range(10):
        engine.hear(get(type=NON, message_id=message_id), PEER)
    assert len(engine.memory) == 10
    engine.run_until(145)
    assert len(engine.memory) == 0


def test_a_remote_that_had_too_much_costs_no_places_for_what_has_expired() -> None:
    engine, server = serving(limits=Limits(max_remembered=1000))
    for message_id in range(1100):
        engine.hear(get(message_id=message_id), PEER)
    state = engine.state_of(PEER)
    assert state.forgettable is not None
    for number in range(20_000):  # With 494 of them remembered at a time.
        engine.run_until(engine.now + 0.5)
        engine.hear(get(message_id=number % 0x10000 ^ 0x8000), PEER)
        engine.outbox.clear()
        server.entries.clear()
    assert engine.counters.received < 500
    assert len(state.forgettable._keys) < 4000


def test_nobody_is_turned_away_because_of_what_others_have_forgotten_of_their_own() -> None:
    engine, server = serving(limits=Limits(max_remembered=2000))
    for message_id in range(700):
        engine.hear(get(message_id=message_id), PEER)  # And then it is silent.
    for message_id in range(30_000):
        engine.hear(get(message_id=message_id), OTHER)
        engine.outbox.clear()
    for number in range(1500):
        engine.hear(get(message_id=1), Endpoint((f"198.51.{number >> 8}.{number & 255}", 5683)))
    assert len(server.entries) == 700 + 30_000 + 1500


def test_a_remote_that_had_too_much_need_not_know_its_few_messages_that_are_left() -> None:
    engine, _ = serving(limits=Limits(max_remembered=1000))
    for message_id in range(1100):
        engine.hear(get(message_id=message_id), PEER)
    engine.run_until(247)
    engine.hear(get(message_id=1), PEER)
    assert engine.counters.received == 1
    assert engine.state_of(PEER).forgettable is None


def test_an_id_that_comes_again_at_the_same_time_is_remembered_for_as_long_as_its_type_says() -> None:
    engine, server = serving(limits=Limits(max_remembered=2))
    engine.hear(get(code=Code.POST, type=NON, message_id=9), PEER)
    engine.hear(get(type=NON, message_id=1), PEER)
    engine.hear(get(type=NON, message_id=2), PEER)
    engine.hear(get(code=Code.POST, message_id=1), PEER)
    engine.run_until(200)
    engine.hear(get(code=Code.POST, message_id=1), PEER)
    assert len(server.entries) == 4
    engine.run_until(247)
    assert engine.counters.received == 0


def test_who_asks_when_much_may_not_be_forgotten_is_served_if_anything_may() -> None:
    limit = 3000
    engine, server = serving(limits=Limits(max_remembered=limit))
    remotes = [Endpoint((f"10.0.{number >> 8}.{number & 255}", 5683)) for number in range(limit + 20)]
    for number, remote in enumerate(remotes[: limit - 10]):
        engine.hear(get(code=Code.POST, message_id=number), remote)
    for number, remote in enumerate(remotes[limit - 10 :]):
        engine.hear(get(message_id=number), remote)
    assert len(server.entries) == len(remotes)
    assert engine.counters.received == limit
