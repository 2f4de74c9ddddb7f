"""What who is above learns of a remote endpoint: that it is there, or that it does not want to know any more."""

from __future__ import annotations

import random

import pytest

from tests.messaging.engine import OTHER, OURS, PEER, EngineEndpoint
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.reception import MAX_STRAY_REPLIES
from trio_coap.messaging.remote import RemoteEndpointState
from trio_coap.wire.codes import ACK, CON, NON, RST, Code
from trio_coap.wire.message import Message, Request, Response

REFUSED = ConnectionRefusedError(111, "Connection refused")


class Listener:
    """Serves requests without answering, and keeps what it learns."""

    def __init__(self) -> None:
        self.proved: list[Endpoint] = []
        self.lost: list[tuple[Endpoint, Request | None]] = []
        self.entries: list[RcvdMessageCacheEntry] = []
        self.repeated: list[int] = []
        self.allows = True

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        self.entries.append(entry)

    def address_proved(self, remote: Endpoint, now: float) -> None:
        self.proved.append(remote)

    def interest_lost(self, remote: Endpoint, request: Request | None, now: float) -> None:
        self.lost.append((remote, request))

    def may_repeat(self, remote: RemoteEndpointState, octets: int, now: float) -> bool:
        self.repeated.append(octets)
        return self.allows

    def response_received(self, response: Response, now: float) -> bool:
        return response.payload != b"unwanted"

    def endpoint_closed(self) -> None:
        pass


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def engine(listener: Listener) -> EngineEndpoint:
    engine = EngineEndpoint(OURS.sockaddr, rng=random.Random(1))
    engine.request_listener = engine.remote_listener = listener
    return engine


def hear(engine: EngineEndpoint, message: Message, source: Endpoint = PEER) -> None:
    engine.datagram_received(message.encode(), source, 1.0)


def send(engine: EngineEndpoint, message: Message) -> int:
    message_id = engine.send(message, PEER).message_id
    assert message_id is not None
    return message_id


def test_an_acknowledgement_proves_the_address(engine: EngineEndpoint, listener: Listener) -> None:
    message_id = send(engine, Response(type=CON))
    hear(engine, Message(type=ACK, message_id=message_id), OTHER)
    assert listener.proved == []
    hear(engine, Message(type=ACK, message_id=message_id))
    assert listener.proved == [PEER]
    hear(engine, Message(type=ACK, message_id=message_id))
    assert listener.proved == [PEER]


def test_an_acknowledgement_after_many_for_nothing_proves_nothing(engine: EngineEndpoint, listener: Listener) -> None:
    message_id = send(engine, Response(type=CON))
    for distance in range(1, MAX_STRAY_REPLIES + 2):
        hear(engine, Message(type=ACK, message_id=(message_id + distance) % 0x10000))
    hear(engine, Message(type=ACK, message_id=message_id))
    assert listener.proved == []


def test_a_reset_proves_nothing(engine: EngineEndpoint, listener: Listener) -> None:
    hear(engine, Message(type=RST, message_id=send(engine, Response(type=CON))))
    assert listener.proved == []


@pytest.mark.parametrize(
    ("token", "payload", "proves"), [(b"1234", b"", True), (b"123", b"", False), (b"1234", b"unwanted", False)]
)
def test_a_response_with_a_token_that_nobody_guesses_proves_the_address(
    token: bytes, payload: bytes, proves: bool, engine: EngineEndpoint, listener: Listener
) -> None:
    engine.tokens[PEER, token] = listener
    hear(engine, Response(payload=payload, type=NON, message_id=1, token=token))
    assert listener.proved == ([PEER] if proves else [])


def test_a_token_that_a_whole_group_knows_proves_nothing(engine: EngineEndpoint, listener: Listener) -> None:
    engine.tokens[None, b"1234"] = listener
    hear(engine, Response(type=NON, message_id=1, token=b"1234"))
    assert listener.proved == []


@pytest.mark.parametrize("allows", [True, False])
def test_a_duplicate_is_answered_again_if_that_is_not_too_much(
    allows: bool, engine: EngineEndpoint, listener: Listener
) -> None:
    request = Request(Code.GET, type=CON, message_id=7, token=b"t")
    hear(engine, request)
    listener.entries[0].respond(Response(payload=b"x"), 1.0)
    listener.allows = allows
    hear(engine, request)
    assert len(engine.take()) == 1 + allows
    assert listener.repeated == [len(listener.entries[0].reply_octets)]


def test_a_response_that_is_lost_is_repeated_in_any_case(engine: EngineEndpoint, listener: Listener) -> None:
    """The congestion control of section 4.7 is limit enough: one at a time, five times in 93 seconds."""
    listener.allows = False
    hear(engine, Request(Code.GET, type=CON, message_id=7, token=b"t"))
    listener.entries[0].reply()
    listener.entries[0].respond(Response(payload=b"x"), 1.0)
    engine.run_until(300.0)
    assert sum(isinstance(message, Response) for message in engine.take()) == 5


@pytest.mark.parametrize("is_piggybacked", [False, True])
def test_a_reset_for_an_acknowledgement_of_ours(
    is_piggybacked: bool, engine: EngineEndpoint, listener: Listener
) -> None:
    hear(engine, Request(Code.GET, type=CON, message_id=7, token=b"t"))
    hear(engine, Message(type=RST, message_id=7))  # There is nothing that it could be for.
    assert (listener.lost, len(engine.counters.rejected)) == ([], 1)
    (entry,) = listener.entries
    if is_piggybacked:
        entry.respond(Response(), 1.0)
    else:
        entry.reply()
    hear(engine, Message(type=RST, message_id=7), OTHER)
    hear(engine, Message(type=RST, message_id=8))
    assert listener.lost == []
    hear(engine, Message(type=RST, message_id=7))
    assert listener.lost == [(PEER, entry.message)]


def test_an_error_that_quotes_an_acknowledgement_of_ours(engine: EngineEndpoint, listener: Listener) -> None:
    hear(engine, Request(Code.GET, type=CON, message_id=7, token=b"t"))
    (entry,) = listener.entries
    assert not engine.error_received(PEER, bytes.fromhex("60000007"), REFUSED, 1.0)
    entry.respond(Response(payload=b"long enough"), 1.0)
    octets = entry.reply_octets
    for remote, quoted in ((OTHER, octets), (PEER, octets[:4]), (PEER, b"\x60" + octets[1:]), (PEER, octets + b"x")):
        assert not engine.error_received(remote, quoted, REFUSED, 1.0)
    assert listener.lost == []
    for quoted in (octets, octets[:5]):
        assert engine.error_received(PEER, quoted, REFUSED, 1.0)
    assert listener.lost == [(PEER, entry.message)] * 2


def test_an_error_that_quotes_a_message_of_ours_says_that_the_remote_is_gone(
    engine: EngineEndpoint, listener: Listener
) -> None:
    entry = engine.send(Response(type=CON, token=b"t"), PEER)
    assert engine.error_received(PEER, entry.octets, REFUSED, 1.0)
    assert listener.lost == [(PEER, None)]


def test_without_a_listener_all_goes_on_as_before(engine: EngineEndpoint, listener: Listener) -> None:
    engine.remote_listener = None
    hear(engine, Request(Code.GET, type=CON, message_id=7))
    listener.entries[0].reply()
    hear(engine, Message(type=RST, message_id=7))
    hear(engine, Message(type=ACK, message_id=send(engine, Response(type=CON))))
    assert (listener.lost, listener.proved) == ([], [])
