"""The list of observers of one server (:rfc:`7641` sections 4.1 and 4.2).

=======================================================  ====================================================
what a client sends                                      what happens
=======================================================  ====================================================
GET or FETCH with Observe 0, of something observable     it is in the list if the response is a success
the same under a token that is in the list               it is in the list once, with the new request; what was on
                                                         its way, an error included, is not sent any more
GET or FETCH with Observe 1                              it is taken from the list, and its handler is cancelled
a Reset, or no ACK for a notification                    the same
a Reset for the response to the registration             the same
a registration that wants no 2.xx (:rfc:`7967`)          nothing is registered; what was before, under its token, ends
either, refused before it is known what it is about      what was observed under its token is observed no longer
one registration above a limit                           it gets a response, without Observe
=======================================================  ====================================================

Rule 1: an entry is one remote endpoint and one token.  Rule 2: for each entry one handler runs at a time; changes
meanwhile are one change after it.  Rule 3: Observe numbers come from one counter, so that they rise from one registration
to the next too; if 2^23 of them pass between two notifications to one client, 128 s have passed as well.  It moves on for a
registration, and for who has got its number already; others share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol, final

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.server.limits import MAX_OBSERVERS, MAX_OBSERVERS_PER_REMOTE
from trio_coap.server.noresponse import wants_success
from trio_coap.server.observable import FindObservable, begin_to_ask
from trio_coap.server.observer import Observer
from trio_coap.server.workers import Running, Workers
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import ResponseError

OBSERVABLE_METHODS = frozenset({Code.GET, Code.FETCH})

NUMBERS = 1 << 24
"""Observe numbers are 24 bits wide (:rfc:`7641` section 4.4)."""

REGISTER, DEREGISTER = 0, 1

_OBSERVE = 6


class Answering(Protocol):
    """Who computes responses."""

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Return the response to *request*, or what it comes from; whatever fails is a response too."""


@final
class Farewells:
    """Who is in the list no more, while its last message is on its way; ``len(farewells)`` is their number."""

    def __init__(self) -> None:
        """Start without any."""
        self._count = 0
        self._by_remote: dict[Endpoint, dict[bytes, Observer]] = {}

    def __len__(self) -> int:
        return self._count

    def get(self, key: tuple[Endpoint, bytes]) -> Observer | None:
        """Return who had that remote endpoint and token, or None."""
        of_remote = self._by_remote.get(key[0])
        return None if of_remote is None else of_remote.get(key[1])

    def to(self, remote: Endpoint) -> list[Observer]:
        """Return those of *remote*, in the order in which they left."""
        return list(self._by_remote.get(remote, {}).values())

    def add(self, observer: Observer) -> None:
        """Take note that *observer* is about to get its last message; nobody else with its key does."""
        remote, token = observer.key
        of_remote = self._by_remote.setdefault(remote, {})
        assert token not in of_remote
        of_remote[token] = observer
        self._count += 1

    def discard(self, observer: Observer) -> bool:
        """Forget *observer*, and return whether it was known."""
        remote, token = observer.key
        of_remote = self._by_remote.get(remote)
        if of_remote is None or of_remote.get(token) is not observer:
            return False
        del of_remote[token]
        self._count -= 1
        if not of_remote:
            del self._by_remote[remote]
        return True


@final
class Observers:
    """The observers of one server.

    ``len(observers)`` is their number, those included whose first response is still computed.
    """

    def __init__(
        self,
        handler: object,
        answering: Answering,
        endpoint: DrivenEndpoint,
        workers: Workers,
        is_verified: Callable[[Endpoint, float], bool],
        when_told: Callable[[], None],
        max_observers: int = MAX_OBSERVERS,
        max_observers_per_remote: int = MAX_OBSERVERS_PER_REMOTE,
    ) -> None:
        """Start without observers.

        Args:
          handler: says what can be observed, if it is an :class:`trio_coap.server.observable.ObservableHandler`.
          answering: computes the notifications.
          endpoint: sends them.
          workers: the tasks of ``async def`` handlers.
          is_verified: says whether a remote endpoint has shown that it receives at its address.
          when_told: is called when no last notification is on its way any more.
          max_observers, max_observers_per_remote: how many there may be.
        """
        self.endpoint = endpoint
        self.is_verified = is_verified
        self._when_told = when_told
        # Not by isinstance: a handler around another one may forward the attribute, None if that one has none.
        self._find_observable: FindObservable | None = getattr(handler, "find_observable", None)
        self._answering = answering
        self._workers = workers
        self._max_observers = max_observers
        self._max_observers_per_remote = max_observers_per_remote
        self._observers: dict[tuple[Endpoint, bytes], Observer] = {}
        # Who is in the list no more, while its last message is on its way; as many as the endpoint may send.
        self.farewells = Farewells()
        self._per_remote: Counter[Endpoint] = Counter()
        self._number = 0
        # The options of the last notification, without the Observe number and with it.
        self._plain_options: Options | None = None
        self._numbered_options = Options()
        # When the next NON notification may go to a remote; there is nothing here of those without observers.
        self.non_allowed_at: dict[Endpoint, float] = {}
        self.round_trips: dict[Endpoint, float] = {}

    def __len__(self) -> int:
        return len(self._observers)

    def __bool__(self) -> bool:
        return True

    def next_number(self) -> int:
        """Return an Observe number that nobody has got, for the response to a registration (section 4.4)."""
        self._number = (self._number + 1) % NUMBERS
        self._plain_options = None
        return self._number

    def number(self, options: Options, last: int) -> tuple[Options, int]:
        """Return *options* with the Observe number of a notification, and that number (section 4.4).

        Most notifications of one change have the same options then, which are encoded once.

        Args:
          options: of the notification.
          last: the number that its observer has got before.
        """
        number = self.next_number() if last == self._number else self._number
        if options is not self._plain_options and options != self._plain_options:
            self._plain_options, self._numbered_options = options, options.with_uint(_OBSERVE, number)
        return self._numbered_options, number

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> Observer | None:
        """Take a request into account before its handler runs.

        Returns:
          Who is to have the response: :meth:`Observer.registered` takes it.  None if nothing is registered.
        """
        observe = request.options.observe
        if observe is None or request.code not in OBSERVABLE_METHODS or observe not in (REGISTER, DEREGISTER):
            return None
        key = (entry.remote.endpoint, request.token)
        leaving = self.farewells.get(key)
        if leaving is not None:  # It would come after the response, and end what begins now.
            self.remove(leaving, now)
        known = self._observers.get(key)
        found = None
        if observe == REGISTER and self._find_observable is not None and not entry.is_multicast:
            found = self._find_observable(request) if wants_success(request) else None
        if found is None or (known is not None and known.observable is not found[0]):
            if known is not None:
                self.remove(known, now)
                known = None
            if found is None:
                return None
        if known is not None:
            known.register_again(request, found[1], entry, now)
            return known
        if not self._has_room_for(key[0]):
            return None
        observer = Observer(self, key, found[0], found[1], request, entry, now)
        self._observers[key] = observer
        self._per_remote[key[0]] += 1
        # From now on: the state may change while its handler still runs.
        observer.observable.add(observer)
        return observer

    def is_further(self, request: Request, remote: Endpoint) -> bool:
        """Return whether *request* asks for notifications, and *remote* gets others already."""
        is_registration = request.options.observe == REGISTER and request.code in OBSERVABLE_METHODS
        return is_registration and self._per_remote[remote] > 0 and (remote, request.token) not in self._observers

    def refuse(self, request: Request, remote: Endpoint, now: float) -> None:
        """Take into account that *request* was answered by an error before it could be about an observation."""
        if request.options.observe in (REGISTER, DEREGISTER):
            observer = self._observers.get((remote, request.token))
            if observer is not None:
                self.remove(observer, now)

    def remove(self, observer: Observer, now: float) -> None:
        """Take *observer* from the list, and stop all that is done for it."""
        if self._observers.get(observer.key) is observer:
            del self._observers[observer.key]
            remote = observer.key[0]
            self._per_remote[remote] -= 1
            if not self._per_remote[remote]:
                del self._per_remote[remote]
                self.non_allowed_at.pop(remote, None)
                self.round_trips.pop(remote, None)
        if self.farewells.discard(observer) and not self.farewells:
            self._when_told()
        observer.observable.discard(observer)
        observer.stop(now)

    def reject(self, remote: Endpoint, request: Request, now: float) -> None:
        """Take into account that *remote* does not want the response to *request*, its registration perhaps."""
        observer = self._observers.get((remote, request.token))
        if observer is not None and observer.request.message_id == request.message_id:
            self.remove(observer, now)

    def finish(self, error: ResponseError) -> None:
        """End all observations with *error*, a last notification; who is just registering gets a plain response."""
        for observer in list(self._observers.values()):
            observer.end(error.to_response())

    def give_up(self, remote: Endpoint, now: float) -> None:
        """Take into account that *remote* was silent to a last notification: it gets no others that have to wait for it."""
        # From the end: one that waits takes the place of one that is given up before it, and would be sent.
        for observer in reversed(self.farewells.to(remote)):
            if observer.attempts <= 1:
                self.remove(observer, now)

    def clear(self) -> None:
        """Take all observers from the list, because the server ends; they are not told."""
        now = self.endpoint.clock()
        for observer in list(self._observers.values()):
            self.remove(observer, now)

    def compute(self, observer: Observer) -> None:
        """Ask the handler for the state, and send it to *observer*."""
        if self.endpoint.is_closed:
            self.clear()
            return
        answer = self._answering.answer(observer.request)
        if isinstance(answer, Response):
            observer.deliver(answer, self.endpoint.clock())
            return
        running = observer.scope = Running()
        self._workers.start(running, self._compute_later(observer, running, answer))

    async def _compute_later(self, observer: Observer, running: Running, answer: Awaitable[Response]) -> None:
        task = observer.task = begin_to_ask()
        try:
            response = await answer
        finally:
            if observer.task is task:
                observer.task = None
        # A handler may finish although it was cancelled: nobody wants to know any more.
        if not running.is_cancelled:
            observer.scope = None
            observer.deliver(response, self.endpoint.clock())

    def _has_room_for(self, remote: Endpoint) -> bool:
        turned_away = self.endpoint.counters.turned_away
        if len(self._observers) >= self._max_observers:
            turned_away["max_observers"] += 1
            return False
        if self._per_remote[remote] >= self._max_observers_per_remote:
            turned_away["max_observers_per_remote"] += 1
            return False
        return True
