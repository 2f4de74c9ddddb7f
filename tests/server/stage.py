"""The stage of the server's tests: a server, and a peer that the test plays octet by octet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from tests.client.support import Peer, open_peer
from tests.patience import within
from trio_coap import (
    CON,
    BlockLimits,
    Code,
    EchoPolicy,
    Handler,
    Message,
    MessageType,
    Options,
    Request,
    Response,
    Server,
    serve,
)
from trio_coap.server.limits import DEFAULT_BLOCK_LIMITS, MAX_RUNNING_HANDLERS, MAX_RUNNING_HANDLERS_PER_REMOTE
from trio_coap.testing import VirtualEndpoint, VirtualNetwork
from trio_coap.testing.pair import NO_CHALLENGES


@attrs.frozen
class Stage:
    """A server that runs, and a peer that asks it."""

    server: Server
    endpoint: VirtualEndpoint
    peer: Peer
    network: VirtualNetwork

    def send(self, message: Message | bytes) -> None:
        self.peer.send(message, self.endpoint.remote)

    async def ask(self, message: Message | bytes) -> Response:
        """Send a request and return the response, or fail after a minute."""
        self.send(message)
        with trio.fail_after(within(60)):
            while True:
                answer = await self.peer.receive()
                if isinstance(answer, Response):
                    return answer
                assert answer.is_empty

    async def is_silent_on(self, message: Message | bytes) -> bool:
        self.send(message)
        return await self.peer.hears_nothing(300)


def make_request(
    path: str = "r",
    *,
    code: Code | int = Code.GET,
    type: MessageType = CON,
    message_id: int = 0x1234,
    token: bytes | None = None,
    payload: bytes = b"",
    **options: object,
) -> Request:
    """Return a request; without a token it gets one that goes with its message ID."""
    if token is None:
        token = b"tk" if message_id == 0x1234 else message_id.to_bytes(2, "big")
    return Request(
        code,
        payload,
        type=type,
        message_id=message_id,
        token=token,
        options=Options(uri_path=[segment for segment in path.split("/") if segment], **options),  # type: ignore[arg-type]
    )


def with_option(number: int, value: bytes = b"", *, type: MessageType = CON, message_id: int = 0x1234) -> Request:
    """Return a request with one more option, whose octets are as given."""
    request = make_request(type=type, message_id=message_id)
    request.options += Options.from_wire(((number, value),))
    return request


@asynccontextmanager
async def open_stage(
    handler: Handler,
    network: VirtualNetwork,
    *,
    max_running_handlers: int = MAX_RUNNING_HANDLERS,
    max_running_handlers_per_remote: int = MAX_RUNNING_HANDLERS_PER_REMOTE,
    block_limits: BlockLimits = DEFAULT_BLOCK_LIMITS,
    # Most tests are about one exchange with a peer that does not answer a 4.01 with Echo.
    echo_policy: EchoPolicy = NO_CHALLENGES,
) -> AsyncIterator[Stage]:
    async with network.open_endpoint("server", 5683) as endpoint, trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
            await serve(
                handler,
                endpoint=endpoint,
                max_running_handlers=max_running_handlers,
                max_running_handlers_per_remote=max_running_handlers_per_remote,
                block_limits=block_limits,
                echo_policy=echo_policy,
                task_status=task_status,
            )

        server: Server = await nursery.start(start)
        with open_peer(network) as peer:
            yield Stage(server, endpoint, peer, network)
        nursery.cancel_scope.cancel()
