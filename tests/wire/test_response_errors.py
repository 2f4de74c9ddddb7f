"""Error responses as exceptions: RFC 7252 sections 5.5.2 and 5.9, and the registry of response codes."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire import response_errors
from trio_coap.wire.codes import CODES, Code
from trio_coap.wire.definitions import register_option
from trio_coap.wire.errors import CoapError, LocalProtocolError, MissingExtra
from trio_coap.wire.message import Message, Response
from trio_coap.wire.options import OptionInput, Options
from trio_coap.wire.problems import ProblemDetails
from trio_coap.wire.response_errors import (
    BadGateway,
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    InternalServerError,
    NotFound,
    NotImplementedByServer,
    ResponseError,
    ServerError,
    ServiceUnavailable,
    TooManyRequests,
    error_for_response,
)

REGISTERED = [code for code in CODES if code.class_ in {4, 5} and code.name]
UNKNOWN = [code for code in CODES if code.class_ in {4, 5} and not code.name]


class OutOfPaint(Conflict):
    """An error of the application's own."""


# The classes


@pytest.mark.parametrize("code", REGISTERED, ids=str)
def test_every_registered_error_code_has_a_class_that_is_called_after_it(code: Code) -> None:
    error = error_for_response(Response(code))
    # "Not Implemented" alone would read like the builtin.
    name = {"Not Implemented": "NotImplementedByServer"}.get(code.name, code.name.replace(" ", "").replace("-", ""))
    assert type(error).__name__ == name
    assert getattr(response_errors, name) is type(error)
    assert type(error).code is error.code is code


@pytest.mark.parametrize("code", [*REGISTERED, *UNKNOWN], ids=str)
def test_the_class_of_a_code_is_a_client_or_a_server_error(code: Code) -> None:
    error = error_for_response(Response(code))
    assert isinstance(error, ClientError) == (code.class_ == 4)
    assert isinstance(error, ServerError) == (code.class_ == 5)
    assert isinstance(error, ResponseError)
    assert isinstance(error, CoapError)


@pytest.mark.parametrize("code", UNKNOWN, ids=str)
def test_an_unknown_code_is_treated_as_the_generic_one_and_kept(code: Code) -> None:
    error = error_for_response(Response(code))
    assert type(error) is (BadRequest if code.class_ == 4 else InternalServerError)
    assert error.code is code
    assert error.to_response().code is code


@pytest.mark.parametrize(
    ("cls", "code"),
    [
        (ResponseError, Code.INTERNAL_SERVER_ERROR),
        (ClientError, Code.BAD_REQUEST),
        (ServerError, Code.INTERNAL_SERVER_ERROR),
        (OutOfPaint, Code.CONFLICT),
    ],
)
def test_a_class_without_a_code_of_its_own_has_that_of_its_parent(cls: type[ResponseError], code: Code) -> None:
    assert cls().to_response().code is code


def test_a_class_of_the_application_does_not_stand_in_for_the_registered_one() -> None:
    assert type(error_for_response(Response(Code.CONFLICT))) is Conflict


# Errors that a handler raises


def test_an_error_becomes_a_response_with_code_diagnostic_and_options() -> None:
    error = ServiceUnavailable("busy", max_age=5)
    assert error.diagnostic == "busy"
    assert error.options == Options(max_age=5)
    assert error.response is None
    response = error.to_response()
    assert type(response) is Response
    assert response == Response(Code.SERVICE_UNAVAILABLE, b"busy", max_age=5)


def test_the_diagnostic_is_sent_as_utf_8_without_content_format() -> None:
    response = NotFound("no such lamp: Küche").to_response()
    assert response.payload == "no such lamp: Küche".encode()
    assert response.options.content_format is None


def test_an_error_without_a_diagnostic_has_no_payload() -> None:
    assert Forbidden().to_response() == Response(Code.FORBIDDEN)


def test_a_diagnostic_that_has_no_utf_8_is_sent_all_the_same() -> None:
    # File names that are no UTF-8 come out of os.fsdecode() like this.
    assert NotFound("no file \udcff").to_response().payload == b"no file \\udcff"


@pytest.mark.parametrize(
    "by_name", [{"teapot": 1}, {"max_age": "x"}, {"response": None}, {"self": 1}, {"diagnostic": "x"}]
)
def test_an_option_that_does_not_fit_is_a_local_error(by_name: dict[str, OptionInput]) -> None:
    with pytest.raises(LocalProtocolError):
        TooManyRequests("slowly", **by_name)  # type: ignore[arg-type]


# Errors that a client gets


def test_an_error_that_was_received_has_the_response() -> None:
    response = Response(Code.TOO_MANY_REQUESTS, "slowly", max_age=30)
    error = error_for_response(response)
    assert type(error) is TooManyRequests
    assert error.response is response
    assert error.diagnostic == "slowly"


def test_nothing_but_code_and_diagnostic_of_a_response_is_passed_on() -> None:
    error = error_for_response(Response(Code.NOT_FOUND, "no such lamp", max_age=5, observe=7, block2=0))
    assert error.options == Options()
    assert error.to_response() == Response(Code.NOT_FOUND, "no such lamp")


@pytest.mark.parametrize(
    ("payload", "content_format", "diagnostic"),
    [
        (b"why", None, "why"),
        (b"why", 0, "why"),
        (b"\xff!", None, "\ufffd!"),
        (b"\xa1\x01\x02", 257, ""),
        (b"", None, ""),
    ],
)
def test_a_payload_is_a_diagnostic_unless_it_has_another_format(
    payload: bytes, content_format: int | None, diagnostic: str
) -> None:
    response = Response(Code.BAD_GATEWAY, payload, content_format=content_format)
    error = error_for_response(response)
    assert type(error) is BadGateway
    assert error.diagnostic == diagnostic


@pytest.mark.parametrize("code", [Code.EMPTY, Code.GET, Code.CONTENT, Code.of(3, 4), Code.of(6, 0), Code.CSM], ids=str)
def test_there_is_no_error_for_a_code_that_is_none(code: Code) -> None:
    response = Response()
    response.code = code
    with pytest.raises(LocalProtocolError, match=f"class 4 or 5, not {code}"):
        error_for_response(response)


@given(st.sampled_from([*REGISTERED, *UNKNOWN]), st.text(st.characters(codec="utf-8")))
def test_an_error_survives_the_way_to_the_client(code: Code, diagnostic: str) -> None:
    sent = error_for_response(Response(code, diagnostic)).to_response()
    sent.message_id = 1
    received = Message.decode(sent.encode())
    assert isinstance(received, Response)
    error = error_for_response(received)
    assert (error.code, error.diagnostic) == (code, diagnostic)


# Problem details (RFC 9290)


def test_a_problem_is_sent_instead_of_the_diagnostic() -> None:
    problem = ProblemDetails(title="Out of range", detail="97 °C")
    error = BadRequest("too hot", problem=problem, max_age=5)
    assert error.problem == problem
    response = error.to_response()
    assert (response.code, response.payload) == (Code.BAD_REQUEST, problem.encode())
    assert response.options == Options(content_format=257, max_age=5)


def test_the_diagnostic_is_the_detail_of_a_problem_without_one() -> None:
    error = NotFound("there is no lamp 7", problem=ProblemDetails(title="No lamp"))
    assert error.problem == ProblemDetails(title="No lamp", detail="there is no lamp 7")
    assert NotFound("why", problem=ProblemDetails()).problem == ProblemDetails(detail="why")


@pytest.mark.parametrize(
    "problem",
    [ProblemDetails(), ProblemDetails(extensions={1: {0: object()}}), ProblemDetails(response_code=Code.CONFLICT)],
    ids=["empty", "not encodable", "another code"],
)
def test_a_problem_that_cannot_be_sent_is_noticed_where_the_error_is_made(problem: ProblemDetails) -> None:
    with pytest.raises(LocalProtocolError):
        NotFound(problem=problem)


def test_the_code_in_the_problem_is_that_of_the_class_of_the_application() -> None:
    assert OutOfPaint(problem=ProblemDetails(response_code=Code.CONFLICT)).to_response().code is Code.CONFLICT


def test_without_cbor2_an_error_with_a_problem_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cbor2", None)
    with pytest.raises(MissingExtra, match=r"'trio-coap\[cbor\]'"):
        NotFound(problem=ProblemDetails(title="No lamp"))


def test_a_problem_that_was_received_is_at_the_error() -> None:
    problem = ProblemDetails(title="No lamp", detail="there is no lamp 7", response_code=Code.NOT_FOUND)
    error = error_for_response(Response(Code.NOT_FOUND, problem.encode(), content_format=257))
    assert type(error) is NotFound
    assert (error.problem, error.problem_fault, error.diagnostic) == (problem, None, "")
    assert str(error) == "4.04 Not Found: No lamp: there is no lamp 7"
    assert error.to_response() == Response(Code.NOT_FOUND, problem.encode(), content_format=257)


def test_a_problem_that_is_malformed_is_none_and_the_error_says_so() -> None:
    error = error_for_response(Response(Code.NOT_FOUND, b"\xff", content_format=257))
    assert type(error) is NotFound
    assert error.problem is None
    assert error.problem_fault is not None
    assert str(error) == f"4.04 Not Found: {error.problem_fault}"
    assert error.to_response() == Response(Code.NOT_FOUND)


def test_a_problem_of_which_nothing_is_understood_is_no_fault() -> None:
    error = error_for_response(Response(Code.NOT_FOUND, b"\xa1\x20\x05", content_format=257))
    assert (error.problem, error.problem_fault) == (ProblemDetails(), None)
    assert str(error) == "4.04 Not Found"
    assert error.to_response() == Response(Code.NOT_FOUND)


def test_without_cbor2_an_error_that_was_received_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = ProblemDetails(title="No lamp").encode()
    monkeypatch.setitem(sys.modules, "cbor2", None)
    error = error_for_response(Response(Code.NOT_FOUND, payload, content_format=257))
    assert error.problem is None
    assert error.problem_fault == "problem details need the extra 'cbor': run pip install 'trio-coap[cbor]'"


def test_an_error_without_a_problem_has_none() -> None:
    error = error_for_response(Response(Code.NOT_FOUND, b"why"))
    assert (error.problem, error.problem_fault) == (None, None)


def test_no_option_can_be_called_problem() -> None:
    with pytest.raises(LocalProtocolError, match="means something else"):
        register_option(65003, "Problem")


# Values


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotFound(), "4.04 Not Found"),
        (NotFound("no such lamp"), "4.04 Not Found: no such lamp"),
        (NotImplementedByServer("PATCH"), "5.01 Not Implemented: PATCH"),
        (error_for_response(Response(Code.of(4, 30), "why")), "4.30: why"),
        (BadRequest("x" * 201), f"4.00 Bad Request: {'x' * 200}..."),
        (BadRequest(problem=ProblemDetails(title="x" * 201)), f"4.00 Bad Request: {'x' * 200}..."),
    ],
)
def test_an_error_reads_as_code_and_diagnostic(error: ResponseError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailable("busy", max_age=5),
        error_for_response(Response(Code.of(4, 30), "why", etag=b"e")),
        NotFound("why", problem=ProblemDetails(title="No lamp", extensions={1: {0: [1]}})),
        error_for_response(Response(Code.NOT_FOUND, b"\xff", content_format=257)),
    ],
    ids=["raised", "received", "with a problem", "with a malformed problem"],
)
def test_an_error_survives_copy_and_pickle(error: ResponseError) -> None:
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)
