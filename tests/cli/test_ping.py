"""``coap ping``: round-trip times and loss."""

from __future__ import annotations

import json
import re
import socket

import pytest

NO_WAIT = ("--interval", "0")


def test_pings_that_are_answered(coap, peer) -> None:
    outcome = coap("ping", peer.authority, "--count", "3", *NO_WAIT)
    *answers, tally = outcome.text.splitlines()
    assert outcome.status == 0
    assert [line.partition(" after ")[0] for line in answers] == [
        f"{n}: answer from coap://{peer.authority}" for n in (1, 2, 3)
    ]
    assert re.fullmatch(
        r"3 pings, 3 answered, 0 % lost; round trip min/avg/max [0-9]+\.[0-9]{2}/[0-9.]+/[0-9.]+ ms", tally
    )


def test_a_ping_that_nobody_answers_is_lost(coap, silent: socket.socket) -> None:
    authority = f"127.0.0.1:{silent.getsockname()[1]}"
    outcome = coap("ping", authority, "--count", "2", "--ack-timeout", "0.01", *NO_WAIT)
    assert outcome.status == 1
    first, second, tally = outcome.text.splitlines()
    assert re.fullmatch(r"1: no answer within 0\.0[0-9]+ s", first)
    assert second.startswith("2: no answer within ")
    assert tally == "2 pings, 0 answered, 100 % lost"
    # One datagram each: empty, Confirmable, without token.
    assert [silent.recv(100)[:2] for _ in range(2)] == [b"\x40\x00", b"\x40\x00"]
    silent.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent.recv(100)


def test_max_retransmit_repeats_a_ping(coap, silent: socket.socket) -> None:
    authority = f"127.0.0.1:{silent.getsockname()[1]}"
    coap("ping", authority, "--count", "1", "--ack-timeout", "0.01", "--max-retransmit", "1")
    assert silent.recv(100) == silent.recv(100)


def test_timeout_ends_the_pings(coap, silent: socket.socket) -> None:
    authority = f"127.0.0.1:{silent.getsockname()[1]}"
    outcome = coap("ping", authority, "--timeout", "0.02")
    assert outcome.status == 1
    assert outcome.stderr == f"coap: nobody answered at coap://{authority} within 0.02 s: check the address\n"


def test_a_port_that_refuses_is_named(coap) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    outcome = coap("ping", f"127.0.0.1:{port}", "--count", "1")
    assert outcome.status == 1
    assert f"nothing listens on UDP port {port} there; start a server or change the port" in outcome.text


def test_jsonl_has_a_record_for_each_ping(coap, peer) -> None:
    outcome = coap("ping", peer.authority, "--count", "2", "--jsonl", *NO_WAIT)
    records = [json.loads(line) for line in outcome.text.splitlines()]
    assert [record["number"] for record in records] == [1, 2]
    assert all(0 < record["round_trip"] < 10 and record["error"] is None for record in records)
    assert outcome.stderr.startswith("2 pings, 2 answered")


def test_verbose_shows_ping_and_reset(coap, peer) -> None:
    sent, received = coap("ping", peer.authority, "--count", "1", "-v").stderr.splitlines()
    assert "CON, empty: a ping (message ID 0x" in sent
    assert "RST (message ID 0x" in received


@pytest.mark.parametrize("form", ["{}", "coap://{}", "coap://{}/some/path"])
def test_a_host_may_be_written_as_a_uri(coap, peer, form: str) -> None:
    assert coap("ping", form.format(peer.authority), "--count", "1").status == 0
