"""One client that observes one resource: what it is sent, and when (:rfc:`7641` sections 4.2 to 4.5).

=======================================================  ====================================================
what happens                                             what is sent
=======================================================  ====================================================
a new state, and nothing is on its way                   a CON or NON notification, as the policy says
a new state, and a CON waits for its ACK or its turn     the new one in its place: at the next retransmission, or
                                                         after the ACK, whichever is first (section 4.5.2)
a new state, and a NON was sent a moment ago             the newest one, when the next NON may go (section 4.5.1)
a new state, and too much that was sent is remembered    the newest one, a little later
24 hours without a CON                                   the state, as a CON (section 4.5)
a new state, and the client's address is not verified    a CON notification
an error, or another Content-Format                      the error, or 4.06, without Observe; then nothing any more
a Reset, no ACK, an error of the network                 nothing any more
=======================================================  ====================================================

Rule: at most one notification is in flight.  NSTART counts it as any other CON message.  PROBING_RATE does not hold NON
notifications back, which are responses to a request: for them there is the limit of section 4.5.1.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, final

import trio

from trio_coap.messaging.errors import DeliveryError, ResetReceived, SendLimitReached
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.messaging.timer import Timer
from trio_coap.server.observable import Observable, current_task
from trio_coap.wire.codes import CON, NON, Code, MessageType
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import NotAcceptable

if TYPE_CHECKING:
    from trio_coap.messaging.endpoint import Endpoint
    from trio_coap.server.observers import Observers

_logger = logging.getLogger(__name__)

_COMPLETED = SentState.COMPLETED

LONGEST_UNCONFIRMED = 24 * 3600.0
"""There is a CON notification at least this often, in seconds: who does not want notifications any more, or is not
there any more, must not get them for ever (section 4.5)."""

NON_INTERVAL = 3.0
"""Between two NON notifications to one client of which no round-trip time is known, in seconds (section 4.5.1)."""


class Cancellable(Protocol):
    """What can be ended: a cancel scope, or a handler that runs."""

    def cancel(self) -> None:
        """End it."""


@final
class Observer:
    """An entry in the list of observers.

    Attributes:
      key: the remote endpoint and the token.
      observable: what is observed.
      parameters: those of its path.
      request: the registration, which the handler answers again and again.
      scope: ends the handler that runs for this observer in a task; None if none does.
      task: that one, if it computes a notification.
    """

    __slots__ = (
        "_begun_at",
        "_confirmed_at",
        "_content_format",
        "_entry",
        "_has_format",
        "_held",
        "_is_active",
        "_is_changed",
        "_is_computing",
        "_is_registered",
        "_local_address",
        "_non_in_a_row",
        "_number",
        "_observers",
        "_timer",
        "key",
        "observable",
        "parameters",
        "request",
        "scope",
        "task",
    )

    def __init__(
        self,
        observers: Observers,
        key: tuple[Endpoint, bytes],
        observable: Observable,
        parameters: dict[str, object],
        request: Request,
        entry: RcvdMessageCacheEntry,
        now: float,
    ) -> None:
        """Make an entry whose first response is still to come."""
        self.key = key
        self.observable = observable
        self.parameters = parameters
        self.request = request
        self.scope: Cancellable | None = None
        self.task: trio.lowlevel.Task | None = None
        self._observers = observers
        self._local_address = entry.local_address
        self._confirmed_at = self._begun_at = now
        self._is_active = True
        self._is_registered = False
        self._is_computing = False
        self._is_changed = False
        self._content_format: int | None = None
        self._has_format = False
        self._entry: SentMessageCacheEntry | None = None
        self._held: Response | None = None
        self._non_in_a_row = 0
        self._number = 0
        self._timer = Timer(observers.endpoint.queue, self._time_has_come)

    @property
    def attempts(self) -> int:
        """How often what is on its way was sent; 0 if it waits."""
        return 0 if self._entry is None else self._entry.attempts

    @property
    def is_active(self) -> bool:
        """False once the observation has ended."""
        return self._is_active

    # Registration.

    def register_again(
        self, request: Request, parameters: dict[str, object], entry: RcvdMessageCacheEntry, now: float
    ) -> None:
        """Take another registration under the same token: its response comes in place of what is on its way."""
        self._stop_sending(now)
        self.request = request
        if parameters != self.parameters:
            self.parameters = parameters
            self.observable.add(self)
        self._local_address = entry.local_address
        self._begun_at = now
        self._is_registered = self._is_changed = self._has_format = False

    def registered(self, response: Response, now: float) -> Response:
        """Take the response to the registration, and return it as it is to be sent.

        A success enters the observer in the list; everything else removes it.
        """
        self.scope = None
        if not self._is_active:
            return response
        if not response.code.is_success:
            self._observers.remove(self, now)
            return response
        self._is_registered = True
        self._confirmed_at = now
        self._non_in_a_row = 0
        self._is_other_format(response)
        self._timer.start(now + LONGEST_UNCONFIRMED)
        self._number = self._observers.next_number()
        return response.replace(observe=self._number)

    def responded(self, entry: SentMessageCacheEntry | None) -> None:
        """Take note of how the response to the registration went: in a message of its own, or piggybacked."""
        if not self._is_active:
            return
        self._entry = entry
        if self._is_changed:
            self.changed()

    # What the resource says.

    def changed(self) -> None:
        """See :class:`trio_coap.server.observable.Observing`."""
        if not self._is_active:
            return
        if self._is_computing or (self.task is not None and self.task is current_task()):
            return  # The handler itself says so: what it is about to return is the new state.
        if self.scope is not None or not self._is_registered:
            self._is_changed = True
            return
        self._is_changed = False
        self._is_computing = True
        try:
            self._observers.compute(self)
        finally:
            self._is_computing = False

    def deliver(self, response: Response, now: float) -> None:
        """Send a new state, or what ends the observation; *response* is used nowhere else."""
        if not self._is_active:
            return
        if response.code is not Code.CONTENT and not response.code.is_success:
            self.finish(response)
            return
        if self._is_other_format(response):
            text = f"the Content-Format is {response.options.content_format} now, no longer {self._content_format}"
            self.finish(NotAcceptable(text).to_response())
            return
        response.options, self._number = self._observers.number(response.options, self._number)
        self._send(response, now)
        if self._is_changed and self._is_active:
            self.changed()

    def finish(self, response: Response) -> None:
        """See :class:`trio_coap.server.observable.Observing`."""
        if not self._is_active:
            return
        now = self._observers.endpoint.clock()
        self._observers.remove(self, now)
        self._observers.farewells.add(self)
        self._submit(response.replace(observe=None), CON, now)

    def end(self, response: Response) -> None:
        """End the observation with *response*; if the registration is not answered yet, with its answer."""
        if self._is_registered:
            self.finish(response)
            return
        self.scope = None  # The handler goes on.
        self._observers.remove(self, self._observers.endpoint.clock())

    def stop(self, now: float) -> None:
        """Stop all that is done for this observer, which is in the list no more."""
        self._is_active = False
        self._stop_sending(now)

    # What the engine says.

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`: what came up meanwhile is sent now."""
        if not self._is_active:
            self._observers.remove(self, now)
            return
        if entry.attempts == 1 and entry.activated_at is not None:
            self._observers.round_trips[self.key[0]] = now - entry.activated_at
        newer = entry.superseding
        if isinstance(newer, Response):
            self._send(newer, now)

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`: the client is gone, or has had enough."""
        if entry.created_at < self._begun_at:
            return  # What was sent before it registered again is not about this time.
        is_silent = not self._is_active and not isinstance(error, ResetReceived)
        self._observers.remove(self, now)
        if is_silent:
            self._observers.give_up(self.key[0], now)

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        self._observers.remove(self, self._observers.endpoint.clock())

    def _is_other_format(self, response: Response) -> bool:
        """Return whether the Content-Format has changed (section 4.2); 2.03 says nothing about it."""
        if response.code is not Code.CONTENT:
            return False
        content_format = response.options.content_format
        if not self._has_format:
            self._has_format = True
            self._content_format = content_format
        return content_format != self._content_format

    def _send(self, response: Response, now: float) -> None:
        """Send *response* as soon as it may be sent, in place of whatever waits."""
        if self._entry is not None:
            waiting = self._entry = self._entry.newest
            if waiting.state is not _COMPLETED:  # It waits for its turn, or for its ACK.
                self._supersede(waiting, response, now)
                return
        if self.observable.policy.confirmable or self._must_confirm(now):
            self._submit(response, CON, now)
            return
        allowed_at = self._observers.non_allowed_at.get(self.key[0], now)
        if allowed_at > now:
            self._hold(response, allowed_at)
            return
        self._submit(response, NON, now)

    def _supersede(self, waiting: SentMessageCacheEntry, response: Response, now: float) -> None:
        response.token, response.type = self.key[1], waiting.message.type
        try:
            waiting.supersede(response)
        except LocalProtocolError as exc:
            self._fail(exc, now)

    def _must_confirm(self, now: float) -> bool:
        is_due = now >= self._confirmed_at + LONGEST_UNCONFIRMED  # Exactly what the timer was set to.
        if self._non_in_a_row >= self.observable.policy.max_non or is_due:
            return True
        # Its address may be forged: one message asks whether anybody there wants more.
        return not self._observers.is_verified(self.key[0], now)

    def _submit(self, response: Response, type: MessageType, now: float) -> None:
        endpoint = self._observers.endpoint
        if endpoint.is_closed:
            return
        remote, token = self.key
        response.token, response.type, response.message_id = token, type, None
        self._held = None
        try:
            entry = endpoint.remote_state(remote).submit(
                response,
                now,
                listener=self,
                local_address=self._local_address,
                is_solicited=True,
            )
        except SendLimitReached as exc:
            # Too much is remembered of what went to all clients: this one has done nothing, and gets it later.
            if self._is_active:
                self._hold(response, now + NON_INTERVAL)
            else:
                self._fail(exc, now)
            return
        except LocalProtocolError as exc:
            self._fail(exc, now)
            return
        self._entry = entry
        if self._is_active:
            self._count(type, now)

    def _hold(self, response: Response, until: float) -> None:
        self._held = response
        self._timer.start(until)

    def _count(self, type: MessageType, now: float) -> None:
        if type is CON:
            self._confirmed_at = now
            self._non_in_a_row = 0
        else:
            self._non_in_a_row += 1
            remote = self.key[0]
            interval = self._observers.round_trips.get(remote, NON_INTERVAL)
            self._observers.non_allowed_at[remote] = now + interval
        if self._timer.queue_time is None:
            self._timer.start(self._confirmed_at + LONGEST_UNCONFIRMED)

    def _fail(self, exc: LocalProtocolError, now: float) -> None:
        _logger.warning("an observation of %r ended: %s", self.request, exc)
        self._observers.remove(self, now)

    def _time_has_come(self, now: float) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._send(held, now)
        elif now >= self._confirmed_at + LONGEST_UNCONFIRMED:
            self.changed()
        if self._is_active and self._timer.queue_time is None:
            # The timer is not moved with each CON: there may be another day.
            due = self._confirmed_at + LONGEST_UNCONFIRMED
            self._timer.start(due if due > now else now + LONGEST_UNCONFIRMED)

    def _stop_sending(self, now: float) -> None:
        self._timer.stop()
        self._held = None
        if self.scope is not None:
            self.scope.cancel()
            self.scope = None
        if self._entry is not None:
            self._entry.newest.complete(now)
            self._entry = None
