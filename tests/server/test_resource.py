"""Resources: what is declared about them, and the errors that their handlers answer with."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from tests.server.stage import make_request, open_stage, with_option
from trio_coap import (
    Code,
    Conflict,
    LocalProtocolError,
    NotificationPolicy,
    Options,
    Request,
    Response,
    ResponseError,
    ServiceUnavailable,
    Site,
    TooManyRequests,
    UnprocessableEntity,
)
from trio_coap.server.resource import Resource
from trio_coap.testing import VirtualNetwork, open_pair


def answer(request: Request) -> str:
    return "x"


# Declarations.


def test_what_was_declared_before_holds_on() -> None:
    resource = Resource("/r")
    resource.declare(rt="a", title="T", observable=NotificationPolicy(confirmable=False), is_listed=False)
    observable = resource.observable
    resource.declare(rt="b", observable=False)
    resource.declare(observable=True)
    assert resource.observable is observable is not None
    assert not observable.policy.confirmable
    assert dict(resource.link("/r").attributes) == {"rt": ("b",), "title": ("T",), "obs": (None,)}
    assert not resource.is_listed


def test_a_declaration_of_any_method_is_one_of_the_resource() -> None:
    site = Site()
    site.put("/r", rt="lamp", observable=True, etag=lambda request: b"1")(answer)
    site.get("/r")(answer)
    resource = site.resource("/r")
    assert resource.link("/r").rt == ("lamp",)
    assert resource.observable is not None
    response: Any = site(Request(Code.GET, uri_path=["r"]))
    assert response.options.etag == b"1"


def test_an_etag_can_be_taken_back() -> None:
    site = Site()
    site.get("/r", etag=True)(answer)
    site.resource("/r", etag=False)
    assert site(Request(Code.GET, uri_path=["r"])) == "x"


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda site: site.get("/r", produce="json"),
            "no declaration 'produce' here; there are answers_groups, attributes, consumes",
        ),
        (lambda site: site.resource("/r", produces="json"), "no declaration 'produces' here"),
        (lambda site: site.resource("/r").method(Code.GET, rt="x"), "no declaration 'rt' here"),
    ],
)
def test_a_declaration_that_does_not_exist_is_refused(declare: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        declare(Site())


@pytest.mark.parametrize("etag", [b"1", "1", None])
def test_an_etag_that_is_no_function_is_refused(etag: Any) -> None:
    with pytest.raises(LocalProtocolError, match="a function that returns the ETag"):
        Site().resource("/r", etag=etag)


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "fetch", "patch", "ipatch"])
def test_every_method_takes_the_same_declarations(method: str) -> None:
    site = Site()
    handler = getattr(site, method)("/r", produces="json", consumes="json", rt="x", understands=["If-Match"])(answer)
    request = Request(getattr(Code, method.upper()), b"{}", uri_path=["r"], content_format=50)
    assert handler is answer
    assert site.understands(request) == {1}
    response: Any = site(request)
    assert response.options.content_format == 50


def test_who_declares_nothing_about_its_method_is_called_as_it_is() -> None:
    """The hot path: the result is not even looked at."""
    result: Any = object()
    site = Site()
    site.get("/r", rt="x", title="T", observable=True)(lambda request: result)
    assert site(Request(Code.GET, uri_path=["r"])) is result


# What handlers answer with.


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Conflict("it is open", max_age=3), "4.09"),
        (UnprocessableEntity("no such lamp", max_age=3), "4.22"),
        (TooManyRequests("not so fast", max_age=3), "4.29"),
        (ServiceUnavailable("busy", max_age=3), "5.03"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("is_declared", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_error_arrives_with_its_options(
    error: ResponseError, code: str, is_declared: bool, is_async: bool, autojump_clock: MockClock
) -> None:
    def refuse(request: Request) -> str:
        raise error

    async def refuse_later(request: Request) -> str:
        raise error

    site = Site()
    declarations: Any = {"consumes": "json", "produces": ["json", "cbor"], "etag": True} if is_declared else {}
    site.patch("/r", **declarations)(refuse_later if is_async else refuse)
    async with open_pair(site) as (client, _):
        response = await client.patch("/r", b"{}", content_format=50)
    assert (response.code.dotted, response.text) == (code, error.diagnostic)
    assert response.options == Options(max_age=3)


async def test_what_is_created_has_a_location(autojump_clock: MockClock) -> None:
    site = Site()

    @site.post("/lamps", consumes="json")
    def create(request: Request) -> Response:
        return Response(Code.CREATED, location_path=["lamps", "7"], location_query=["first=1", "second=2"])

    async with open_pair(site) as (client, _):
        response = await client.post("/lamps", b"{}", content_format=50)
    assert response.code == Code.CREATED
    assert response.options.location_path == ("lamps", "7")
    assert response.options.location_query == ("first=1", "second=2")


# Hop-Limit (RFC 8768 section 3).


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"\x01", Code.CONTENT),
        (b"\x10", Code.CONTENT),
        (b"\xff", Code.CONTENT),
        (b"\x00", Code.BAD_REQUEST),
        (b"", Code.BAD_REQUEST),
        (b"\x01\x00", Code.BAD_REQUEST),
    ],
)
async def test_a_hop_limit_is_ignored_if_it_is_one(
    value: bytes, code: Code, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    site = Site()
    site.get("/r")(answer)
    async with open_stage(site, coap_network) as stage:
        assert (await stage.ask(with_option(16, value))).code == code


async def test_a_second_hop_limit_is_ignored(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """Section 5.4.5 of RFC 7252: like an elective option that is unknown."""
    site = Site()
    site.get("/r")(answer)
    request = make_request()
    request.options += Options.from_wire(((16, b"\x05"), (16, b"\x00")))
    async with open_stage(site, coap_network) as stage:
        assert (await stage.ask(request)).code == Code.CONTENT
