"""The task of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack, final

import attrs
import trio

from trio_coap.messaging.endpoint import COAP_PORT, Endpoint
from trio_coap.server.blockwise import BlockwiseHandler
from trio_coap.server.dispatcher import RETRY_AFTER, Dispatcher, Handler
from trio_coap.server.echo import DEFAULT_ECHO_POLICY, EchoPolicy
from trio_coap.server.limits import (
    DEFAULT_BLOCK_LIMITS,
    MAX_OBSERVERS,
    MAX_OBSERVERS_PER_REMOTE,
    MAX_RUNNING_HANDLERS,
    MAX_RUNNING_HANDLERS_PER_REMOTE,
    BlockLimits,
    ServerLimits,
)
from trio_coap.transports.driver import DrivenEndpoint, raise_single
from trio_coap.transports.udp.opening import EndpointArguments, use_endpoint
from trio_coap.transports.udp.sockets import loopback_address

if TYPE_CHECKING:
    from trio_coap.server.statistics import ServerStatistics


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

    _serving: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def uri(self) -> str:
        """A base URI of the server, with the port that it got; loopback, if it serves on all addresses."""
        endpoint = self.endpoint
        if not endpoint.is_unspecified:
            return endpoint.uri
        host = loopback_address(endpoint.family)
        return Endpoint(host=host, port=endpoint.port, security_mode=endpoint.security_mode).uri

    def statistics(self) -> ServerStatistics:
        """Return the statistics of the server, and those of its endpoint."""
        from trio_coap.server.statistics import ServerStatistics

        dispatcher = self.dispatcher
        return ServerStatistics(
            **attrs.asdict(self.endpoint.statistics(), recurse=False),
            running_handlers=dispatcher.running,
            handlers_cancelled=dispatcher.handlers.cancelled,
            observers=len(dispatcher.observers),
            challenges=dispatcher.verification.challenges,
            verified_addresses=dispatcher.verification.addresses,
        )

    async def drain(self, *, max_age: int = RETRY_AFTER) -> None:
        """Come to an end without losing anything: :func:`serve` returns when this does.

        From the first step on there are no new requests: they are answered by 5.03, later blocks of what has begun
        included.  Handlers that run finish, and their responses go out; those that read a body while it comes get the
        rest of it.  Observers get a last notification, a 5.03 too.  What goes as a message of its own is waited for until it is
        acknowledged, or has failed.  What answers a group goes out at once then, without the rest of its leisure.

        Example::

            with trio.move_on_after(10):
                await server.drain()

        Cancelling ends the server at once, with what it still did.  Several callers wait for the same end; the first to
        be cancelled ends the server for all.  A handler that waits for this waits for itself.

        Args:
          max_age: of the 5.03, in seconds: when clients may try again.
        """
        self.dispatcher.drain(max_age, self._serving.cancel)
        try:
            await self._ended.wait()
        finally:
            self._serving.cancel()


async def serve(
    handler: Handler,
    host: str | None = None,
    port: int | None = None,
    *,
    endpoint: DrivenEndpoint | None = None,
    max_running_handlers: int = MAX_RUNNING_HANDLERS,
    max_running_handlers_per_remote: int = MAX_RUNNING_HANDLERS_PER_REMOTE,
    max_observers: int = MAX_OBSERVERS,
    max_observers_per_remote: int = MAX_OBSERVERS_PER_REMOTE,
    block_limits: BlockLimits = DEFAULT_BLOCK_LIMITS,
    echo_policy: EchoPolicy = DEFAULT_ECHO_POLICY,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **arguments: Unpack[EndpointArguments],
) -> None:
    """Serve requests until cancelled, or until :meth:`Server.drain` has come to its end.

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
      max_running_handlers, max_running_handlers_per_remote: how many ``async def`` handlers may run at a time; above
        it clients get 5.03 with Max-Age.
      max_observers, max_observers_per_remote: how many observers there may be; above it a client that registers gets a
        response without Observe.
      block_limits: how large the bodies of requests may be, and how much of block-wise transfers is remembered.
      echo_policy: what clients may get whose address may be forged.
      task_status: ``nursery.start(serve, ...)`` returns the :class:`Server` when it listens.
      arguments: what else the server's own endpoint is to be; see :class:`EndpointArguments`.

    Raises:
      OSError: if the address is not to be had.
      LocalProtocolError: if *endpoint* is given, and something about another one.
      trio.BusyResourceError: if somebody serves on *endpoint* already.
      trio.ClosedResourceError: if *endpoint* has been closed, or is closed meanwhile.
    """
    async with use_endpoint(endpoint, host, port, COAP_PORT, arguments) as used:
        _require_free(used)
        handler_limits = max_running_handlers, max_running_handlers_per_remote
        limits = ServerLimits(*handler_limits, max_observers, max_observers_per_remote)
        try:
            async with trio.open_nursery() as nursery:
                blockwise = BlockwiseHandler(handler, used, nursery, block_limits)
                server = _make_server(blockwise, used, nursery, limits, echo_policy)
                await _dispatch(server, task_status)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise_single(group)
        if not server._serving.cancelled_caught:
            raise trio.ClosedResourceError(f"{used!r} was closed while it was served on")


def _make_server(
    blockwise: BlockwiseHandler,
    endpoint: DrivenEndpoint,
    nursery: trio.Nursery,
    limits: ServerLimits,
    echo_policy: EchoPolicy,
) -> Server:
    dispatcher = Dispatcher(blockwise, endpoint, nursery, limits, echo_policy, blockwise.uploads)
    return Server(endpoint, dispatcher, blockwise)


def _require_free(endpoint: DrivenEndpoint) -> None:
    if endpoint.is_closed:
        raise trio.ClosedResourceError(f"{endpoint!r} is closed")
    if endpoint.request_listener is not None:
        raise trio.BusyResourceError(f"somebody serves on {endpoint.uri} already")


async def _dispatch(server: Server, task_status: trio.TaskStatus[Server]) -> None:
    """Let requests come, until the endpoint is closed, or the server has been drained."""
    endpoint = server.endpoint
    endpoint.request_listener = endpoint.remote_listener = server.dispatcher
    try:
        task_status.started(server)
        with server._serving:
            await endpoint.wait_closed()
    finally:
        endpoint.request_listener = endpoint.remote_listener = None
        server.dispatcher.observers.clear()
        server._ended.set()
        await server.blockwise.close()
