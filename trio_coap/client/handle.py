"""A request under way, from its token to its response (:rfc:`7252` section 5).

Rule 1: entering sends, leaving ends, synchronously, so that nothing of a cancelled request goes on.  Rule 2: a response
counts if remote endpoint and token match; its critical options must be known.  Rule 3: the only timeout is the caller's
cancel scope.  Rule 4: it is one exchange: a 4.01 with an Echo is a response like any other here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, final

import trio

from trio_coap.client.attempt import Attempt, FindTargets, reject_unprocessable
from trio_coap.client.backpressure import Backpressure
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Request, Response


@final
class RequestHandle:
    """A request: an async context manager that sends it on entering, and ends it on leaving.

    Made by :meth:`Client.request`.  On leaving, by whatever way, retransmissions stop, the NSTART slot and the token
    are free; a response that still comes is rejected with a Reset.

    Example::

        async with client.request(Code.GET, "coap://[::1]/time") as handle:
            response = await handle.receive()
    """

    def __init__(
        self,
        endpoint: LocalEndpoint,
        find_targets: FindTargets,
        parameters: TransmissionParameters | None = None,
        backpressure: Backpressure | None = None,
        ended: Callable[[Response | None], None] | None = None,
    ) -> None:
        """Prepare a request; nothing is sent yet.

        Args:
          endpoint: which sends it.
          find_targets: finds the addresses, in the order in which they are to be tried.
          parameters: the transmission parameters of the request.
          backpressure: whom to hold the request back from; by default nobody.
          ended: is told once how a request ended that may have been sent: its response, or None; must not raise.
        """
        self._endpoint = endpoint
        self._find_targets = find_targets
        self._backpressure = backpressure
        self._ended = ended
        self._attempt = Attempt(endpoint, self, parameters)
        self._error: Exception | None = None
        self._results: tuple[trio.MemorySendChannel[Response], trio.MemoryReceiveChannel[Response]] | None = None

    @property
    def request(self) -> Request:
        """The request as it was sent, to the address that is being tried.

        Raises:
          LocalProtocolError: before the handle is entered.
        """
        if self._attempt.request is None:
            raise LocalProtocolError("nothing is sent before the handle is entered")
        return self._attempt.request

    @property
    def transmissions(self) -> int:
        """How often the request has been sent to the address that is being tried; 0 while NSTART holds it back."""
        return self._attempt.transmissions

    async def receive(self) -> Response:
        """Wait for the response.

        Cancelling gives up waiting, not the request: leaving the handle does that.

        Returns:
          The response, whatever its code; ``response.raise_for_code()`` makes errors of it.

        Raises:
          TransmissionTimeout: if nobody acknowledged the request.
          ResetReceived: if the peer rejected it.
          NetworkError: if the network said that it cannot be delivered.
          UnprocessableResponse: if the response has a critical option that is not known.
          trio.EndOfChannel: if the response has been received already.
          trio.ClosedResourceError: if the endpoint was closed, or the handle left.
        """
        if self._results is None:
            raise LocalProtocolError("nothing is sent before the handle is entered")
        try:
            return await self._results[1].receive()
        except trio.EndOfChannel:
            if self._error is None:
                raise
            raise self._error from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Response:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        if self._results is not None:
            raise LocalProtocolError("a handle is entered once; make another one")
        targets = await self._find_targets()
        if self._backpressure is not None:
            await self._backpressure.wait(targets[0].destination_endpoint)
        self._results = trio.open_memory_channel[Response](1)
        try:
            self._attempt.start(targets)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()
        if self._results is not None:
            self._results[1].close()

    # What the engine says.

    def response_received(self, response: Response, now: float) -> bool:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        error = reject_unprocessable(self._endpoint, response, now)
        if error is not None:
            self._error = error
        elif self._results is not None:
            self._results[0].send_nowait(response)
            if self._backpressure is not None:
                self._backpressure.take_note(response, now)
        # A response also says that the request has arrived: its ACK may have been lost (section 5.2.2).
        self._end(response if error is None else None)
        return error is None

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        self.request_failed(trio.ClosedResourceError("the endpoint was closed"))

    def request_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.client.attempt.AttemptListener`: the response may still take its time."""

    def request_failed(self, error: Exception) -> None:
        """See :class:`trio_coap.client.attempt.AttemptListener`."""
        self._error = error
        self._end()

    def _end(self, response: Response | None = None) -> None:
        """End the request, with *response* if that is why; it may have ended before."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(response)
        self._attempt.end()
        if self._results is not None:
            self._results[0].close()
