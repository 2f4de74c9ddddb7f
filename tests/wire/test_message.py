"""Messages as applications make and read them: RFC 7252 sections 3, 5.5 and 5.9."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.strategies import (
    messages,
)
from trio_coap.wire.block import Block
from trio_coap.wire.codes import ACK, CODES, CON, NON, RST, Code, MessageType
from trio_coap.wire.errors import (
    CoapError,
    LocalProtocolError,
    MessageFormatError,
    PayloadFormatError,
)
from trio_coap.wire.message import Message, Request, Response
from trio_coap.wire.options import OptionInput, Options
from trio_coap.wire.response_errors import NotFound


def test_a_message_is_empty_and_confirmable_unless_said_otherwise() -> None:
    message = Message()
    assert message.is_empty
    assert message.is_confirmable
    assert (message.code, message.payload, message.options) == (Code.EMPTY, b"", Options())
    assert (message.type, message.message_id, message.token) == (CON, None, b"")


def test_only_con_is_confirmable_and_only_code_zero_empty() -> None:
    assert [Message(type=each).is_confirmable for each in MessageType] == [True, False, False, False]
    assert not Message(Code.GET).is_empty


def test_a_code_may_be_given_as_its_octet() -> None:
    assert Message(0x45).code is Code.CONTENT


def test_options_may_be_given_by_keyword() -> None:
    assert Message(Code.GET, uri_path=("a", "b"), block2=Block(0)).options == Options(uri_path=("a", "b"), block2=6)


def test_keywords_replace_given_options() -> None:
    message = Message(Code.GET, options=Options(uri_path="a", max_age=5), uri_path="b")
    assert message.options == Options(uri_path="b", max_age=5)


@pytest.mark.parametrize("by_name", [{"teapot": 1}, {"max_age": "x"}, {"max_age": [1, 2]}])
def test_a_message_refuses_what_options_refuse(by_name: dict[str, OptionInput]) -> None:
    with pytest.raises(LocalProtocolError):
        Message(Code.GET, **by_name)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [Code.PUT, Code.CONTENT, Code.CHANGED])
def test_a_text_is_sent_as_utf_8_with_content_format_0(code: Code) -> None:
    message = Message(code, "21 °C")
    assert message.payload == b"21 \xc2\xb0C"
    assert message.options == Options(content_format=0)


@pytest.mark.parametrize("code", [Code.BAD_REQUEST, Code.NOT_FOUND, Code.INTERNAL_SERVER_ERROR, Code.of(5, 31)])
def test_a_text_in_an_error_response_has_no_content_format(code: Code) -> None:
    message = Message(code, "no such lamp")
    assert message.payload == b"no such lamp"
    assert message.options == Options()


@pytest.mark.parametrize(
    "message",
    [Message(Code.PUT, "{}", content_format=50), Message(Code.PUT, "{}", options=Options(content_format=50))],
    ids=["by name", "in options"],
)
def test_a_text_keeps_a_content_format_that_is_given(message: Message) -> None:
    assert message.options == Options(content_format=50)


def test_a_text_keeps_the_other_options() -> None:
    assert Message(Code.PUT, "on", uri_path="lamp").options == Options(uri_path="lamp", content_format=0)


def test_neither_octets_nor_an_empty_text_get_a_content_format() -> None:
    assert Message(Code.PUT, b"on").options == Options()
    assert Message(Code.PUT, "").options == Options()


def test_the_text_of_a_payload_is_read_as_utf_8() -> None:
    assert Message(Code.CONTENT, "21 °C").text == "21 °C"
    assert Message(Code.CONTENT, b"\xff!").text == "\ufffd!"


@pytest.mark.parametrize("code", [-1, -256, 256, 1000])
def test_a_code_that_is_no_octet_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"0 to 255, not {code}"):
        Message(code)


@pytest.mark.parametrize("code", [Code.EMPTY, Code.CONTENT, Code.of(1, 0), Code.of(7, 1)])
def test_a_request_needs_a_method_code(code: Code) -> None:
    with pytest.raises(LocalProtocolError, match=f"a Request has a method code, 0.01 to 0.31, not {code}"):
        Request(code)


def test_a_request_has_no_code_by_default() -> None:
    with pytest.raises(LocalProtocolError, match="a Request has a method code"):
        Request()


@pytest.mark.parametrize("code", [Code.EMPTY, Code.GET, Code.of(1, 0), Code.of(3, 0), Code.of(6, 0), Code.of(7, 1)])
def test_a_response_needs_a_response_code(code: Code) -> None:
    with pytest.raises(LocalProtocolError, match=f"a Response has a response code of class 2, 4 or 5, not {code}"):
        Response(code)


def test_a_response_is_a_content_unless_said_otherwise() -> None:
    assert Response(payload="on") == Response(Code.CONTENT, "on")


def test_unknown_codes_of_the_right_class_are_accepted() -> None:
    assert Request(31).code == Code.of(0, 31)
    assert [Response(Code.of(class_, 30)).code.dotted for class_ in (2, 4, 5)] == ["2.30", "4.30", "5.30"]


def test_a_token_over_8_octets_is_refused_at_once() -> None:
    with pytest.raises(LocalProtocolError, match="not 9"):
        Message(Code.GET, token=bytes(9))


@pytest.mark.parametrize("message_id", [-1, 65536])
def test_a_message_id_out_of_range_is_refused_at_once(message_id: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"not {message_id}"):
        Message(Code.GET, message_id=message_id)


def test_a_text_that_has_no_utf_8_is_a_local_error() -> None:
    with pytest.raises(LocalProtocolError, match="the payload has a lone surrogate"):
        Message(Code.PUT, "\ud800")
    with pytest.raises(LocalProtocolError, match="the payload has a lone surrogate"):
        Message(Code.PUT).replace(payload="\ud800")


# Encoding what cannot be sent


def test_a_message_without_a_message_id_cannot_be_encoded() -> None:
    with pytest.raises(LocalProtocolError, match=r"no message ID; LocalEndpoint\.send"):
        Message(Code.GET).encode()


@pytest.mark.parametrize("message_id", [-1, 65536])
def test_a_message_id_out_of_range_cannot_be_encoded(message_id: int) -> None:
    message = Message(Code.GET)
    message.message_id = message_id
    with pytest.raises(LocalProtocolError, match=f"0 to 65535, not {message_id}"):
        message.encode()


def test_a_token_over_8_octets_cannot_be_encoded() -> None:
    message = Message(Code.GET, message_id=1)
    message.token = bytes(9)
    with pytest.raises(LocalProtocolError, match="at most 8 octets, not 9"):
        message.encode()


@pytest.mark.parametrize("code", [Code.of(1, 0), Code.of(3, 31), Code.of(6, 0), Code.CSM])
def test_a_code_of_a_reserved_class_cannot_be_encoded(code: Code) -> None:
    with pytest.raises(LocalProtocolError, match=f"code {code} is of a class that is reserved"):
        Message(code, message_id=1).encode()


@given(st.sampled_from(CODES))
def test_what_cannot_be_decoded_cannot_be_encoded(code: Code) -> None:
    header = bytes([0x40, code, 0, 1])
    try:
        assert Message(code, message_id=1).encode() == header
    except LocalProtocolError:
        with pytest.raises(MessageFormatError):
            Message.decode(header)
    else:
        assert Message.decode(header).code is code


@pytest.mark.parametrize(
    "message",
    [
        Message(message_id=1, token=b"x"),
        Message(payload=b"x", message_id=1),
        Message(message_id=1, max_age=5),
    ],
    ids=["token", "payload", "options"],
)
def test_an_empty_message_with_something_behind_its_header_cannot_be_encoded(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match=r"ends behind its header \(RFC 7252 section 4\.1\)"):
        message.encode()


@pytest.mark.parametrize("type", MessageType)
def test_an_empty_message_is_four_octets(type: MessageType) -> None:
    message = Message(type=type, message_id=0x1234)
    assert message.encode() == bytes([0x40 | type << 4, 0, 0x12, 0x34])
    assert Message.decode(message.encode()) == message


# Copies and equality


def full_request() -> Request:
    return Request(Code.PUT, b"on", type=NON, message_id=7, token=b"t", uri_path="lamp", max_age=5)


def test_replace_gives_a_copy_of_the_same_class() -> None:
    request = full_request()
    twin = request.replace()
    assert twin is not request
    assert type(twin) is Request
    assert twin == request


def test_replace_gives_another_payload() -> None:
    request = full_request()
    other = request.replace(payload=b"")
    assert (other.payload, other.options, other.token) == (b"", request.options, b"t")
    assert request.payload == b"on"


def test_replace_treats_a_text_as_the_constructor_does() -> None:
    request = full_request()
    other = request.replace(payload="21 °C", max_age=None)
    assert (other.payload, other.options) == (b"21 \xc2\xb0C", Options(uri_path="lamp", content_format=0))
    assert request.replace(payload="{}", content_format=50).options.content_format == 50
    assert Response(Code.NOT_FOUND).replace(payload="no such lamp").options == Options()
    assert request.replace(payload="").options == request.options


def test_replace_gives_other_options() -> None:
    assert full_request().replace(options=Options(accept=0)).options == Options(accept=0)
    assert full_request().replace(options=Options()).options == Options()


def test_replace_gives_options_by_name() -> None:
    request = full_request()
    assert request.replace(max_age=None, accept=0).options == Options(uri_path="lamp", accept=0)
    assert request.replace(options=Options(etag=b"e"), accept=0).options == Options(etag=b"e", accept=0)
    assert request == full_request()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("code", Code.POST),
        ("payload", b"off"),
        ("options", Options()),
        ("type", CON),
        ("message_id", 8),
        ("token", b""),
    ],
)
def test_messages_that_differ_on_the_wire_are_not_equal(field: str, value: object) -> None:
    other = full_request()
    setattr(other, field, value)
    assert other != full_request()


class Somewhere:
    """The address of an endpoint."""

    port = 5683
    hostinfo = "[2001:db8::1]"
    uri = "coap://[2001:db8::1]"

    def __init__(self, is_multicast: bool = False) -> None:
        self.is_multicast = is_multicast


def test_endpoints_do_not_count_in_equality() -> None:
    there = Message(Code.GET, source_endpoint=Somewhere(), destination_endpoint=Somewhere())
    there.local_address = Somewhere()
    assert there == Message(Code.GET)


def test_a_message_tells_whether_it_was_sent_to_a_group() -> None:
    message = Message()
    assert not message.is_multicast_locally
    for is_group in (False, True):
        message.local_address = Somewhere(is_group)
        assert message.is_multicast_locally is is_group


def test_replace_keeps_the_endpoints() -> None:
    source, destination = Somewhere(), Somewhere()
    twin = Message(Code.GET, source_endpoint=source, destination_endpoint=destination).replace(payload=b"x")
    assert (twin.source_endpoint, twin.destination_endpoint) == (source, destination)


@settings(deadline=None)
@given(messages)
def test_a_message_survives_copy_and_pickle(message: Message) -> None:
    assert copy.copy(message) == copy.deepcopy(message) == pickle.loads(pickle.dumps(message)) == message


def test_a_plain_message_equals_the_request_that_says_the_same() -> None:
    message = Message(Code.GET, message_id=1, uri_path="a")
    assert Message.decode(message.encode()) == message
    assert Request(Code.PUT, message_id=1, uri_path="a") != message


def test_a_message_equals_nothing_else() -> None:
    assert Message() != b""
    assert Message().__eq__(b"") is NotImplemented


def test_messages_can_change_so_they_have_no_hash() -> None:
    for message in (Message(), Request(Code.GET), Response()):
        with pytest.raises(TypeError, match="unhashable"):
            hash(message)


# What applications ask of a response


@pytest.mark.parametrize("code", [Code.CONTENT, Code.CONTINUE, Code.of(2, 30)])
def test_a_success_raises_nothing_and_returns_itself(code: Code) -> None:
    response = Response(code)
    assert response.raise_for_code() is response


def test_an_error_raises_the_exception_for_its_code() -> None:
    response = Response(Code.NOT_FOUND, "no such lamp")
    with pytest.raises(NotFound, match=r"4\.04 Not Found: no such lamp") as caught:
        response.raise_for_code()
    assert caught.value.response is response


def test_a_payload_is_read_as_json() -> None:
    assert Response(Code.CONTENT, '{"on": [true, null, "ü"]}').json() == {"on": [True, None, "ü"]}


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (Response(Code.CONTENT, b""), "payload of 0 octets is not JSON: .*; its Content-Format is none"),
        (Response(Code.CONTENT, "on"), r"2 octets.*Format is 0 \(text/plain; charset=utf-8\)"),
        (Response(Code.CONTENT, b"\xa1\xff", content_format=60), r"Format is 60 \(application/cbor\)"),
        (Response(Code.CONTENT, b"\xff", content_format=65000), r"Format is 65000 \(unknown\)"),
        (Response(Code.CONTENT, b"[" * 100_000, content_format=50), r"Format is 50 \(application/json\)"),
    ],
    ids=["empty", "text", "cbor", "unknown format", "too deep"],
)
def test_what_is_not_json_is_an_error_that_says_what_it_was(response: Response, text: str) -> None:
    with pytest.raises(PayloadFormatError, match=text) as caught:
        response.json()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, CoapError)
    assert caught.value.__cause__ is not None


# The print


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message(), "<Message CON - 0.00 Empty>"),
        (Message(type=RST, message_id=0x7D34), "<Message RST 0x7d34 0.00 Empty>"),
        (
            Request(Code.GET, message_id=7, token=b"\xab\xcd", uri_path="a"),
            "<Request CON 0x0007 0.01 GET token=abcd Options(uri_path=('a',))>",
        ),
        (Response(Code.CONTENT, b"on", type=ACK), "<Response ACK - 2.05 Content 2 octets b'on'>"),
        (Response(Code.CONTENT, b"x" * 32), f"<Response CON - 2.05 Content 32 octets b'{'x' * 32}'>"),
        (Response(Code.CONTENT, b"x" * 33), f"<Response CON - 2.05 Content 33 octets b'{'x' * 29}...'>"),
    ],
)
def test_a_message_prints_what_it_says(message: Message, text: str) -> None:
    assert repr(message) == text


@pytest.mark.parametrize("payload", [5, None, ["a"]])
def test_a_payload_that_is_neither_octets_nor_text_is_refused(payload: object) -> None:
    with pytest.raises(LocalProtocolError, match="octets or a text"):
        Message(Code.PUT, payload)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_anything_like_bytes_is_kept_as_bytes(kind: type) -> None:
    assert Message(Code.PUT, kind(b"abc")).payload == b"abc"
    assert type(Message(Code.PUT).replace(payload=kind(b"abc")).payload) is bytes
