"""A server without a socket: datagrams go in by a call, time is what the measurement says, and answers are only counted.

The engine, the dispatcher and the site are those of every server; only the driver is another one.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import trio

from trio_coap import Code, EchoPolicy, Handler, Limits, Request, Site, TransmissionParameters, serve
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS
from trio_coap.server.limits import MAX_OBSERVERS, MAX_RUNNING_HANDLERS
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.message import EndpointAddress

ANSWER = b"hello world"
MANY = 100_000_000
"""In place of limits that would stop the growth that is measured."""

UNLIMITED = Limits(
    max_remembered=MANY,
    max_remembered_octets=MANY * 1000,
    max_sent=MANY,
    max_sent_octets=MANY * 1000,
    max_remotes=MANY,
    max_pending_per_remote=MANY,
)

FIRST_ADDRESS = int(IPv4Address("10.0.0.1"))


class SilentEndpoint(DrivenEndpoint):
    """An endpoint whose datagrams go nowhere, at a time that is set.

    Attributes:
      now: the time, in seconds.
      sent: how many datagrams went out.
      last: the last of them.
    """

    now: float
    sent: int
    last: bytes

    def _reset(self) -> None:
        super()._reset()
        self.now = 0.0
        self.sent = 0
        self.last = b""

    def clock(self) -> float:
        """Return the time that is set, in seconds."""
        return self.now

    def _rawsendto(
        self, data: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None = None
    ) -> None:
        self.sent += 1
        self.last = data

    def go_to(self, now: float) -> None:
        """Let it be *now*, and do all that is due by then."""
        self.now = now
        while self.process_due(now) <= now:
            pass


@asynccontextmanager
async def open_silent_server(
    handler: Handler,
    *,
    limits: Limits = UNLIMITED,
    parameters: TransmissionParameters = DEFAULT_PARAMETERS,
    max_observers: int = MAX_OBSERVERS,
    max_running_handlers: int = MAX_RUNNING_HANDLERS,
) -> AsyncIterator[SilentEndpoint]:
    """Serve *handler* on an endpoint without a socket; no address has to be verified.

    Args:
      handler: what is served.
      limits: of the endpoint, by default none that matter.
      parameters: of the endpoint.
      max_observers, max_running_handlers: see :func:`trio_coap.serve`; the latter for each remote too.
    """
    endpoint = SilentEndpoint(("192.0.2.1", 5683), rng=random.Random(7252), parameters=parameters, limits=limits)
    policy = EchoPolicy(amplification_factor=None)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve(
                handler,
                endpoint=endpoint,
                echo_policy=policy,
                max_observers=max_observers,
                max_running_handlers=max_running_handlers,
                max_running_handlers_per_remote=max_running_handlers,
                task_status=task_status,
            )
        )
        yield endpoint
        nursery.cancel_scope.cancel()
    endpoint.close()


def plain_site() -> Site:
    """Return a site whose ``/r`` answers GET with 11 octets."""
    site = Site()

    @site.get("/r")
    def read(request: Request) -> bytes:
        return ANSWER

    return site


def remotes(count: int, first: int = 0) -> list[Endpoint]:
    """Return so many remote endpoints."""
    return [Endpoint((str(IPv4Address(FIRST_ADDRESS + first + number)), 5683)) for number in range(count)]


def get(number: int, options: bytes = b"\xb1r") -> bytes:
    """Return the datagram of a Confirmable GET, the message ID and the token of which go with *number*.

    Args:
      number: of the request.
      options: by default the path ``/r``.
    """
    return b"\x44\x01%b%b%b" % ((number & 0xFFFF).to_bytes(2, "big"), number.to_bytes(4, "big"), options)


def path_options(*segments: str) -> bytes:
    """Return the octets of a path."""
    request = Request(Code.GET, message_id=0, uri_path=segments)
    return request.encode()[4:]
