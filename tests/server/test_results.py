"""What a handler may return or raise, and what the client gets of it."""

from __future__ import annotations

import logging
import sys
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.server.stage import make_request, open_stage
from trio_coap import (
    ACK,
    CON,
    NON,
    BadRequest,
    Code,
    MessageType,
    NotFound,
    ProblemDetails,
    Request,
    Response,
    ResponseError,
    ServiceUnavailable,
)
from trio_coap.server.results import success_code, to_response
from trio_coap.testing import VirtualNetwork, open_pair

METHODS = [Code.GET, Code.POST, Code.PUT, Code.DELETE, Code.FETCH, Code.PATCH, Code.IPATCH]
SUCCESS = {Code.GET: Code.CONTENT, Code.FETCH: Code.CONTENT, Code.DELETE: Code.DELETED}


@pytest.mark.parametrize("code", METHODS, ids=lambda code: code.name)
@pytest.mark.parametrize(
    ("result", "payload", "content_format"), [(None, b"", None), (b"\xff", b"\xff", None), ("é", b"\xc3\xa9", 0)]
)
async def test_without_a_code_the_methods_code_of_success_is_sent(
    code: Code, result: Any, payload: bytes, content_format: int | None, autojump_clock: MockClock
) -> None:
    async with open_pair(lambda request: result) as (client, _), client.request(code, "/r") as handle:
        response = await handle.receive()
    assert response.code is SUCCESS.get(code, Code.CHANGED) is success_code(Request(code))
    assert (response.payload, response.options.content_format) == (payload, content_format)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("result", "code", "payload"),
    [
        (Response(Code.VALID, etag=b"\x01"), Code.VALID, b""),
        ((Code.CREATED, "made"), Code.CREATED, b"made"),
        ((65, b"made"), Code.CREATED, b"made"),
        ((Code.NOT_FOUND, b""), Code.NOT_FOUND, b""),
    ],
)
async def test_a_response_and_a_pair_say_their_code(
    result: Any, code: Code, payload: bytes, is_async: bool, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> Any:
        return result

    async with open_pair(handler if is_async else lambda request: result) as (client, _):
        response = await client.post("/r")
    assert (response.code, response.payload) == (code, payload)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "result",
    [
        5,
        object(),
        ["a"],
        (Code.CONTENT,),
        (Code.CONTENT, b"", {}),
        (Code.GET, b""),
        (Code.EMPTY, b""),
        (999, b""),
        ("2.05", b""),
        (Code.CONTENT, 5),
        (Code.CONTENT, None),
        Request(Code.GET),
        "\ud800",
    ],
    ids=lambda result: type(result).__name__,
)
async def test_what_a_handler_may_not_return_is_an_error_of_ours_and_the_server_goes_on(
    result: Any, is_async: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    results = [result, "fine"]

    def handler(request: Request) -> Any:
        return results.pop(0)

    async def async_handler(request: Request) -> Any:
        return results.pop(0)

    async with open_pair(async_handler if is_async else handler) as (client, _):
        assert (await client.get("/r")).code is Code.INTERNAL_SERVER_ERROR
        assert (await client.get("/r")).text == "fine"
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]


class Teapot(ResponseError):
    """An error of the application's own."""

    code = Code.of(4, 18)


class NoCode(ResponseError):
    """An error that the application has got wrong."""

    code = Code.GET


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "payload"),
    [
        (NotFound("no lamp"), Code.NOT_FOUND, b"no lamp"),
        (Teapot("short and stout"), Code.of(4, 18), b"short and stout"),
        (BadRequest(), Code.BAD_REQUEST, b""),
    ],
)
async def test_an_error_that_is_raised_becomes_its_response(
    error: ResponseError, code: Code, payload: bytes, is_async: bool, autojump_clock: MockClock, caplog: Any
) -> None:
    def handler(request: Request) -> str:
        raise error

    async def async_handler(request: Request) -> str:
        await trio.sleep(1)
        raise error

    async with open_pair(async_handler if is_async else handler) as (client, _):
        response = await client.get("/r")
    assert (response.code, response.payload, response.options.content_format) == (code, payload, None)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_error_brings_its_options(autojump_clock: MockClock) -> None:
    def handler(request: Request) -> str:
        raise ServiceUnavailable("busy", max_age=7)

    async with open_pair(handler) as (client, _):
        assert (await client.get("/r")).options.max_age == 7


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        KeyError("k"),
        ExceptionGroup("several", [ValueError(), TypeError()]),
        trio.TooSlowError(),
        NoCode("?"),
        NotFound(ValueError("not a text")),  # type: ignore[arg-type]
    ],
    ids=repr,
)
async def test_any_other_exception_is_logged_with_its_traceback_and_the_server_goes_on(
    error: Exception, is_async: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def handler(request: Request) -> str:
        calls.append(request)
        if len(calls) == 1:
            raise error
        return "fine"

    async def async_handler(request: Request) -> str:
        await trio.sleep(1)
        return handler(request)

    async with open_pair(async_handler if is_async else handler) as (client, server):
        response = await client.get("/r")
        assert (response.code, response.payload) == (Code.INTERNAL_SERVER_ERROR, b"")
        assert (await client.get("/r")).text == "fine"
        assert server.dispatcher.running == 0
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "a handler failed on" in record.getMessage()


async def test_an_error_got_as_a_client_is_not_passed_on(autojump_clock: MockClock, caplog: Any) -> None:
    """It was meant for us; a proxy that wants to pass it on says so."""

    def handler(request: Request) -> Response:
        return Response(Code.UNAUTHORIZED, b"who are you").raise_for_code()

    async with open_pair(handler) as (client, _):
        response = await client.get("/r")
    assert (response.code, response.payload) == (Code.INTERNAL_SERVER_ERROR, b"")


# One object, returned again and again.


@pytest.mark.parametrize("delay", [0, 1])
async def test_one_response_object_can_be_returned_many_times(delay: float, autojump_clock: MockClock) -> None:
    shared = Response(Code.CONTENT, b"shared")

    async def handler(request: Request) -> Response:
        await trio.sleep(delay)
        return shared

    async with open_pair(handler) as (client, _), trio.open_nursery() as nursery:

        async def ask() -> None:
            assert (await client.get("/r")).payload == b"shared"

        for _ in range(5):
            nursery.start_soon(ask)


async def test_one_response_object_is_returned_to_many_clients(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    shared = Response(Code.CONTENT, b"shared")
    async with open_stage(lambda request: shared, coap_network) as stage:
        answers = [
            await stage.ask(make_request(message_id=number, token=bytes((number,)), type=type))
            for number, type in enumerate((CON, NON, CON, NON))
        ]
        assert [(answer.type, answer.token) for answer in answers] == [
            (ACK, b"\x00"),
            (NON, b"\x01"),
            (ACK, b"\x02"),
            (NON, b"\x03"),
        ]
        assert answers[1].message_id != answers[3].message_id


@pytest.mark.parametrize("first", [CON, NON])
async def test_what_a_response_was_sent_as_before_does_not_count(
    first: MessageType, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """RFC 7252 section 5.2.2: the separate response to a CON is a CON, unless the handler says otherwise."""
    shared = Response(Code.CONTENT, b"shared")

    async def handler(request: Request) -> Response:
        await trio.sleep(1)
        return shared

    async with open_stage(handler, coap_network) as stage:
        assert (await stage.ask(make_request(type=first, message_id=1))).type is first
        assert (await stage.ask(make_request(type=CON, message_id=2))).type is CON


async def test_a_response_that_wants_to_be_non_confirmable_is_so_each_time(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    shared = Response(Code.CONTENT, b"shared", type=NON)

    async def handler(request: Request) -> Response:
        await trio.sleep(1)
        return shared

    async with open_stage(handler, coap_network) as stage:
        for number in range(3):
            assert (await stage.ask(make_request(message_id=number))).type is NON


def test_what_a_handler_returns_stays_as_it_is() -> None:
    shared = Response(Code.CONTENT, b"shared")
    assert to_response(shared, Request(Code.GET)) == shared
    assert to_response(shared, Request(Code.GET)) is not shared


@pytest.mark.parametrize("upstream", [CON, NON])
async def test_a_response_got_as_a_client_can_be_returned(
    upstream: MessageType, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_pair(lambda request: "from afar", network=coap_network, server="origin") as (client, _):

        async def forward(request: Request) -> Response:
            await trio.sleep(1)
            return await client.get("/r", confirmable=upstream is CON)

        async with open_stage(forward, coap_network) as stage:
            response = await stage.ask(make_request(message_id=7, token=b"mine"))
    assert (response.type, response.token, response.text) == (CON, b"mine", "from afar")


@pytest.mark.parametrize("is_async", [False, True])
async def test_problem_details_that_a_handler_raises_are_at_the_clients_error(
    is_async: bool, autojump_clock: MockClock
) -> None:
    problem = ProblemDetails(title="Out of range", extensions={"tag:example.org,2022:boiler": {"limit": 95}})

    def handler(request: Request) -> str:
        raise BadRequest("97 °C is too hot", problem=problem)

    async def later(request: Request) -> str:
        return handler(request)

    async with open_pair(later if is_async else handler) as (client, _):
        response = await client.get("/r", accept=50)  # Accept is about representations of the resource.
    assert response.options.content_format == 257
    with pytest.raises(BadRequest) as caught:
        response.raise_for_code()
    assert caught.value.problem == attrs.evolve(problem, detail="97 °C is too hot")
    assert str(caught.value) == "4.00 Bad Request: Out of range: 97 °C is too hot"


async def test_a_problem_without_cbor2_is_a_failure_of_the_handler_whose_log_names_the_extra(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def handler(request: Request) -> str:
        raise NotFound(problem=ProblemDetails(title="No lamp"))

    monkeypatch.setitem(sys.modules, "cbor2", None)
    async with open_pair(handler) as (client, _):
        assert (await client.get("/r")).code is Code.INTERNAL_SERVER_ERROR
    assert "pip install 'trio-coap[cbor]'" in caplog.text
