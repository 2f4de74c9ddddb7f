"""What the tests of client and server share: a peer that is played by hand, and a look at what is left over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from tests.patience import passing
from trio_coap import ACK, RST, Code, Endpoint, Message, Request, Response
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.testing import VirtualEndpoint, VirtualNetwork
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.codes import MessageType
from trio_coap.wire.message import decode_message_untrusted


class Peer:
    """A peer whose message layer is the test: it answers what, when and as often as the test says."""

    def __init__(self, endpoint: VirtualEndpoint) -> None:
        self.endpoint = endpoint
        self.source: Endpoint | None = None

    @property
    def remote(self) -> Endpoint:
        return self.endpoint.remote

    @property
    def uri(self) -> str:
        return self.remote.uri

    async def receive_octets(self) -> bytes:
        octets, self.source = await self.endpoint.rawrecvfrom(65_535)
        return octets

    async def receive(self) -> Message:
        """Wait for a message; what is sent without saying to whom goes to its source."""
        return decode_message_untrusted(await self.receive_octets())

    async def receive_request(self) -> Request:
        message = await self.receive()
        assert isinstance(message, Request)
        return message

    async def hears_nothing(self, seconds: float = 1.0) -> bool:
        with trio.move_on_after(passing(seconds)):
            await self.receive_octets()
            return False
        return True

    def send(self, message: Message | bytes, to: Endpoint | None = None) -> None:
        destination = to or self.source
        assert destination is not None
        self.endpoint.rawsendto(message if isinstance(message, bytes) else message.encode(), destination)

    def piggyback(self, request: Message, response: Response | None = None) -> None:
        response = response or Response(Code.CONTENT, b"piggybacked")
        self.send(reply(request, response, type=ACK))

    def acknowledge(self, message: Message) -> None:
        self.send(Message(type=ACK, message_id=message.message_id))

    def reset(self, message: Message) -> None:
        self.send(Message(type=RST, message_id=message.message_id))


def reply(
    request: Message,
    response: Response,
    *,
    type: MessageType,
    message_id: int | None = None,
    token: bytes | None = None,
) -> Response:
    """Fill in *response* as an answer to *request*."""
    response.type = type
    response.message_id = request.message_id if message_id is None else message_id
    response.token = request.token if token is None else token
    return response


@contextmanager
def open_peer(network: VirtualNetwork, host: str = "peer", port: int = 5683) -> Iterator[Peer]:
    endpoint = network.create_bound_endpoint(host, port)
    try:
        yield Peer(endpoint)
    finally:
        endpoint.close()


def sent_entries(endpoint: DrivenEndpoint) -> list[SentMessageCacheEntry]:
    return [entry for state in endpoint._remotes.values() for entry in state.sent_cache.all_entries()]


def assert_nothing_is_left(endpoint: DrivenEndpoint) -> None:
    """No token, no live entry, no NSTART slot; that a message ID is still reserved is right (RFC 7252 section 4.4)."""
    assert endpoint.statistics().tokens == 0
    assert endpoint.statistics().pending == 0
    assert [entry for entry in sent_entries(endpoint) if entry.state is not SentState.COMPLETED] == []
    assert [entry for entry in sent_entries(endpoint) if entry.listener is not None] == []
    assert [state for state in endpoint._remotes.values() if state.outstanding] == []
