"""``coap decode``: every octet of a datagram, explained."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap import Message, MessageFormatError
from trio_coap.cli.decode import explain_datagram, find_fields

GET_TIME = "44011a2bdeadbeefb474696d65"
CONTENT = "64451a2bdeadbeefc0ff6869"


def explain(data: bytes) -> list[str]:
    try:
        return list(explain_datagram(data, Message.decode(data), None))
    except MessageFormatError as exc:
        return list(explain_datagram(data, None, exc))


def test_a_request_field_by_field(coap) -> None:
    outcome = coap("decode", GET_TIME)
    assert outcome.status == 0
    assert outcome.text.splitlines() == [
        "offset  octets                    meaning",
        "     0  44                        version 1, type CON, token length 4",
        "     1  01                        code 0.01 GET",
        "     2  1a 2b                     message ID 0x1a2b",
        "     4  de ad be ef               token",
        '     8  b4 74 69 6d 65            option 11, Uri-Path: "time" (critical, unsafe to forward)',
    ]


def test_a_response_with_payload(coap) -> None:
    assert coap("decode", CONTENT).text.splitlines()[-3:] == [
        "     8  c0                        option 12, Content-Format: text/plain; charset=utf-8 (0) (elective)",
        "     9  ff                        payload marker",
        '    10  68 69                     payload, 2 octets: "hi"',
    ]


def test_extended_deltas_and_lengths_are_read() -> None:
    *_, field, note = explain(bytes.fromhex("40010001ee00010002") + 271 * b"x")
    value = f"0x{32 * '78'}... (271 octets)"
    assert field == f"     4  ee 00 01 00 02 78 78 ...  option 270, unknown: {value} (elective, unsafe to forward)"
    assert note == "note: option 270 is unknown: it is ignored (RFC 7252 section 5.4)"


def test_a_block_option_is_explained() -> None:
    assert any("Block2: block 2 of 64 octets, more follow" in line for line in explain(bytes.fromhex("40010001d10a2a")))


@pytest.mark.parametrize(
    "text", ["44:01:1a:2b:de:ad:be:ef:b4:74:69:6d:65", "0x" + GET_TIME, "4401 1a2b\tdeadbeefb474696d65"]
)
def test_colons_and_spaces_do_not_matter(coap, text: str) -> None:
    assert coap("decode", text).stdout == coap("decode", GET_TIME).stdout


def test_octets_given_one_by_one_are_one_datagram(coap) -> None:
    assert coap("decode", *bytes.fromhex(GET_TIME).hex(" ").split()).stdout == coap("decode", GET_TIME).stdout


def test_several_datagrams_are_numbered(coap) -> None:
    lines = coap("decode", GET_TIME, CONTENT).text.splitlines()
    assert [line for line in lines if line.startswith("datagram")] == ["datagram 1, 13 octets", "datagram 2, 12 octets"]


@pytest.mark.parametrize("words", [[], ["-"]])
def test_standard_input_has_a_datagram_a_line(coap, words: list[str]) -> None:
    stdin = f"# from a capture\n{GET_TIME}\n\n64 45 1a 2b de ad be ef c0 ff 68 69\n"
    assert coap("decode", *words, stdin=stdin.encode()).stdout == coap("decode", GET_TIME, CONTENT).stdout


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("44", "the datagram is shorter than a header (RFC 7252 section 3), at octet 1"),
        ("84011a2b", "the version is not 1 (RFC 7252 section 3), at octet 0"),
        ("49011a2b", "the token length is above 8 (RFC 7252 section 3), at octet 0"),
        ("44011a2bde", "the token is cut off (RFC 7252 section 3), at octet 5"),
        ("40001a2bff", "an empty message has something behind its header (RFC 7252 section 4.1), at octet 4"),
        ("40201a2b", "the code class 1 is reserved (RFC 7252 section 4.2), at octet 1"),
        ("40011a2bb474", "an option is cut off (RFC 7252 section 3.1), at octet 4"),
        ("40011a2bf0", "the option delta nibble is 15 (RFC 7252 section 3.1), at octet 4"),
        ("40011a2b0f", "the option length nibble is 15 (RFC 7252 section 3.1), at octet 4"),
        ("40011a2bd0", "the extended option delta is cut off (RFC 7252 section 3.1), at octet 5"),
        ("40011a2be0ffff", "the option number is above 65535 (RFC 7252 section 12.2), at octet 4"),
        ("40011a2bff", "nothing follows the payload marker (RFC 7252 section 3), at octet 4"),
    ],
)
def test_a_malformed_datagram_gets_rule_section_and_offset(coap, text: str, verdict: str) -> None:
    outcome = coap("decode", text)
    assert outcome.status == 1
    assert outcome.text.splitlines()[-1] == f"malformed: {verdict}"


def test_one_malformed_datagram_among_others_counts(coap) -> None:
    assert coap("decode", "44011a2b", GET_TIME).status == 1


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("40011a2bd100aa", "option 13 is unknown: the message is rejected for it (RFC 7252 section 5.4)"),
        (
            "40011a2bc3010203",
            "option 12 (Content-Format) has 3 octets, allowed: 0 to 2: it is ignored (RFC 7252 section 5.4)",
        ),
        ("70011a2b", "a Reset is always empty (RFC 7252 section 4.2)"),
        ("60011a2b", "an acknowledgement carries a response or nothing (RFC 7252 section 4.2)"),
        ("401f1a2b", "there is no method 0.31: it is answered with 4.05 (RFC 7252 section 5.8)"),
    ],
)
def test_what_is_remarkable_is_noted(coap, text: str, note: str) -> None:
    outcome = coap("decode", text)
    assert outcome.status == 0
    assert f"note: {note}" in outcome.text.splitlines()


def test_jsonl_has_a_record_for_each_datagram(coap) -> None:
    outcome = coap("decode", "--jsonl", GET_TIME, "40ffffffff")
    first, second = map(json.loads, outcome.text.splitlines())
    assert (first["code"], first["options"][0]["value"]) == ("0.01", "time")
    assert second == {
        "malformed": "the code class 7 is reserved",
        "section": "4.2",
        "offset": 1,
        "octets": "40ffffffff",
    }


def test_control_characters_are_not_shown(coap) -> None:
    assert "\x1b" not in coap("decode", "40011a2bb31b5b6d").text


@given(st.binary(max_size=80) | st.builds(lambda tail: b"\x40\x01\x00\x00" + tail, st.binary(max_size=80)))
def test_any_octets_are_explained_in_order(data: bytes) -> None:
    fields = list(find_fields(data))
    assert b"".join(field.octets for field in fields) == data
    assert [field.offset for field in fields] == [sum(len(f.octets) for f in fields[:n]) for n in range(len(fields))]
    lines = explain(data)
    assert not any("\n" in line or "\x1b" in line for line in lines)
    try:
        Message.decode(data)
    except MessageFormatError:
        assert lines[-1].startswith("malformed: ")
    else:
        assert not any(field.text == "not looked at" for field in fields)
