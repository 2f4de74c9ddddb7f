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
    assert entry.message == message == request
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
        self.engine.abandon()
        return super().response_received(response, now)

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        self.engine.abandon()

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        self.engine.abandon()

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        self.engine.abandon()


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
