"""Opening a client, on an endpoint of its own or one that is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Unpack

from trio_coap.client.client import Client
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.transports.udp.opening import EndpointArguments, use_endpoint

if TYPE_CHECKING:
    from trio_coap.client.cache import ResponseCache


@asynccontextmanager
async def open_client(
    *,
    endpoint: DrivenEndpoint | None = None,
    base_uri: str | None = None,
    holds_back: bool = False,
    host: str | None = None,
    port: int | None = None,
    cache: ResponseCache | None = None,
    **arguments: Unpack[EndpointArguments],
) -> AsyncIterator[Client]:
    """Open a client for the body.

    Args:
      endpoint: a running endpoint to send from, which is not closed at the end; by default the client opens one
        of its own.
      base_uri: what relative URIs are relative to.
      cache: keeps responses, and answers from them; by default nothing is kept.
      holds_back: True for a client that leaves a server alone that has too much to do: after a 5.03 or 4.29, which is
        returned like any response, further requests to that endpoint wait until its Max-Age is over (60 seconds if it
        gives none; :rfc:`7252` section 5.9.3.4, :rfc:`8516`), in the caller's cancel scope.  What has been sent already
        or waits for NSTART is not called back; pings and deregistrations do not wait, nor does a request that goes to
        the next address of a name because the first one failed.
      host, port, arguments: what the client's own endpoint is to be; see :func:`open_endpoint`.

    Raises:
      OSError: if the address is not to be had.
      LocalProtocolError: if *endpoint* is given, and something about another one.
      UriError: if *base_uri* is not an absolute URI of CoAP.
    """
    async with use_endpoint(endpoint, host, port, 0, arguments) as used:
        yield Client(used, base_uri, cache=cache, holds_back=holds_back)
