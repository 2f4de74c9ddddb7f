"""The format of messages: RFC 7252 sections 3, 4.1, 4.2 and 12.1, and errors out of the decoder."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.wire.strategies import (
    BORDERS,
    GET,
    messages,
    numbers,
)
from trio_coap.wire.codes import ACK, CON, NON, RST, Code, MessageType
from trio_coap.wire.encoding import MAX_OPTIONS
from trio_coap.wire.errors import (
    LocalProtocolError,
    MessageFormatError,
    RemoteProtocolError,
)
from trio_coap.wire.message import MAX_TOKEN_LENGTH, Message, Request, Response
from trio_coap.wire.options import Options


def fault_of(datagram: bytes) -> MessageFormatError:
    with pytest.raises(MessageFormatError) as caught:
        Message.decode(datagram)
    return caught.value


# The header


@pytest.mark.parametrize(("first", "type"), [(0x40, CON), (0x50, NON), (0x60, ACK), (0x70, RST)])
def test_the_type_is_in_bits_two_and_three(first: int, type: MessageType) -> None:
    datagram = bytes([first, 0x01, 0x12, 0x34])
    assert Message.decode(datagram).type is type
    assert Request(Code.GET, type=type, message_id=0x1234).encode() == datagram


@pytest.mark.parametrize("code", [Code.GET, Code.of(0, 31), Code.CONTENT, Code.of(4, 30), Code.of(5, 31)])
def test_the_code_is_the_second_octet(code: Code) -> None:
    datagram = bytes([0x40, code, 0x12, 0x34])
    assert Message.decode(datagram).code is code
    assert Message(code, message_id=0x1234).encode() == datagram


@pytest.mark.parametrize(("octets", "message_id"), [(b"\0\0", 0), (b"\x12\x34", 0x1234), (b"\xff\xff", 65535)])
def test_the_message_id_is_in_network_byte_order(octets: bytes, message_id: int) -> None:
    assert Message.decode(b"\x40\x01" + octets).message_id == message_id
    assert Request(Code.GET, message_id=message_id).encode() == b"\x40\x01" + octets


@pytest.mark.parametrize("length", range(MAX_TOKEN_LENGTH + 1))
def test_the_token_has_the_length_of_the_header(length: int) -> None:
    token = bytes(range(0xF7, 0xF7 + length))
    datagram = bytes([0x40 | length]) + GET[1:] + token
    assert Message.decode(datagram).token == token
    assert Request(Code.GET, message_id=0x1234, token=token).encode() == datagram


def test_the_payload_follows_the_marker() -> None:
    datagram = GET + b"\xff\xff\x00"
    assert Message.decode(datagram).payload == b"\xff\x00"
    assert Request(Code.GET, b"\xff\x00", message_id=0x1234).encode() == datagram


def test_no_payload_has_no_marker() -> None:
    assert Request(Code.GET, message_id=0x1234, uri_path="a").encode() == GET + b"\xb1a"


@pytest.mark.parametrize(
    ("code", "cls"),
    [(Code.EMPTY, Message), (Code.GET, Request), (Code.of(0, 31), Request), (Code.CREATED, Response)],
)
def test_the_class_of_a_decoded_message_follows_its_code(code: Code, cls: type[Message]) -> None:
    assert type(Message.decode(bytes([0x40, code, 0, 0]))) is cls


def test_a_decoded_message_has_no_endpoints_yet() -> None:
    message = Message.decode(GET)
    assert message.source_endpoint is message.destination_endpoint is message.local_address is None


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_decoded_message_holds_bytes_whatever_it_is_read_from(kind: Callable[[bytes], bytes]) -> None:
    datagram = b"\x42\x01\x12\x34ab\xb1p\xffxyz"
    message = Message.decode(kind(datagram))
    held = [message.token, message.payload, *(value for _, value in message.options)]
    assert held == [b"ab", b"xyz", b"p"]
    assert {type(each) for each in held} == {bytes}
    assert message.encode() == datagram


def test_a_decoded_message_does_not_change_with_its_buffer() -> None:
    buffer = bytearray(GET + b"\xffon")
    message = Message.decode(buffer)
    buffer[-1:] = b"ff"
    assert message.payload == b"on"


# Options on the wire


@pytest.mark.parametrize("number", [0, 12, 13, 14, 268, 269, 270, 65535])
def test_a_delta_is_read_at_the_borders_of_its_forms(number: int) -> None:
    options = Options.from_wire(((number, b"x"),))
    assert Message.decode(GET + options.encode()).options == options


@pytest.mark.parametrize("length", BORDERS)
def test_a_length_is_read_at_the_borders_of_its_forms(length: int) -> None:
    options = Options.from_wire(((65001, bytes(length)), (65002, b"behind")))
    assert Message.decode(GET + options.encode()).options == options


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"\x00", ((0, b""),)),
        (b"\xc0", ((12, b""),)),
        (b"\xd0\x00", ((13, b""),)),
        (b"\xd0\xff", ((268, b""),)),
        (b"\xe0\x00\x00", ((269, b""),)),
        (b"\xe0\xfe\xf2", ((65535, b""),)),
        (b"\x1d\x00" + bytes(13), ((1, bytes(13)),)),
        (b"\x1e\x00\x01" + bytes(270), ((1, bytes(270)),)),
        (b"\xdd\x00\x00" + bytes(13), ((13, bytes(13)),)),
        (b"\xee\x00\x00\x00\x00" + bytes(269), ((269, bytes(269)),)),
        (b"\xb1a\x01b\x31c", ((11, b"a"), (11, b"b"), (14, b"c"))),
    ],
)
def test_options_are_read_as_section_3_1_has_them(octets: bytes, expected: tuple[tuple[int, bytes], ...]) -> None:
    assert tuple(Message.decode(GET + octets).options) == expected
    assert tuple(Message.decode(GET + octets + b"\xff\x00").options) == expected


def test_unknown_malformed_and_surplus_options_are_kept() -> None:
    options = Options.from_wire(((12, b"123"), (14, b""), (14, b"\1"), (65001, b"?")))
    assert Message.decode(GET + options.encode()).options == options


# What is no message


@pytest.mark.parametrize("datagram", [GET[:length] for length in range(4)])
def test_a_short_datagram_tells_neither_type_nor_message_id(datagram: bytes) -> None:
    fault = fault_of(datagram)
    assert (fault.rule, fault.section) == ("the datagram is shorter than a header", "3")
    assert fault.offset == len(datagram)
    assert fault.message_type is None
    assert fault.message_id is None


@pytest.mark.parametrize("version", [0, 2, 3])
@pytest.mark.parametrize("rest", [b"\x01\x12\x34", b"\x01\x12\x34\xff", b"\x20\x12\x34"])
def test_another_version_tells_neither_type_nor_message_id(version: int, rest: bytes) -> None:
    fault = fault_of(bytes([version << 6 | 0x0F]) + rest)
    assert (fault.rule, fault.section, fault.offset) == ("the version is not 1", "3", 0)
    assert fault.message_type is None
    assert fault.message_id is None


FAULTS = {
    "token length 9": (b"\x49\x01\x12\x34" + bytes(9), "the token length is above 8", "3", 0),
    "token length 13": (b"\x4d\x01\x12\x34" + bytes(20), "the token length is above 8", "3", 0),
    "token length 14": (b"\x4e\x01\x12\x34" + bytes(20), "the token length is above 8", "3", 0),
    "token length 15": (b"\x4f\x01\x12\x34" + bytes(20), "the token length is above 8", "3", 0),
    "no token": (b"\x44\x01\x12\x34", "the token is cut off", "3", 4),
    "half a token": (b"\x44\x01\x12\x34\1\2", "the token is cut off", "3", 6),
    "empty announces a token": (b"\x41\x00\x12\x34", "the token is cut off", "3", 4),
    "empty with token": (
        b"\x41\x00\x12\x34\1",
        "an empty message has something behind its header",
        "4.1",
        4,
    ),
    "empty with payload": (b"\x40\x00\x12\x34\xff\1", "an empty message has something behind its header", "4.1", 4),
    "class 1": (b"\x40\x20\x12\x34", "the code class 1 is reserved", "4.2", 1),
    "class 3": (b"\x40\x60\x12\x34", "the code class 3 is reserved", "12.1.2", 1),
    "class 6": (b"\x40\xdf\x12\x34", "the code class 6 is reserved", "4.2", 1),
    "class 7": (b"\x40\xe1\x12\x34", "the code class 7 is reserved", "4.2", 1),
    "marker alone": (GET + b"\xff", "nothing follows the payload marker", "3", 4),
    "marker alone behind a token": (b"\x41\x01\x12\x34\1\xff", "nothing follows the payload marker", "3", 5),
    "marker alone behind an option": (GET + b"\xb1a\xff", "nothing follows the payload marker", "3", 6),
    "delta 15": (GET + b"\xf0", "the option delta nibble is 15", "3.1", 4),
    "delta 15 in the second option": (GET + b"\xb1a\xfe", "the option delta nibble is 15", "3.1", 6),
    "length 15": (GET + b"\x1f", "the option length nibble is 15", "3.1", 4),
    "no extended delta": (GET + b"\xd0", "the extended option delta is cut off", "3.1", 5),
    "no long delta": (GET + b"\xe0", "the extended option delta is cut off", "3.1", 5),
    "half a long delta": (GET + b"\xe0\x00", "the extended option delta is cut off", "3.1", 5),
    "no extended length": (GET + b"\x1d", "the extended option length is cut off", "3.1", 5),
    "no long length": (GET + b"\x1e", "the extended option length is cut off", "3.1", 5),
    "half a long length": (GET + b"\x1e\x00", "the extended option length is cut off", "3.1", 5),
    "no extended length behind a delta": (GET + b"\xdd\x00", "the extended option length is cut off", "3.1", 6),
    "no value": (GET + b"\x11", "an option is cut off", "3.1", 4),
    "half a value": (GET + b"\x12a", "an option is cut off", "3.1", 4),
    "half an extended value": (GET + b"\x1d\x00" + bytes(12), "an option is cut off", "3.1", 4),
    "half a long value": (GET + b"\x1e\x00\x00" + bytes(268), "an option is cut off", "3.1", 4),
    "the marker is part of the value": (GET + b"\x13a\xff", "an option is cut off", "3.1", 4),
    "number 65536": (GET + b"\xe0\xfe\xf3", "the option number is above 65535", "12.2", 4),
    "number 65804": (GET + b"\xe0\xff\xff", "the option number is above 65535", "12.2", 4),
    "number 65536 by sum": (GET + b"\xe0\xfe\xf2\x10", "the option number is above 65535", "12.2", 7),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("type", MessageType)
def test_a_fault_tells_rule_section_offset_type_and_message_id(name: str, type: MessageType) -> None:
    datagram, rule, section, offset = FAULTS[name]
    datagram = bytes([datagram[0] | type << 4]) + datagram[1:]
    fault = fault_of(datagram)
    assert (fault.rule, fault.section, fault.offset) == (rule, section, offset)
    assert fault.message_type is type
    assert fault.message_id == 0x1234


def test_a_fault_reads_as_a_sentence() -> None:
    fault = fault_of(GET + b"\xff")
    assert str(fault) == "nothing follows the payload marker (RFC 7252 section 3), at octet 4"
    assert isinstance(fault, RemoteProtocolError)


@pytest.mark.parametrize("datagram", [GET + b"\xff", b"\x40"])
def test_a_fault_survives_copy_and_pickle(datagram: bytes) -> None:
    fault = fault_of(datagram)
    for twin in (copy.copy(fault), copy.deepcopy(fault), pickle.loads(pickle.dumps(fault))):
        assert type(twin) is MessageFormatError
        assert vars(twin) == vars(fault)
        assert str(twin) == str(fault)


def test_a_fault_hides_how_it_was_found() -> None:
    assert fault_of(GET + b"\xff").__suppress_context__


@pytest.mark.parametrize("octets", [b"\xdf\x00", b"\xef\x00\x00"])
def test_a_length_nibble_of_15_is_reported_where_it_is(octets: bytes) -> None:
    fault = fault_of(GET + octets)
    assert fault.rule == "the option length nibble is 15"
    assert fault.offset == 4


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=80))
@example(b"")
def test_any_octets_give_a_message_or_a_format_error(data: bytes) -> None:
    check_decoding(data)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(MessageType), st.integers(0, 255), st.binary(max_size=80))
def test_any_octets_behind_a_good_header_give_a_message_or_a_format_error(
    type: MessageType, code: int, rest: bytes
) -> None:
    check_decoding(bytes([0x40 | type << 4, code, 0x12, 0x34]) + rest)


@settings(max_examples=500, deadline=None)
@given(st.data(), messages)
def test_a_damaged_message_gives_a_message_or_a_format_error(data: st.DataObject, message: Message) -> None:
    damaged = bytearray(message.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        removed = data.draw(st.integers(0, 3))
        damaged[at : at + removed] = data.draw(st.binary(max_size=3))
    check_decoding(bytes(damaged))


@settings(deadline=None)
@given(messages)
def test_a_message_that_is_cut_off_gives_a_message_or_a_format_error(message: Message) -> None:
    encoded = message.encode()
    for length in range(min(len(encoded), 60)):
        check_decoding(encoded[:length])


def check_decoding(data: bytes) -> None:
    try:
        message = Message.decode(data)
    except MessageFormatError as exc:
        fault = exc
    else:
        assert Message.decode(message.encode()) == message
        # Section 3 has one form for each message: the ranges of deltas and lengths overlap nowhere.
        assert message.encode() == data
        return
    assert 0 <= fault.offset <= len(data)
    if len(data) >= 4 and data[0] >> 6 == 1:
        assert (fault.message_type, fault.message_id) == (data[0] >> 4 & 3, data[2] << 8 | data[3])
    else:
        assert (fault.message_type, fault.message_id) == (None, None)


# There and back


@settings(max_examples=300, deadline=None)
@given(messages)
def test_every_message_survives_encoding_and_decoding(message: Message) -> None:
    decoded = Message.decode(message.encode())
    assert decoded == message
    assert type(decoded) is type(message)


@settings(max_examples=20, deadline=None)
@given(numbers, st.integers(65700, 65804), st.binary(max_size=8))
def test_the_longest_options_survive_encoding_and_decoding(number: int, length: int, payload: bytes) -> None:
    options = Options.from_wire(((number, bytes(length)),))
    message = Request(Code.POST, payload, options=options, message_id=1)
    assert Message.decode(message.encode()) == message


def test_the_example_of_appendix_a_survives() -> None:
    # RFC 7252 figure 17: GET /temperature, answered by 2.05 "22.3 C".
    request = Request(Code.GET, message_id=0x7D34, uri_path="temperature")
    assert request.encode() == b"\x40\x01\x7d\x34\xbbtemperature"
    response = Response(Code.CONTENT, b"22.3 C", type=ACK, message_id=0x7D34)
    assert response.encode() == b"\x60\x45\x7d\x34\xff22.3 C"


def test_a_message_with_too_many_options_is_rejected_where_the_first_surplus_one_starts() -> None:
    assert len(Message.decode(GET + b"\xb0" + bytes(MAX_OPTIONS - 1)).options) == MAX_OPTIONS
    fault = fault_of(GET + b"\xb0" + bytes(65_000))
    assert (fault.rule, fault.section, fault.offset) == (
        f"there are more than {MAX_OPTIONS} options",
        "4.2",
        4 + MAX_OPTIONS,
    )


def test_a_message_with_too_many_options_cannot_be_encoded() -> None:
    with pytest.raises(LocalProtocolError, match=f"at most {MAX_OPTIONS} options"):
        Request(Code.GET, message_id=1, uri_path=["a"] * (MAX_OPTIONS + 1)).encode()
