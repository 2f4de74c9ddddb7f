"""The stage of the tests of observations at a server: a resource, a server, and a client that is played by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from tests.observing import Peer, open_peer
from tests.patience import within
from trio_coap import (
    CON,
    Code,
    EchoPolicy,
    Limits,
    MessageType,
    NotificationPolicy,
    Request,
    Response,
    Server,
    Site,
    TransmissionParameters,
    serve,
)
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS
from trio_coap.testing import VirtualEndpoint, VirtualNetwork
from trio_coap.testing.pair import NO_CHALLENGES

DAY = 24 * 3600


class Sensor:
    """A resource whose state the test sets."""

    def __init__(self, **policy: object) -> None:
        self.value: object = 1
        self.delay = 0.0
        self.runs = 0
        self.cancelled = 0
        self.site = Site()
        observable = NotificationPolicy(**policy) if policy else True  # type: ignore[arg-type]
        self.site.get("/r", observable=observable)(self.read)
        self.resource = self.site.resource("/r")

    async def read(self, request: Request) -> Response:
        self.runs += 1
        value = self.value
        try:
            await trio.sleep(self.delay)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if isinstance(value, Exception):
            raise value
        return value if isinstance(value, Response) else Response(payload=f"{value}", max_age=7)

    async def change(self, value: object) -> None:
        self.value = value
        self.resource.notify()
        await wait_all_tasks_blocked()


@attrs.frozen
class Stage:
    server: Server
    endpoint: VirtualEndpoint
    peer: Peer
    network: VirtualNetwork

    @property
    def observers(self) -> int:
        return len(self.server.dispatcher.observers)

    def send(
        self,
        observe: int | None,
        message_id: int = 1,
        *,
        token: bytes = b"t",
        path: str = "r",
        code: Code = Code.GET,
        type: MessageType = CON,
        peer: Peer | None = None,
        **options: object,
    ) -> Request:
        options["uri_path"] = path.split("/")
        request = Request(code, type=type, token=token, message_id=message_id, observe=observe, **options)  # type: ignore[arg-type]
        (peer or self.peer).send(request, self.endpoint.remote)
        return request

    async def ask(self, observe: int | None, message_id: int = 1, **arguments: object) -> Response:
        self.send(observe, message_id, **arguments)  # type: ignore[arg-type]
        return await self.receive()

    async def receive(self) -> Response:
        with trio.fail_after(within(2 * DAY)):
            return await self.peer.receive_response()

    async def receive_and_acknowledge(self) -> Response:
        response = await self.receive()
        if response.type is CON:
            self.peer.acknowledge(response)
            await trio.sleep(0.01)
        return response


@asynccontextmanager
async def open_stage(
    handler: object,
    network: VirtualNetwork,
    *,
    parameters: TransmissionParameters = DEFAULT_PARAMETERS,
    limits: Limits = DEFAULT_LIMITS,
    # Most tests are about one exchange with a peer that does not answer a 4.01 with Echo.
    echo_policy: EchoPolicy = NO_CHALLENGES,
    **arguments: int,
) -> AsyncIterator[Stage]:
    async with (
        network.open_endpoint("server", 5683, parameters=parameters, limits=limits) as endpoint,
        trio.open_nursery() as nursery,
    ):

        async def start(task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
            with suppress(trio.ClosedResourceError):  # Of an endpoint that a test closes.
                await serve(handler, endpoint=endpoint, echo_policy=echo_policy, task_status=task_status, **arguments)  # type: ignore[arg-type]

        server: Server = await nursery.start(start)
        with open_peer(network) as peer:
            yield Stage(server, endpoint, peer, network)
        nursery.cancel_scope.cancel()
