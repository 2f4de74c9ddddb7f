"""Strict by default: what arrives, and what must happen, one test for each row of the table.

:data:`ROWS` is the table.  Each row has a test that is named for it and whose docstring begins with its text; more cases of
most of them stand in the tests of the modules.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene, open_scene
from tests.client.support import open_peer
from tests.server.observing import Sensor
from tests.server.observing import open_stage as open_observed
from tests.server.stage import Stage, make_request, open_stage, with_option
from trio_coap import (
    ACK,
    CON,
    NON,
    RST,
    Block,
    BlockLimits,
    Code,
    Endpoint,
    Message,
    MessageType,
    NotificationPolicy,
    Request,
    Response,
    Site,
    UnprocessableResponse,
)
from trio_coap.server.observer import NON_INTERVAL
from trio_coap.testing import VirtualNetwork

ROWS = {
    "version_or_length": "version other than 1, or shorter than 4 octets: silence",
    "token_length": "token length 9 to 15: RST for CON, silence for NON",
    "format_error": "payload marker with nothing behind it; option delta or length nibble 15; truncated option; code 0.00 with "
    "anything behind the header: message format error",
    "reserved_class": "code class 1, 6, 7: message format error",
    "ping": "empty CON (ping): RST",
    "unknown_critical_option_in_a_request": "unknown critical option in a request: 4.02 with the option number in the "
    "diagnostic payload; NON: reject",
    "unknown_critical_option_in_a_response": "unknown critical option in a response: RST for CON, drop for NON; the request "
    "fails with an error that names the option",
    "wrong_length_elective": "option value with a wrong length, elective: ignored",
    "wrong_length_critical": "option value with a wrong length, critical: 4.02",
    "surplus_option": "second instance of a non-repeatable option: critical 4.02, elective ignored",
    "invalid_utf8": "invalid UTF-8 in a string option: 4.02 for critical Uri-Path, Uri-Host, Uri-Query",
    "proxy": "Proxy-Uri or Proxy-Scheme at a server that is no proxy: 5.05",
    "unknown_method": "unknown method: 4.05",
    "content_format_and_accept": "Content-Format not handled, Accept not available: 4.15, 4.06",
    "duplicate": "duplicate CON or NON: the same octets again, the handler ran once",
    "acknowledgement_of_another_remote": "ACK or RST from another remote than the one the message went to: ignored, counted",
    "response_with_an_unknown_token": "CON response with an unknown token: RST",
    "block1_gap": "Block1 gap or wrong order: 4.08",
    "block1_repeated_block": "Block1 repeated block (same number, same content): answered again as before",
    "block1_short_block": "Block1 not final and shorter than its size: 4.00",
    "szx_7": "szx 7 over a datagram transport: 4.00",
    "block1_above_the_limit": "Block1 body above the limit of the resource: 4.13 with Size1 and the size that it would take",
    "notification_larger_than_a_block": "notification larger than a block: first block in the notification, the rest by GET "
    "with Block2",
    "reset_of_a_notification": "RST to a notification, also to a NON one: observation ends, its handler task is cancelled",
    "notifications": "notifications: at least one CON in 24 hours and after every few NON; a newer state replaces one that "
    "waits; Observe number rises over re-registration too",
    "multicast": (
        "request to a multicast group: no RST, no error responses unless asked, leisure delay, NON response from a "
        "unicast address"
    ),
    "no_response": "No-Response: obeyed",
}
"""What arrives at a server, and what must happen."""

RESET = bytes.fromhex("70001234")
DAY = 24 * 3600
A = b"a" * 16


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_a_test_that_says_it(row: str) -> None:
    docstring = re.sub(r"\s+", " ", inspect.getdoc(globals()[f"test_row_{row}"]) or "")
    assert docstring.startswith(f"Row: {ROWS[row]}")


def datagram(
    kind: MessageType, code: str = "01", rest: str = "b172", *, version: int = 1, token_length: int = 0
) -> bytes:
    return bytes((version << 6 | kind << 4 | token_length,)) + bytes.fromhex(f"{code}1234{rest}")


class Calls:
    """What the handlers have been asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.site = Site()
        for code in (Code.GET, Code.PUT):
            self.site.resource("/r").method(code)(self.answer)
        self.site.put("/typed", consumes="text/plain")(self.answer)

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(payload=str(len(self.requests)), content_format=0)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def stage(coap_network: VirtualNetwork, calls: Calls) -> AsyncIterator[Stage]:
    async with open_stage(calls.site, coap_network, block_limits=BlockLimits(max_body=100)) as opened:
        yield opened


@pytest.fixture
async def scene(coap_network: VirtualNetwork) -> AsyncIterator[Scene]:
    async with open_scene(coap_network) as opened:
        yield opened


# What arrives at a server: the format of messages.


async def assert_format_error(stage: Stage, calls: Calls, code: str, rest: str, token_length: int = 0) -> None:
    """A CON is reset, anything else gets silence; both are counted."""
    stage.send(datagram(CON, code, rest, token_length=token_length))
    assert await stage.peer.receive_octets() == RESET
    for kind in (NON, ACK, RST):
        assert await stage.is_silent_on(datagram(kind, code, rest, token_length=token_length))
    assert sum(stage.endpoint.statistics().rejected.values()) == 4
    assert calls.requests == []


@pytest.mark.parametrize("octets", ["", "40", "400112", "00011234b172", "80011234b172", "c0011234b172"])
async def test_row_version_or_length(octets: str, stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: version other than 1, or shorter than 4 octets: silence (RFC 7252 section 3)."""
    assert await stage.is_silent_on(bytes.fromhex(octets))
    assert sum(stage.endpoint.statistics().rejected.values()) == 1
    assert calls.requests == []


@pytest.mark.parametrize("length", range(9, 16))
async def test_row_token_length(length: int, stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: token length 9 to 15: RST for CON, silence for NON (RFC 7252 sections 3, 4.2); 13 and 14 would be the extended
    tokens of RFC 8974, which nobody has enabled.
    """
    await assert_format_error(stage, calls, "01", "00" * 300, length)


@pytest.mark.parametrize(
    ("code", "rest"), [("01", "b172ff"), ("01", "f0"), ("01", "bf72"), ("01", "b572"), ("01", "d0"), ("00", "b172")]
)
async def test_row_format_error(code: str, rest: str, stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: payload marker with nothing behind it; option delta or length nibble 15; truncated option; code 0.00 with anything
    behind the header: message format error (RFC 7252 sections 3, 3.1, 4.1).
    """
    await assert_format_error(stage, calls, code, rest)


@pytest.mark.parametrize("code", ["20", "3f", "c5", "e1"])
async def test_row_reserved_class(code: str, stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: code class 1, 6, 7: message format error (RFC 7252 sections 3, 12.1)."""
    await assert_format_error(stage, calls, code, "")


async def test_row_ping(stage: Stage, autojump_clock: MockClock) -> None:
    """Row: empty CON (ping): RST (RFC 7252 section 4.3)."""
    stage.send(datagram(CON, "00", ""))
    assert await stage.peer.receive_octets() == RESET


# Options.


async def test_row_unknown_critical_option_in_a_request(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: unknown critical option in a request: 4.02 with the option number in the diagnostic payload; NON: reject
    (RFC 7252 section 5.4.1), here with an RST.
    """
    response = await stage.ask(with_option(65001, message_id=1))
    assert (response.type, response.code) == (ACK, Code.BAD_OPTION)
    assert "65001" in response.text
    stage.send(with_option(65001, type=NON))
    assert await stage.peer.receive_octets() == RESET
    assert calls.requests == []


@pytest.mark.parametrize("type", [CON, NON])
async def test_row_unknown_critical_option_in_a_response(
    type: MessageType, scene: Scene, autojump_clock: MockClock
) -> None:
    """Row: unknown critical option in a response: RST for CON, drop for NON; the request fails with an error that names the
    option (RFC 7252 section 5.4.1).
    """

    async def answer() -> None:
        request = await scene.peer.receive_request()
        scene.peer.acknowledge(request)
        response = with_option(65001, b"x").options.without("Uri-Path")
        scene.peer.send(Response(options=response, type=type, message_id=0x1234, token=request.token))
        if type is CON:
            assert await scene.peer.receive_octets() == RESET
        assert await scene.peer.hears_nothing(300)

    async with trio.open_nursery() as waiting:
        waiting.start_soon(answer)
        with pytest.raises(UnprocessableResponse, match="65001"):
            await scene.client.get(scene.uri)


async def test_row_wrong_length_elective(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: option value with a wrong length, elective: ignored (RFC 7252 section 5.4.3)."""
    for number, value in ((4, bytes(9)), (14, bytes(5)), (60, bytes(5))):
        assert (await stage.ask(with_option(number, value, message_id=number))).code is Code.CONTENT
        assert calls.requests[-1].options.get(number) is None


async def test_row_wrong_length_critical(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: option value with a wrong length, critical: 4.02 (RFC 7252 section 5.4.3)."""
    for number, value in ((1, bytes(9)), (5, b"\0"), (7, bytes(3)), (11, bytes(256)), (17, bytes(3))):
        assert (await stage.ask(with_option(number, value, message_id=number))).code is Code.BAD_OPTION
    assert calls.requests == []


async def test_row_surplus_option(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: second instance of a non-repeatable option: critical 4.02, elective ignored (RFC 7252 section 5.4.5)."""
    for number in (3, 7, 17):
        request = with_option(number, b"1", message_id=number)
        request.options += with_option(number, b"1").options.without("Uri-Path")
        assert (await stage.ask(request)).code is Code.BAD_OPTION
    assert calls.requests == []
    request = with_option(14, b"\x01")
    request.options += with_option(14, b"\x02").options.without("Uri-Path")
    assert (await stage.ask(request)).code is Code.CONTENT
    assert calls.requests[0].options.max_age == 1


@pytest.mark.parametrize("number", [3, 11, 15])
async def test_row_invalid_utf8(number: int, stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: invalid UTF-8 in a string option: 4.02 for critical Uri-Path, Uri-Host, Uri-Query (RFC 7252 section 5.4.3)."""
    response = await stage.ask(with_option(number, b"a\xc3"))
    assert (response.code, f"{number}" in response.text) == (Code.BAD_OPTION, True)
    assert calls.requests == []


@pytest.mark.parametrize(("number", "value"), [(35, b"coap://example.org/"), (39, b"coap")])
async def test_row_proxy(number: int, value: bytes, stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: Proxy-Uri or Proxy-Scheme at a server that is no proxy: 5.05 (RFC 7252 section 5.10.2)."""
    assert (await stage.ask(with_option(number, value))).code is Code.PROXYING_NOT_SUPPORTED
    assert calls.requests == []


async def test_row_unknown_method(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: unknown method: 4.05 (RFC 7252 section 5.8)."""
    assert (await stage.ask(make_request(code=Code.of(0, 31)))).code is Code.METHOD_NOT_ALLOWED
    assert calls.requests == []


async def test_row_content_format_and_accept(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: Content-Format not handled, Accept not available: 4.15, 4.06 (RFC 7252 sections 5.9, 5.10)."""
    put = make_request("typed", code=Code.PUT, message_id=1, payload=b"{}", content_format=50)
    assert (await stage.ask(put)).code is Code.UNSUPPORTED_CONTENT_FORMAT
    assert calls.requests == []
    assert (await stage.ask(make_request(message_id=2, accept=50))).code is Code.NOT_ACCEPTABLE
    assert (await stage.ask(make_request(message_id=3, accept=0))).code is Code.CONTENT


# Duplicates, acknowledgements and tokens.


@pytest.mark.parametrize("type", [CON, NON])
async def test_row_duplicate(type: MessageType, stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: duplicate CON or NON: the same octets again, the handler ran once (same remote and message ID within
    EXCHANGE_LIFETIME, NON_LIFETIME; RFC 7252 sections 4.2, 4.5).
    """
    answers = []
    for _ in range(3):
        stage.send(datagram(type))
        answers.append(await stage.peer.receive_octets())
        await trio.sleep(60)
    assert answers == [answers[0]] * 3
    assert len(calls.requests) == 1


@pytest.mark.parametrize("kind", [ACK, RST])
async def test_row_acknowledgement_of_another_remote(
    kind: MessageType, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Row: ACK or RST from another remote than the one the message went to: ignored, counted (RFC 7252 section 4.2)."""
    sensor = Sensor()
    async with open_observed(sensor.site, coap_network) as stage:
        await stage.ask(0)
        await sensor.change(2)
        notification = await stage.receive()
        with open_peer(coap_network, "other") as other:
            other.send(Message(type=kind, message_id=notification.message_id), stage.endpoint.remote)
            assert (await stage.receive()).encode() == notification.encode()
        assert sum(stage.endpoint.statistics().rejected.values()) == 1


async def test_row_response_with_an_unknown_token(stage: Stage, autojump_clock: MockClock) -> None:
    """Row: CON response with an unknown token: RST (RFC 7252 sections 4.2, 5.3.2)."""
    stage.send(Response(Code.CONTENT, type=CON, message_id=0x1234, token=b"unknown"))
    assert await stage.peer.receive_octets() == RESET


# Blocks.


async def put(stage: Stage, message_id: int, number: int, more: bool, payload: bytes, **options: object) -> Response:
    block = options.pop("block1", Block(number, more, 0))
    request = make_request(code=Code.PUT, message_id=message_id, payload=payload, block1=block, **options)  # type: ignore[arg-type]
    return await stage.ask(request)


async def test_row_block1_gap(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: Block1 gap or wrong order: 4.08 (RFC 7959 section 2.9.2)."""
    assert (await put(stage, 1, 1, False, A)).code is Code.REQUEST_ENTITY_INCOMPLETE
    assert (await put(stage, 2, 0, True, A)).code is Code.CONTINUE
    assert (await put(stage, 3, 2, False, A)).code is Code.REQUEST_ENTITY_INCOMPLETE
    assert calls.requests == []


async def test_row_block1_repeated_block(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: Block1 repeated block (same number, same content): answered again as before (RFC 7959 section 2.5)."""
    for number, more in ((0, True), (1, True), (2, False)):
        once, again = [await put(stage, 2 * number + attempt, number, more, A) for attempt in range(2)]
        assert (once.code, once.options) == (again.code, again.options)
    assert [request.payload for request in calls.requests] == [A * 3]


async def test_row_block1_short_block(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: Block1 not final and shorter than its size: 4.00 (RFC 7959 section 2.2)."""
    assert (await put(stage, 1, 0, True, A[1:])).code is Code.BAD_REQUEST
    assert calls.requests == []


@pytest.mark.parametrize("name", ["block1", "block2"])
async def test_row_szx_7(name: str, stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: szx 7 over a datagram transport: 4.00 (RFC 7959 section 2.2)."""
    request = make_request(code=Code.PUT, **{name: Block(0, False, 7)})  # type: ignore[arg-type]
    assert (await stage.ask(request)).code is Code.BAD_REQUEST
    assert calls.requests == []


async def test_row_block1_above_the_limit(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: Block1 body above the limit of the resource: 4.13 with Size1 and the size that it would take (RFC 7959
    section 2.9.3), whether it is announced or comes.
    """
    announced = await put(stage, 1, 0, True, A, size1=101)
    grown = [await put(stage, 2 + number, number, True, A) for number in range(7)][-1]
    for response in (announced, grown):
        assert (response.code, response.options.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, 100)
    assert calls.requests == []


# Observation.


async def test_row_notification_larger_than_a_block(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """Row: notification larger than a block: first block in the notification, the rest by GET with Block2 (RFC 7959
    section 2.6).
    """
    sensor = Sensor()
    async with open_observed(sensor.site, coap_network) as stage:
        await stage.ask(0)
        await sensor.change("x" * 1500)
        notification = await stage.receive_and_acknowledge()
        assert (len(notification.payload), notification.options.block2) == (1024, Block(0, True, 6))
        assert notification.options.observe is not None
        rest = await stage.ask(None, 2, token=b"u", block2=Block(1, False, 6))
        assert (len(rest.payload), rest.options.observe) == (476, None)
        assert rest.options.etag == notification.options.etag


@pytest.mark.parametrize("confirmable", [True, False])
async def test_row_reset_of_a_notification(
    confirmable: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Row: RST to a notification, also to a NON one: observation ends, its handler task is cancelled (RFC 7641
    section 4.5).
    """
    sensor = Sensor(confirmable=confirmable)
    async with open_observed(sensor.site, coap_network) as stage:
        await stage.ask(0)
        await sensor.change(2)
        notification = await stage.receive()
        assert notification.type is (CON if confirmable else NON)
        sensor.delay = 50
        await sensor.change(3)
        stage.peer.reset(notification)
        await trio.sleep(0.1)
        assert (stage.observers, sensor.cancelled) == (0, 1)
        await sensor.change(4)
        assert await stage.peer.hears_nothing(2 * DAY)


async def test_row_notifications(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """Row: notifications: at least one CON in 24 hours and after every few NON; a newer state replaces one that waits; Observe
    number rises over re-registration too (RFC 7641 sections 4.4, 4.5).
    """
    sensor = Sensor(confirmable=False, max_non=2)
    async with open_observed(sensor.site, coap_network) as stage:
        numbers = [(await stage.ask(0)).options.observe or 0]
        types = []
        for value in range(2, 8):
            await sensor.change(value)
            notification = await stage.receive_and_acknowledge()
            types.append(notification.type)
            numbers.append(notification.options.observe or 0)
            await trio.sleep(NON_INTERVAL)
        assert types == [NON, NON, CON, NON, NON, CON]
        numbers.append((await stage.ask(0, 2)).options.observe or 0)
        assert numbers == sorted(set(numbers))
        registered_at = trio.current_time()
        assert (await stage.receive_and_acknowledge()).type is CON
        assert trio.current_time() - registered_at == pytest.approx(DAY, abs=1)
        sensor.site.resource("/r", observable=NotificationPolicy())
        await sensor.change("first")
        assert (await stage.receive()).text == "first"
        await sensor.change("second")
        await sensor.change("third")
        assert (await stage.receive_and_acknowledge()).text == "third"
        assert await stage.peer.hears_nothing(1000)


async def test_row_multicast(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """Row: request to a multicast group: no RST, no error responses unless asked, leisure delay, NON response from a
    unicast address (RFC 7252 section 8); a Confirmable one, or a malformed message, gets no answer.
    """
    async with open_stage(Calls().site, coap_network) as stage:
        stage.endpoint.join_group("224.0.1.187")
        group = Endpoint(host="224.0.1.187")
        for octets in (
            datagram(CON),
            datagram(CON, "00", ""),
            datagram(CON, rest="b172ff"),
            with_option(65001, type=NON).encode(),
            make_request("nowhere", type=NON, message_id=1).encode(),
        ):
            stage.peer.send(octets, group)
            assert await stage.peer.hears_nothing(300)
        delays = []
        for message_id in range(2, 12):
            asked_at = trio.current_time()
            stage.peer.send(make_request(type=NON, message_id=message_id), group)
            response = await stage.peer.receive()
            delays.append(trio.current_time() - asked_at)
            assert (response.type, stage.peer.source) == (NON, stage.endpoint.remote)
            assert isinstance(response, Response)
            assert response.code is Code.CONTENT
        assert max(delays) <= stage.endpoint.parameters.default_leisure
        assert max(delays) - min(delays) > 1
        stage.peer.send(make_request("nowhere", type=NON, message_id=12, no_response=0), group)
        assert (await stage.peer.receive()).code is Code.NOT_FOUND


async def test_row_no_response(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """Row: No-Response: obeyed (RFC 7967): of a NON nothing comes back, of a CON an empty ACK; what is wanted comes."""
    assert await stage.is_silent_on(make_request(type=NON, message_id=1, no_response=26))
    stage.send(make_request(message_id=2, no_response=2))
    assert (await stage.peer.receive()).encode() == bytes.fromhex("60000002")
    assert await stage.peer.hears_nothing(300)
    assert len(calls.requests) == 2
    assert (await stage.ask(make_request("none", message_id=3, no_response=2))).code is Code.NOT_FOUND
