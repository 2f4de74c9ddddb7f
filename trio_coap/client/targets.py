"""From a URI to the requests that ask for it: whom to send to, with which options (:rfc:`7252` section 6.4)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import final

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress, Request
from trio_coap.wire.options import Options
from trio_coap.wire.uri import CoapUri, parse_uri, resolve_reference

MAX_REMEMBERED_URIS = 1024
"""URIs of which the parsed form is kept at hand; at the limit the table starts anew."""

Target = tuple[Endpoint, Options]
"""Whom to send to, and the options that the URI stands for."""


@final
class TargetFinder:
    """Finds the targets of URIs, and remembers those that need no resolver.

    Attributes:
      base_uri: what relative URIs are relative to, or None.
    """

    def __init__(self, base_uri: str | None = None) -> None:
        """Make a finder.

        Args:
          base_uri: what relative URIs are relative to; without one they are errors.
        """
        if base_uri is not None:
            parse_uri(base_uri)
        self.base_uri = base_uri
        self._numeric: dict[str, Sequence[Target]] = {}

    async def find(self, uri: str, remote: EndpointAddress | None = None) -> Sequence[Target]:
        """Return the targets for *uri*, the resolver's first one first.

        Args:
          uri: an absolute URI, or one relative to the base URI, or without one to *remote*.
          remote: the one target, if it does not depend on the URI.

        Raises:
          UriError: if it is not a URI of CoAP.
          LocalProtocolError: if there is no transport for its scheme, a link-local address has no zone, or it is nobody's.
          OSError: socket.gaierror, if its host does not resolve.
        """
        if remote is not None:
            if not isinstance(remote, Endpoint):
                raise LocalProtocolError(f"a remote is an Endpoint, not {remote!r}")
            await trio.lowlevel.checkpoint_if_cancelled()
            _usable((remote,))
            return ((remote, remote.uri_to_options(uri, self.base_uri)),)
        known = self._numeric.get(uri)
        if known is not None:
            await trio.lowlevel.checkpoint_if_cancelled()
            return known
        parsed = parse_uri(uri if self.base_uri is None else resolve_reference(self.base_uri, uri))
        if parsed.scheme != "coap":
            raise LocalProtocolError(f"there is no transport for {parsed.scheme!r} yet; coap is the one that works")
        endpoints = await _resolve(parsed)
        targets = [(endpoint, endpoint.options_for(parsed)) for endpoint in endpoints]
        if parsed.host_is_literal and "%" not in parsed.host:
            if len(self._numeric) >= MAX_REMEMBERED_URIS:
                self._numeric.clear()
            self._numeric[uri] = (targets[0],)
        return targets


async def _resolve(uri: CoapUri) -> Sequence[Endpoint]:
    if uri.host_is_literal and "%" not in uri.host:
        await trio.lowlevel.checkpoint_if_cancelled()
        endpoints: Sequence[Endpoint] = (Endpoint(host=uri.host, port=uri.port),)
    else:
        endpoints = await Endpoint.resolve(uri.host, uri.port)
        if not endpoints:
            raise socket.gaierror(socket.EAI_NONAME, f"the resolver knows no address of {uri.host}")
    return _usable(endpoints)


def _usable(endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Return those of *endpoints* that can be sent to."""
    for endpoint in endpoints:
        if endpoint.is_unspecified:
            raise LocalProtocolError(f"{endpoint.hostinfo} means all addresses of a server; ask 127.0.0.1 or [::1]")
    # Without a zone the kernel would pick some interface or other.
    usable = [endpoint for endpoint in endpoints if not endpoint.is_link_local or endpoint.scope_id]
    if not usable:
        literal = endpoints[0].sockaddr[0]
        raise LocalProtocolError(f"{literal} is link-local; say on which interface: coap://[{literal}%25eth0]/")
    return usable


_SINGLE_URI_OPTIONS = frozenset({3, 7})
"""Uri-Host and Uri-Port."""


def address_request(template: Request, endpoint: Endpoint, of_uri: Options) -> Request:
    """Return *template* as a request to *endpoint* with the options that the URI stands for."""
    options = of_uri
    if template.options:
        # What is given replaces what the URI says, as with a Uri-Host for a virtual host; queries add up.
        given = {number for number, _ in template.options}
        options = of_uri.without(*_SINGLE_URI_OPTIONS & given) + template.options
    return Request(template.code, template.payload, options=options, type=template.type, destination_endpoint=endpoint)


def address_requests(template: Request, targets: Sequence[Target]) -> Sequence[Request]:
    """Return *template* as a request to each of *targets*; to a single one it is *template* itself."""
    if len(targets) > 1 or template.options:
        return [address_request(template, endpoint, of_uri) for endpoint, of_uri in targets]
    template.destination_endpoint, template.options = targets[0]
    return (template,)
