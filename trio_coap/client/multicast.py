"""A request to a group, and what its members answer (:rfc:`7252` section 8).

=======================================================  ====================================================
what comes                                               what happens
=======================================================  ====================================================
the first response of a member                           it is for the consumer, with its source
another one of the same member                           taken, and passed over
more than fits, or more members than are told apart      dropped, and counted
a response after the consumer has left                   taken, and passed over: the token stays reserved
=======================================================  ====================================================

Rule 1: the request is one Non-confirmable message, whatever the number of interfaces.  Rule 2: nothing says when all have
answered: the caller's scope does.  Rule 3: the rest of a response in blocks is asked for by unicast, when the consumer
comes for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, final

import trio

from trio_coap.client.attempt import FindTargets, reject_unprocessable
from trio_coap.client.blockwise import Download, Upload
from trio_coap.client.transfer import ECHO, Conversation, Progress, RequestTags, find_challenge
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.messaging.timer import Timer
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.body import BodyReader
from trio_coap.wire.codes import CON
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress, Request, Response
from trio_coap.wire.options import Options

MAX_RESPONDERS = 10_000
"""Members of a group that are told apart: addresses can be forged, and each is remembered as long as the request lasts."""

MAX_WAITING = 1_000
"""Responses that wait for the consumer: more than a link has neighbours, as a rule."""

MAX_SERVER_RESPONSE_DELAY = 250.0
"""How long a server may take to answer, in seconds: after that, and the lifetimes of messages, the token is free again."""


@final
class GroupRequest:
    """A request to a group: an async context manager that sends it on entering, and an iterator of responses.

    Made by :meth:`Client.multicast`.  It does not end by itself; leaving is up to the caller, as a rule by a deadline.

    Attributes:
      dropped: how many responses were dropped because nobody came for them, or there were too many members.
    """

    def __init__(
        self,
        endpoint: LocalEndpoint,
        find_request: Callable[[], Awaitable[tuple[Request, EndpointAddress | None]]],
        parameters: TransmissionParameters | None,
        block_size: int | None,
        max_body: int,
    ) -> None:
        """Prepare a request; nothing is sent yet.

        Args:
          endpoint: which sends it.
          find_request: finds the request, with the group as its destination, and by which interfaces it goes out.
          parameters: of the request, and of those for further blocks.
          block_size: the largest block, in octets.
          max_body: how many octets of a member's response are put together at most.
        """
        self.dropped = 0
        self._endpoint = endpoint
        self._find_request = find_request
        self._parameters = parameters
        self._block_size = block_size
        self._max_body = max_body
        self._request: Request | None = None
        self._responders: set[object] = set()
        self._error: Exception | None = None
        self._channel: tuple[trio.MemorySendChannel[Response], trio.MemoryReceiveChannel[Response]] | None = None
        self._has_left = False
        self._reservation = Timer(endpoint.queue, self._release)

    @property
    def responders(self) -> int:
        """How many members have answered so far."""
        return len(self._responders)

    @property
    def request(self) -> Request:
        """The request as it was sent.

        Raises:
          LocalProtocolError: before it is entered.
        """
        if self._request is None:
            raise LocalProtocolError("nothing is sent before the request is entered")
        return self._request

    async def receive(self) -> Response:
        """Wait for the response of the next member, whole; ``response.source_endpoint`` says who it is.

        Cancelling gives up waiting; a response whose rest was being asked for is lost.

        Returns:
          The response, whatever its code.

        Raises:
          NetworkError: if the request could not be sent.
          BlockTransferError: if the blocks of the response do not fit together; the iteration can go on.
          DeliveryError: if the member does not give the rest of its response; the iteration can go on.
          trio.ClosedResourceError: if the endpoint was closed, or the request left.
        """
        if self._channel is None:
            raise LocalProtocolError("nothing is sent before the request is entered")
        try:
            response = await self._channel[1].receive()
        except trio.EndOfChannel:
            assert self._error is not None
            raise self._error from None
        block = response.options.block2
        if (block is not None and block.more) or find_challenge(response) is not None:
            return await complete_response(
                self._endpoint, self.request, response, self._parameters, self._block_size, self._max_body
            )
        return response

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Response:
        return await self.receive()

    async def __aenter__(self) -> Self:
        if self._channel is not None:
            raise LocalProtocolError("a group request is entered once; make another one")
        request, local_address = await self._find_request()
        self._channel = trio.open_memory_channel[Response](MAX_WAITING)
        self._request = request
        request.token = self._endpoint.new_token(None)
        self._endpoint.tokens[None, request.token] = self
        try:
            self._endpoint.send(request, parameters=self._parameters, listener=self, local_address=local_address)
        except BaseException:
            self._release(0.0)
            self._channel[0].close()
            self._channel[1].close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._channel is not None
        # In this order, so that another task that still receives learns that it is closed, not that nothing more comes.
        for end in reversed(self._channel):
            end.close()
        self._has_left = True
        self._responders.clear()
        endpoint = self._endpoint
        if (None, self.request.token) in endpoint.tokens:
            parameters = endpoint.parameters
            lifetime = parameters.non_lifetime + parameters.max_latency + MAX_SERVER_RESPONSE_DELAY
            self._reservation.start(endpoint.clock() + lifetime)

    # What the engine says.

    def response_received(self, response: Response, now: float) -> bool:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        if self._has_left:
            return True
        if reject_unprocessable(self._endpoint, response, now) is not None:
            return False
        source = response.source_endpoint
        if source not in self._responders:
            self._take(response, source)
        return True

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        self._fail(trio.ClosedResourceError("the endpoint was closed"))

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`: a group does not acknowledge."""

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        if not self._responders:  # An error by one interface, or of one member, is not all.
            self._fail(error)

    def _take(self, response: Response, source: object) -> None:
        turned_away = self._endpoint.counters.turned_away
        if len(self._responders) >= MAX_RESPONDERS:
            turned_away["MAX_RESPONDERS"] += 1
            self.dropped += 1
            return
        assert self._channel is not None
        try:
            self._channel[0].send_nowait(response)
        except trio.WouldBlock:
            turned_away["MAX_WAITING"] += 1
            self.dropped += 1
            return
        self._responders.add(source)

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self._channel is not None:
            self._channel[0].close()

    def _release(self, now: float) -> None:
        self._endpoint.tokens.pop((None, self.request.token), None)


async def find_group_request(
    endpoint: DrivenEndpoint, find_targets: FindTargets, interfaces: Sequence[str] | None
) -> tuple[Request, EndpointAddress | None]:
    """Return the request for a group, and by which interfaces it goes out; None for all.

    Raises:
      LocalProtocolError: if it is not for a group, or there is no such interface.
    """
    request, *_ = await find_targets()
    group = request.destination_endpoint
    if not isinstance(group, Endpoint) or not group.is_multicast:
        raise LocalProtocolError(f"{group!r} is no group; the other methods of a client ask single servers")
    return request, None if interfaces is None else endpoint.group_address(group, interfaces)


async def complete_response(
    endpoint: LocalEndpoint,
    request: Request,
    response: Response,
    parameters: TransmissionParameters | None,
    block_size: int | None,
    max_body: int,
) -> Response:
    """Ask the member that gave *response* for the rest of it, or with the Echo that it wants, by unicast.

    Args:
      endpoint: which asks.
      request: that went to the group.
      response: the first block of what one member answers, or its challenge.
      parameters: of the requests.
      block_size: the largest block, in octets.
      max_body: how many octets are put together at most.

    Raises:
      BlockTransferError: if the blocks do not fit together.
      CoapError: see :meth:`RequestHandle.receive`.
    """
    member = response.source_endpoint
    assert isinstance(member, Endpoint)
    # What the group was not to answer, this member is: somebody waits for it.
    template = request.replace(payload=b"", no_response=None)
    template.type, template.token, template.message_id, template.destination_endpoint = CON, b"", None, member

    async def find_targets() -> Sequence[Request]:
        return (template,)

    conversation = Conversation(endpoint, template, find_targets, parameters)
    echo = find_challenge(response)
    if echo is not None:
        response = await conversation.ask(request.payload, options=Options(echo=echo), without=frozenset({ECHO}))
    progress = Progress()
    upload = Upload(conversation, BodyReader(request.payload), RequestTags(), progress, block_size)
    upload.repeated_payload = request.payload
    return await Download(conversation, response, upload, progress, block_size).read_all(max_body)
