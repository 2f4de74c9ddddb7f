"""The task of a server."""

from __future__ import annotations

from socket import AF_INET6
from typing import Unpack, final

import attrs
import trio

from trio_coap.messaging.endpoint import COAP_PORT, Endpoint
from trio_coap.messaging.statistics import EndpointStatistics
from trio_coap.server.blockwise import BlockwiseHandler
from trio_coap.server.dispatcher import Dispatcher, Handler
from trio_coap.server.limits import DEFAULT_BLOCK_LIMITS, BlockLimits
from trio_coap.server.observers import MAX_OBSERVERS, MAX_OBSERVERS_PER_REMOTE
from trio_coap.transports.driver import DrivenEndpoint, raise_single
from trio_coap.transports.udp.opening import EndpointArguments, use_endpoint

MAX_RUNNING_HANDLERS = 1000
"""Handler tasks at a time: each holds memory, and a remote can start them; more wait at their clients (5.03)."""


@final
@attrs.frozen(eq=False)
class Server:
    """A server that runs: what :func:`serve` gives to who started it."""

    endpoint: DrivenEndpoint
    """The endpoint that it serves on; a client can send requests from it too."""

    dispatcher: Dispatcher
    """What passes requests to the handler."""

    blockwise: BlockwiseHandler
    """What puts blocks together and cuts bodies into blocks for the handler."""

    @property
    def uri(self) -> str:
        """A base URI of the server, with the port that it got; loopback, if it serves on all addresses."""
        endpoint = self.endpoint
        if not endpoint.is_unspecified:
            return endpoint.uri
        host = "::1" if endpoint.family == AF_INET6 else "127.0.0.1"
        return Endpoint(host=host, port=endpoint.port, security_mode=endpoint.security_mode).uri

    def statistics(self) -> EndpointStatistics:
        """Return the statistics of the endpoint."""
        return self.endpoint.statistics()


async def serve(
    handler: Handler,
    host: str | None = None,
    port: int | None = None,
    *,
    endpoint: DrivenEndpoint | None = None,
    max_running_handlers: int = MAX_RUNNING_HANDLERS,
    max_observers: int = MAX_OBSERVERS,
    max_observers_per_remote: int = MAX_OBSERVERS_PER_REMOTE,
    block_limits: BlockLimits = DEFAULT_BLOCK_LIMITS,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **arguments: Unpack[EndpointArguments],
) -> None:
    """Serve requests until cancelled.

    Cancelling ends the handlers' tasks first, and closes the endpoint then.

    Example::

        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve, site)
            print("listening on", server.uri)

    Args:
      handler: a :class:`Site`, or any handler.
      host: a numeric address of this host; by default ``::``, all addresses of both families.
      port: by default 5683; 0 lets the kernel choose.
      endpoint: a running endpoint to serve on, which is not closed at the end; by default the server opens one of
        its own.
      max_running_handlers: how many ``async def`` handlers may run at a time; above it clients get 5.03.
      max_observers, max_observers_per_remote: how many observers there may be; above it a client that registers gets a
        response without Observe.
      block_limits: how large the bodies of requests may be, and how much of block-wise transfers is remembered.
      task_status: ``nursery.start(serve, ...)`` returns the :class:`Server` when it listens.
      arguments: what else the server's own endpoint is to be; see :class:`EndpointArguments`.

    Raises:
      OSError: if the address is not to be had.
      LocalProtocolError: if *endpoint* is given, and something about another one.
      trio.BusyResourceError: if somebody serves on *endpoint* already.
      trio.ClosedResourceError: if *endpoint* has been closed, or is closed meanwhile.
    """
    async with use_endpoint(endpoint, host, port, COAP_PORT, arguments) as used:
        if used.is_closed:
            raise trio.ClosedResourceError(f"{used!r} is closed")
        if used.request_listener is not None:
            raise trio.BusyResourceError(f"somebody serves on {used.uri} already")
        try:
            async with trio.open_nursery() as nursery:
                blockwise = BlockwiseHandler(handler, used, nursery, block_limits)
                dispatcher = Dispatcher(
                    blockwise, used, nursery, max_running_handlers, max_observers, max_observers_per_remote
                )
                await _dispatch(Server(used, dispatcher, blockwise), task_status)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise_single(group)
        raise trio.ClosedResourceError(f"{used!r} was closed while it was served on")


async def _dispatch(server: Server, task_status: trio.TaskStatus[Server]) -> None:
    """Let requests come, until the endpoint is closed."""
    endpoint = server.endpoint
    endpoint.request_listener = server.dispatcher
    try:
        task_status.started(server)
        await endpoint.wait_closed()
    finally:
        endpoint.request_listener = None
        server.dispatcher.observers.clear()
        await server.blockwise.close()
