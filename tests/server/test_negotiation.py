"""Formats: who answers, and in which one (RFC 7252 sections 5.10.3 and 5.10.4, RFC 8132)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.server.observing import open_stage
from trio_coap import (
    BadRequest,
    Code,
    LocalProtocolError,
    NotAcceptable,
    Request,
    Response,
    Site,
    StreamedBody,
    StreamedRequest,
    UnsupportedContentFormat,
    block_policy,
)
from trio_coap.server.negotiation import MethodHandler, choose
from trio_coap.testing import VirtualNetwork, open_pair

TEXT, XML, JSON, CBOR = 0, 41, 50, 60
FORMATS = [TEXT, XML, JSON, CBOR]


def ask(site: Site, code: Code = Code.GET, payload: bytes = b"", **options: Any) -> Any:
    return site(Request(code, payload, uri_path=["r"], **options))


def see_accept(request: Request) -> bytes:
    return b"%d" % (-1 if request.options.accept is None else request.options.accept)


@pytest.mark.parametrize(
    ("produces", "accept", "expected"),
    [
        ("text/plain", None, (TEXT, b"-1")),
        ("text/plain", TEXT, (TEXT, b"0")),
        ("text/plain", XML, None),
        (["text/plain", "application/xml"], None, (TEXT, b"0")),
        (["application/xml", "text/plain"], None, (XML, b"41")),
        (["text/plain", "application/xml"], XML, (XML, b"41")),
        (["text/plain", "application/xml"], TEXT, (TEXT, b"0")),
        (["text/plain", "application/xml"], JSON, None),
        (["json", 60], CBOR, (CBOR, b"60")),
        (65001, 65001, (65001, b"65001")),
        (65001, None, (65001, b"-1")),
    ],
)
def test_accept_picks_among_the_formats_of_a_handler(
    produces: Any, accept: int | None, expected: tuple[int, bytes] | None
) -> None:
    site = Site()
    site.get("/r", produces=produces)(see_accept)
    if expected is None:
        with pytest.raises(NotAcceptable, match="there is "):
            ask(site, accept=accept)
    else:
        response = ask(site, accept=accept)
        assert (response.options.content_format, response.payload) == expected


def test_4_06_names_what_there_is() -> None:
    site = Site()
    site.get("/r", produces=["text/plain", "json"])(see_accept)
    with pytest.raises(NotAcceptable) as caught:
        ask(site, accept=60)
    expected = "there is 0 (text/plain; charset=utf-8) or 50 (application/json), not 60 (application/cbor)"
    assert caught.value.diagnostic == expected


@pytest.mark.parametrize(
    ("accept", "expected"), [(None, "text"), (TEXT, "text"), (XML, "xml"), (JSON, "json"), (CBOR, None)]
)
def test_accept_picks_among_handlers(accept: int | None, expected: str | None) -> None:
    site = Site()
    for name in ("text", "application/xml", "json"):
        site.get("/r", produces=name)(lambda request, name=name: name.removeprefix("application/"))
    if expected is None:
        with pytest.raises(NotAcceptable):
            ask(site, accept=accept)
    else:
        assert ask(site, accept=accept).text == expected


@pytest.mark.parametrize("code", [Code.POST, Code.PUT, Code.FETCH, Code.PATCH, Code.IPATCH])
@pytest.mark.parametrize(
    ("content_format", "payload", "expected"),
    [
        (JSON, b"{}", "json"),
        (CBOR, b"\xa0", "cbor"),
        (JSON, b"", "json"),
        (TEXT, b"x", UnsupportedContentFormat),
        (TEXT, b"", UnsupportedContentFormat),
        (None, b"x", BadRequest),
        (None, b"", "json"),
    ],
)
def test_the_content_format_picks_among_handlers(
    code: Code, content_format: int | None, payload: bytes, expected: Any
) -> None:
    site = Site()
    for name in ("json", "cbor"):
        site.method(code, "/r", consumes=name)(lambda request, name=name: name)
    if isinstance(expected, str):
        assert ask(site, code, payload, content_format=content_format).text == expected
    else:
        with pytest.raises(expected, match=r"50 \(application/json\) or 60 \(application/cbor\) can be taken"):
            ask(site, code, payload, content_format=content_format)


def test_a_handler_that_declares_the_format_goes_before_one_that_takes_any() -> None:
    site = Site()
    site.post("/r")(lambda request: "any")
    site.post("/r", consumes="json")(lambda request: "json")
    assert ask(site, Code.POST, b"{}", content_format=JSON).text == "json"
    assert ask(site, Code.POST, b"x", content_format=TEXT).text == "any"
    assert ask(site, Code.POST, b"x").text == "any"


def test_a_handler_without_formats_takes_the_accept_that_no_other_produces() -> None:
    site = Site()
    site.get("/r", produces="json")(lambda request: "json")
    site.get("/r")(see_accept)
    assert ask(site).text == "json"
    assert ask(site, accept=JSON).text == "json"
    assert ask(site, accept=CBOR).payload == b"60"


def test_formats_in_and_out_are_picked_together() -> None:
    site = Site()
    for taken in ("json", "cbor"):
        for given_back in ("json", "cbor"):
            name = f"{taken} to {given_back}"
            site.fetch("/r", consumes=taken, produces=given_back)(lambda request, name=name: name)
    assert ask(site, Code.FETCH, b"x", content_format=CBOR, accept=JSON).text == "cbor to json"
    assert ask(site, Code.FETCH, b"x", content_format=CBOR).text == "cbor to json"
    assert ask(site, Code.FETCH, b"x", content_format=JSON, accept=CBOR).text == "json to cbor"
    with pytest.raises(UnsupportedContentFormat):
        ask(site, Code.FETCH, b"x", content_format=TEXT, accept=TEXT)
    with pytest.raises(NotAcceptable):
        ask(site, Code.FETCH, b"x", content_format=JSON, accept=TEXT)


SUBSETS = st.lists(st.sampled_from(FORMATS), unique=True, max_size=3).map(tuple)
HANDLERS = st.lists(st.builds(lambda p, c: (p, c), SUBSETS, SUBSETS), min_size=1, max_size=4)
MAYBE = st.none() | st.sampled_from(FORMATS)


@given(declared=HANDLERS, accept=MAYBE, content_format=MAYBE, payload=st.sampled_from([b"", b"x"]))
def test_whoever_answers_can_and_4_xx_only_if_nobody_can(
    declared: list[tuple[tuple[int, ...], tuple[int, ...]]],
    accept: int | None,
    content_format: int | None,
    payload: bytes,
) -> None:
    handlers = [MethodHandler(lambda request: None, frozenset(), *formats) for formats in declared]
    request = Request(Code.POST, payload, accept=accept, content_format=content_format)

    def takes(one: MethodHandler) -> bool:
        return not one.consumes or content_format in one.consumes or (content_format is None and not payload)

    def gives(one: MethodHandler) -> bool:
        return accept is None or not one.produces or accept in one.produces

    try:
        chosen, picked = choose(handlers, request)
    except BadRequest:
        assert not any(takes(one) for one in handlers)
        assert content_format is None
    except UnsupportedContentFormat:
        assert not any(takes(one) for one in handlers)
        assert content_format is not None
    except NotAcceptable:
        assert any(takes(one) for one in handlers)
        assert not any(takes(one) and gives(one) for one in handlers)
    else:
        assert takes(chosen)
        assert gives(chosen)
        assert picked == (None if not chosen.produces else chosen.produces[0] if accept is None else accept)


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ({}, {}, True),
        ({"produces": "json"}, {"produces": "json"}, True),
        ({"produces": ["json", "cbor"]}, {"produces": ["text", "cbor"]}, True),
        ({"produces": "json"}, {"produces": "cbor"}, False),
        ({"produces": "json"}, {}, False),
        ({"consumes": "json"}, {"consumes": 50}, True),
        ({"consumes": "json"}, {"consumes": "cbor"}, False),
        ({"produces": "json", "consumes": "json"}, {"produces": "json", "consumes": "cbor"}, False),
        ({"produces": "json", "consumes": "json"}, {"produces": "json"}, False),
        ({"produces": "json", "understands": ["If-Match"]}, {"produces": "json"}, True),
    ],
)
def test_two_handlers_for_one_method_differ_in_their_formats(first: Any, second: Any, is_refused: bool) -> None:
    site = Site()
    site.post("/r", **first)(lambda request: "first")
    if is_refused:
        with pytest.raises(LocalProtocolError, match="/r has a handler for POST already"):
            site.post("/r", **second)
    else:
        site.post("/r", **second)(lambda request: "second")


def test_a_format_that_nobody_knows_is_refused_at_once() -> None:
    with pytest.raises(LocalProtocolError, match="unknown content format"):
        Site().get("/r", produces="application/nonsense")


# What the response says.


def stream(request: Request) -> Iterator[bytes]:
    yield b"x"


async def stream_later(request: Request) -> AsyncIterator[bytes]:
    yield b"x"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (b"x", JSON),
        ("x", JSON),
        ((Code.CREATED, b"x"), JSON),
        ((Code.CREATED, "x"), JSON),
        ((Code.NOT_FOUND, "x"), None),
        (Response(Code.CONTENT, b"x"), JSON),
        (Response(Code.CONTENT, "x"), JSON),
        (Response(Code.CONTENT, b"x", content_format=CBOR), CBOR),
        (Response(Code.CONTENT, b""), JSON),
        (Response(Code.CHANGED), None),
        (Response(Code.DELETED), None),
        (Response(Code.VALID, etag=b"1"), None),
        (Response(Code.BAD_REQUEST, b"x"), None),
        (None, JSON),
    ],
)
def test_a_success_gets_the_format_that_was_picked(result: Any, expected: int | None) -> None:
    site = Site()
    site.get("/r", produces="json")(lambda request: result)
    assert ask(site).options.content_format == expected


@pytest.mark.parametrize("accept", [TEXT, JSON])
def test_a_text_is_in_the_format_that_was_picked(accept: int) -> None:
    site = Site()
    site.get("/r", produces=["text/plain", "json"])(lambda request: "1")
    assert ask(site, accept=accept).options.content_format == accept


def test_a_response_that_says_text_plain_is_taken_at_its_word_by_a_handler_that_produces_it() -> None:
    site = Site()
    site.get("/r", produces=["json", "text/plain"])(lambda request: Response(Code.CONTENT, "busy"))
    assert ask(site).options.content_format == TEXT


def test_a_response_that_is_used_again_is_left_alone() -> None:
    site, response = Site(), Response(Code.CONTENT, b"1")
    site.get("/r", produces=["json", "cbor"])(lambda request: response)
    assert ask(site, accept=CBOR).options.content_format == CBOR
    assert ask(site, accept=JSON).options.content_format == JSON
    assert not response.options


@pytest.mark.parametrize("source", [stream, stream_later, lambda request: io.BytesIO(b"x")])
async def test_a_stream_gets_the_format_that_was_picked(source: Any, autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/bare", produces=["json", "cbor"])(source)
    site.get("/body", produces="json")(lambda request: StreamedBody(source(request)))
    site.get("/own", produces="json")(
        lambda request: StreamedBody(source(request), options=Response(content_format=60).options)
    )
    site.get("/error", produces="json")(lambda request: StreamedBody(source(request), Code.SERVICE_UNAVAILABLE))
    async with open_pair(site) as (client, _):
        said = [(await client.get(path)).options.content_format for path in ("/bare", "/body", "/own", "/error")]
        assert said == [JSON, JSON, CBOR, None]
        assert (await client.get("/bare", accept=CBOR)).options.content_format == CBOR


async def test_an_async_handler_gets_and_gives_the_same(autojump_clock: MockClock) -> None:
    site = Site()

    @site.fetch("/r", consumes="json", produces=["json", "cbor"])
    async def find(request: Request) -> bytes:
        return see_accept(request)

    async with open_pair(site) as (client, _):
        response = await client.fetch("/r", b"{}", content_format=JSON, accept=CBOR)
        assert (response.options.content_format, response.payload) == (CBOR, b"60")
        assert (await client.fetch("/r", b"{}", content_format=TEXT)).code == Code.UNSUPPORTED_CONTENT_FORMAT
        assert (await client.fetch("/r", b"{}")).code == Code.BAD_REQUEST
        assert (await client.fetch("/r", b"{}", content_format=JSON, accept=XML)).code == Code.NOT_ACCEPTABLE


async def test_a_long_body_has_its_format_whole(autojump_clock: MockClock) -> None:
    site = Site()
    site.post("/r", consumes="json", produces="cbor")(lambda request: request.payload * 2)
    async with open_pair(site) as (client, _):
        response = await client.post("/r", bytes(3000), content_format=JSON, accept=CBOR)
        assert (response.payload, response.options.content_format) == (bytes(6000), CBOR)
        assert (await client.post("/r", bytes(3000), content_format=CBOR)).code == Code.UNSUPPORTED_CONTENT_FORMAT


async def test_a_handler_that_declares_nothing_sees_and_says_what_it_did_before(autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/r")(see_accept)
    async with open_pair(site) as (client, _):
        assert (await client.get("/r", accept=CBOR)).options.content_format is None
        assert (await client.get("/r")).payload == b"-1"


# Observations.


async def test_who_registers_with_accept_keeps_getting_that_format(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    site = Site()
    site.get("/r", produces=["text/plain", "json"], observable=True)(see_accept)
    async with open_stage(site, coap_network) as stage:
        for accept in (JSON, TEXT):
            response = await stage.ask(0, accept, token=b"%d" % accept, accept=accept)
            assert (response.options.content_format, response.options.observe is None) == (accept, False)
        site.resource("/r").notify()
        said = set()
        for _ in range(2):
            notification = await stage.receive_and_acknowledge()
            said.add((notification.token, notification.options.content_format, notification.payload))
        assert said == {(b"50", JSON, b"50"), (b"0", TEXT, b"0")}


async def test_who_registers_for_a_format_that_is_not_there_does_not_observe(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    site = Site()
    site.get("/r", produces="json", observable=True)(see_accept)
    async with open_stage(site, coap_network) as stage:
        assert (await stage.ask(0, accept=CBOR)).code == Code.NOT_ACCEPTABLE
        assert stage.observers == 0


# Policies for block-wise transfer.


def test_the_policy_is_that_of_who_answers() -> None:
    site = Site()
    first = site.post("/r", consumes="json")(lambda request: "first")
    second = site.post("/r", consumes="cbor")(lambda request: "second")

    def find(content_format: int) -> object:
        return site.find_handler(Request(Code.POST, b"x", uri_path=["r"], content_format=content_format))

    assert (find(JSON), find(CBOR), find(TEXT)) == (first, second, None)
    assert site.find_handler(Request(Code.GET, uri_path=["r"])) is None


def test_a_critical_option_is_understood_if_who_answers_processes_it() -> None:
    site = Site()
    site.post("/r", consumes="json", understands=["If-Match"])(lambda request: "first")
    site.post("/r", consumes="cbor")(lambda request: "second")

    def understood(content_format: int) -> frozenset[int]:
        return site.understands(Request(Code.POST, b"x", uri_path=["r"], content_format=content_format))

    assert understood(JSON) == {1}
    assert understood(CBOR) == set()
    assert understood(TEXT) == {1}  # Or else it would be answered with 4.02, and not with 4.15.


@pytest.mark.parametrize("payload", [b"a" * 16, b"a" * 3000])
async def test_a_body_without_format_goes_to_the_handler_that_takes_any(
    payload: bytes, autojump_clock: MockClock
) -> None:
    site = Site()
    site.put("/r", consumes="json")(lambda request: "json")

    @site.put("/r")
    @block_policy(streams=True)
    async def read(request: StreamedRequest) -> str:
        return f"{len(b''.join([chunk async for chunk in request.stream()]))} octets"

    async with open_pair(site) as (client, _):
        assert (await client.put("/r", payload)).text == f"{len(payload)} octets"
        assert (await client.put("/r")).text == "json"
