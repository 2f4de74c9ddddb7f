"""Discovery: what resources a server says it has (:rfc:`6690`, :rfc:`7252` section 7.2).

Rule 1: the filters go to the server as a query, and are applied to what comes back as well: a server need not know them
(:rfc:`6690` section 4.1).  Rule 2: links are compared as the server wrote them, and resolved afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from trio_coap.wire.codes import Code
from trio_coap.wire.errors import RemoteProtocolError
from trio_coap.wire.linkformat import MAX_FILTERS, Link, LinkError, filter_links, parse_links, resolve_target
from trio_coap.wire.message import Response
from trio_coap.wire.uri import parse_uri, resolve_reference

WELL_KNOWN_CORE = "/.well-known/core"

LINK_FORMAT = 40
"""The Content-Format application/link-format."""

Filter = str | int
"""A value, or the beginning of one with ``*`` behind it; True for any value or none, which is not asked of the server: the
RFC does not say how, and libcoap finds no ``obs`` for ``obs=*``."""


def write_filters(filters: Mapping[str, Filter]) -> tuple[str, ...]:
    """Return the query that asks for links by their attributes, an item for each.

    >>> write_filters({"rt": "core.s*", "if_": "sensor", "ct": 40, "obs": True})
    ('rt=core.s*', 'if=sensor', 'ct=40', 'obs=*')

    Raises:
      LinkError: if there are more than :data:`MAX_FILTERS`, or one is none.
    """
    if len(filters) > MAX_FILTERS:
        raise LinkError(f"{len(filters)} filters: expected {MAX_FILTERS} at most")
    query = []
    for keyword, value in filters.items():
        name = keyword.removesuffix("_")
        if not name or "=" in name:
            raise LinkError(f"{keyword!r} is not the name of an attribute")
        if value is False or not isinstance(value, (str, int)):
            raise LinkError(f"the filter {name} is a text, a number, or True for any value, not {value!r}")
        item = f"{name}={'*' if value is True else value}"
        try:
            item.encode()
        except UnicodeEncodeError as exc:
            raise LinkError(f"the filter {name} has no form in UTF-8: {value!r}") from exc
        query.append(item)
    return tuple(query)


def find_core(uri: str, base_uri: str | None, filters: Mapping[str, Filter]) -> str:
    """Return the URI of what the server of *uri* says about its resources.

    Args:
      uri: any URI at the server.
      base_uri: what *uri* may be relative to.
      filters: what the server is asked for.

    Raises:
      LinkError: see :func:`write_filters`.
      UriError: if that is no URI of CoAP.
    """
    absolute = uri if base_uri is None else resolve_reference(base_uri, uri)
    parse_uri(absolute)
    core = resolve_reference(absolute, WELL_KNOWN_CORE)
    query = write_filters({name: value for name, value in filters.items() if value is not True})
    return "?".join([core, "&".join([quote(item, safe="=*:/@!$'()+,;") for item in query])]) if query else core


def read_links(response: Response, core_uri: str, query: tuple[str, ...]) -> tuple[Link, ...]:
    """Return the links that *response* brings and *query* asks for, their targets resolved.

    Args:
      response: to the request for *core_uri*, whole.
      core_uri: where the links come from.
      query: the filters; the server may have applied them, or not.

    Raises:
      ResponseError: if it is an error response.
      LinkFormatError: if the payload cannot be read.
      RemoteProtocolError: if it is something else than links.
    """
    response.raise_for_code()
    content_format = response.options.content_format
    # Without a Content-Format it is what Accept asked for, or it cannot be read.
    if response.code != Code.CONTENT or content_format not in (None, LINK_FORMAT):
        shown = "no Content-Format" if content_format is None else f"Content-Format {content_format}"
        raise RemoteProtocolError(
            f"{core_uri} answered {response.code} with {shown}: expected {Code.CONTENT} with {LINK_FORMAT}, links"
        )
    links = filter_links(parse_links(response.payload), query)
    return tuple([Link(resolve_target(link, core_uri), link.attributes) for link in links])
