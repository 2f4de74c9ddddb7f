"""Strict by default: what arrives at a server, and what it answers, one test for each row of the table.

More cases of most of them stand in the tests of the modules.
"""

from __future__ import annotations

import pytest
import trio
from trio.abc import Clock

from tests.client.scene import Scene
from tests.conformance.playing import RESET, Calls, assert_format_error, datagram, is_silent_on
from tests.patience import passing
from tests.server.stage import Stage, make_request, with_option
from trio_coap import ACK, CON, NON, Block, Code, MessageType, Response, UnprocessableResponse

A = b"a" * 16


# The format of messages.


@pytest.mark.parametrize("octets", ["", "40", "400112", "00011234b172", "80011234b172", "c0011234b172"])
async def test_row_version_or_length(octets: str, stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: version other than 1, or shorter than 4 octets: silence (RFC 7252 section 3)."""
    assert await is_silent_on(stage, bytes.fromhex(octets))
    assert sum(stage.endpoint.statistics().rejected.values()) == 1
    assert calls.requests == []


@pytest.mark.parametrize("length", range(9, 16))
async def test_row_token_length(length: int, stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: token length 9 to 15: RST for CON, silence for NON (RFC 7252 sections 3, 4.2); 13 and 14 would be the extended
    tokens of RFC 8974, which nobody has enabled.
    """
    await assert_format_error(stage, calls, "01", "00" * 300, length)


@pytest.mark.parametrize(
    ("code", "rest"), [("01", "b172ff"), ("01", "f0"), ("01", "bf72"), ("01", "b572"), ("01", "d0"), ("00", "b172")]
)
async def test_row_format_error(code: str, rest: str, stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: payload marker with nothing behind it; option delta or length nibble 15; truncated option; code 0.00 with anything
    behind the header: message format error (RFC 7252 sections 3, 3.1, 4.1).
    """
    await assert_format_error(stage, calls, code, rest)


@pytest.mark.parametrize("code", ["20", "3f", "c5", "e1"])
async def test_row_reserved_class(code: str, stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: code class 1, 6, 7: message format error (RFC 7252 sections 3, 12.1)."""
    await assert_format_error(stage, calls, code, "")


async def test_row_ping(stage: Stage, clock: Clock | None) -> None:
    """Row: empty CON (ping): RST (RFC 7252 section 4.3)."""
    stage.send(datagram(CON, "00", ""))
    assert await stage.peer.receive_octets() == RESET


# Options.


async def test_row_unknown_critical_option_in_a_request(stage: Stage, calls: Calls, clock: Clock | None) -> None:
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
async def test_row_unknown_critical_option_in_a_response(type: MessageType, scene: Scene, clock: Clock | None) -> None:
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


async def test_row_wrong_length_elective(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: option value with a wrong length, elective: ignored (RFC 7252 section 5.4.3)."""
    for number, value in ((4, bytes(9)), (14, bytes(5)), (60, bytes(5))):
        assert (await stage.ask(with_option(number, value, message_id=number))).code is Code.CONTENT
        assert calls.requests[-1].options.get(number) is None


async def test_row_wrong_length_critical(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: option value with a wrong length, critical: 4.02 (RFC 7252 section 5.4.3)."""
    for number, value in ((1, bytes(9)), (5, b"\0"), (7, bytes(3)), (11, bytes(256)), (17, bytes(3))):
        assert (await stage.ask(with_option(number, value, message_id=number))).code is Code.BAD_OPTION
    assert calls.requests == []


async def test_row_surplus_option(stage: Stage, calls: Calls, clock: Clock | None) -> None:
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
async def test_row_invalid_utf8(number: int, stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: invalid UTF-8 in a string option: 4.02 for critical Uri-Path, Uri-Host, Uri-Query (RFC 7252 section 5.4.3)."""
    response = await stage.ask(with_option(number, b"a\xc3"))
    assert (response.code, f"{number}" in response.text) == (Code.BAD_OPTION, True)
    assert calls.requests == []


@pytest.mark.parametrize(("number", "value"), [(35, b"coap://example.org/"), (39, b"coap")])
async def test_row_proxy(number: int, value: bytes, stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: Proxy-Uri or Proxy-Scheme at a server that is no proxy: 5.05 (RFC 7252 section 5.10.2)."""
    assert (await stage.ask(with_option(number, value))).code is Code.PROXYING_NOT_SUPPORTED
    assert calls.requests == []


async def test_row_unknown_method(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: unknown method: 4.05 (RFC 7252 section 5.8)."""
    assert (await stage.ask(make_request(code=Code.of(0, 31)))).code is Code.METHOD_NOT_ALLOWED
    assert calls.requests == []


async def test_row_content_format_and_accept(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: Content-Format not handled, Accept not available: 4.15, 4.06 (RFC 7252 sections 5.9, 5.10)."""
    put = make_request("typed", code=Code.PUT, message_id=1, payload=b"{}", content_format=50)
    assert (await stage.ask(put)).code is Code.UNSUPPORTED_CONTENT_FORMAT
    assert calls.requests == []
    assert (await stage.ask(make_request(message_id=2, accept=50))).code is Code.NOT_ACCEPTABLE
    assert (await stage.ask(make_request(message_id=3, accept=0))).code is Code.CONTENT


# Duplicates, acknowledgements and tokens.


@pytest.mark.parametrize("type", [CON, NON])
async def test_row_duplicate(type: MessageType, stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: duplicate CON or NON: the same octets again, the handler ran once (same remote and message ID within
    EXCHANGE_LIFETIME, NON_LIFETIME; RFC 7252 sections 4.2, 4.5).
    """
    answers = []
    for _ in range(3):
        stage.send(datagram(type))
        answers.append(await stage.peer.receive_octets())
        await trio.sleep(passing(60))
    assert answers == [answers[0]] * 3
    assert len(calls.requests) == 1


async def test_row_response_with_an_unknown_token(stage: Stage, clock: Clock | None) -> None:
    """Row: CON response with an unknown token: RST (RFC 7252 sections 4.2, 5.3.2)."""
    stage.send(Response(Code.CONTENT, type=CON, message_id=0x1234, token=b"unknown"))
    assert await stage.peer.receive_octets() == RESET


# Blocks.


async def put(stage: Stage, message_id: int, number: int, more: bool, payload: bytes, **options: object) -> Response:
    block = options.pop("block1", Block(number, more, 0))
    request = make_request(code=Code.PUT, message_id=message_id, payload=payload, block1=block, **options)  # type: ignore[arg-type]
    return await stage.ask(request)


async def test_row_block1_gap(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: Block1 gap or wrong order: 4.08 (RFC 7959 section 2.9.2)."""
    assert (await put(stage, 1, 1, False, A)).code is Code.REQUEST_ENTITY_INCOMPLETE
    assert (await put(stage, 2, 0, True, A)).code is Code.CONTINUE
    assert (await put(stage, 3, 2, False, A)).code is Code.REQUEST_ENTITY_INCOMPLETE
    assert calls.requests == []


async def test_row_block1_repeated_block(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: Block1 repeated block (same number, same content): answered again as before (RFC 7959 section 2.5)."""
    for number, more in ((0, True), (1, True), (2, False)):
        once, again = [await put(stage, 2 * number + attempt, number, more, A) for attempt in range(2)]
        assert (once.code, once.options) == (again.code, again.options)
    assert [request.payload for request in calls.requests] == [A * 3]


async def test_row_block1_short_block(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: Block1 not final and shorter than its size: 4.00 (RFC 7959 section 2.2)."""
    assert (await put(stage, 1, 0, True, A[1:])).code is Code.BAD_REQUEST
    assert calls.requests == []


@pytest.mark.parametrize("name", ["block1", "block2"])
async def test_row_szx_7(name: str, stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: szx 7 over a datagram transport: 4.00 (RFC 7959 section 2.2)."""
    request = make_request(code=Code.PUT, **{name: Block(0, False, 7)})  # type: ignore[arg-type]
    assert (await stage.ask(request)).code is Code.BAD_REQUEST
    assert calls.requests == []


async def test_row_block1_above_the_limit(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: Block1 body above the limit of the resource: 4.13 with Size1 and the size that it would take (RFC 7959
    section 2.9.3), whether it is announced or comes.
    """
    announced = await put(stage, 1, 0, True, A, size1=101)
    grown = [await put(stage, 2 + number, number, True, A) for number in range(7)][-1]
    for response in (announced, grown):
        assert (response.code, response.options.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, 100)
    assert calls.requests == []


# No-Response.


async def test_row_no_response(stage: Stage, calls: Calls, clock: Clock | None) -> None:
    """Row: No-Response: obeyed (RFC 7967): of a NON nothing comes back, of a CON an empty ACK; what is wanted comes."""
    assert await is_silent_on(stage, make_request(type=NON, message_id=1, no_response=26))
    stage.send(make_request(message_id=2, no_response=2))
    assert (await stage.peer.receive()).encode() == bytes.fromhex("60000002")
    assert await stage.peer.hears_nothing(300)
    assert len(calls.requests) == 2
    assert (await stage.ask(make_request("none", message_id=3, no_response=2))).code is Code.NOT_FOUND
