"""``coap plugtest``: the server of the ETSI CoAP plugtests, for others to test their clients against.

Rule: the resources are written with the public API of a server and nothing else; how they are is how a resource is written.
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from typing import Unpack, final

import attrs
import trio

from trio_coap.cli.plugtest_observe import ChangingResources
from trio_coap.cli.plugtest_resources import make_resources
from trio_coap.cli.plugtest_storage import make_storage
from trio_coap.cli.problems import SUCCESS
from trio_coap.cli.serve import join_groups
from trio_coap.cli.signals import Ending, watch_signals
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.server import EchoPolicy, Server, Site, serve
from trio_coap.transports.driver import DrivenEndpoint, raise_single
from trio_coap.transports.udp.endpoint import SocketEndpoint
from trio_coap.transports.udp.opening import EndpointArguments
from trio_coap.wire.message import Request
from trio_coap.wire.response_errors import Forbidden

DEFAULT_PERIOD = 5.0
"""Seconds from one state of the observable resources to the next: what the plugtests propose."""

DEFAULT_DELAY = 1.0
"""Seconds until a separate response; clients must be prepared for five."""

PARAMETERS = TransmissionParameters(empty_ack_delay=0.0)
"""What takes time is acknowledged at once, which the tests of separate responses want to see; whatever does not is answered
in the acknowledgement all the same."""

ECHO_POLICY = EchoPolicy(amplification_factor=None)
"""The plugtests are older than Echo (:rfc:`9175`): their clients would take a challenge for a failed test."""

PASSWORD = "sesame"
"""What opens ``/obs-reset``."""


@final
@attrs.frozen(eq=False)
class Plugtest:
    """The plugtest server that runs."""

    server: Server

    @property
    def uri(self) -> str:
        """Where it listens, with the port even if it is the usual one."""
        port = f":{self.server.endpoint.port}"
        uri = self.server.uri
        return uri if uri.endswith(port) else uri + port

    @property
    def observers(self) -> int:
        """How many clients observe something, or how many things."""
        return self.server.statistics().observers

    def reset_observers(self, request: Request) -> None:
        """Answer POST to ``/obs-reset``: forget all observers without telling them, as if the server had been restarted.

        Raises:
          Forbidden: if the request lacks the word.
        """
        if request.text.strip() != PASSWORD:
            raise Forbidden("that is not the word")
        self.server.dispatcher.observers.clear()


async def serve_plugtest(
    host: str | None = None,
    port: int | None = None,
    *,
    endpoint: DrivenEndpoint | None = None,
    period: float = DEFAULT_PERIOD,
    delay: float = DEFAULT_DELAY,
    task_status: trio.TaskStatus[Plugtest] = trio.TASK_STATUS_IGNORED,
    **arguments: Unpack[EndpointArguments],
) -> None:
    """Serve the resources of the plugtests until cancelled.

    Args:
      host, port, endpoint: see :func:`trio_coap.serve`.
      period: seconds from one state of the observable resources to the next.
      delay: seconds until a separate response.
      task_status: ``nursery.start(serve_plugtest, ...)`` returns the :class:`Plugtest` when it listens.
      arguments: what else the endpoint is to be; see :class:`EndpointArguments`.

    Raises:
      OSError: if the address is not to be had.
    """
    if endpoint is None:
        arguments.setdefault("parameters", PARAMETERS)
    site = Site()
    make_resources(site, delay)
    make_storage(site)
    changing = ChangingResources(site, period)
    try:
        async with trio.open_nursery() as nursery:
            serving = partial(serve, site, host, port, endpoint=endpoint, echo_policy=ECHO_POLICY, **arguments)
            server: Server = await nursery.start(serving)
            plugtest = Plugtest(server)
            site.post("/obs-reset", title="Forgets all observers")(plugtest.reset_observers)
            nursery.start_soon(changing.run)
            task_status.started(plugtest)
    except BaseExceptionGroup as group:
        raise_single(group)


def run_plugtest(arguments: Namespace) -> int:
    """Serve as *arguments* say until SIGINT or SIGTERM, and return the exit status."""
    host, port = arguments.bind
    trio.run(_serve_until_signalled, host, port, arguments.period)
    return SUCCESS


async def _serve_until_signalled(host: str | None, port: int, period: float) -> None:
    try:
        async with trio.open_nursery() as nursery:
            plugtest: Plugtest = await nursery.start(partial(serve_plugtest, host, port, period=period))
            endpoint = plugtest.server.endpoint
            if isinstance(endpoint, SocketEndpoint) and endpoint.is_unspecified:
                join_groups(endpoint)
            await nursery.start(watch_signals, Ending(), nursery.cancel_scope, endpoint.close)
            print(f"listening on {plugtest.uri}", flush=True)
    except BaseExceptionGroup as group:
        raise_single(group)
