"""The task of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from trio_coap.messaging.endpoint import COAP_PORT
from trio_coap.messaging.local import RandomSource
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.messaging.statistics import EndpointStatistics
from trio_coap.server.dispatcher import Dispatcher, Handler
from trio_coap.transports.driver import SYSTEM_RANDOM, DrivenEndpoint, raise_single
from trio_coap.transports.udp.endpoint import open_endpoint

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

    @property
    def uri(self) -> str:
        """The base URI of the server, with the port that it got."""
        return self.endpoint.uri

    def statistics(self) -> EndpointStatistics:
        """Return the statistics of the endpoint."""
        return self.endpoint.statistics()


async def serve(
    handler: Handler,
    host: str = "::",
    port: int = COAP_PORT,
    *,
    endpoint: DrivenEndpoint | None = None,
    parameters: TransmissionParameters = DEFAULT_PARAMETERS,
    limits: Limits = DEFAULT_LIMITS,
    rng: RandomSource = SYSTEM_RANDOM,
    max_running_handlers: int = MAX_RUNNING_HANDLERS,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve requests until cancelled.

    Cancelling ends the handlers' tasks first, and closes the endpoint then.

    Example::

        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve, site)
            print("listening on", server.uri)

    Args:
      handler: a :class:`Site`, or any handler.
      host: a numeric address of this host; ``::`` for all addresses of both families.
      port: 0 lets the kernel choose.
      endpoint: a running endpoint to serve on, which is not closed at the end; *host* to *rng* do not
        matter then.
      parameters, limits, rng: see :class:`LocalEndpoint`.
      max_running_handlers: how many ``async def`` handlers may run at a time; above it clients get 5.03.
      task_status: ``nursery.start(serve, ...)`` returns the :class:`Server` when it listens.

    Raises:
      OSError: if the address is not to be had.
      trio.BusyResourceError: if somebody serves on *endpoint* already.
    """
    async with _use_endpoint(endpoint, host, port, parameters, limits, rng) as used:
        if used.request_listener is not None:
            raise trio.BusyResourceError(f"somebody serves on {used.uri} already")
        try:
            async with trio.open_nursery() as nursery:
                dispatcher = Dispatcher(handler, used, nursery, max_running_handlers)
                used.request_listener = dispatcher
                try:
                    task_status.started(Server(used, dispatcher))
                    await trio.sleep_forever()
                finally:
                    used.request_listener = None
        except BaseExceptionGroup as group:
            raise_single(group)


@asynccontextmanager
async def _use_endpoint(
    endpoint: DrivenEndpoint | None,
    host: str,
    port: int,
    parameters: TransmissionParameters,
    limits: Limits,
    rng: RandomSource,
) -> AsyncIterator[DrivenEndpoint]:
    if endpoint is not None:
        yield endpoint
        return
    async with open_endpoint(host, port, rng=rng, parameters=parameters, limits=limits) as own:
        yield own
