"""What a site says about its resources at ``/.well-known/core`` (:rfc:`6690` sections 4 and 5).

=====================================================  ===============================================
what is asked for                                      what is answered
=====================================================  ===============================================
no query                                               links to all resources that are listed
filters                                                the links that meet all of them (4.1), perhaps none
a query that is no filter                              4.00
filters that nothing meets, asked of a group           4.04, which need not be sent (:rfc:`7252` section 8.2)
=====================================================  ===============================================

Rule 1: links are made when they are asked for, so that they say how things are.  Rule 2: a template with parameters
stands for resources that only the application knows: it lists them itself, with :meth:`Site.add_links`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from trio_coap.server.paths import Node, walk
from trio_coap.server.resource import Resource
from trio_coap.wire.codes import Code
from trio_coap.wire.contentformats import LINK_FORMAT
from trio_coap.wire.linkformat import Link, LinkFormatError, filter_links, format_links
from trio_coap.wire.message import Request
from trio_coap.wire.response_errors import BadRequest, NotFound

WELL_KNOWN_CORE = (".well-known", "core")
"""The path (:rfc:`6690` section 4)."""

_SEGMENT_SAFE = "!$&'()*+,;=:@"  # RFC 3986 section 3.3


def make_core(root: Node) -> Resource:
    """Return a resource that lists what is below *root*."""
    core = Resource("/.well-known/core")
    core.declare(etag=True, is_listed=False)

    @core.method(Code.GET, produces=LINK_FORMAT)
    def list_resources(request: Request) -> str:
        try:
            found = filter_links(find_links(root), request.options.uri_query)
        except LinkFormatError as exc:
            raise BadRequest(str(exc)) from exc
        to = request.local_address
        if not found and to is not None and to.is_multicast:
            raise NotFound("nothing here is like that")
        return format_links(found)

    return core


def find_links(root: Node) -> Iterator[Link]:
    """Iterate over the links to what is below *root*: resources in the order of the tree, then further links."""
    further: list[Link] = []
    for path, node in walk(root):
        resource = node.resource
        if resource is not None and resource.is_listed and resource.has_handlers and path[-2:] != WELL_KNOWN_CORE:
            yield resource.link(_reference(path))
        for links in node.further_links:
            further += [_mounted(link, path) for link in links()]
    yield from further


def _reference(path: Iterable[str]) -> str:
    """Return the path as a relative reference (:rfc:`3986` section 4.2)."""
    text = "/" + "/".join([quote(segment, safe=_SEGMENT_SAFE) for segment in path])
    return "/." + text if text.startswith("//") else text  # Two slashes would begin an authority.


def _mounted(link: Link, path: tuple[str, ...]) -> Link:
    """Return a link of a site that is mounted at *path*, as it is seen from above."""
    if not path:
        return link
    attributes = dict(link.attributes)
    if "anchor" in attributes:
        attributes["anchor"] = tuple([text and _moved(text, path) for text in attributes["anchor"]])
    return Link(_moved(link.target, path), attributes)


def _moved(reference: str, path: tuple[str, ...]) -> str:
    is_path = reference.startswith("/") and not reference.startswith("//")
    return _reference(path) + (reference if reference != "/" else "") if is_path else reference
