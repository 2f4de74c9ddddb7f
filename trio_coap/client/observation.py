"""An observation under way: a resource's states as they come (:rfc:`7641` section 3).

=======================================================  ==========================================================
what comes                                               what happens
=======================================================  ==========================================================
a notification newer than the last one (section 3.4)     it is for the consumer; an older one that waits gives way
one that was overtaken                                   acknowledged, and dropped
an older number, and a registration has not been         the registration under another token: the server may have
answered yet                                             been restarted, and count anew
an error response, or a response without Observe         the last one for the consumer: the observation has ended
nothing for Max-Age and 5 to 15 s (section 3.3.1)        the same registration again, under the same token
an acknowledgement of the first registration, and then   likewise, after EXCHANGE_LIFETIME
nothing
the first block of a state (:rfc:`7959` section 2.6)     the consumer fetches the rest; see :mod:`~trio_coap.client.states`
4.01 with an Echo, the first in a row (:rfc:`9175`)      the same registration again, with the Echo
no acknowledgement of a registration, or a Reset         the observation has ended, with an error
=======================================================  ==========================================================

Rule 1: the observation listens as long as it lives; registering again is a timer in the endpoint's queue, not a task
and not a part of the iteration, so that it happens on time whatever the consumer does.  Rule 2: whoever leaves
deregisters, unless the observation has ended: the registration may have arrived even where no response has.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, final

import trio

from trio_coap.client.attempt import Attempt, FindTargets, reject_unprocessable
from trio_coap.client.backpressure import Backpressure
from trio_coap.client.states import FetchError, StateReader, States
from trio_coap.client.transfer import find_challenge
from trio_coap.messaging.errors import DeliveryError
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import DEFAULT_MAX_AGE, SentMessageCacheEntry
from trio_coap.messaging.timer import Timer
from trio_coap.wire.codes import ACK, CON
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import ResponseError

REGISTER = 0
DEREGISTER = 1
"""The values of Observe in a request (:rfc:`7641` section 2)."""

SHORTEST_DELAY = 5.0
LONGEST_DELAY = 15.0
"""How long after Max-Age to register again, in seconds: at random, so that not all clients come at once (section 3.3.1)."""

REORDERING_TIME = 128.0
"""After so many seconds what arrives is newer, whatever its number (section 3.4)."""

HALF_OF_NUMBERS = 1 << 23
"""Observe numbers are 24 bits wide and compared in serial number arithmetic (section 3.4)."""

DEREGISTRATION_BOUND = 5.0
"""How long leaving waits for the acknowledgement of the deregistration, in seconds: long enough for one retransmission.
If it does not arrive, the next notification is rejected with a Reset, which ends the observation too."""


def is_newer(number: int, received_at: float, last_number: int, last_received_at: float) -> bool:
    """Return whether a notification is newer than the last one (:rfc:`7641` section 3.4).

    Args:
      number, received_at: Observe of the one that has arrived, and when it did, in seconds.
      last_number, last_received_at: those of the newest one before.
    """
    if received_at > last_received_at + REORDERING_TIME:
        return True
    return 0 < (number - last_number) % (2 * HALF_OF_NUMBERS) < HALF_OF_NUMBERS


@final
class Observation:
    """A resource under observation: an async context manager that registers on entering, and an iterator of its states.

    Made by :meth:`Client.observe`.  Leaving deregisters, by whatever way, cancellation included; this takes at most
    ``DEREGISTRATION_BOUND`` seconds.  What still comes is rejected with a Reset.

    The newest state wins: who iterates slowly misses states, never the last one.

    Example::

        async with client.observe("coap://[::1]/time") as observation:
            async for response in observation:
                print(response.text)
    """

    def __init__(
        self,
        endpoint: LocalEndpoint,
        find_targets: FindTargets,
        parameters: TransmissionParameters | None = None,
        reader: StateReader | None = None,
        backpressure: Backpressure | None = None,
        received: Callable[[Response], None] | None = None,
    ) -> None:
        """Prepare an observation; nothing is sent yet.

        Args:
          endpoint: which sends the registration.
          find_targets: finds the registrations for each address, in the order in which they are to be tried.
          parameters: the transmission parameters of the requests.
          reader: puts states in blocks together; by default their first blocks are what the consumer gets.
          backpressure: whom to hold registrations back from; by default nobody.
          received: is told each state when it arrives, the newest one so far, before the consumer gets it; must not raise.
        """
        self._received = received
        self._endpoint = endpoint
        self._find_targets = find_targets
        self._parameters = parameters
        self._backpressure = backpressure
        self._attempt = Attempt(endpoint, self, parameters)
        self._states = States(reader, self._register_after_failure)
        self._timer = Timer(endpoint.queue, self._register_when_due)
        self._is_entered = False
        self._is_observed = False
        self._is_challenged = False
        self._is_renewing = False
        self._last: tuple[int, float] | None = None
        self._has_heard = False

    @property
    def skipped(self) -> int:
        """How many states the consumer has missed: they gave way to newer ones, or their blocks could not be read."""
        return self._states.skipped

    @property
    def is_observed(self) -> bool:
        """True from the first notification until the end.

        False after the first response means that the server does not let this resource be observed, now at least: it
        is a plain response, and the iteration ends with it.
        """
        return self._is_observed

    @property
    def request(self) -> Request:
        """The last registration that was sent, to the address that is being tried.

        Raises:
          LocalProtocolError: before the observation is entered.
        """
        if self._attempt.request is None:
            raise LocalProtocolError("nothing is sent before the observation is entered")
        return self._attempt.request

    async def receive(self) -> Response:
        """Wait for the next state.

        A state that comes in blocks is put together here, from the block of the notification and those that are fetched
        now.  If that fails, because the state has changed or the server says no, the state is skipped, and the
        observation registers again 5 to 15 seconds later, which brings the state of then; the failure is raised if the
        observation has ended, or with the fourth failure in a row.

        Cancelling gives up waiting, not the observation: leaving does that.  A state that was being read is not lost.

        Returns:
          The newest response that was not received yet; whatever its code: one that is no success is the last one.

        Raises:
          TransmissionTimeout: if nobody acknowledged a registration.
          ResetReceived: if the peer rejected it.
          NetworkError: if the network said that it cannot be delivered.
          UnprocessableResponse: if a response has a critical option that is not known.
          BodyTooLarge: if a state is larger than *max_body*; the observation goes on.
          BlockTransferError, ResponseError, DeliveryError: if a state could not be read; the observation goes on, unless
            it has ended before.
          trio.EndOfChannel: if the observation has ended.
          trio.ClosedResourceError: if the endpoint was closed, or the observation left.
        """
        if not self._is_entered:
            raise LocalProtocolError("nothing is sent before the observation is entered")
        return await self._states.receive(lambda: self.request)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Response:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise LocalProtocolError("an observation is entered once; make another one")
        targets = await self._find_targets()
        if self._backpressure is not None:
            await self._backpressure.wait(targets[0].destination_endpoint)
        self._is_entered = True
        try:
            self._attempt.start(targets)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        registration = self._attempt.request if self._may_be_registered else None
        self._end()
        self._states.close()
        if registration is not None:
            with trio.CancelScope(deadline=trio.current_time() + DEREGISTRATION_BOUND, shield=True):
                await self._deregister(registration)

    @property
    def _may_be_registered(self) -> bool:
        return self._is_observed or (self._attempt.is_listening and self._attempt.transmissions > 0)

    # What the engine says.

    def response_received(self, response: Response, now: float) -> bool:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        error = reject_unprocessable(self._endpoint, response, now)
        if error is not None:
            self.request_failed(error)
            return False
        # The server knows of us, whether it has answered this registration or an earlier one.
        self._attempt.settle()
        self._attempt.complete(now)
        if self._backpressure is not None:
            self._backpressure.take_note(response, now)
        echo = find_challenge(response)
        self._is_challenged = echo is not None and not self._is_challenged
        if self._is_challenged:
            self._register_again(now, echo)
            return True
        number = response.options.observe
        if number is None or not response.code.is_success:
            self._put(response)
            self._end()
            return True
        self._is_observed = True
        # What answers a registration is newer than all that came before it was sent, whoever counts at the server.
        is_answer = response.type is ACK and not self._has_heard
        if is_answer or self._last is None or is_newer(number, now, *self._last):
            self._has_heard = True
            self._last = (number, now)
            self._put(response)
            self._start_timer(response.options.max_age, now)
        elif self._is_renewing and (response.type is ACK or not self._has_heard):
            # It answers the last registration, or is older than that: nobody can tell whether the server counts anew.
            self._register_again(now, afresh=True)
        return True

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        self.request_failed(trio.ClosedResourceError("the endpoint was closed"))

    def request_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.client.attempt.AttemptListener`: the first response may take its time, a later one less."""
        if self._is_observed:
            self._start_timer(None, now)
        else:
            self._timer.start(now + self._endpoint.parameters.exchange_lifetime)

    def request_failed(self, error: Exception) -> None:
        """See :class:`trio_coap.client.attempt.AttemptListener`."""
        self._states.end(error)
        self._end()

    def _put(self, response: Response) -> None:
        if self._received is not None:
            self._received(response)
        self._states.put(response)

    def _start_timer(self, max_age: int | None, now: float) -> None:
        fresh_for = DEFAULT_MAX_AGE if max_age is None else max_age
        self._timer.start(now + fresh_for + self._endpoint.rng.uniform(SHORTEST_DELAY, LONGEST_DELAY))

    def _register_when_due(self, now: float) -> None:
        remote = self.request.destination_endpoint
        held_until = None if self._backpressure is None else self._backpressure.held_until(remote, now)
        if held_until is None:
            self._register_again(now)
        else:
            self._timer.start(held_until)

    def _register_after_failure(self, error: FetchError) -> None:
        """Have the server tell its state once more, soon: the next notification may be far away."""
        response = error.response if isinstance(error, ResponseError) else None
        self._start_timer((response and response.options.max_age) or 0, self._endpoint.clock())

    def _register_again(self, now: float, echo: bytes | None = None, *, afresh: bool = False) -> None:
        self._is_renewing = self._is_observed and not afresh
        if afresh:
            self._last = None
        registration = self.request.replace(echo=echo)
        self._has_heard = False
        try:
            # Of a registration that holds the token is kept (section 3.3.1), as long as one can tell old from new.
            self._attempt.send_again(registration, now, with_new_token=afresh or not self._is_observed)
        except (LocalProtocolError, trio.ClosedResourceError) as exc:
            self.request_failed(exc)
            return
        if self._is_observed and registration.type is not CON:
            self._start_timer(None, now)  # Nothing says whether it has arrived.

    async def _deregister(self, registration: Request) -> None:
        """Say that nothing is wanted any more, and wait until that has arrived (:rfc:`7641` section 3.6)."""
        deregistration = registration.replace(observe=DEREGISTER, echo=None)
        deregistration.message_id = None
        deregistration.type = CON
        arrival = _Arrival()
        try:
            entry = self._endpoint.send(deregistration, parameters=self._parameters, listener=arrival)
        except (LocalProtocolError, trio.ClosedResourceError):
            return  # Too much waits for this remote already, or the endpoint has closed: a Reset must do.
        try:
            await arrival.is_known.wait()
        finally:
            entry.complete(self._endpoint.clock())

    def _end(self) -> None:
        """End the observation; it may have ended before."""
        self._attempt.end()
        self._is_observed = False
        self._timer.stop()
        self._states.end()


@final
class _Arrival:
    """Learns what becomes of a deregistration; its response is in the acknowledgement, or does not matter."""

    def __init__(self) -> None:
        self.is_known = trio.Event()

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        self.is_known.set()

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        self.is_known.set()

    def endpoint_closed(self) -> None:
        self.is_known.set()
