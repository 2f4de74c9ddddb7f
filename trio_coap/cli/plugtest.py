"""``coap plugtest``: the server of the ETSI CoAP plugtests, for others to test their clients against.

Rule 1: the public API of a server and nothing else: what is here is how a resource is written.  Rule 2: what changes by
itself changes in a task of the server's nursery.
"""

from __future__ import annotations

import re
import signal
from argparse import Namespace
from functools import partial
from typing import Unpack, final

import trio

from trio_coap.cli.plugtest_observe import Changing
from trio_coap.cli.plugtest_resources import make_resources
from trio_coap.cli.problems import SUCCESS, UsageError
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.server import Server, Site, serve
from trio_coap.transports.udp.endpoint import EndpointArguments

DEFAULT_PERIOD = 5.0
"""Seconds from one state of the observable resources to the next; what the plugtests propose."""

DEFAULT_DELAY = 1.0
"""Seconds until a separate response; clients wait for five."""

PARAMETERS = TransmissionParameters(empty_ack_delay=0.0)
"""What takes time is acknowledged at once, as the plugtests want to see it; what does not is answered in the ACK anyway."""

_BIND = re.compile(r"(?:\[(?P<literal>[^\]]*)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")


@final
class Plugtest:
    """The plugtest server that runs.

    Attributes:
      server: what serves.
      changing: the observable resources.
    """

    def __init__(self, server: Server, changing: Changing) -> None:
        """Keep both."""
        self.server = server
        self.changing = changing

    @property
    def observers(self) -> int:
        """How many clients observe something."""
        return len(self.server.dispatcher.observers)


async def serve_plugtest(
    host: str | None = None,
    port: int | None = None,
    *,
    period: float = DEFAULT_PERIOD,
    delay: float = DEFAULT_DELAY,
    task_status: trio.TaskStatus[Plugtest] = trio.TASK_STATUS_IGNORED,
    **arguments: Unpack[EndpointArguments],
) -> None:
    """Serve the resources of the plugtests until cancelled.

    Args:
      host, port: see :func:`trio_coap.serve`.
      period: seconds from one state of the observable resources to the next.
      delay: seconds until a separate response.
      task_status: ``nursery.start(serve_plugtest, ...)`` returns the :class:`Plugtest` when it listens.
      arguments: what else the endpoint is to be; see :class:`EndpointArguments`.

    Raises:
      OSError: if the address is not to be had.
    """
    arguments.setdefault("parameters", PARAMETERS)
    site = Site()
    make_resources(site, delay)
    changing = Changing(site, period)
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(partial(serve, site, host, port, **arguments))
        plugtest = Plugtest(server, changing)

        @site.post("/obs-reset")
        def reset_observers(request): ...

        nursery.start_soon(changing.run)
        task_status.started(plugtest)


def run_plugtest(arguments: Namespace) -> int:
    """Serve as *arguments* say until SIGINT or SIGTERM, and return the exit status."""
    host, port = arguments.bind
    trio.run(_serve_until_signalled, host, port, arguments.period)
    return SUCCESS
