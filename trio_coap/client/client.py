"""The client: methods of CoAP as methods of Python (:rfc:`7252` section 5.8, :rfc:`8132`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Unpack, final

from trio_coap.client.arguments import RequestArguments, split_arguments
from trio_coap.client.handle import RequestHandle
from trio_coap.client.ping import send_ping
from trio_coap.client.targets import TargetFinder
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.transports.udp.endpoint import EndpointArguments, use_endpoint
from trio_coap.wire.codes import CON, NON, Code
from trio_coap.wire.message import EndpointAddress, Request, Response
from trio_coap.wire.options import Options


@final
class Client:
    """Sends requests from one endpoint; made by :func:`open_client`.

    The methods ``get`` to ``ipatch`` send a request and return the response, whatever its code.  They share these
    arguments:

    - *uri*: an absolute URI, or one relative to the client's base URI;
    - *payload*: octets, or a text that is sent as UTF-8 (as text/plain unless *content_format* says otherwise);
    - the rest by keyword: how to send the request, and its options by name; see :class:`RequestArguments`.

    Cancelling a method ends the request on the wire: no more retransmissions, the token and the NSTART slot are
    free, a response that comes nevertheless is rejected with a Reset.

    The addresses of a name are tried in the resolver's order: the next one when the network says that one cannot be
    reached, or after MAX_TRANSMIT_WAIT of silence.

    They raise what :meth:`RequestHandle.receive` raises, and before anything is sent

    - :exc:`UriError` (a LocalProtocolError and a ValueError), if *uri* is not a URI of CoAP;
    - :exc:`LocalProtocolError`, if an argument does not fit, or there is no transport for the URI's scheme;
    - :exc:`socket.gaierror` (an OSError), if the host does not resolve;
    - :exc:`PendingLimitReached`, if too many requests wait for this host already;
    - :exc:`trio.ClosedResourceError`, if the endpoint has been closed.
    """

    def __init__(self, endpoint: DrivenEndpoint, base_uri: str | None = None) -> None:
        """Make a client on a running endpoint; it needs no closing.

        Args:
          endpoint: sends the requests; it may be a server's at the same time.
          base_uri: what relative URIs are relative to.
        """
        self._endpoint = endpoint
        self._finder = TargetFinder(base_uri)

    @property
    def endpoint(self) -> DrivenEndpoint:
        """The endpoint that sends the requests."""
        return self._endpoint

    async def get(self, uri: str, **arguments: Unpack[RequestArguments]) -> Response:
        """GET: return a representation of the resource."""
        return await self._exchange(Code.GET, uri, b"", arguments)

    async def delete(self, uri: str, **arguments: Unpack[RequestArguments]) -> Response:
        """DELETE: remove the resource."""
        return await self._exchange(Code.DELETE, uri, b"", arguments)

    async def put(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[RequestArguments]) -> Response:
        """PUT: create or replace the resource."""
        return await self._exchange(Code.PUT, uri, payload, arguments)

    async def post(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[RequestArguments]) -> Response:
        """POST: have the resource process the payload."""
        return await self._exchange(Code.POST, uri, payload, arguments)

    async def fetch(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[RequestArguments]) -> Response:
        """FETCH: return what the payload asks for (:rfc:`8132` section 2)."""
        return await self._exchange(Code.FETCH, uri, payload, arguments)

    async def patch(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[RequestArguments]) -> Response:
        """PATCH: change parts of the resource (:rfc:`8132` section 3)."""
        return await self._exchange(Code.PATCH, uri, payload, arguments)

    async def ipatch(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[RequestArguments]) -> Response:
        """iPATCH: change parts of the resource, idempotently (:rfc:`8132` section 3)."""
        return await self._exchange(Code.IPATCH, uri, payload, arguments)

    def request(
        self, code: Code, uri: str, payload: bytes | str = b"", **arguments: Unpack[RequestArguments]
    ) -> RequestHandle:
        """Prepare a request and return its handle, an async context manager that sends it on entering.

        Args:
          code: the method.
          uri, payload, arguments: see :class:`Client`.

        Raises:
          LocalProtocolError: if *code* is no method, or an option does not fit.
        """
        confirmable, parameters, remote, options = split_arguments(arguments)
        template = Request(code, payload, type=CON if confirmable else NON, options=options)

        async def find_targets() -> Sequence[Request]:
            targets = await self._finder.find(uri, remote)
            return [_address(template, endpoint, of_uri) for endpoint, of_uri in targets]

        return RequestHandle(self._endpoint, find_targets, parameters)

    async def ping(
        self, uri: str, *, parameters: TransmissionParameters | None = None, remote: EndpointAddress | None = None
    ) -> float:
        """Send an empty Confirmable message, the CoAP ping, and wait for its Reset (:rfc:`7252` section 4.3).

        Args:
          uri: whom to ping; only scheme, host and port count.
          parameters: transmission parameters for the ping; by default the endpoint's.
          remote: whom to ping, whatever the URI's host is.

        Returns:
          The round-trip time, in seconds.

        Raises:
          DeliveryError: if nobody answered at the last of the addresses, or the network said that it is in vain.
        """
        *others, (last, _) = await self._finder.find(uri, remote)
        for endpoint, _ in others:
            with suppress(DeliveryError):
                return await send_ping(self._endpoint, endpoint, parameters)
        return await send_ping(self._endpoint, last, parameters)

    async def _exchange(self, code: Code, uri: str, payload: bytes | str, arguments: RequestArguments) -> Response:
        async with self.request(code, uri, payload, **arguments) as handle:
            return await handle.receive()


_SINGLE_URI_OPTIONS = frozenset({3, 7})
"""Uri-Host and Uri-Port."""


def _address(template: Request, endpoint: Endpoint, of_uri: Options) -> Request:
    options = of_uri
    if template.options:
        # What is given replaces what the URI says, as with a Uri-Host for a virtual host; queries add up.
        given = {number for number, _ in template.options}
        options = of_uri.without(*_SINGLE_URI_OPTIONS & given) + template.options
    request = template.replace(options=options)
    request.destination_endpoint = endpoint
    return request


@asynccontextmanager
async def open_client(
    *,
    endpoint: DrivenEndpoint | None = None,
    base_uri: str | None = None,
    host: str | None = None,
    port: int | None = None,
    **arguments: Unpack[EndpointArguments],
) -> AsyncIterator[Client]:
    """Open a client for the body.

    Args:
      endpoint: a running endpoint to send from, which is not closed at the end; by default the client opens one
        of its own.
      base_uri: what relative URIs are relative to.
      host, port, arguments: what the client's own endpoint is to be; see :func:`open_endpoint`.

    Raises:
      OSError: if the address is not to be had.
      LocalProtocolError: if *endpoint* is given, and something about another one.
      UriError: if *base_uri* is not an absolute URI of CoAP.
    """
    async with use_endpoint(endpoint, host, port, 0, arguments) as used:
        yield Client(used, base_uri)
