"""The command against servers that nobody here wrote: libcoap's and one made with aiocoap."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peers import NEEDS_AIOCOAP, NEEDS_LIBCOAP, libcoap_server, running_server

AIOCOAP_SERVER = Path(__file__).with_name("aiocoap_server.py")

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def libcoap() -> Iterator[str]:
    with libcoap_server("127.0.0.1") as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def aiocoap() -> Iterator[str]:
    with running_server("127.0.0.1", lambda port: [sys.executable, str(AIOCOAP_SERVER), str(port)]) as server:
        yield f"127.0.0.1:{server.port}"


@NEEDS_LIBCOAP
def test_get_from_libcoap(coap, libcoap: str) -> None:
    outcome = coap("get", f"{libcoap}/.well-known/core", "-i")
    assert outcome.status == 0
    assert '</time>;if="clock";rt="ticks"' in outcome.text
    assert "Content-Format: application/link-format (40)" in outcome.stderr


@NEEDS_LIBCOAP
def test_put_and_delete_at_libcoap(coap, libcoap: str) -> None:
    assert "2.01 Created" in coap("put", f"{libcoap}/fresh", "-d", "hello", "-i").stderr
    assert coap("get", f"{libcoap}/fresh").stdout == b"hello"
    assert "2.04 Changed" in coap("put", f"{libcoap}/fresh", "--json", "[1]", "-f", "cbor", "-i").stderr
    assert coap("get", f"{libcoap}/fresh").stdout == b"\x81\x01"
    assert "2.02 Deleted" in coap("delete", f"{libcoap}/fresh", "-i").stderr
    assert coap("get", f"{libcoap}/fresh").status == 4


@pytest.mark.slow
@NEEDS_LIBCOAP
def test_a_separate_response_of_libcoap(coap, libcoap: str) -> None:
    # The query says after how many seconds; the empty ACK comes first.
    outcome = coap("get", f"{libcoap}/async?1", "-v")
    assert (outcome.status, outcome.stdout) == (0, b"done")
    assert [re.split(r"  (?:->|<-) \S+  ", line)[1].split(" (")[0] for line in outcome.stderr.splitlines()] == [
        "CON GET /async?1",
        "ACK, empty",
        "CON 2.05 Content",
        "ACK, empty",
    ]


@NEEDS_LIBCOAP
def test_an_error_of_libcoap(coap, libcoap: str) -> None:
    outcome = coap("get", f"{libcoap}/nowhere")
    assert (outcome.status, outcome.stderr) == (4, "coap: 4.04 Not Found: Not Found\n")


@NEEDS_LIBCOAP
def test_libcoap_sends_an_option_back_that_it_does_not_know(coap, libcoap: str) -> None:
    outcome = coap("get", f"{libcoap}/time", "-o", "65001=0x01")
    assert outcome.status == 4
    assert outcome.stderr.startswith("coap: the response 4.02 Bad Option was rejected: option 65001 ")


@NEEDS_LIBCOAP
def test_a_non_to_libcoap(coap, libcoap: str) -> None:
    outcome = coap("get", f"{libcoap}/time", "--non", "-v")
    assert outcome.status == 0
    assert "NON GET /time" in outcome.stderr


@NEEDS_LIBCOAP
def test_ping_to_libcoap(coap, libcoap: str) -> None:
    assert "1 ping, 1 answered, 0 % lost" in coap("ping", libcoap, "--count", "1").text


@NEEDS_AIOCOAP
def test_put_get_and_fetch_at_aiocoap(coap, aiocoap: str) -> None:
    assert "2.04 Changed" in coap("put", f"{aiocoap}/kept", "-d", "hello", "-i").stderr
    assert coap("get", f"{aiocoap}/kept", "-a", "text").stdout == b"hello"
    assert coap("fetch", f"{aiocoap}/kept", "-d", "this").stdout == b"fetched this"
    assert "</kept>" in coap("get", f"{aiocoap}/.well-known/core").text


@NEEDS_AIOCOAP
def test_a_separate_response_of_aiocoap(coap, aiocoap: str) -> None:
    outcome = coap("get", f"{aiocoap}/separate", "-v")
    assert (outcome.status, outcome.stdout) == (0, b"at last")
    assert "ACK, empty" in outcome.stderr


@NEEDS_AIOCOAP
def test_errors_of_aiocoap(coap, aiocoap: str) -> None:
    assert coap("get", f"{aiocoap}/nowhere").stderr.startswith("coap: 4.04 Not Found")
    assert coap("delete", f"{aiocoap}/kept").stderr.startswith("coap: 4.05 Method Not Allowed")


@NEEDS_AIOCOAP
def test_ping_to_aiocoap(coap, aiocoap: str) -> None:
    assert "2 pings, 2 answered" in coap("ping", aiocoap, "--count", "2", "--interval", "0").text
