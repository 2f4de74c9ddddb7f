"""What goes over the wire, in words."""

from __future__ import annotations

import errno
import io
import socket

import pytest
import trio

from trio_coap import ACK, CON, NON, RST, Code, Endpoint, Message, Request, Response
from trio_coap.cli.describe import message_summary, octets_text
from trio_coap.cli.trace import TracePrinter, WireEvent, open_watched_endpoint

REMOTE = Endpoint(host="2001:db8::1", port=61616)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message(type=CON, message_id=1), "CON, empty: a ping (message ID 0x0001)"),
        (Message(type=ACK, message_id=1), "ACK, empty (message ID 0x0001)"),
        (Message(type=RST, message_id=1), "RST (message ID 0x0001)"),
        (Message(type=NON, message_id=1), "NON, empty (message ID 0x0001)"),
        (
            Request(Code.GET, message_id=2, token=b"\1\2", uri_path=("a", "b"), uri_query=("c=d", "e"), accept=50),
            "CON GET /a/b?c=d&e (message ID 0x0002, token 0102), Accept: application/json (50)",
        ),
        (Request(Code.of(0, 31), type=NON, message_id=3), "NON 0.31 / (message ID 0x0003)"),
        (
            Response(Code.CONTENT, b"\xff", type=ACK, message_id=4, content_format=42, etag=(b"\xab",), max_age=0),
            "ACK 2.05 Content (message ID 0x0004), ETag: 0xab, "
            "Content-Format: application/octet-stream (42), Max-Age: 0, 1 octet ff",
        ),
        (Request(Code.PUT, message_id=5, if_none_match=True), "CON PUT / (message ID 0x0005), If-None-Match"),
        (
            Request(Code.GET, message_id=6, uri_path=("\x1b[31m",), uri_host="h\n"),
            'CON GET /\\x1b[31m (message ID 0x0006), Uri-Host: "h\\n"',
        ),
    ],
)
def test_a_message_is_one_line_of_words(message: Message, words: str) -> None:
    assert message_summary(message) == words


def test_octets_are_text_only_where_they_are() -> None:
    assert octets_text(b"abc") == '"abc"'
    assert octets_text(b"a\0") == "61 00"
    assert octets_text(b"abc", 42) == "61 62 63"
    assert octets_text("ü".encode() * 40) == '"' + 32 * "ü" + '"...'
    assert octets_text(b"\xff" * 33) == " ".join(32 * ["ff"]) + "..."


def test_a_repeated_datagram_says_so() -> None:
    event = WireEvent(0.0, True, REMOTE, bytes.fromhex("40000001"), repetition=1)
    assert event.describe() == "CON, empty: a ping (message ID 0x0001), the same as before (2nd time)"


def test_a_malformed_datagram_says_why() -> None:
    event = WireEvent(0.0, False, REMOTE, bytes.fromhex("40010001f0"))
    words = "malformed: the option delta nibble is 15 (RFC 7252 section 3.1), at octet 4: 40 01 00 01 f0"
    assert event.describe() == words


def test_a_datagram_that_the_system_refuses_says_why() -> None:
    error = OSError(errno.ENETUNREACH, "Network is unreachable")
    event = WireEvent(0.0, True, REMOTE, bytes.fromhex("40000001"), os_error=error)
    assert event.describe().endswith(", not sent: Network is unreachable")


def test_lines_have_the_time_since_the_first_one() -> None:
    stream = io.StringIO()
    printer = TracePrinter(stream)
    printer(WireEvent(100.0, True, REMOTE, bytes.fromhex("40000001")))
    printer(WireEvent(100.25, False, REMOTE, bytes.fromhex("70000001")))
    assert stream.getvalue().splitlines() == [
        "   0.000 s  -> [2001:db8::1]:61616  CON, empty: a ping (message ID 0x0001)",
        "   0.250 s  <- [2001:db8::1]:61616  RST (message ID 0x0001)",
    ]


async def test_a_watched_endpoint_tells_of_both_directions() -> None:
    events: list[WireEvent] = []
    async with open_watched_endpoint(events.append, "127.0.0.1") as endpoint:
        endpoint.datagram_received(bytes.fromhex("40000001"), Endpoint(host="127.0.0.1", port=9), 0.0)
        with pytest.raises(OSError, match="too long"):
            endpoint.rawsendto(bytes(70_000), Endpoint(host="127.0.0.1", port=9))
    ping, pong, failed = events
    assert (ping.is_sent, ping.octets.hex()) == (False, "40000001")
    assert (pong.is_sent, pong.octets.hex()) == (True, "70000001")
    assert failed.os_error is not None


async def test_the_third_time_is_counted() -> None:
    events: list[WireEvent] = []
    async with open_watched_endpoint(events.append, "127.0.0.1") as endpoint:
        for _ in range(3):
            endpoint.datagram_received(b"\x40\0\0\1", Endpoint(host="127.0.0.1", port=9), 0.0)
    assert [event.repetition for event in events if not event.is_sent] == [0, 1, 2]
    assert events[-1].describe().endswith("(3rd time)")


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), ZeroDivisionError("a defect")])
async def test_a_watcher_that_fails_is_told_no_more_and_changes_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    told = []

    def fail(event: WireEvent) -> None:
        told.append(event)
        raise error

    async with open_watched_endpoint(fail, "127.0.0.1") as endpoint:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.connect(("127.0.0.1", endpoint.port))
            for message_id in (1, 2):
                await sock.send(bytes([0x40, 0, 0, message_id]))
                with trio.fail_after(10):
                    assert await sock.recv(64) == bytes([0x70, 0, 0, message_id])
    assert len(told) == 1
    # That nobody reads any more is no news; a defect is.
    assert ("a defect" in caplog.text) == isinstance(error, ZeroDivisionError)
