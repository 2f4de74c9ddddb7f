"""What the tests of observations share: a peer that is played by hand, and a look at what is left over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from tests.patience import passing
from trio_coap import ACK, CON, RST, CoapError, Code, Endpoint, Message, MessageType, Request, Response
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.testing import VirtualEndpoint, VirtualNetwork
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.message import decode_message_untrusted

MOST_AWAITS = 60
"""No operation here awaits as often; a test that counts further would go on for ever."""


class Peer:
    """A peer whose message layer is the test."""

    def __init__(self, endpoint: VirtualEndpoint) -> None:
        self.endpoint = endpoint
        self.source: Endpoint | None = None
        self._message_id = 0x7000

    @property
    def uri(self) -> str:
        return f"{self.endpoint.remote.uri}/r"

    async def receive(self) -> Message:
        """Wait for a message; what is sent without saying to whom goes to its source."""
        octets, self.source = await self.endpoint.rawrecvfrom(65_535)
        return decode_message_untrusted(octets)

    async def receive_request(self) -> Request:
        message = await self.receive()
        assert isinstance(message, Request)
        return message

    async def receive_response(self) -> Response:
        message = await self.receive()
        assert isinstance(message, Response)
        return message

    async def hears_nothing(self, seconds: float) -> bool:
        with trio.move_on_after(passing(seconds)):
            await self.receive()
            return False
        return True

    def send(self, message: Message, to: Endpoint | None = None) -> None:
        destination = to or self.source
        assert destination is not None
        self.endpoint.rawsendto(message.encode(), destination)

    def answer(self, request: Message, response: Response) -> None:
        """Send *response* in the acknowledgement."""
        response.type, response.message_id, response.token = ACK, request.message_id, request.token
        self.send(response)

    def notify(self, request: Message, response: Response, type: MessageType = CON) -> int:
        """Send *response* in a message of its own, and return its ID."""
        self._message_id += 1
        response.type, response.message_id, response.token = type, self._message_id, request.token
        self.send(response)
        return self._message_id

    def acknowledge(self, message: Message) -> None:
        self.send(Message(type=ACK, message_id=message.message_id))

    def reset(self, message: Message) -> None:
        self.send(Message(type=RST, message_id=message.message_id))


def state(number: int | None, payload: str = "", **options: object) -> Response:
    return Response(Code.CONTENT, payload or str(number), observe=number, **options)  # type: ignore[arg-type]


@contextmanager
def open_peer(network: VirtualNetwork, host: str = "peer", port: int = 5683) -> Iterator[Peer]:
    endpoint = network.create_bound_endpoint(host, port)
    try:
        yield Peer(endpoint)
    finally:
        endpoint.close()


def sent_entries(endpoint: DrivenEndpoint) -> list[SentMessageCacheEntry]:
    return [entry for known in endpoint._remotes.values() for entry in known.sent_cache.all_entries()]


def assert_nothing_is_left(endpoint: DrivenEndpoint) -> None:
    """No token, no live entry, no timer; that a message ID is still reserved is right (RFC 7252 section 4.4)."""
    statistics = endpoint.statistics()
    assert (statistics.tokens, statistics.pending) == (0, 0)
    assert [entry for entry in sent_entries(endpoint) if entry.state is not SentState.COMPLETED] == []
    assert [known for known in endpoint._remotes.values() if known.outstanding] == []
    assert len(endpoint.queue) == statistics.sent + statistics.received


class Canceller(trio.abc.Instrument):
    """Cancels a task when it has come to its n-th await: while it waits there, or when it has just been woken."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, number: int, *, is_waiting: bool) -> None:
        self._task, self._scope, self._left, self._is_waiting = task, scope, number, is_waiting
        self.has_cancelled = False

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_waiting:
            self._count(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._is_waiting:
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        if task is not self._task:
            return
        if self._left == 0:
            self.has_cancelled = True
            self._scope.cancel()
        self._left -= 1


async def cancel_at_every_await(
    operation: Callable[[], Awaitable[None]], check: Callable[[], Awaitable[None]], *, is_waiting: bool
) -> int:
    """Run *operation* again and again, cancelled at the first await, the second, and so on; return how many it has."""
    for number in range(MOST_AWAITS):
        with trio.CancelScope() as scope:
            canceller = Canceller(trio.lowlevel.current_task(), scope, number, is_waiting=is_waiting)
            trio.lowlevel.add_instrument(canceller)
            try:
                await operation()
            except CoapError:
                pass
            finally:
                trio.lowlevel.remove_instrument(canceller)
        await check()
        if not canceller.has_cancelled:
            return number
    raise AssertionError(f"it came to more than {MOST_AWAITS} awaits")
