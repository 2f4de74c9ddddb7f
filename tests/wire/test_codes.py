"""Message types and codes: RFC 7252 sections 3, 5.9 and 12.1, and the RFCs that registered more codes."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire.codes import ACK, CODES, CON, NON, RST, Code, MessageType

OCTETS = st.integers(0, 255)

# RFC 7252 tables 5 and 6; RFC 7959 (2.31, 4.08), 8132 (FETCH, PATCH, iPATCH, 4.09, 4.22), 8516 (4.29),
# 8768 (5.08), 8323 (class 7).
REGISTERED = {
    "EMPTY": ("0.00", "Empty"),
    "GET": ("0.01", "GET"),
    "POST": ("0.02", "POST"),
    "PUT": ("0.03", "PUT"),
    "DELETE": ("0.04", "DELETE"),
    "FETCH": ("0.05", "FETCH"),
    "PATCH": ("0.06", "PATCH"),
    "IPATCH": ("0.07", "iPATCH"),
    "CREATED": ("2.01", "Created"),
    "DELETED": ("2.02", "Deleted"),
    "VALID": ("2.03", "Valid"),
    "CHANGED": ("2.04", "Changed"),
    "CONTENT": ("2.05", "Content"),
    "CONTINUE": ("2.31", "Continue"),
    "BAD_REQUEST": ("4.00", "Bad Request"),
    "UNAUTHORIZED": ("4.01", "Unauthorized"),
    "BAD_OPTION": ("4.02", "Bad Option"),
    "FORBIDDEN": ("4.03", "Forbidden"),
    "NOT_FOUND": ("4.04", "Not Found"),
    "METHOD_NOT_ALLOWED": ("4.05", "Method Not Allowed"),
    "NOT_ACCEPTABLE": ("4.06", "Not Acceptable"),
    "REQUEST_ENTITY_INCOMPLETE": ("4.08", "Request Entity Incomplete"),
    "CONFLICT": ("4.09", "Conflict"),
    "PRECONDITION_FAILED": ("4.12", "Precondition Failed"),
    "REQUEST_ENTITY_TOO_LARGE": ("4.13", "Request Entity Too Large"),
    "UNSUPPORTED_CONTENT_FORMAT": ("4.15", "Unsupported Content-Format"),
    "UNPROCESSABLE_ENTITY": ("4.22", "Unprocessable Entity"),
    "TOO_MANY_REQUESTS": ("4.29", "Too Many Requests"),
    "INTERNAL_SERVER_ERROR": ("5.00", "Internal Server Error"),
    "NOT_IMPLEMENTED": ("5.01", "Not Implemented"),
    "BAD_GATEWAY": ("5.02", "Bad Gateway"),
    "SERVICE_UNAVAILABLE": ("5.03", "Service Unavailable"),
    "GATEWAY_TIMEOUT": ("5.04", "Gateway Timeout"),
    "PROXYING_NOT_SUPPORTED": ("5.05", "Proxying Not Supported"),
    "HOP_LIMIT_REACHED": ("5.08", "Hop Limit Reached"),
    "CSM": ("7.01", "CSM"),
    "PING": ("7.02", "Ping"),
    "PONG": ("7.03", "Pong"),
    "RELEASE": ("7.04", "Release"),
    "ABORT": ("7.05", "Abort"),
}


def test_the_types_have_the_values_of_the_header() -> None:
    assert list(MessageType) == [CON, NON, ACK, RST]
    assert [int(each) for each in MessageType] == [0, 1, 2, 3]


@pytest.mark.parametrize("attribute", REGISTERED)
def test_a_registered_code_has_its_number_and_name(attribute: str) -> None:
    dotted, name = REGISTERED[attribute]
    code = getattr(Code, attribute)
    assert isinstance(code, Code)
    assert (code.dotted, code.name) == (dotted, name)


def test_no_code_but_the_registered_ones_has_a_name() -> None:
    named = {code.dotted: code.name for code in CODES if code.name}
    assert named == dict(REGISTERED.values())


def test_every_registered_code_is_an_attribute() -> None:
    assert {name for name, value in vars(Code).items() if isinstance(value, Code)} == set(REGISTERED)


def test_there_is_one_code_per_octet() -> None:
    assert [int(code) for code in CODES] == list(range(256))
    assert len({id(code) for code in CODES}) == 256


@given(OCTETS)
def test_however_a_code_is_made_it_is_the_same_object(octet: int) -> None:
    code = CODES[octet]
    assert Code(octet) is code
    assert Code.of(octet >> 5, octet & 31) is code
    assert Code.parse(code.dotted) is code


@given(OCTETS, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_code_survives_pickle_as_the_same_object(octet: int, protocol: int) -> None:
    assert pickle.loads(pickle.dumps(Code(octet), protocol)) is CODES[octet]


@given(OCTETS)
def test_a_copy_of_a_code_is_the_same_object(octet: int) -> None:
    assert copy.copy(CODES[octet]) is CODES[octet]
    assert copy.deepcopy(CODES[octet]) is CODES[octet]


def test_a_code_equals_and_hashes_as_its_octet() -> None:
    assert Code.CONTENT == 0x45
    assert {0x45: "found"}[Code.CONTENT] == "found"


@pytest.mark.parametrize("octet", [-1, 256, 1000])
def test_a_number_that_is_no_octet_is_no_code(octet: int) -> None:
    with pytest.raises(ValueError, match=f"not {octet}"):
        Code(octet)


@pytest.mark.parametrize(("class_", "detail"), [(-1, 0), (8, 0), (0, -1), (0, 32), (2, 99)])
def test_a_class_or_detail_out_of_range_is_no_code(class_: int, detail: int) -> None:
    with pytest.raises(ValueError, match=rf"not {class_}\."):
        Code.of(class_, detail)


@given(OCTETS)
def test_a_code_falls_apart_into_class_and_detail(octet: int) -> None:
    code = Code(octet)
    assert (code.class_, code.detail) == divmod(octet, 32)
    assert code.dotted == f"{octet // 32}.{octet % 32:02d}"


@given(OCTETS)
def test_the_kinds_of_code_follow_the_class(octet: int) -> None:
    code = Code(octet)
    class_ = octet // 32
    assert code.is_request == (class_ == 0 and octet != 0)
    assert code.is_response == (class_ in {2, 4, 5})
    assert code.is_success == (class_ == 2)
    assert code.is_reserved == (class_ in {1, 6, 7})


def test_an_unknown_method_is_still_a_request() -> None:
    assert Code.of(0, 31).is_request
    assert Code.of(0, 31).name == ""


def test_empty_is_neither_request_nor_response_nor_reserved() -> None:
    assert (Code.EMPTY.is_request, Code.EMPTY.is_response, Code.EMPTY.is_reserved) == (False, False, False)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2.05", Code.CONTENT),
        ("2.5", Code.CONTENT),
        (" 4.04\n", Code.NOT_FOUND),
        ("7.31", Code(255)),
        ("GET", Code.GET),
        ("get", Code.GET),
        ("iPATCH", Code.IPATCH),
        ("IPATCH", Code.IPATCH),
        ("Not Found", Code.NOT_FOUND),
        ("NOT_FOUND", Code.NOT_FOUND),
        ("not-found", Code.NOT_FOUND),
        ("unsupported content format", Code.UNSUPPORTED_CONTENT_FORMAT),
    ],
)
def test_a_code_is_parsed_from_its_number_or_any_spelling_of_its_name(text: str, code: Code) -> None:
    assert Code.parse(text) is code


@pytest.mark.parametrize("attribute", REGISTERED)
def test_the_name_of_a_code_parses_back(attribute: str) -> None:
    code = getattr(Code, attribute)
    assert Code.parse(code.name) is code
    assert Code.parse(attribute) is code


@pytest.mark.parametrize(
    "text", ["", "-", "teapot", "8.00", "2.32", "2.", ".05", "2.005", "2.05 Content", "-1.00", "٢.05"]
)
def test_a_text_that_names_no_code_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        Code.parse(text)


def test_the_error_says_what_was_to_be_parsed() -> None:
    with pytest.raises(ValueError, match="'teapot'"):
        Code.parse("teapot")


@given(st.text())
def test_parsing_any_text_gives_a_code_or_a_value_error(text: str) -> None:
    try:
        code = Code.parse(text)
    except ValueError:
        return
    assert CODES[code] is code


def test_a_code_prints_number_and_name() -> None:
    assert str(Code.NOT_FOUND) == "4.04 Not Found"
    assert f"{Code.GET}" == "0.01 GET"
    assert repr(Code.NOT_FOUND) == "<Code 4.04 Not Found>"


def test_a_code_without_a_name_prints_its_number_alone() -> None:
    assert str(Code.of(4, 30)) == "4.30"
    assert repr(Code.of(4, 30)) == "<Code 4.30>"
