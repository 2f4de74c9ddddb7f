"""A client and a server on a virtual network, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import trio

from trio_coap.client import Client, open_client
from trio_coap.messaging.endpoint import COAP_PORT
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.server import BlockLimits, EchoPolicy, Handler, Server, serve
from trio_coap.server.limits import DEFAULT_BLOCK_LIMITS
from trio_coap.testing.link import LinkProperties
from trio_coap.testing.network import VirtualNetwork, open_network
from trio_coap.testing.topology import AnyHost
from trio_coap.transports.driver import DrivenEndpoint, raise_single

NO_CHALLENGES = EchoPolicy(amplification_factor=None)
"""On a virtual network nobody forges addresses, and a test wants to see the exchange that it is about, not a 4.01 first."""


@asynccontextmanager
async def open_pair(
    handler: Handler,
    *,
    network: VirtualNetwork | None = None,
    client: AnyHost = "client",
    server: AnyHost = "server",
    parameters: TransmissionParameters = DEFAULT_PARAMETERS,
    limits: Limits = DEFAULT_LIMITS,
    block_limits: BlockLimits = DEFAULT_BLOCK_LIMITS,
    echo_policy: EchoPolicy = NO_CHALLENGES,
    seed: int | str = 0,
    **properties: Unpack[LinkProperties],
) -> AsyncIterator[tuple[Client, Server]]:
    """Serve *handler* on a virtual network while the body runs, and give it a client.

    Example::

        async with open_pair(lambda request: "21.5 °C") as (client, server):
            response = await client.get("/temperature")

    When the scope around is cancelled, the body ends first and the server after it.

    Args:
      handler: a :class:`trio_coap.Site`, or any handler.
      network: a running network; by default one for this pair, with *seed* and *properties*.
      client, server: the hosts that they are on; those that there are not yet are made.
      parameters, limits: of both endpoints.
      block_limits: of the server; see :class:`BlockLimits`.
      echo_policy: of the server; by default it trusts all addresses.
      seed, properties: see :class:`VirtualNetwork`.

    Returns:
      The client, whose base URI is the server's, and the server, on the default port.
    """
    if network is None:
        async with (
            open_network(seed, **properties) as own,
            open_pair(
                handler,
                network=own,
                client=client,
                server=server,
                parameters=parameters,
                limits=limits,
                block_limits=block_limits,
                echo_policy=echo_policy,
            ) as pair,
        ):
            yield pair
        return
    async with (
        network.open_endpoint(server, COAP_PORT, parameters=parameters, limits=limits) as serving,
        network.open_endpoint(client, parameters=parameters, limits=limits) as asking,
        _open_server(handler, serving, block_limits, echo_policy) as running,
        open_client(endpoint=asking, base_uri=running.uri) as opened,
    ):
        yield opened, running


@asynccontextmanager
async def _open_server(
    handler: Handler, endpoint: DrivenEndpoint, block_limits: BlockLimits, echo_policy: EchoPolicy
) -> AsyncIterator[Server]:
    """Serve on *endpoint* while the body runs."""
    scope = trio.CancelScope(shield=True)

    async def serve_in_scope(task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        with scope:
            await serve(
                handler, endpoint=endpoint, block_limits=block_limits, echo_policy=echo_policy, task_status=task_status
            )

    try:
        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(serve_in_scope)
            try:
                yield server
            finally:
                scope.cancel()
    except BaseExceptionGroup as group:
        raise_single(group)
