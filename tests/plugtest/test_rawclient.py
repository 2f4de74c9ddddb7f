"""The raw client's octets are those of RFC 7252 Appendix A."""

from __future__ import annotations

import pytest

from tests.plugtest.rawclient import ACK, CON, CONTENT_FORMAT, GET, URI_PATH, Block, Message, decode, parse_links

FIGURE_16 = bytes.fromhex("40017d34bb") + b"temperature"
FIGURE_16_ANSWER = bytes.fromhex("60457d34ff") + b"22.3 C"


def test_the_request_of_figure_16() -> None:
    request = Message(CON, GET, 0x7D34, options=[(URI_PATH, b"temperature")])
    assert request.encode() == FIGURE_16
    assert decode(FIGURE_16) == request


def test_the_response_of_figure_16() -> None:
    assert decode(FIGURE_16_ANSWER) == Message(ACK, "2.05", 0x7D34, payload=b"22.3 C")


@pytest.mark.parametrize(("number", "length"), [(12, 12), (13, 13), (268, 268), (269, 269), (65000, 1000)])
def test_long_deltas_and_lengths(number: int, length: int) -> None:
    message = Message(CON, "5.03", 1, b"12345678", [(number, bytes(length)), (number, b""), (65535, b"z")], b"p")
    assert decode(message.encode()) == message


@pytest.mark.parametrize(
    ("delta", "octets"), [(12, "c0"), (13, "d000"), (268, "d0ff"), (269, "e00000"), (65535, "e0fef2")]
)
def test_deltas_are_those_of_the_figures(delta: int, octets: str) -> None:
    """RFC 7252 section 3.1: one octet more from 13 on, and two from 269 on."""
    assert Message(CON, GET, 1, options=[(delta, b"")]).encode()[4:].hex() == octets


@pytest.mark.parametrize("octets", ["00010000", "4901000000", "400100", "40010000ff", "40010000bb74", "4000000001"])
def test_what_is_malformed_is_no_message(octets: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        decode(bytes.fromhex(octets))


def test_blocks() -> None:
    # RFC 7959 section 2.2: NUM 1, M 1, SZX 6.
    assert Block(1, True, 6).value == 0x1E
    assert Message(CON, GET, 1, options=[(23, b"\x1e")]).block(23) == Block(1, True, 6)


def test_links() -> None:
    text = '</a>;rt="x, y";obs,<b;c>;title=";,<";ct=40'
    assert parse_links(text) == {"/a": {"rt": "x, y", "obs": ""}, "b;c": {"title": ";,<", "ct": "40"}}
    assert Message(CON, GET, 1, options=[(CONTENT_FORMAT, b"")]).number(CONTENT_FORMAT) == 0
