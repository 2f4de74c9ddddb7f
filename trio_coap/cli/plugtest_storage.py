"""The resources of the plugtests that keep what they are given.

Rule 1: a handler says what there is; whether a request may change it, the site finds out (If-Match, If-None-Match).
Rule 2: what clients make is bounded.
"""

from __future__ import annotations

import itertools
from typing import final

import attrs

from trio_coap.server import Site
from trio_coap.wire.codes import Code
from trio_coap.wire.contentformats import TEXT_PLAIN
from trio_coap.wire.linkformat import Link, format_links
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import BadRequest, NotFound

MAX_CREATED = 16
"""Resources below ``/large-create`` at a time; one more takes the place of the oldest.  Each may take as much as the server
takes in a request."""

OCTET_STREAM = 42


@final
@attrs.frozen
class Stored:
    """A representation that somebody has given us."""

    payload: bytes | str
    content_format: int = TEXT_PLAIN

    def to_response(self) -> Response:
        """Return the response to a GET."""
        return Response(payload=self.payload, content_format=self.content_format)


def store(request: Request) -> Stored:
    """Return what *request* brings; what has no Content-Format is just octets."""
    content_format = request.options.content_format
    return Stored(request.payload, OCTET_STREAM if content_format is None else content_format)


def store_labelled(request: Request) -> Stored:
    """Return what *request* brings.

    Raises:
      BadRequest: if it has no Content-Format.
    """
    if request.options.content_format is None:
        raise BadRequest("a Content-Format is missing")
    return store(request)


def make_storage(site: Site) -> None:
    """Make them all."""
    _make_validated(site)
    _make_created(site)
    _make_updated(site)
    _make_collection(site)


def _make_validated(site: Site) -> None:
    """``/validate`` is always there, and its ETag says in which state."""
    stored = [Stored("This is to be validated.\n")]

    @site.get("/validate", etag=True, title="Varies and has an ETag")
    def read(request: Request) -> Response:
        return stored[0].to_response()

    @site.put("/validate")
    def write(request: Request) -> None:
        stored[0] = store(request)


def _make_created(site: Site) -> None:
    """``/create1`` is not there until somebody puts something there."""
    stored: list[Stored] = []

    @site.get("/create1", etag=True, title="Can be created")
    def read(request: Request) -> Response:
        if not stored:
            raise NotFound("it has not been created")
        return stored[0].to_response()

    @site.put("/create1")
    def write(request: Request) -> Response:
        code = Code.CHANGED if stored else Code.CREATED
        stored[:] = [store(request)]
        return Response(code)

    @site.delete("/create1")
    def delete(request: Request) -> None:
        stored.clear()


def _make_updated(site: Site) -> None:
    """``/large-update`` takes more than a block; a body that does not come to its end changes nothing."""
    stored = [Stored("This is to be updated.\n")]

    @site.get("/large-update", etag=True, title="Large resource to be updated")
    def read(request: Request) -> Response:
        return stored[0].to_response()

    @site.put("/large-update")
    def write(request: Request) -> None:
        stored[0] = store_labelled(request)


def _make_collection(site: Site) -> None:
    """``/large-create`` makes a resource of each POST, and lists them."""
    children: dict[int, Stored] = {}
    numbers = itertools.count(1)

    @site.get("/large-create", produces="link-format", title="Large resources to be created")
    def list_children(request: Request) -> str:
        return format_links(
            [Link(f"/large-create/{number}", {"ct": str(child.content_format)}) for number, child in children.items()]
        )

    @site.post("/large-create")
    def create(request: Request) -> Response:
        child = store_labelled(request)
        if len(children) >= MAX_CREATED:
            del children[next(iter(children))]
        number = next(numbers)
        children[number] = child
        return Response(Code.CREATED, location_path=["large-create", str(number)])

    @site.get("/large-create/{number:int}", etag=True, is_listed=False)
    def read(request: Request, number: int) -> Response:
        if number not in children:
            raise NotFound("it has not been created, or has been deleted")
        return children[number].to_response()

    @site.delete("/large-create/{number:int}")
    def delete(request: Request, number: int) -> None:
        if children.pop(number, None) is None:
            raise NotFound("it has not been created, or has been deleted")
