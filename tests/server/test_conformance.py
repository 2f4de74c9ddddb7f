"""Octets in, octets out: the rows of ``conformance.md`` that concern messages and options, at a server.

Each test's docstring names its row.  The whole table stands in ``tests/conformance``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from tests.client.support import open_peer
from tests.server.stage import Stage, make_request, open_stage, with_option
from trio_coap import ACK, CON, NON, RST, Code, Endpoint, Message, MessageType, Request, Response, Site
from trio_coap.testing import VirtualNetwork

RESET = bytes.fromhex("70001234")
GET_R = bytes.fromhex("b172")  # Uri-Path "r"


def message(
    type: MessageType, code: str = "01", rest: str = "b172", *, version: int = 1, token_length: int = 0
) -> bytes:
    return bytes((version << 6 | type << 4 | token_length,)) + bytes.fromhex(f"{code}1234{rest}")


class Calls:
    """A handler that notes the requests, and answers with their number."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> str:
        self.requests.append(request)
        return f"{len(self.requests)}"


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def stage(coap_network: VirtualNetwork, calls: Calls) -> AsyncIterator[Stage]:
    async with open_stage(calls, coap_network) as opened:
        yield opened


# The format of messages.


@pytest.mark.parametrize("type", [CON, NON, ACK, RST])
@pytest.mark.parametrize("version", [0, 2, 3])
async def test_another_version_is_ignored_in_silence(
    type: MessageType, version: int, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: version other than 1, or shorter than 4 octets: silence (RFC 7252 section 3)."""
    assert await stage.is_silent_on(message(type, version=version))
    assert calls.requests == []
    assert stage.endpoint.statistics().rejected == {"the version is not 1": 1}


@pytest.mark.parametrize("octets", ["", "40", "4001", "400112"])
async def test_what_is_shorter_than_a_header_is_ignored_in_silence(
    octets: str, stage: Stage, autojump_clock: MockClock
) -> None:
    """Row: version other than 1, or shorter than 4 octets: silence (RFC 7252 section 3)."""
    assert await stage.is_silent_on(bytes.fromhex(octets))


MALFORMED = {
    "token length 9": (9, "01", "00" * 9),
    "token length 13": (13, "01", "05" + "00" * 18),
    "token length 14": (14, "01", "0000" + "00" * 269),
    "token length 15": (15, "01", "00" * 15),
    "token cut off": (4, "01", "000000"),
    "payload marker with nothing behind it": (0, "01", "b172ff"),
    "payload marker alone": (0, "01", "ff"),
    "option delta nibble 15": (0, "01", "f0"),
    "option length nibble 15": (0, "01", "bf72"),
    "option value cut off": (0, "01", "b572"),
    "extended delta cut off": (0, "01", "d0"),
    "extended delta of two octets cut off": (0, "01", "e000"),
    "extended length cut off": (0, "01", "bd"),
    "extended length of two octets cut off": (0, "01", "be00"),
    "option number above 65535": (0, "01", "e0feffe0feff"),
    "empty with a token": (1, "00", "00"),
    "empty with a payload": (0, "00", "ff00"),
    "empty with an option": (0, "00", "b172"),
    "empty with an octet": (0, "00", "00"),
    "code class 1": (0, "20", ""),
    "code class 6": (0, "c5", ""),
    "code class 7": (0, "e1", ""),
    "code class 3": (0, "65", ""),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_confirmable_message_is_reset(
    name: str, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Rows: token length 9 to 15; payload marker, nibble 15, truncated option, 0.00 with anything; class 1, 6, 7."""
    token_length, code, rest = MALFORMED[name]
    stage.send(message(CON, code, rest, token_length=token_length))
    assert await stage.peer.receive_octets() == RESET
    assert await stage.peer.hears_nothing(300)
    assert calls.requests == []


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("type", [NON, ACK, RST])
async def test_any_other_malformed_message_is_ignored_in_silence(
    name: str, type: MessageType, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Rows: token length 9 to 15; payload marker, nibble 15, truncated option, 0.00 with anything; class 1, 6, 7."""
    token_length, code, rest = MALFORMED[name]
    assert await stage.is_silent_on(message(type, code, rest, token_length=token_length))
    assert calls.requests == []
    assert sum(stage.endpoint.statistics().rejected.values()) == 1


async def test_a_ping_is_answered_with_a_reset(stage: Stage, autojump_clock: MockClock) -> None:
    """Row: empty CON (ping): RST (RFC 7252 section 4.3)."""
    stage.send(message(CON, "00", ""))
    assert await stage.peer.receive_octets() == RESET


@pytest.mark.parametrize("type", [NON, ACK, RST])
async def test_any_other_empty_message_is_ignored(type: MessageType, stage: Stage, autojump_clock: MockClock) -> None:
    """RFC 7252 sections 4.2 and 4.3: an empty NON, and ACK and RST for nothing that was sent."""
    assert await stage.is_silent_on(message(type, "00", ""))


@pytest.mark.parametrize("type", [ACK, RST])
async def test_a_request_as_acknowledgement_or_reset_is_ignored(
    type: MessageType, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """RFC 7252 section 4.2: there is no such thing (table 1)."""
    assert await stage.is_silent_on(message(type))
    assert calls.requests == []


# Options.


@pytest.mark.parametrize("number", [9, 19, 21, 31, 65001, 65535, 2049])
async def test_an_unknown_critical_option_in_a_confirmable_request(
    number: int, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: unknown critical option in a request: 4.02 with the option number in the diagnostic payload (section 5.4.1)."""
    response = await stage.ask(with_option(number))
    assert (response.type, response.code) == (ACK, Code.BAD_OPTION)
    assert f"{number}" in response.text
    assert response.options.content_format is None
    assert calls.requests == []


async def test_an_unknown_critical_option_in_a_non_confirmable_request(
    stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: unknown critical option in a request; NON: reject, silently or RST (section 5.4.1)."""
    stage.send(with_option(65001, type=NON))
    assert await stage.peer.receive_octets() == RESET
    assert await stage.peer.hears_nothing(300)
    assert calls.requests == []


async def test_an_unknown_critical_option_in_a_request_to_a_group(
    stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: request to a multicast group: no RST (section 8.1)."""
    stage.endpoint.join_group("224.0.1.187")
    stage.peer.send(with_option(65001, type=NON), Endpoint(host="224.0.1.187"))
    assert await stage.peer.hears_nothing(300)
    assert calls.requests == []


async def test_an_unknown_elective_option_is_ignored(stage: Stage, calls: Calls, autojump_clock: MockClock) -> None:
    """RFC 7252 section 5.4.1: unknown elective options are silently ignored."""
    assert (await stage.ask(with_option(65000, b"any"))).code is Code.CONTENT


@pytest.mark.parametrize(
    ("number", "value"), [(4, bytes(9)), (4, b""), (12, bytes(3)), (14, bytes(5)), (60, bytes(5)), (6, bytes(4))]
)
async def test_an_elective_option_with_a_wrong_length_is_ignored(
    number: int, value: bytes, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: option value with a wrong length, elective: treated as unknown elective: ignored (section 5.4.3)."""
    assert (await stage.ask(with_option(number, value))).code is Code.CONTENT
    assert calls.requests[0].options.get(number) is None


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (1, bytes(9)),
        (3, b""),
        (3, bytes(256)),
        (5, b"\0"),
        (7, bytes(3)),
        (11, bytes(256)),
        (15, bytes(256)),
        (17, bytes(3)),
        (35, b""),
        (39, b""),
    ],
)
async def test_a_critical_option_with_a_wrong_length_is_a_bad_option(
    number: int, value: bytes, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: option value with a wrong length, critical: 4.02 (section 5.4.3)."""
    response = await stage.ask(with_option(number, value))
    assert response.code is Code.BAD_OPTION
    assert f"{number}" in response.text
    assert calls.requests == []


@pytest.mark.parametrize("number", [3, 5, 7, 17, 35, 39])
async def test_a_surplus_critical_option_is_a_bad_option(
    number: int, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: second instance of a non-repeatable option: treated as an unknown option: critical 4.02 (section 5.4.5)."""
    value = b"" if number == 5 else b"1"
    request = with_option(number, value)
    request.options += with_option(number, value).options.without("Uri-Path")
    assert (await stage.ask(request)).code is Code.BAD_OPTION
    assert calls.requests == []


@pytest.mark.parametrize(("number", "first", "second"), [(12, b"", b"\x32"), (14, b"\x01", b"\x02")])
async def test_a_surplus_elective_option_is_ignored(
    number: int, first: bytes, second: bytes, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: second instance of a non-repeatable option: elective ignored (section 5.4.5)."""
    request = with_option(number, first)
    request.options += with_option(number, second).options.without("Uri-Path")
    assert (await stage.ask(request)).code is Code.CONTENT
    assert calls.requests[0].options.get(number) == int.from_bytes(first, "big")


@pytest.mark.parametrize("number", [3, 11, 15])
@pytest.mark.parametrize("value", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\xaf"])
async def test_a_critical_text_that_is_no_utf8_is_a_bad_option(
    number: int, value: bytes, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: invalid UTF-8 in a string option: as a wrong value, 4.02 for Uri-Path, Uri-Host, Uri-Query (section 5.4.3)."""
    response = await stage.ask(with_option(number, value))
    assert response.code is Code.BAD_OPTION
    assert f"{number}" in response.text
    assert calls.requests == []


@pytest.mark.parametrize("type", [CON, NON])
@pytest.mark.parametrize(("number", "value"), [(35, b"coap://example.org/"), (39, b"coap"), (35, b"?"), (39, b"http")])
async def test_a_request_to_a_proxy_is_refused(
    number: int, value: bytes, type: MessageType, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: Proxy-Uri or Proxy-Scheme at a server that is no proxy: 5.05 (section 5.10.2)."""
    response = await stage.ask(with_option(number, value, type=type))
    assert response.code is Code.PROXYING_NOT_SUPPORTED
    assert response.type is (ACK if type is CON else NON)
    assert calls.requests == []


@pytest.mark.parametrize("detail", [8, 15, 31])
async def test_an_unknown_method_is_not_allowed(
    detail: int, stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: unknown method: 4.05 (section 5.8)."""
    response = await stage.ask(make_request(code=Code.of(0, detail)))
    assert (response.type, response.code) == (ACK, Code.METHOD_NOT_ALLOWED)
    assert calls.requests == []


async def test_an_accept_that_is_not_met(stage: Stage, autojump_clock: MockClock) -> None:
    """Row: Accept not available: 4.06 (section 5.10.4)."""
    assert (await stage.ask(make_request(message_id=1, accept=50))).code is Code.NOT_ACCEPTABLE
    assert (await stage.ask(make_request(message_id=2, accept=0))).code is Code.CONTENT


async def test_an_accept_does_not_matter_for_errors_and_for_answers_without_a_format(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Row: Accept not available (section 5.10.4): of a response that has a representation."""
    site = Site()
    site.get("/octets")(lambda request: b"\x01")
    async with open_stage(site, coap_network) as stage:
        assert (await stage.ask(make_request("octets", message_id=1, accept=50))).code is Code.CONTENT
        assert (await stage.ask(make_request("none", message_id=2, accept=50))).code is Code.NOT_FOUND


# Duplicates, acknowledgements and tokens.


async def test_a_duplicate_confirmable_request_gets_the_same_octets(
    stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: duplicate CON within EXCHANGE_LIFETIME: the same octets again, the handler ran once (sections 4.2, 4.5)."""
    answers = []
    for _ in range(5):
        stage.send(message(CON))
        answers.append(await stage.peer.receive_octets())
        await trio.sleep(49)
    assert answers == [answers[0]] * 5
    assert len(calls.requests) == 1


async def test_after_its_lifetime_a_message_id_stands_for_another_request(
    stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: duplicate CON within EXCHANGE_LIFETIME (sections 4.2, 4.5): not later."""
    stage.send(message(CON))
    first = await stage.peer.receive_octets()
    await trio.sleep(248)
    stage.send(message(CON))
    assert await stage.peer.receive_octets() != first
    assert len(calls.requests) == 2


async def test_a_duplicate_non_confirmable_request_gets_the_same_octets(
    stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: duplicate NON within NON_LIFETIME: the same response or none (section 4.5)."""
    stage.send(message(NON))
    first = await stage.peer.receive_octets()
    await trio.sleep(140)
    stage.send(message(NON))
    assert await stage.peer.receive_octets() == first
    assert len(calls.requests) == 1


async def test_one_message_id_of_two_clients_is_no_duplicate(
    stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: duplicate CON: same remote and message ID; another port is another remote (section 4.4)."""
    with open_peer(stage.network, "peer", 5685) as other:
        stage.send(message(CON))
        other.send(message(CON), stage.endpoint.remote)
        await stage.peer.receive_octets()
        await other.receive_octets()
    assert len(calls.requests) == 2


@pytest.mark.parametrize("kind", [ACK, RST])
async def test_an_acknowledgement_or_reset_of_somebody_else_is_ignored_and_counted(
    kind: MessageType, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Row: ACK or RST from another remote than the one the message went to: ignored, counted (section 4.2)."""

    async def slow(request: Request) -> str:
        await trio.sleep(1)
        return "slow"

    async with open_stage(slow, coap_network) as stage:
        response = await stage.ask(make_request())
        with open_peer(coap_network, "other") as other:
            other.send(Message(type=kind, message_id=response.message_id), stage.endpoint.remote)
            again = await stage.peer.receive()
        assert again.encode() == response.encode()
        assert sum(stage.endpoint.statistics().rejected.values()) == 1
        stage.peer.acknowledge(response)
        assert await stage.peer.hears_nothing(300)


async def test_a_confirmable_response_with_an_unknown_token_is_reset(
    stage: Stage, calls: Calls, autojump_clock: MockClock
) -> None:
    """Row: CON response with an unknown token: RST (sections 4.2, 5.3.2)."""
    stage.send(Response(Code.CONTENT, type=CON, message_id=0x1234, token=b"unknown"))
    assert await stage.peer.receive_octets() == RESET


async def test_a_piggybacked_response_to_nothing_is_ignored(stage: Stage, autojump_clock: MockClock) -> None:
    """RFC 7252 section 4.2: an ACK for nothing that was sent is ignored, whatever it carries."""
    assert await stage.is_silent_on(Response(Code.CONTENT, type=ACK, message_id=0x1234, token=b"unknown"))


@pytest.mark.parametrize("token", [b"", b"\x00", b"12345678"])
async def test_the_token_comes_back_as_it_was(token: bytes, stage: Stage, autojump_clock: MockClock) -> None:
    """RFC 7252 section 5.3.1: the server echoes the token, whatever it is."""
    assert (await stage.ask(make_request(token=token))).token == token


async def test_rejections_are_counted_each_time_and_logged_once(
    stage: Stage, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Above the table: every rejection is counted and logged with the rule, the RFC section and the offset."""
    caplog.set_level("INFO", logger="trio_coap")
    for _ in range(3):
        stage.send(message(CON, rest="b172ff"))
        await stage.peer.receive_octets()
    assert stage.endpoint.statistics().rejected == {"nothing follows the payload marker": 3}
    (record,) = caplog.records
    assert "nothing follows the payload marker (RFC 7252 section 3), at octet 6" in record.getMessage()
