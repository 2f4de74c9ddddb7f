"""An observation under way: a resource's states as they come (:rfc:`7641` section 3).

=======================================================  ====================================================
what comes                                               what happens
=======================================================  ====================================================
a notification newer than the last one (section 3.4)     it is for the consumer; an older one that waits gives way
one that was overtaken                                   acknowledged, and dropped
an error response, or a response without Observe         the last one for the consumer: the observation has ended
nothing for Max-Age and 5 to 15 s (section 3.3.1)        the same registration again, under the same token
no acknowledgement of a registration, or a Reset         the observation has ended, with an error
=======================================================  ====================================================

Rule 1: the observation listens as long as it lives; registering again is a timer in the endpoint's queue, not a task
and not a part of the iteration, so that it happens on time whatever the consumer does.  Rule 2: whoever leaves
deregisters, unless the observation has ended: the registration may have arrived even where no response has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, final

import trio

from trio_coap.client.handle import UNDERSTOOD_OPTIONS, FindTargets, UnprocessableResponse, count_unprocessable
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError, ResetReceived
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import DEFAULT_MAX_AGE, SentMessageCacheEntry
from trio_coap.messaging.timer import Timer
from trio_coap.wire.codes import ACK, CON
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Request, Response

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

    Attributes:
      skipped: how many states gave way to newer ones before the consumer came for them.

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
        received: Callable[[Response], None] | None = None,
    ) -> None:
        """Prepare an observation; nothing is sent yet.

        Args:
          endpoint: which sends the registration.
          find_targets: finds the registrations for each address, in the order in which they are to be tried.
          parameters: the transmission parameters of the requests.
          received: is told each state when it arrives, the newest one so far, before the consumer gets it; must not raise.
        """
        self.skipped = 0
        self._received = received
        self._endpoint = endpoint
        self._find_targets = find_targets
        self._parameters = parameters
        self._targets: deque[Request] = deque()
        self._registration: Request | None = None
        self._key: tuple[Endpoint | None, bytes] | None = None
        self._entry: SentMessageCacheEntry | None = None
        self._error: Exception | None = None
        self._channel: tuple[trio.MemorySendChannel[Response], trio.MemoryReceiveChannel[Response]] | None = None
        self._is_observed = False
        self._timer = Timer(endpoint.queue, self._register_again)
        self._last: tuple[int, float] | None = None
        self._has_heard = False

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
        if self._registration is None:
            raise LocalProtocolError("nothing is sent before the observation is entered")
        return self._registration

    async def receive(self) -> Response:
        """Wait for the next state.

        Cancelling gives up waiting, not the observation: leaving does that.

        Returns:
          The newest response that was not received yet; whatever its code: one that is no success is the last one.

        Raises:
          TransmissionTimeout: if nobody acknowledged a registration.
          ResetReceived: if the peer rejected it.
          NetworkError: if the network said that it cannot be delivered.
          UnprocessableResponse: if a response has a critical option that is not known.
          trio.EndOfChannel: if the observation has ended.
          trio.ClosedResourceError: if the endpoint was closed, or the observation left.
        """
        if self._channel is None:
            raise LocalProtocolError("nothing is sent before the observation is entered")
        try:
            return await self._channel[1].receive()
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
        if self._channel is not None:
            raise LocalProtocolError("an observation is entered once; make another one")
        self._targets.extend(await self._find_targets())
        self._channel = trio.open_memory_channel[Response](1)
        try:
            self._register_at_next()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        registration = self._registration if self._may_be_registered else None
        self._end()
        if self._channel is not None:
            self._channel[1].close()
        if registration is not None:
            with trio.CancelScope(deadline=trio.current_time() + DEREGISTRATION_BOUND, shield=True):
                await self._deregister(registration)

    @property
    def _may_be_registered(self) -> bool:
        if self._key is None:
            return False
        return self._is_observed or (self._entry is not None and self._entry.transmissions > 0)

    # What the engine says.

    def response_received(self, response: Response, now: float) -> bool:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        problem = response.options.find_critical_problem(UNDERSTOOD_OPTIONS)
        if problem is not None:
            self._error = UnprocessableResponse(response, problem)
            count_unprocessable(self._endpoint, response, problem, now)
            self._end()
            return False
        if self._entry is not None:
            # The server knows of us, whether it has answered this registration or an earlier one.
            self._entry.complete(now)
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
        return True

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.local.ResponseListener`."""
        self._error = trio.ClosedResourceError("the endpoint was closed")
        self._end()

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`: the first response may take its time, a later one not."""
        if self._is_observed:
            self._start_timer(None, now)

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`: the next address is tried, if there is one."""
        if entry is not self._entry and self._entry is not None:
            return
        # A Reset comes from somebody who is there: another address would be asked the same.
        if not self._targets or self._is_observed or isinstance(error, ResetReceived):
            self._error = error
            self._end()
            return
        self._drop_token()
        try:
            self._register_at_next()
        except LocalProtocolError as exc:
            # It is for who waits here; the engine, which calls, has others to serve.
            self._error = exc
            self._end()

    def _put(self, response: Response) -> None:
        if self._received is not None:
            self._received(response)
        assert self._channel is not None
        sender, receiver = self._channel
        try:
            sender.send_nowait(response)
        except trio.WouldBlock:
            receiver.receive_nowait()
            self.skipped += 1
            sender.send_nowait(response)

    def _start_timer(self, max_age: int | None, now: float) -> None:
        fresh_for = DEFAULT_MAX_AGE if max_age is None else max_age
        self._timer.start(now + fresh_for + self._endpoint.rng.uniform(SHORTEST_DELAY, LONGEST_DELAY))

    def _register_at_next(self) -> None:
        """Register at the next address; those that fail at once are passed over."""
        registration = self._registration = self._targets.popleft()
        remote = registration.destination_endpoint
        assert isinstance(remote, Endpoint)
        registration.token = self._endpoint.new_token(remote)
        self._key = (remote, registration.token)
        self._endpoint.tokens[self._key] = self
        self._send(registration, remote)

    def _register_again(self, now: float) -> None:
        assert self._registration is not None
        remote = self._registration.destination_endpoint
        assert isinstance(remote, Endpoint)
        registration = self._registration = self._registration.replace()
        registration.message_id = None
        try:
            self._send(registration, remote)
        except (LocalProtocolError, trio.ClosedResourceError) as exc:
            self._error = exc
            self._end()

    def _send(self, registration: Request, remote: Endpoint) -> None:
        self._has_heard = False
        self._entry = None
        key = self._key
        entry = self._endpoint.send(registration, remote, parameters=self._parameters, listener=self)
        # A send that failed at once has already gone on to the next address, or to the end.
        if self._key != key:
            return
        self._entry = entry
        if self._is_observed and registration.type is not CON:
            self._start_timer(None, self._endpoint.clock())  # Nothing says whether it has arrived.

    async def _deregister(self, registration: Request) -> None:
        """Say that nothing is wanted any more, and wait until that has arrived (:rfc:`7641` section 3.6)."""
        deregistration = registration.replace(observe=DEREGISTER)
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

    def _drop_token(self) -> None:
        if self._key is not None:
            self._endpoint.tokens.pop(self._key, None)
            self._key = None

    def _end(self) -> None:
        """End the observation; it may have ended before."""
        self._drop_token()
        self._targets.clear()
        self._is_observed = False
        self._timer.stop()
        if self._entry is not None:
            self._entry.complete(self._endpoint.clock())
        if self._channel is not None:
            self._channel[0].close()


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
