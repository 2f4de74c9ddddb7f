"""What can be observed: who changes it says so, with one call (:rfc:`7641` section 4).

Rule 1: saying so is synchronous and cheap, and never fails because of an observer.  Rule 2: the new state is what the
handler answers when it is asked again.  Rule 3: something observable belongs to an application, not to a server: it
can be served by several servers at a time, or by none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Protocol, final

import attrs
import trio

from trio_coap.server.matching import Matching
from trio_coap.server.results import HandlerResult
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import NotFound, ResponseError

DEFAULT_MAX_NON = 4
"""NON notifications in a row: after at most so many states that may be lost, one arrives or the observation ends."""


@final
@attrs.frozen
class NotificationPolicy:
    """How the observers of a resource are notified.

    Whatever it says, there is a CON notification at least every 24 hours (:rfc:`7641` section 4.5), and what ends an
    observation goes as a CON.

    Raises:
      LocalProtocolError: if a value is out of its range.
    """

    confirmable: bool = True
    """True for CON notifications: a state that is not superseded arrives, or the observation ends.  False for NON ones:
    they go at most once in a round trip, or in 3 s as long as that is not known (:rfc:`7641` section 4.5.1)."""

    max_non: int = DEFAULT_MAX_NON
    """After so many NON notifications in a row, one is a CON."""

    def __attrs_post_init__(self) -> None:
        if self.max_non < 0:
            raise LocalProtocolError(f"max_non is not negative, unlike {self.max_non}")


class Observing(Protocol):
    """A client that observes something; a server has one for each."""

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the path."""

    def changed(self) -> None:
        """Send the new state as soon as it may be sent; must not raise."""

    def finish(self, response: Response) -> None:
        """End the observation with *response*; must not raise."""


@final
class Observable:
    """Something that can be observed, and its observers.

    Each observable resource of a :class:`Site` has one.  With a handler it is itself a handler, so that what is
    served needs no site::

        clock = Observable(read_clock)
        await nursery.start(serve, clock)
        clock.notify()
    """

    def __init__(
        self,
        handler: Callable[[Request], HandlerResult | Awaitable[HandlerResult]] | None = None,
        policy: NotificationPolicy | None = None,
    ) -> None:
        """Make something that nobody observes.

        Args:
          handler: answers all requests, if this is to be a handler; those for its state are GET and FETCH.
          policy: how observers are notified.
        """
        self.policy = NotificationPolicy() if policy is None else policy
        self._handler = handler
        self._observers: Matching[Observing] = Matching()
        self._round: _Round | None = None

    def __len__(self) -> int:
        """Return the number of observers."""
        return len(self._observers)

    def __bool__(self) -> bool:
        return True

    def notify(self, **parameters: object) -> None:
        """Say that the state has changed: the handler is asked again for each observer.

        Several changes in quick succession may become one notification, with the last state.  A handler may call this
        too: who was asked before it is asked again then, once, and the one for whom it runs gets what it returns.

        Args:
          parameters: only observers whose parameters of the path have these values; by default all.
        """
        matching = self._observers.find(parameters)
        if self._round is not None:
            self._round.add(matching)
            return
        told = _told_here()
        self._round = _Round(told)
        before = _asking.set(_Asking(told))
        try:
            self._round.add(matching)
            self._round.run()
        finally:
            _asking.reset(before)
            self._round = None

    def end(self, error: ResponseError | None = None, **parameters: object) -> None:
        """End observations: the observers get *error*, and then nothing any more.

        They may register again; that what they ask for is gone, the handler has to say itself.

        Args:
          error: by default a :exc:`NotFound`: the resource was deleted.
          parameters: see :meth:`notify`.
        """
        error = NotFound("it was deleted") if error is None else error
        for observer in self._observers.find(parameters):
            observer.finish(error.to_response())

    def find_handler(self, request: Request) -> object:
        """Return the handler, which may have a policy for block-wise transfer; see :func:`block_policy`."""
        return self._handler

    def find_observable(self, request: Request) -> tuple[Observable, dict[str, object]]:
        """See :class:`ObservableHandler`."""
        return self, {}

    def __call__(self, request: Request) -> HandlerResult | Awaitable[HandlerResult]:
        """Answer *request* with the handler.

        Raises:
          LocalProtocolError: if there is none.
        """
        if self._handler is None:
            raise LocalProtocolError("this observable has no handler to serve")
        return self._handler(request)

    def add(self, observer: Observing) -> None:
        """Add an observer, or take note that it observes another path now; a server does so."""
        self._observers.add(observer, observer.parameters)

    def discard(self, observer: Observing) -> None:
        """Forget an observer, if it is known; a server does so."""
        self._observers.discard(observer)


@final
class _Round:
    """The observers that are told of a change, and of those that their handlers make meanwhile.

    Rule: each is told twice at most, in the tasks too in which handlers find out what the new state is; a handler each run
    of which is a change would go on for ever.  None is told from within the handler of another one, or many observers would
    make a deep stack.
    """

    def __init__(self, told: dict[Observing, int]) -> None:
        self._waiting: OrderedDict[Observing, None] = OrderedDict()
        self._told = told
        self._current: Observing | None = None

    def add(self, observers: list[Observing]) -> None:
        told = self._told
        if not told:
            self._waiting.update(dict.fromkeys(observers))  # The first change, before anybody is told.
            return
        for observer in observers:
            if observer is not self._current and told.get(observer, 0) < 2:
                self._waiting[observer] = None

    def run(self) -> None:
        waiting, told = self._waiting, self._told
        while waiting:
            observer, _ = waiting.popitem(last=False)
            self._current = observer
            told[observer] = told.get(observer, 0) + 1
            observer.changed()


@attrs.frozen(eq=False)
class _Asking:
    """Who was told of the change because of which handlers are asked."""

    told: dict[Observing, int]
    """How often each was."""
    task: trio.lowlevel.Task | None = None
    """That of such a handler; what it leaves running, which has the same context, makes changes of its own."""


_asking: ContextVar[_Asking | None] = ContextVar("trio_coap_asking", default=None)


def begin_to_ask() -> trio.lowlevel.Task:
    """Take into account that this task, which is returned, asks a handler for a new state."""
    task = trio.lowlevel.current_task()
    asking = _asking.get()
    _asking.set(_Asking({} if asking is None else asking.told, task))
    return task


def current_task() -> trio.lowlevel.Task | None:
    """Return the current task; None outside of one: who says something there is no handler."""
    try:
        return trio.lowlevel.current_task()
    except RuntimeError:
        return None


def _told_here() -> dict[Observing, int]:
    asking = _asking.get()
    if asking is None or asking.task is None or asking.task is not current_task():
        return {}
    return asking.told


class ObservableHandler(Protocol):
    """A handler some of whose resources can be observed: what a server asks to find out."""

    def find_observable(self, request: Request) -> tuple[Observable, dict[str, object]] | None:
        """Return what *request* is about, with the parameters of its path; None if that cannot be observed."""


FindObservable = Callable[[Request], tuple[Observable, dict[str, object]] | None]
"""What :class:`ObservableHandler` has."""
