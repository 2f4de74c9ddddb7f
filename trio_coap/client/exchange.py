"""One exchange of messages, which one task asks for and waits for: what ``get()`` and its kin are made of.

Rule 1: whatever ends the waiting ends the request, synchronously, so that nothing of a cancelled one goes on.  Rule 2: a
response counts if remote endpoint and token match; its critical options must be known.  Rule 3: the only timeout is the
caller's cancel scope.

A :class:`RequestHandle` has a memory channel, since anybody may receive from it, whenever they like.  Here who sends is who
waits, at once and for one response: the task is parked, and woken when there is an outcome.  A channel would cost more than
all the rest of the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from trio_coap.client.attempt import Attempt, reject_unprocessable
from trio_coap.client.backpressure import Backpressure
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.message import Request, Response


@final
class Exchange:
    """A request and its response; it runs once."""

    __slots__ = ("_attempt", "_backpressure", "_endpoint", "_outcome", "_task")

    def __init__(
        self,
        endpoint: LocalEndpoint,
        parameters: TransmissionParameters | None = None,
        backpressure: Backpressure | None = None,
    ) -> None:
        """Prepare an exchange; nothing is sent yet.

        Args:
          endpoint: which sends the request.
          parameters: the transmission parameters of the request.
          backpressure: is told of the response; by default nobody is.
        """
        self._endpoint = endpoint
        self._backpressure = backpressure
        self._attempt = Attempt(endpoint, self, parameters)
        self._outcome: Response | Exception | None = None
        self._task: trio.lowlevel.Task | None = None

    async def run(self, targets: Sequence[Request]) -> Response:
        """Send the request to the first address that takes it, and return the response.

        Args:
          targets: the request for each address, the preferred one first.

        Raises:
          CoapError: see :meth:`RequestHandle.receive`.
        """
        attempt = self._attempt
        try:
            attempt.start(targets)
            if self._outcome is None:
                self._task = current_task()
                await wait_task_rescheduled(self._abort)
            else:
                await trio.lowlevel.checkpoint()
        finally:
            attempt.end()
            # They know each other: that would be a cycle for the garbage collector, for each request.
            del self._attempt
        outcome = self._outcome
        if isinstance(outcome, Response):
            return outcome
        assert outcome is not None
        try:
            raise outcome
        finally:
            del self, attempt, outcome  # The exception has this frame in its traceback.

    def _abort(self, raise_cancel: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def _end(self, outcome: Response | Exception, now: float | None = None) -> None:
        """End the request, with its *outcome*."""
        self._outcome = outcome
        self._attempt.end(now)
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    # What the engine says.

    def response_received(self, response: Response, now: float) -> bool:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        error = reject_unprocessable(self._endpoint, response, now)
        if error is None and self._backpressure is not None:
            self._backpressure.take_note(response, now)
        # A response also says that the request has arrived: its ACK may have been lost (section 5.2.2).
        self._end(response if error is None else error, now)
        return error is None

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        if self._outcome is None:
            self._end(trio.ClosedResourceError("the endpoint was closed"))

    def request_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.client.attempt.AttemptListener`: the response may still take its time."""

    def request_failed(self, error: Exception) -> None:
        """See :class:`trio_coap.client.attempt.AttemptListener`."""
        self._end(error)
