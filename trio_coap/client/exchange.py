"""Exchanges of messages, which one task asks for and waits for: what ``get()`` and its kin are made of.

Rule 1: whatever ends the waiting ends the request, synchronously, so that nothing of a cancelled one goes on.  Rule 2: a
response counts if remote endpoint and token match; its critical options must be known.  Rule 3: the only timeout is the
caller's cancel scope.

A :class:`RequestHandle` has a memory channel, since anybody may receive from it, whenever they like.  Here who sends is who
waits, at once and for one response: the task is parked, and woken when there is an outcome.  A channel would cost more than
all the rest of the client.  Where a response says which request comes next, as most blocks do, that goes out at once, and the
task sleeps on: to wake it for each would take longer than all that is to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from trio_coap.client.attempt import Attempt, reject_unprocessable
from trio_coap.client.backpressure import Backpressure
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.message import Request, Response

Follow = Callable[[Response], Request | None]
"""Says which request follows a response, to the same address; None if that is for who waits."""


@final
class Exchange:
    """A request and its response, and those that follow; it runs once."""

    __slots__ = ("_attempt", "_backpressure", "_endpoint", "_follow", "_outcome", "_task")

    def __init__(
        self,
        endpoint: LocalEndpoint,
        parameters: TransmissionParameters | None = None,
        backpressure: Backpressure | None = None,
        follow: Follow | None = None,
    ) -> None:
        """Prepare an exchange; nothing is sent yet.

        Args:
          endpoint: which sends the request.
          parameters: the transmission parameters of the request.
          backpressure: is told of the response; by default nobody is.
          follow: is asked synchronously which request follows; what it raises is for who waits.  By default none does.
        """
        self._endpoint = endpoint
        self._backpressure = backpressure
        self._follow = follow
        self._attempt: Attempt | None = Attempt(endpoint, self, parameters)
        self._outcome: Response | Exception | None = None
        self._task: trio.lowlevel.Task | None = None

    async def run(self, targets: Sequence[Request]) -> Response:
        """Send the request to the first address that takes it, and return the response, or that to the last that follows.

        Args:
          targets: the request for each address, the preferred one first.

        Raises:
          CoapError: see :meth:`RequestHandle.receive`.
        """
        attempt = self._attempt
        assert attempt is not None
        try:
            attempt.start(targets)
            if self._outcome is None:
                self._task = current_task()
                await wait_task_rescheduled(self._abort)
            else:
                await trio.lowlevel.checkpoint()
        finally:
            attempt.end()
            # They know each other: that would be a cycle for the garbage collector, for each request.  What was raised
            # where a request was to follow has this exchange in its traceback.
            self._attempt = self._follow = None
            outcome, self._outcome = self._outcome, None
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
        """End the request, with its *outcome*, unless it has ended.

        An interrupt by the keyboard may have ended it in the midst of sending: then the engine knows of it still.
        """
        attempt = self._attempt
        if attempt is None:
            return
        self._outcome = outcome
        attempt.end(now)
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
        if error is not None:
            self._end(error, now)
        elif self._follow is None or not self._go_on(self._follow, response, now):
            self._end(response, now)
        return error is None

    def _go_on(self, follow: Follow, response: Response, now: float) -> bool:
        """Send the request that follows *response*, or end with what is wrong about it; False if none follows."""
        attempt = self._attempt
        if attempt is None or self._task is None:
            return False  # The waiting is over, or has not begun.
        try:
            request = follow(response)
            if request is None:
                return False
            attempt.send_again(request, now, with_new_token=True)
        except Exception as exc:
            self._end(exc, now)
        return True

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        if self._outcome is None:
            self._end(trio.ClosedResourceError("the endpoint was closed"))

    def request_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.client.attempt.AttemptListener`: the response may still take its time."""

    def request_failed(self, error: Exception) -> None:
        """See :class:`trio_coap.client.attempt.AttemptListener`."""
        self._end(error)
