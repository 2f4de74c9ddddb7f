"""What happens to a message that arrives: RFC 7252 sections 4.2, 4.3, 4.5 and 5.3.2."""

from __future__ import annotations

import errno
import logging
import re

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
from trio_coap.messaging.errors import DeliveryError
from trio_coap.messaging.memory import MAX_FORGOTTEN, RESERVED_SHARE
from trio_coap.messaging.parameters import DEFAULT_LIMITS, Limits
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.reception import Reason
from trio_coap.messaging.rejections import LOG_PERIOD
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.codes import ACK, CON, NON, RST, Code, MessageType
from trio_coap.wire.errors import MessageFormatError
from trio_coap.wire.message import Message, Request, Response

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


# Malformed messages


def test_a_malformed_con_is_reset() -> None:
    engine = make_engine()
    with pytest.raises(MessageFormatError, match="payload marker"):
        engine.datagram_received(MALFORMED, PEER, 0.0)
    assert engine.take_one() == RESET


@pytest.mark.parametrize("first", [0x50, 0x60, 0x70])
def test_other_malformed_messages_meet_silence(first: int) -> None:
    engine = make_engine()
    with pytest.raises(MessageFormatError):
        engine.datagram_received(bytes([first]) + MALFORMED[1:], PEER, 0.0)
    assert not engine.outbox


@pytest.mark.parametrize("data", [b"", b"\x40\x01\x12", b"\x80\x01\x12\x34", b"\x00\x01\x12\x34"])
def test_another_version_and_what_is_too_short_are_ignored(data: bytes) -> None:
    engine = make_engine()
    assert engine.datagram_received(data, PEER, 0.0) is None
    assert not engine.outbox
    assert sum(rejected(engine).values()) == 1


@pytest.mark.parametrize("token_length", range(9, 16))
def test_a_token_length_above_8_is_a_format_error(token_length: int) -> None:
    engine = make_engine()
    with pytest.raises(MessageFormatError):
        engine.datagram_received(bytes([0x40 | token_length, 1, 0x12, 0x34]) + bytes(15), PEER, 0.0)
    assert engine.take_one() == RESET


@pytest.mark.parametrize("code", [0x20, 0x60, 0xC0, 0xE1])
def test_a_reserved_code_class_is_a_format_error(code: int) -> None:
    engine = make_engine()
    with pytest.raises(MessageFormatError, match="reserved"):
        engine.datagram_received(bytes([0x40, code, 0x12, 0x34]), PEER, 0.0)
    assert engine.take_one() == RESET


def test_a_malformed_con_to_a_group_meets_silence() -> None:
    engine = make_engine()
    with pytest.raises(MessageFormatError):
        engine.datagram_received(MALFORMED, PEER, 0.0, GROUP)
    assert not engine.outbox


def test_a_malformed_message_leaves_no_state_behind() -> None:
    engine = make_engine()
    with pytest.raises(MessageFormatError):
        engine.datagram_received(MALFORMED, PEER, 0.0)
    assert engine.known_remote(PEER) is None
    assert engine.statistics().rx_octets == 5


# Empty messages


def test_a_ping_gets_a_reset() -> None:
    engine, server = serving()
    engine.hear(Message(type=CON, message_id=0x1234), PEER)
    assert engine.take_one() == RESET
    assert not server.entries


def test_a_ping_leaves_no_state_behind() -> None:
    engine = make_engine()
    engine.hear(Message(type=CON, message_id=0x1234), PEER)
    assert engine.known_remote(PEER) is None


def test_an_empty_non_is_ignored() -> None:
    engine = make_engine()
    assert engine.hear(Message(type=NON, message_id=0x1234), PEER) is None
    assert not engine.outbox
    assert rejected(engine) == {"an empty Non-confirmable message": 1}


def test_a_ping_to_a_group_meets_silence() -> None:
    engine = make_engine()
    assert engine.hear(Message(type=CON, message_id=0x1234), PEER, GROUP) is None
    assert not engine.outbox


# Requests


def test_a_request_goes_to_the_listener() -> None:
    engine, server = serving()
    request = get(message_id=0x1234)
    message = engine.hear(request, PEER, OURS)
    (entry,) = server.entries
    assert entry.message is message == request
    assert (message.source_endpoint, message.destination_endpoint, message.local_address) == (PEER, engine, OURS)
    assert engine.take_one() == response(ACK)


@pytest.mark.parametrize(("type", "expected"), [(CON, [RESET]), (NON, [])])
def test_a_request_that_nobody_serves(type, expected: list[Message]) -> None:
    engine = make_engine()
    engine.hear(get(type=type, message_id=0x1234), PEER)
    assert engine.take() == expected
    assert rejected(engine) == {"a request, and nobody serves here": 1}


def test_a_confirmable_request_to_a_group_meets_silence_and_is_forgotten_in_time() -> None:
    engine, server = serving()
    engine.hear(get(message_id=0x1234), PEER, GROUP)
    engine.run_until(1000)
    assert not server.entries
    assert not engine.outbox
    assert engine.statistics().received == 0


def test_a_confirmable_request_to_a_group_makes_room_in_silence() -> None:
    engine, server = serving(limits=Limits(max_remembered=1))
    engine.hear(get(message_id=1), PEER, GROUP)
    engine.hear(get(message_id=2), PEER)
    assert len(server.entries) == 1
    assert engine.take_one().message_id == 2


# Responses


@pytest.mark.parametrize(("type", "expected"), [(CON, [Message(type=ACK, message_id=0x1234)]), (NON, [])])
def test_a_response_goes_to_who_waits_for_its_token(type, expected: list[Message]) -> None:
    engine, waiter = waiting()
    engine.hear(response(type), PEER)
    assert waiter.responses == [response(type)]
    assert engine.take() == expected


def test_a_piggybacked_response_goes_to_who_waits_for_its_token() -> None:
    engine, waiter = waiting()
    fate = Fate()
    entry = engine.send(get(), PEER, listener=fate)
    assert entry.message_id is not None
    engine.hear(response(ACK, message_id=entry.message_id), PEER)
    assert len(waiter.responses) == len(fate.acknowledged) == 1


def test_a_piggybacked_response_that_nobody_waits_for_any_more_is_an_acknowledgement_still() -> None:
    engine, fate = make_engine(), Fate()
    entry = engine.send(get(), PEER, listener=fate)
    assert entry.message_id is not None
    engine.hear(response(ACK, message_id=entry.message_id), PEER)
    assert len(fate.acknowledged) == 1


def test_a_duplicate_response_is_acknowledged_again_and_goes_no_further() -> None:
    engine, waiter = waiting()
    for _ in range(2):
        engine.hear(response(), PEER)
    assert len(waiter.responses) == 1
    assert engine.take() == [Message(type=ACK, message_id=0x1234)] * 2


@pytest.mark.parametrize("type", [CON, NON])
def test_a_response_with_an_unknown_token_is_reset(type) -> None:
    engine, waiter = waiting()
    engine.hear(response(type, token=b"\x21"), PEER)
    assert engine.take_one() == RESET
    assert not waiter.responses
    assert rejected(engine) == {"a response with an unknown token": 1}


def test_a_response_with_the_right_token_from_elsewhere_is_reset() -> None:
    engine, waiter = waiting()
    engine.hear(response(), OTHER)
    assert engine.take_one() == RESET
    assert not waiter.responses


@pytest.mark.parametrize(("type", "expected"), [(CON, [RESET]), (NON, [])])
def test_a_response_that_is_not_accepted_is_rejected(type, expected: list[Message]) -> None:
    engine, waiter = waiting(accepts=False)
    engine.hear(response(type), PEER)
    assert waiter.responses == [response(type)]
    assert engine.take() == expected


def test_responses_to_a_group_request_come_from_anywhere() -> None:
    engine, waiter = make_engine(), Waiter()
    engine.tokens[None, b"\x20"] = waiter
    engine.hear(response(NON), PEER)
    engine.hear(response(NON), OTHER)
    assert len(waiter.responses) == 2


@pytest.mark.parametrize("type", [CON, NON])
@pytest.mark.parametrize("token", [b"\x20", b"\x21"])
def test_a_response_that_comes_to_a_group_address_meets_silence(type, token: bytes) -> None:
    engine, waiter = waiting()
    engine.hear(response(type, token=token), PEER, GROUP)
    assert not waiter.responses
    assert not engine.outbox
    assert rejected(engine) == {"a response to a group": 1}
    engine.run_until(1000)
    assert engine.statistics().received == 0


# ACK and RST


@pytest.mark.parametrize("type", [ACK, RST])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_reply_to_nothing_is_ignored_and_counted(type, is_known: bool) -> None:
    engine = make_engine()
    if is_known:
        engine.send(get(message_id=1), PEER)
        engine.take()
    assert engine.hear(Message(type=type, message_id=0x1234), PEER) is None
    assert not engine.outbox
    assert sum(rejected(engine).values()) == 1


def test_a_reset_that_is_not_empty_is_ignored() -> None:
    engine, fate = make_engine(), Fate()
    engine.send(get(message_id=0x1234), PEER, listener=fate)
    assert engine.hear(response(RST), PEER) is None
    assert not fate.failures


def test_an_acknowledgement_that_carries_a_request_is_ignored() -> None:
    engine, fate = make_engine(), Fate()
    engine.send(get(message_id=0x1234), PEER, listener=fate)
    assert engine.hear(get(type=ACK, message_id=0x1234), PEER) is None
    assert not fate.acknowledged


def test_a_piggybacked_response_with_another_token_is_ignored() -> None:
    engine, fate = make_engine(), Fate()
    waiter = engine.tokens[PEER, b"\x21"] = Waiter()
    engine.send(get(message_id=0x1234), PEER, listener=fate)
    assert engine.hear(response(ACK, token=b"\x21"), PEER) is None
    assert not fate.acknowledged
    assert not waiter.responses


def test_a_response_in_the_acknowledgement_of_a_response_is_ignored() -> None:
    engine, server = serving(answers=False)
    engine.hear(get(message_id=1), PEER)
    engine.run_until(0.2)
    fate = Fate()
    sent = server.entries[0].respond(Response(Code.CONTENT), 0.2, listener=fate)
    waiter = engine.tokens[PEER, b"\x20"] = Waiter()
    assert sent is not None
    assert sent.message_id is not None
    assert engine.hear(response(ACK, message_id=sent.message_id), PEER) is None
    assert not waiter.responses
    assert not fate.acknowledged
    assert rejected(engine) == {"a piggybacked response to what is no request": 1}


class Closer(Waiter):
    """Who closes the endpoint as soon as it is told anything."""

    def __init__(self, engine: EngineEndpoint, *, accepts: bool = True) -> None:
        super().__init__(accepts=accepts)
        self.engine = engine

    def __bool__(self) -> bool:
        return False

    def response_received(self, response: Response, now: float) -> bool:
        self.engine.abandon(now)
        return super().response_received(response, now)

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        self.engine.abandon(now)

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        self.engine.abandon(now)

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        self.engine.abandon(now)


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("type", [CON, NON])
@pytest.mark.parametrize("remote", [PEER, None])
def test_a_listener_for_a_response_may_close_the_endpoint_and_be_false(type, accepts: bool, remote) -> None:
    engine = make_engine()
    closer = engine.tokens[remote, b"\x20"] = Closer(engine, accepts=accepts)
    engine.hear(response(type), PEER)
    assert len(closer.responses) == 1
    assert not engine.outbox
    assert engine.known_remote(PEER) is None
    assert len(engine.queue) == 0


def test_a_listener_for_requests_may_close_the_endpoint() -> None:
    engine = make_engine()
    engine.request_listener = Closer(engine)
    engine.hear(get(message_id=1), PEER)
    assert not engine.outbox
    assert engine.statistics().received == engine.statistics().remotes == 0


@pytest.mark.parametrize("type", [ACK, RST])
def test_who_learns_of_a_reply_may_close_the_endpoint(type) -> None:
    engine = make_engine()
    engine.send(get(message_id=0x1234), PEER, listener=Closer(engine))
    engine.hear(Message(type=type, message_id=0x1234), PEER)
    assert engine.statistics().remotes == engine.statistics().sent == len(engine.queue) == 0


def test_who_learns_of_a_failure_on_hearing_something_may_close_the_endpoint() -> None:
    engine, _server = serving()
    for _ in range(2):
        engine.send(get(type=NON), PEER, listener=Closer(engine))
    engine.send_error = OSError(errno.ENETUNREACH, "Network is unreachable")
    engine.hear(get(message_id=1), PEER)
    assert engine.statistics().remotes == engine.statistics().received == len(engine.queue) == 0


# Limits


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
    assert engine.counters.received_octets == 2 * 1000 + 6 + 7  # Payload, datagram, and the request.
    assert engine.statistics().turned_away["max_remembered_octets"] == 9


def test_the_octets_of_requests_count() -> None:
    engine, _ = serving()
    engine.hear(get(message_id=1, payload=bytes(1000)), PEER)
    assert engine.counters.received_octets == 7 + 1 + 1000 + 12 + 6
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
    server.answer = content("x" * 49_990)
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


# Logging


def test_a_rejection_is_logged_once_for_each_reason_and_remote(caplog: pytest.LogCaptureFixture) -> None:
    engine = make_engine()
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            engine.hear(Message(type=NON, message_id=1), PEER)
            engine.hear(Message(type=NON, message_id=1), OTHER)
            engine.hear(Message(type=ACK, message_id=1), PEER)
    assert len(caplog.records) == 3
    assert sum(rejected(engine).values()) == 15


def test_the_log_names_the_remote_the_rule_the_section_and_the_offset(caplog: pytest.LogCaptureFixture) -> None:
    engine = make_engine()
    with caplog.at_level(logging.INFO), pytest.raises(MessageFormatError):
        engine.datagram_received(MALFORMED, PEER, 0.0)
    (record,) = caplog.records
    for part in (PEER.hostinfo, "payload marker", "RFC 7252 section 3", "octet 4"):
        assert part in record.getMessage()


def test_the_log_is_limited(caplog: pytest.LogCaptureFixture) -> None:
    engine = make_engine(limits=Limits(max_logged_rejections=2))
    with caplog.at_level(logging.INFO):
        for number in range(10):
            engine.hear(Message(type=NON, message_id=1), Endpoint((f"198.51.100.{number}", 5683)))
    assert len(caplog.records) == 3
    assert "counted, not logged" in caplog.records[-1].getMessage()
    assert rejected(engine) == {"an empty Non-confirmable message": 10}


def test_after_an_hour_a_full_log_starts_anew(caplog: pytest.LogCaptureFixture) -> None:
    engine = make_engine(limits=Limits(max_logged_rejections=1))
    ping = Message(type=NON, message_id=1)
    with caplog.at_level(logging.INFO):
        for engine.now in (5.0, 6.0, 5.0 + LOG_PERIOD - 1, 5.0 + LOG_PERIOD):
            engine.hear(ping, PEER)
            engine.hear(ping, OTHER)
    assert [PEER.hostinfo in record.getMessage() for record in caplog.records] == [True, False, True, False]


def test_who_is_above_counts_rejections_too(caplog: pytest.LogCaptureFixture) -> None:
    engine = make_engine()
    with caplog.at_level(logging.INFO):
        engine.count_rejection("an unknown critical option", "5.4.1", PEER, "number 9")
        engine.count_rejection("a late notification", "RFC 7641 section 3.4", PEER)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith("an unknown critical option (RFC 7252 section 5.4.1), number 9")
    assert second.endswith("a late notification (RFC 7641 section 3.4)")
    assert rejected(engine) == {"an unknown critical option": 1, "a late notification": 1}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_names_its_section(reason: Reason) -> None:
    text, section = reason.value
    assert text
    assert re.fullmatch(r"\d(\.\d)*", section)
