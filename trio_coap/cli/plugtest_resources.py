"""The resources of the plugtests that always answer the same, or compute their answer from the request.

Rule: what a resource is to be for discovery stands where it is made, and its content format where its handler is.
"""

from __future__ import annotations

import trio

from trio_coap.server import Site
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response

TEXT, LINK_FORMAT, XML, JSON = 0, 40, 41, 50

LARGE_BODY = "".join(f"{f'line {number:2} of the large resource ':-<63}\n" for number in range(1, 21))
"""20 lines of 64 octets: more than a block, and a whole number of blocks of any size up to 256."""

LINKED = (
    ("/link1", "Type1 Type2", "If1"),
    ("/link2", "Type2 Type3", "If2"),
    ("/link3", "Type1 Type3", "foo"),
)
"""Path, resource types and interface of the resources that TD_COAP_LINK_04 and 05 tell apart."""


def text(payload: str, **options: int) -> Response:
    """Return a plain text."""
    return Response(payload=payload, content_format=TEXT, **options)


def make_test(site: Site) -> None:
    """Make ``/test``, which has every method of :rfc:`7252` and keeps nothing."""

    @site.get("/test")
    def read(request: Request) -> Response:
        return text("This is the resource for the basic tests.\n", max_age=30)

    @site.post("/test")
    def create(request: Request) -> Response:
        return Response(Code.CREATED, location_path=["location1", "location2", "location3"])

    @site.put("/test")
    def change(request: Request) -> None:
        return None

    @site.delete("/test")
    def delete(request: Request) -> None:
        return None


def make_addressed(site: Site) -> None:
    """Make those that are about paths and queries."""

    def read_segment(request: Request) -> Response:
        return text(f"This is /{'/'.join(request.options.uri_path)}.\n")

    for path in ("/seg1", "/seg1/seg2", "/seg1/seg2/seg3"):
        site.get(path)(read_segment)

    @site.get("/query")
    def read_query(request: Request) -> Response:
        arguments = "".join(f"  {argument}\n" for argument in request.options.uri_query)
        return text(f"The query is:\n{arguments or '  empty'}")

    @site.post("/location-query")
    def create(request: Request) -> Response:
        return Response(Code.CREATED, location_query=["first=1", "second=2"])


def make_large(site: Site, delay: float) -> None:
    """Make those that take their time, or more than one block."""

    @site.get("/separate")
    async def read_separate(request: Request) -> Response:
        await trio.sleep(delay)
        return text("This took a while.\n")

    @site.get("/large")
    def read_large(request: Request) -> Response:
        return text(LARGE_BODY)

    @site.get("/large-separate")
    async def read_large_separate(request: Request) -> Response:
        await trio.sleep(delay)
        return text(LARGE_BODY)

    @site.post("/large-post")
    def capitalize(request: Request) -> Response:
        return Response(Code.CHANGED, request.text.upper(), content_format=TEXT)
