"""What a request is for, and under what its response is stored (:rfc:`7252` section 5.6, :rfc:`8132` section 2).

===============================  ====================================================================================
part of the request              part of the cache key
===============================  ====================================================================================
URI; Uri-* and Proxy-* options   as the URI that they make together, in normal form
whom it is sent to               yes: another proxy, or another peer by *remote*, may answer differently
method, payload                  yes (the payload is what a FETCH is about)
ETag                             no: it names stored responses (section 5.10.6)
options marked NoCacheKey        no (section 5.4.2)
all other options                yes, unknown ones included
===============================  ====================================================================================

Rule: a request that is about a block, an observation or a group has no key; what comes of it is no whole response of one
server.
"""

from __future__ import annotations

import attrs

from trio_coap.client.arguments import RequestArguments, split_arguments
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.codes import Code
from trio_coap.wire.definitions import is_no_cache_key
from trio_coap.wire.message import EndpointAddress, Request
from trio_coap.wire.options import Options
from trio_coap.wire.uri import CoapUri, UriError, parse_uri, resolve_reference

_ETAG = 4
_IN_URI = frozenset({3, 7, 11, 15, 35, 39})
"""Uri-Host, Uri-Port, Uri-Path, Uri-Query, Proxy-Uri and Proxy-Scheme."""

_NO_KEY = frozenset({6, 19, 23, 27, 31})
"""Observe, and the blocks: Q-Block1, Block2, Block1 and Q-Block2."""


@attrs.frozen
class Resource:
    """A URI without its query: what a method changes."""

    scheme: str
    host: str
    port: int
    path: tuple[str, ...]

    def at(self, path: tuple[str, ...]) -> Resource:
        """Return the resource at *path* of the same server."""
        return attrs.evolve(self, path=path)


@attrs.frozen
class CacheKey:
    """What has to be the same for a stored response to answer a request."""

    resource: Resource
    query: tuple[str, ...]
    asked: object
    """The endpoint, if one was given, or scheme, host and port."""
    code: Code
    options: tuple[tuple[int, bytes], ...]
    payload: bytes

    @property
    def octets(self) -> int:
        """How much of it a peer's requests and our own may make grow."""
        return len(self.payload) + sum([len(value) for _, value in self.options])


@attrs.frozen
class Question:
    """A request as a cache sees it."""

    key: CacheKey
    has_key: bool
    """False for what is not answered from a cache, nor stored in one."""

    has_etag: bool
    """Whether the caller names representations of its own."""


def find_question(
    code: Code, uri: str, payload: bytes | str, arguments: RequestArguments, base_uri: str | None
) -> Question:
    """Return what a request with these arguments asks.

    Raises:
      UriError: if *uri* is not a URI of CoAP.
      LocalProtocolError: if an option does not fit.
    """
    _, _, remote, options = split_arguments(arguments)
    request = Request(code, payload, options=options)
    numbers = {number for number, _ in request.options}
    absolute = _absolute(uri, remote, base_uri)
    resource, query = _effective(absolute, request.options)
    key = CacheKey(
        resource=resource,
        query=query,
        asked=remote or (absolute.scheme, absolute.host, absolute.port),
        code=code,
        options=tuple([item for item in request.options if _is_in_key(item[0])]),
        payload=request.payload,
    )
    has_key = numbers.isdisjoint(_NO_KEY) and not _is_group(absolute, remote)
    return Question(key, has_key, _ETAG in numbers)


def find_resource(uri: str, base_uri: str | None = None) -> Resource:
    """Return the resource that *uri* names, whatever its query.

    Raises:
      UriError: if it is not a URI of CoAP.
    """
    return _effective(_absolute(uri, None, base_uri), Options())[0]


def _absolute(uri: str, remote: EndpointAddress | None, base_uri: str | None) -> CoapUri:
    base = base_uri or (None if remote is None else remote.uri)
    return parse_uri(uri if base is None else resolve_reference(base, uri))


def _effective(uri: CoapUri, options: Options) -> tuple[Resource, tuple[str, ...]]:
    """Return resource and query of *uri* with what *options* say about it."""
    scheme = options.proxy_scheme or uri.scheme
    if options.proxy_uri is not None:
        try:
            uri = parse_uri(options.proxy_uri)
        except UriError:
            return Resource("", options.proxy_uri, 0, ()), ()  # Another scheme: the text says which resource it is.
        return Resource(uri.scheme, uri.host, uri.port, uri.path), uri.query
    host = uri.host if options.uri_host is None else options.uri_host.lower()
    port = uri.port if options.uri_port is None else options.uri_port
    # The others replace what the URI says; these come in addition.
    return Resource(scheme, host, port, uri.path + options.uri_path), uri.query + options.uri_query


def _is_in_key(number: int) -> bool:
    return number != _ETAG and number not in _IN_URI and number not in _NO_KEY and not is_no_cache_key(number)


def _is_group(uri: CoapUri, remote: EndpointAddress | None) -> bool:
    if remote is not None:
        return remote.is_multicast
    return uri.host_is_literal and Endpoint(host=uri.host.partition("%")[0], port=uri.port).is_multicast
