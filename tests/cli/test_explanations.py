"""Whatever goes wrong: one sentence that says what to do, and the right exit status."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

import pytest

from trio_coap import DeliveryError, Endpoint, NetworkError, ResetReceived
from trio_coap.cli import main as cli_main
from trio_coap.cli.explanations import explain

PUT = ("put", "localhost")
GET = ("get", "localhost")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "a verb is missing: write coap get URI, or 'coap --help' to see what there is"),
        (("gat", "x"), "there is no verb 'gat': did you mean get?"),
        (("zzz",), "there is no verb 'zzz': write one of get, put, post, "),
        (("get",), "the following arguments are required: URI; 'coap get --help' shows what can be written"),
        ((*GET, "-d", "x"), "coap get does not know '-d': 'coap get --help' shows what can be written"),
        ((*PUT, "-d", "a", "--hex", "00"), "argument --hex: not allowed with argument -d/--data"),
        (("get", ""), "the URI is empty: write coap://host/path"),
        (("get", "/path"), "there is no host in '/path': write coap://host/path"),
        (("get", "coap:host/path"), "two slashes are missing in 'coap:host/path': write coap://host/path"),
        (("get", "COAP:/host"), "two slashes are missing in 'COAP:/host': write coap://host"),
        (("get", "http://host/"), "unknown scheme 'http': expected coap, coaps, "),
        (("get", "coaps://host/x"), "there is no transport for coaps:// yet: write coap://host/ if UDP will do"),
        (("get", "2001:db8::1"), "the IPv6 address in '2001:db8::1' lacks its brackets: write 'coap://[2001:db8::1]/'"),
        (("get", "fe80::1%eth0/x"), "lacks its brackets: write 'coap://[fe80::1%25eth0]/x'"),
        (("get", "[fe80::1]/x"), "is link-local; say on which interface: coap://[fe80::1%25eth0]/"),
        (("observe", "[ff02::fd]"), "ff02::fd is the address of a group: write the address of one host"),
        (("get", "[ff02::fd]", "-O", "all"), "a group has many answers: -O takes the one of a single host"),
        (("put", "[ff02::fd]", "-d", f"@{__file__}"), "that file is too long for a group"),
        (("get", "coap://0.0.0.0/"), "0.0.0.0 means all addresses of a server; ask 127.0.0.1 or [::1]"),
        (("get", "[::]/x"), "[::] means all addresses of a server; ask 127.0.0.1 or [::1]"),
        (("ping", "0.0.0.0"), "0.0.0.0 means all addresses of a server; ask 127.0.0.1 or [::1]"),
        (("get", "host:99999"), "port 99999 is out of range: expected 1 to 65535"),
        (("get", "a b"), "' ' in 'coap://a b' cannot stand in a URI: write %20"),
        (("get", "h/\x1b[31m"), "cannot stand in a URI: write %1B"),
        ((*GET, "-a", "jsn"), "unknown content format 'jsn': did you mean json or "),
        ((*GET, "-o", "Uri-Pth=x"), "there is no option named 'Uri-Pth': did you mean Uri-Path or "),
        ((*GET, "-o", "Zonk=x"), "there is no option named 'Zonk': write its number, as in -o 65001=0x0102"),
        ((*GET, "-o", "70000=x"), "an option number is 0 to 65535, not 70000"),
        ((*GET, "-o", "Max-Age"), "the option Max-Age lacks its value: write -o Max-Age=value"),
        ((*GET, "-o", "Max-Age=x"), "the option Max-Age is a number, not 'x': write -o Max-Age=60"),
        ((*GET, "-o", "Max-Age=" + 5000 * "9"), "the option Max-Age is a number, not "),
        ((*GET, "-o", "Max-Age=99999999999"), "the value of option Max-Age has 5 octets, allowed: 0 to 4"),
        ((*GET, "-o", "If-None-Match=1"), "the option If-None-Match has no value: write -o If-None-Match"),
        ((*GET, "-o", "ETag=0x123"), "'0x123' has 3 hexadecimal digits: an octet takes two"),
        ((*GET, "-o", "Size1=1", "-o", "size1=2"), "the option Size1 can be given once only: leave the other out"),
        ((*GET, "-a", "0", "-o", "Accept=50"), "the option Accept can be given once only: leave the other out"),
        ((*PUT, "-d", "@/nope"), "the file '/nope' of -d cannot be read: No such file or directory"),
        ((*PUT, "--hex", "0g"), "'g' in '0g' is no hexadecimal digit: write octets as in 0a1b2c"),
        ((*PUT, "--json", "{a}"), "the value of --json is not JSON (line 1, column 2): quote it for the shell"),
        ((*PUT, "--json", "NaN"), "the value of --json is not JSON: quote it for the shell"),
        ((*PUT, "--json", '{"a": [-1e999]}'), "the number '-1e999' in --json is out of range: the limit is 1.8e308"),
        ((*PUT, "--json", "1e999", "-f", "cbor"), "the number '1e999' in --json is out of range"),
        ((*PUT, "--json", "1" + 400 * "0" + ".0"), "000...' in --json is out of range"),
        ((*PUT, "--json", "Infinity"), "the value of --json is not JSON: quote it for the shell"),
        ((*PUT, "--json", "1", "-f", "text"), "--json is sent as JSON or CBOR: write -f json or -f cbor"),
        ((*GET, "--timeout", "nan"), "argument --timeout: 'nan' is not a number from 0 up"),
        ((*GET, "--max-retransmit", "21"), "'21' is not a whole number from 0 to 20"),
        ((*GET, "--ack-timeout", "0"), "'0' is not a number from 0.001 to 3600"),
        (("ping", "localhost", "--count", "0"), "'0' is not a whole number from 1 up"),
        (("decode", "4g"), "'g' in '4g' is no hexadecimal digit"),
        (("decode",), "there is no datagram on standard input: write its octets in hexadecimal, one a line"),
    ],
)
def test_a_wrong_word_is_answered_with_one_sentence(coap, words: tuple[str, ...], sentence: str) -> None:
    outcome = coap(*words)
    assert (outcome.status, outcome.stdout) == (2, b"")
    assert outcome.stderr.startswith("coap: ")
    assert sentence in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_an_interface_that_is_not_there_is_named(coap) -> None:
    outcome = coap("get", "[fe80::1%25nope0]/x")
    assert outcome.status == 1
    assert "there is no network interface 'nope0' for fe80::1: 'ip link' lists those that there are" in outcome.stderr


def test_a_name_that_does_not_resolve(coap, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("trio.socket.getaddrinfo", fail)
    outcome = coap("get", "nowhere.invalid/x")
    assert outcome.status == 1
    assert outcome.stderr == (
        "coap: the name 'nowhere.invalid' does not resolve: check its spelling, or write an address, "
        "as in coap://[2001:db8::1]/\n"
    )


@pytest.mark.parametrize("host", ["a..b", 64 * "a"])
@pytest.mark.parametrize("verb", ["get", "ping"])
def test_a_host_that_cannot_be_a_name(coap, verb: str, host: str) -> None:
    outcome = coap(verb, f"{host}/x")
    assert (outcome.status, outcome.stdout) == (1, b"")
    assert outcome.stderr.startswith(f"coap: the name '{host}' does not resolve: check its spelling")
    assert outcome.stderr.count("\n") == 1


def test_a_resolver_that_does_not_answer() -> None:
    explained = explain(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "a.example")
    assert explained is not None
    assert "does not resolve now (Temporary failure in name resolution): try again" in explained[0]
    assert explained[1] == 1


def test_nobody_answers(coap, silent: socket.socket) -> None:
    port = silent.getsockname()[1]
    outcome = coap("get", f"127.0.0.1:{port}", "--ack-timeout", "0.01", "--max-retransmit", "1")
    assert outcome.status == 1
    assert outcome.stderr.startswith(f"coap: nobody answers at coap://127.0.0.1:{port}: sent 2 times in 0.0")
    assert outcome.stderr.endswith("check address and port, and that a server runs there\n")


def test_a_payload_that_is_too_long_for_a_datagram_goes_in_blocks(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(bytes(range(250)) * 280)
    outcome = coap("put", peer.uri("/echo"), "-d", f"@{path}")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout == path.read_bytes()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ECONNREFUSED, "nothing listens on UDP port 61616 there; start a server or change the port"),
        (errno.EMSGSIZE, "does not fit into a datagram: send less at a time"),
        (
            errno.ENETUNREACH,
            "there is no way to coap://[2001:db8::1]:61616 (Network is unreachable): check the address",
        ),
        (errno.EPERM, "sending to coap://[2001:db8::1]:61616 failed: Operation not permitted"),
    ],
)
def test_what_the_network_says_is_translated(number: int, sentence: str) -> None:
    remote = Endpoint(host="2001:db8::1", port=61616)
    explained = explain(NetworkError(remote, 1, 0.0, OSError(number, os.strerror(number))))
    assert explained is not None
    assert sentence in explained[0]
    assert explained[1] == 1


def test_a_reset_is_translated() -> None:
    remote = Endpoint(host="2001:db8::1")
    explained = explain(ResetReceived("rejected", remote, 1, 0.0))
    assert explained is not None
    assert explained[0].startswith("coap://[2001:db8::1] rejected the message with a Reset: ")


def test_other_failures_say_what_they_are() -> None:
    remote = Endpoint(host="2001:db8::1")
    assert explain(DeliveryError("gone", remote, 1, 0.0)) == ("gone: coap://[2001:db8::1], sent once in 0 s", 1)
    assert explain(PermissionError(errno.EACCES, "Permission denied")) == ("the system says: Permission denied", 1)


def test_a_defect_keeps_its_traceback(coap, monkeypatch: pytest.MonkeyPatch) -> None:
    assert explain(ZeroDivisionError()) is None

    def fail(arguments: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(cli_main, "_dispatch", fail)
    with pytest.raises(ZeroDivisionError):
        coap(*GET)


def test_a_missing_extra_is_named(coap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cbor2", None)
    outcome = coap("put", "localhost", "--json", "1", "-f", "cbor")
    assert outcome.status == 2
    assert outcome.stderr == "coap: sending CBOR needs the extra 'cbor': run pip install 'trio-coap[cbor]'\n"


def test_a_file_that_cannot_be_written_is_noticed_before_anything_is_sent(coap, peer, tmp_path: Path) -> None:
    for path, reason in (("/nope/out", "No such file or directory"), (str(tmp_path), "Is a directory")):
        outcome = coap("delete", peer.uri("/echo"), "-O", path)
        assert outcome.stderr == f"coap: the file {path!r} of -O cannot be written: {reason}\n"
        assert outcome.status == 2
    assert peer.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_file_that_is_full_is_a_failure(coap, peer) -> None:
    outcome = coap("get", peer.uri("/octets"), "-O", "/dev/full")
    assert outcome.stderr == "coap: the file '/dev/full' of -O cannot be written: No space left on device\n"
    assert outcome.status == 1


def test_a_response_that_cannot_be_processed(coap, peer) -> None:
    outcome = coap("get", peer.uri("/critical"))
    assert (outcome.status, outcome.stdout) == (1, b"")
    assert outcome.stderr == (
        "coap: the response 2.05 Content was rejected: option 19 (Q-Block1) is critical and not supported here, "
        "so that nothing of it can be used\n"
    )
