"""A request under way, from its token to its response (:rfc:`7252` section 5).

Rule 1: entering sends, leaving ends: the token is dropped and the message's entry completed synchronously, so that
nothing of a cancelled request goes on.  Rule 2: a response counts if remote endpoint and token match; its critical
options must be known.  Rule 3: the only timeout is the caller's cancel scope.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, final

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError, ResetReceived
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.errors import LocalProtocolError, RemoteProtocolError
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import CRITICAL_PROBLEM, OptionProblem

UNDERSTOOD_OPTIONS = frozenset({23, 27})
"""The critical options in a response that are processed here or left to who asked: Block2 and Block1 (:rfc:`7252`
section 5.4.1).  A handle is one exchange, and its response may be one block of many."""

FindTargets = Callable[[], Awaitable[Sequence[Request]]]
"""Finds out whom to ask: the request for each address, the preferred one first."""


class UnprocessableResponse(RemoteProtocolError):
    """A response has a critical option that cannot be processed (:rfc:`7252` section 5.4.1).

    Attributes:
      response: the response, which was rejected.
      problem: the option, and what is the matter with it.
    """

    def __init__(self, response: Response, problem: OptionProblem) -> None:
        super().__init__(f"the response {response.code} was rejected: {problem}")
        self.response = response
        self.problem = problem


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
    ) -> None:
        """Prepare a request; nothing is sent yet.

        Args:
          endpoint: which sends it.
          find_targets: finds the addresses, in the order in which they are to be tried.
          parameters: the transmission parameters of the request.
        """
        self._endpoint = endpoint
        self._find_targets = find_targets
        self._parameters = parameters
        self._targets: deque[Request] = deque()
        self._request: Request | None = None
        self._key: tuple[Endpoint | None, bytes] | None = None
        self._entry: SentMessageCacheEntry | None = None
        self._error: Exception | None = None
        self._results: tuple[trio.MemorySendChannel[Response], trio.MemoryReceiveChannel[Response]] | None = None

    @property
    def request(self) -> Request:
        """The request as it was sent, to the address that is being tried.

        Raises:
          LocalProtocolError: before the handle is entered.
        """
        if self._request is None:
            raise LocalProtocolError("nothing is sent before the handle is entered")
        return self._request

    @property
    def transmissions(self) -> int:
        """How often the request has been sent to the address that is being tried; 0 while NSTART holds it back."""
        return 0 if self._entry is None else self._entry.transmissions

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
        self._targets.extend(await self._find_targets())
        self._results = trio.open_memory_channel[Response](1)
        try:
            self._send_to_next()
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
        problem = response.options.find_critical_problem(UNDERSTOOD_OPTIONS)
        if problem is not None:
            self._error = UnprocessableResponse(response, problem)
            count_unprocessable(self._endpoint, response, problem, now)
        elif self._results is not None:
            self._results[0].send_nowait(response)
        # A response also says that the request has arrived: its ACK may have been lost (section 5.2.2).
        self._end()
        return problem is None

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        self._error = trio.ClosedResourceError("the endpoint was closed")
        self._end()

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`: the response may still take its time."""

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`: the next address is tried, if there is one."""
        if entry is not self._entry and self._entry is not None:
            return
        self._drop_token()
        # A Reset comes from somebody who is there: another address would be asked the same.
        if not self._targets or isinstance(error, ResetReceived):
            self._error = error
            self._end()
            return
        try:
            self._send_to_next()
        except LocalProtocolError as exc:
            # It is for who waits here; the engine, which calls, has others to serve.
            self._error = exc
            self._end()

    def _send_to_next(self) -> None:
        """Send the request to the next address; those that fail at once are passed over."""
        endpoint = self._endpoint
        request = self._request = self._targets.popleft()
        remote = request.destination_endpoint
        assert isinstance(remote, Endpoint)
        request.token = endpoint.new_token(remote)
        self._key = (remote, request.token)
        endpoint.tokens[self._key] = self
        self._entry = None
        entry = endpoint.send(request, remote, parameters=self._parameters, listener=self)
        # A send that failed at once has already gone on to the next address, or to the end.
        if self._key == (remote, request.token):
            self._entry = entry

    def _drop_token(self) -> None:
        if self._key is not None:
            self._endpoint.tokens.pop(self._key, None)
            self._key = None

    def _end(self) -> None:
        """End the request; it may have ended before."""
        self._drop_token()
        self._targets.clear()
        if self._entry is not None:
            self._entry.complete(self._endpoint.clock())
        if self._results is not None:
            self._results[0].close()


def count_unprocessable(endpoint: LocalEndpoint, response: Response, problem: OptionProblem, now: float) -> None:
    """Count *response*, which is rejected for *problem*."""
    source = response.source_endpoint
    assert source is not None
    endpoint.count_rejection(CRITICAL_PROBLEM, "5.4.1", source, str(problem), now=now)
