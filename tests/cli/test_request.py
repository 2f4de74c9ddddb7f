"""``coap get`` and its sisters against a site on loopback."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cbor2
import pytest

from trio_coap import CON, NON, Code


@pytest.mark.parametrize("name", ["get", "put", "post", "delete", "fetch", "patch", "ipatch"])
def test_a_verb_sends_its_method(coap, peer, name: str) -> None:
    assert coap(name, peer.uri("/echo")).status == 0
    assert peer.last.code is Code.parse(name)
    assert peer.last.type is CON


def test_the_payload_comes_out_octet_for_octet(coap, peer) -> None:
    outcome = coap("get", peer.uri("/octets"))
    assert outcome.stdout == bytes(range(256))
    assert (outcome.status, outcome.stderr) == (0, "")


def test_a_bare_host_and_path_means_coap(coap, peer) -> None:
    assert coap("get", f"{peer.authority}/json").stdout == b'{"a":[1,2],"b":"\\u00e9"}'


def test_path_and_query_of_the_uri_are_sent(coap, peer) -> None:
    coap("get", peer.uri("/echo?unit=K&n=1"))
    assert peer.last.options.uri_query == ("unit=K", "n=1")


def test_a_text_is_sent_as_text(coap, peer) -> None:
    assert coap("put", peer.uri("/echo"), "-d", "grün").text == "grün"
    assert peer.last.options.content_format == 0


def test_a_text_that_is_no_utf_8_is_sent_as_it_is(coap, peer) -> None:
    coap("put", peer.uri("/echo"), "-d", b"\xff".decode(errors="surrogateescape"))
    assert (peer.last.payload, peer.last.options.content_format) == (b"\xff", None)


def test_a_file_is_sent_as_it_is(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(b"\0\xff\n")
    assert coap("put", peer.uri("/echo"), "-d", f"@{path}").stdout == b"\0\xff\n"
    assert peer.last.options.content_format is None


def test_standard_input_is_sent_as_it_is(coap, peer) -> None:
    assert coap("put", peer.uri("/echo"), "-d", "@-", "-f", "42", stdin=b"\0\xff\n").stdout == b"\0\xff\n"
    assert peer.last.options.content_format == 42


def test_hexadecimal_is_sent_as_octets(coap, peer) -> None:
    assert coap("put", peer.uri("/echo"), "--hex", "0a:0b 0c").stdout == b"\x0a\x0b\x0c"


@pytest.mark.parametrize("words", [[], ["-f", "json"], ["-f", "50"]])
def test_json_is_sent_as_json(coap, peer, words: list[str]) -> None:
    assert coap("post", peer.uri("/echo"), "--json", '{"a": [1, "\\u00e9"]}', *words).status == 0
    assert (json.loads(peer.last.payload), peer.last.options.content_format) == ({"a": [1, "é"]}, 50)


def test_json_is_sent_as_cbor(coap, peer) -> None:
    assert coap("post", peer.uri("/echo"), "--json", '{"a": [1, null]}', "-f", "cbor").status == 0
    assert (cbor2.loads(peer.last.payload), peer.last.options.content_format) == ({"a": [1, None]}, 60)


def test_json_comes_from_a_file_too(coap, peer) -> None:
    assert coap("post", peer.uri("/echo"), "--json", "@-", stdin=b"[1]").stdout == b"[1]"


@pytest.mark.parametrize("name", ["cbor", "application/cbor", "60", "CBOR"])
def test_accept_takes_names_and_numbers(coap, peer, name: str) -> None:
    coap("delete", peer.uri("/echo"), "-a", name)
    assert peer.last.options.accept == 60


def test_options_are_given_by_name_and_by_number(coap, peer) -> None:
    words = ["-o", "uri-query=a=b", "-o", "Uri-Query=c", "-o", "If-Match=0x0102", "-o", "If-Match=x"]
    words += ["-o", "65000=0x0102", "-o", "65000=text", "-o", "Accept=json", "-o", "Size1=0x10"]
    outcome = coap("delete", peer.uri("/echo"), *words)
    assert outcome.status == 0
    options = peer.last.options
    assert (options.uri_query, options.if_match) == (("a=b", "c"), (b"\1\2", b"x"))
    assert (options.accept, options.size1, options.raw(65000)) == (50, 16, (b"\1\2", b"text"))


def test_an_option_without_a_value_is_given_by_its_name(coap, peer) -> None:
    coap("put", peer.uri("/echo"), "-o", "If-None-Match")
    assert peer.last.options.if_none_match


def test_non_sends_a_non(coap, peer) -> None:
    assert coap("get", peer.uri("/echo"), "--non").status == 0
    assert peer.last.type is NON


def test_include_shows_code_and_options_on_standard_error(coap, peer) -> None:
    outcome = coap("put", peer.uri("/echo"), "-d", "x", "-i")
    assert outcome.stdout == b"x"
    assert outcome.stderr == "2.05 Content\nContent-Format: text/plain; charset=utf-8 (0)\nMax-Age: 7\n"


def test_verbose_tells_what_goes_over_the_wire(coap, peer) -> None:
    outcome = coap("put", peer.uri("/echo?q"), "-d", "x", "-v")
    sent, received = outcome.stderr.splitlines()
    assert sent.startswith(f"   0.000 s  -> {peer.authority}  CON PUT /echo?q (message ID 0x")
    assert sent.endswith('Content-Format: text/plain; charset=utf-8 (0), 1 octet "x"')
    assert f" s  <- {peer.authority}  ACK 2.05 Content (message ID 0x" in received
    assert outcome.stdout == b"x"


def test_jsonl_prints_one_record(coap, peer) -> None:
    outcome = coap("put", peer.uri("/echo"), "-d", "x", "-o", "ETag=0x01", "--jsonl")
    (line,) = outcome.text.splitlines()
    record = json.loads(line)
    assert record.pop("elapsed") < 10
    assert record.pop("message_id") < 65536
    assert len(record.pop("token")) == 8
    assert record == {
        "uri": peer.uri("/echo"),
        "type": "ACK",
        "code": "2.05",
        "name": "Content",
        "options": [
            {"number": 12, "name": "Content-Format", "value": 0},
            {"number": 14, "name": "Max-Age", "value": 7},
        ],
        "payload": "x",
    }


def test_jsonl_has_octets_in_hexadecimal(coap, peer) -> None:
    record = json.loads(coap("get", peer.uri("/octets"), "--jsonl").stdout)
    assert bytes.fromhex(record["payload_hex"]) == bytes(range(256))


@pytest.mark.parametrize("words", [[], ["--jsonl"]])
def test_output_goes_to_a_file(coap, peer, tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "out"
    outcome = coap("get", peer.uri("/octets"), "-O", str(path), *words, is_terminal=True)
    assert path.read_bytes() == bytes(range(256))
    assert bool(outcome.stdout) == bool(words)


def test_an_empty_payload_makes_an_empty_file(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"left over")
    assert coap("get", peer.uri("/echo"), "-O", str(path)).status == 0
    assert path.read_bytes() == b""


def test_a_short_payload_replaces_a_long_one(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"left over")
    assert coap("put", peer.uri("/echo"), "-d", "new", "-O", str(path)).status == 0
    assert path.read_bytes() == b"new"


def test_the_file_that_is_sent_may_be_the_one_that_is_written(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "both"
    path.write_bytes(b"content")
    assert coap("put", peer.uri("/echo"), "-d", f"@{path}", "-O", str(path)).status == 0
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("words", [("/code/132",), ("/never", "--timeout", "0.05")])
def test_without_a_payload_for_it_the_file_stays_as_it_was(coap, peer, tmp_path: Path, words: tuple[str, ...]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"as before")
    for path in (old, new):
        assert coap("get", peer.uri(words[0]), *words[1:], "-O", str(path)).status in (1, 4)
    assert (old.read_bytes(), new.exists()) == (b"as before", False)


@pytest.mark.parametrize(
    ("code", "status"),
    [(Code.CREATED, 0), (Code.CHANGED, 0), (Code.NOT_FOUND, 4), (Code.of(4, 30), 4), (Code.BAD_GATEWAY, 5)],
)
def test_the_exit_status_is_the_class_of_the_code(coap, peer, code: Code, status: int) -> None:
    assert coap("get", peer.uri(f"/code/{int(code)}")).status == status


def test_a_diagnostic_payload_is_one_line_on_standard_error(coap, peer) -> None:
    outcome = coap("get", peer.uri("/code/132"))
    assert outcome.stdout == b""
    assert outcome.stderr == "coap: 4.04 Not Found: line 1\\nline 2 \\x1b[31mred\\x07\n"


def test_include_does_not_repeat_the_code_of_an_error(coap, peer) -> None:
    outcome = coap("get", peer.uri("/problem"), "-i")
    assert outcome.stderr == (
        "coap: 4.00 Bad Request\nContent-Format: application/concise-problem-details+cbor (257)\n"
    )


def test_an_error_in_a_format_is_a_payload(coap, peer) -> None:
    outcome = coap("get", peer.uri("/problem"))
    assert (outcome.stdout, outcome.stderr) == (b"\xa0", "coap: 4.00 Bad Request\n")


def test_success_without_payload_is_silent_in_a_pipe(coap, peer) -> None:
    outcome = coap("delete", peer.uri("/echo"))
    assert (outcome.stdout, outcome.stderr) == (b"", "")


def test_success_without_payload_shows_the_code_on_a_terminal(coap, peer) -> None:
    outcome = coap("delete", peer.uri("/echo"), is_terminal=True)
    assert (outcome.stdout, outcome.stderr) == (b"", "2.05 Content\n")


def test_a_terminal_gets_json_indented(coap, peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert coap("get", peer.uri("/json"), is_terminal=True).text == '{\n  "a": [\n    1,\n    2\n  ],\n  "b": "é"\n}\n'


def test_a_terminal_gets_links_as_a_table(coap, peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    text = "path   rt           ct    obs\n/temp  temperature  0 50\n/lamp                     yes\n"
    assert coap("get", peer.uri("/links"), is_terminal=True).text == text


def test_timeout_is_a_limit_for_everything(coap, peer) -> None:
    outcome = coap("get", peer.uri("/never"), "--timeout", "0.05")
    assert (outcome.status, outcome.stdout) == (1, b"")
    assert outcome.stderr == (
        f"coap: no response from coap://{peer.authority} within 0.05 s: allow more with --timeout, "
        "or watch what happens with -v\n"
    )


def test_a_non_that_nobody_answers_ends_by_itself(coap, peer) -> None:
    words = ["--non", "--ack-timeout", "0.01", "--max-retransmit", "1"]
    outcome = coap("get", peer.uri("/never"), *words)
    assert outcome.status == 1
    assert "within 0.045 s" in outcome.stderr


def test_the_problem_details_of_an_error_are_shown_on_one_line(coap, peer) -> None:
    outcome = coap("get", peer.uri("/range"))
    assert outcome.stderr == "coap: 4.00 Bad Request: Out of range: 97 °C\\nis too hot\n"
    assert cbor2.loads(outcome.stdout) == {-1: "Out of range", -2: "97 °C\nis too hot"}
    assert outcome.status == 4


def test_problem_details_without_cbor2_are_octets(coap, peer, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = coap("get", peer.uri("/range")).stdout
    monkeypatch.setitem(sys.modules, "cbor2", None)
    outcome = coap("get", peer.uri("/range"))
    assert (outcome.stderr, outcome.stdout) == ("coap: 4.00 Bad Request\n", expected)
