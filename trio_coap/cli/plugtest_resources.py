"""The resources of the plugtests that always answer the same, or make their answer from the request alone.

Rule: what a resource is and takes is declared where it is made; formats, conditions and ETags are the site's business.
"""

from __future__ import annotations

import trio

from trio_coap.server import Site
from trio_coap.wire.codes import Code
from trio_coap.wire.contentformats import TEXT_PLAIN
from trio_coap.wire.linkformat import Link, format_links
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import BadRequest

LARGE_BODY = "".join(f"{f'line {number:2} of the large resource ':-<63}\n" for number in range(1, 21))
"""20 lines of 64 octets: more than one block, and a whole number of blocks of up to 256 octets."""

FORMATS: dict[str, str | bytes] = {
    "text/plain": "plain text",
    "application/xml": "<format>xml</format>",
    "application/json": '{"format":"json"}',
    "application/cbor": bytes.fromhex("a166666f726d61746463626f72"),  # {"format": "cbor"}
}
"""What ``/multi-format`` has, the preferred one first."""

LINKED = (
    ("/link1", "Type1 Type2", "If1"),
    ("/link2", "Type2 Type3", "If2"),
    ("/link3", "Type1 Type3", "foo"),
)
"""Path, resource types and interface of those that filters tell apart."""

SUB_RESOURCES = ("/path/sub1", "/path/sub2", "/path/sub3")


def make_resources(site: Site, delay: float) -> None:
    """Make them all.

    Args:
      site: where.
      delay: seconds until a separate response.
    """
    _make_test(site)
    _make_addressed(site)
    _make_large(site)
    _make_separate(site, delay)
    _make_formats(site)
    _make_linked(site)


def _make_test(site: Site) -> None:
    """``/test`` has all methods of :rfc:`7252`, and keeps nothing; it exists, whatever is done to it."""

    @site.get("/test", produces="text/plain", etag=True, title="Basic tests")
    def read(request: Request) -> Response:
        return Response(payload="This is the resource for the basic tests.\n", max_age=30)

    @site.post("/test")
    def create(request: Request) -> Response:
        return Response(Code.CREATED, location_path=["location1", "location2", "location3"])

    @site.put("/test")
    def change(request: Request) -> None:
        return None

    @site.delete("/test")
    def delete(request: Request) -> None:
        return None


def _make_addressed(site: Site) -> None:
    """Several segments in a path, several arguments in a query, and a query in a location."""

    def read_segment(request: Request) -> str:
        return f"This is /{'/'.join(request.options.uri_path)}.\n"

    for path in ("/seg1", "/seg1/seg2", "/seg1/seg2/seg3"):
        site.get(path, produces="text/plain", title="Long path")(read_segment)

    @site.get("/query", produces="text/plain", title="Any query is fine")
    def read_query(request: Request) -> str:
        arguments = request.options.uri_query
        return "\n".join(["The query is", *arguments]) if arguments else "There is no query."

    @site.post("/location-query", title="POST is answered with Location-Query options")
    def create(request: Request) -> Response:
        return Response(Code.CREATED, location_query=["first=1", "second=2"])


def _make_large(site: Site) -> None:
    """More than one block, in either direction; the server cuts and puts together."""

    @site.get("/large", produces="text/plain", sz=len(LARGE_BODY), title="Large resource")
    def read(request: Request) -> str:
        return LARGE_BODY

    @site.post("/large-post", consumes="text/plain", title="POST is answered with the text in capitals")
    def capitalize(request: Request) -> Response:
        try:
            text = request.payload.decode()
        except UnicodeDecodeError as exc:
            raise BadRequest(f"the text is no UTF-8 at octet {exc.start}") from exc
        return Response(Code.CHANGED, text.upper(), content_format=TEXT_PLAIN)


def _make_separate(site: Site, delay: float) -> None:
    """What takes time is an ``async def``: its request is acknowledged meanwhile."""

    @site.get("/separate", produces="text/plain", title="Separate response")
    async def read(request: Request) -> str:
        await trio.sleep(delay)
        return "This has taken a while.\n"

    @site.get(
        "/large-separate", produces="text/plain", sz=len(LARGE_BODY), title="Large resource with a separate response"
    )
    async def read_large(request: Request) -> str:
        await trio.sleep(delay)
        return LARGE_BODY


def _make_formats(site: Site) -> None:
    """A handler for each format; Accept picks."""
    for name, body in FORMATS.items():
        site.get("/multi-format", produces=name, title="Several formats")(lambda request, body=body: body)


def _make_linked(site: Site) -> None:
    """What can be discovered and filtered."""
    for path, types, interface in LINKED:
        linked = site.get(path, produces="text/plain", rt=types, if_=interface, title="Link test resource")
        linked(lambda request: "This is to be discovered.\n")

    @site.get("/path", produces="link-format", title="Hierarchical link descriptions")
    def list_below(request: Request) -> str:
        return format_links([Link(path, {"title": "Sub-resource"}) for path in SUB_RESOURCES])

    for path in SUB_RESOURCES:
        # Who goes down the hierarchy finds them at /path (RFC 6690 section 5).
        sub = site.get(path, produces="text/plain", is_listed=False)
        sub(lambda request: f"This is /{'/'.join(request.options.uri_path)}.\n")
