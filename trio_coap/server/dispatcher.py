"""From requests to handlers to responses (:rfc:`7252` section 5).

=====================================================  ===============================================
what arrives                                           what happens
=====================================================  ===============================================
an unsupported critical option                         4.02 with its number; a NON is rejected (5.4.1)
Proxy-Uri or Proxy-Scheme                              5.05 (5.10.2)
a method that does not exist                           4.05 (5.8)
a Hop-Limit that is not 1 to 255                       4.00 (:rfc:`8768` section 3); any other is for proxies
a handler is a plain function                          it runs at once
a handler is an ``async def``                          it runs in a task; above a limit, 5.03; it
                                                       is cancelled when nobody wants the response any more
                                                       (:mod:`trio_coap.server.running`)
a handler raises a ResponseError                       the response that it stands for
a handler raises something else                        5.00, and the traceback in the log
an Accept that the response does not meet              4.06 (5.10.4)
a response that the client does not want               an empty ACK, or nothing
                                                       (:mod:`trio_coap.server.noresponse`)
a response too large for an unverified address         4.01 with Echo (:mod:`trio_coap.server.verification`)
a request to a server that is about to end             5.03, unless it goes on with an upload
a request to a group                                   see :mod:`trio_coap.server.groups`
=====================================================  ===============================================

Rule: whatever a handler does, the server goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, final, runtime_checkable

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import PendingLimitReached
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.remote import RemoteEndpointState
from trio_coap.server.deliveries import Deliveries
from trio_coap.server.echo import DEFAULT_ECHO_POLICY, EchoPolicy
from trio_coap.server.groups import AnswersGroup, is_suppressed
from trio_coap.server.limits import DEFAULT_SERVER_LIMITS, ServerLimits
from trio_coap.server.noresponse import is_unwanted
from trio_coap.server.observer import Observer
from trio_coap.server.observers import (
    DEREGISTER,
    OBSERVABLE_METHODS,
    Observers,
)
from trio_coap.server.outgoing import check_response, error_response
from trio_coap.server.results import HandlerResult
from trio_coap.server.running import RunningHandler, RunningHandlers
from trio_coap.server.uploads import Uploads
from trio_coap.server.verification import Verification
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.codes import CODES, CON
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import CRITICAL_PROBLEM, Options
from trio_coap.wire.response_errors import (
    BadOption,
    BadRequest,
    MethodNotAllowed,
    ProxyingNotSupported,
    ServiceUnavailable,
    Unauthorized,
)

_logger = logging.getLogger(__name__)


@runtime_checkable
class _Closable(Protocol):
    """A coroutine, or something like it."""

    def close(self) -> None:
        """Have it never run."""


Handler = Callable[[Request], "HandlerResult | Awaitable[HandlerResult]"]
"""Answers requests: a plain function, which must not block, or an ``async def``."""

Answers = Callable[[Request], "Response | Awaitable[Response]"]
"""Answers requests, each with a response that is used nowhere else: the layers below fill it in."""

UNDERSTOOD_OPTIONS = frozenset({3, 7, 11, 15, 17, 23, 27, 35, 39})
"""The critical options that are processed here or mean nothing that could be missed: Uri-Host, Uri-Port, Uri-Path,
Uri-Query, Accept, Block2 and Block1; Proxy-Uri and Proxy-Scheme have an answer of their own.  For others, such as If-Match, the handler
must say that it processes them; see :class:`UnderstandingHandler`."""

_HOP_LIMIT = 16

_METHODS = frozenset({code for code in CODES if code.is_request and code.name})

RETRY_AFTER = 5
"""Max-Age of a 5.03 from a server that is at a limit of its running handlers, or ends: seconds after which to try again
(:rfc:`7252` section 5.9.3.4)."""


class UnderstandingHandler(Protocol):
    """A handler that processes more critical options than those that every server does; a :class:`Site` is one."""

    def __call__(self, request: Request) -> HandlerResult | Awaitable[HandlerResult]:
        """Answer *request*."""

    def understands(self, request: Request) -> frozenset[int]:
        """Return the numbers of the critical options that are processed in answering *request*."""


@final
class Dispatcher:
    """Passes an endpoint's requests to a handler, and its responses back.

    Attributes:
      observers: who observes what.
      handlers: the handlers' tasks.
      verification: which addresses are verified.
    """

    def __init__(
        self,
        handler: Answers,
        endpoint: DrivenEndpoint,
        nursery: trio.Nursery,
        limits: ServerLimits = DEFAULT_SERVER_LIMITS,
        echo_policy: EchoPolicy = DEFAULT_ECHO_POLICY,
        uploads: Uploads | None = None,
    ) -> None:
        """Dispatch to *handler*.

        Args:
          handler: answers the requests.
          endpoint: counts what is turned away.
          nursery: for the tasks of ``async def`` handlers.
          limits: how many handlers and observers there may be.
          echo_policy: what unverified addresses may get.
          uploads: what takes several requests, and is brought to its end before the server's.
        """
        self._handler = handler
        self._understands: Callable[[Request], frozenset[int]] | None = getattr(handler, "understands", None)
        self._answers_group: AnswersGroup | None = getattr(handler, "answers_group", None)
        self._endpoint = endpoint
        self._uploads = uploads
        self.handlers = RunningHandlers(nursery, limits.max_running_handlers, limits.max_running_handlers_per_remote)
        self.verification = Verification(echo_policy, endpoint)
        self.observers = Observers(
            handler,
            self,
            endpoint,
            self.handlers.workers,
            self.verification.is_verified,
            self._check_drained,
            limits.max_observers,
            limits.max_observers_per_remote,
        )
        self._deliveries = Deliveries(self._check_drained)
        self._retry_after: int | None = None
        self._when_drained: Callable[[], None] | None = None

    @property
    def running(self) -> int:
        """Handler tasks that run now, those of notifications not counted."""
        return len(self.handlers)

    # What the engine says.

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.local.RequestListener`."""
        observer = None
        is_ordinary = request.options.is_ordinary
        try:
            is_to_group = entry.is_multicast
            if is_to_group and self._answers_group is not None and not self._answers_group(request):
                return
            if not (is_ordinary or self._may_process(request, entry, now)):
                return
            if self.handlers.count:
                self._end_former(request, entry.remote.endpoint)
            if not is_ordinary and self._is_settled(request, entry, now):
                return
            if request.code not in _METHODS:
                raise MethodNotAllowed(f"there is no method {request.code.dotted}")
            if self._retry_after is not None and not (self._uploads and self._uploads.resumes(request)):
                raise _ending(self._retry_after)
            if not is_to_group:
                self.verification.require_budget(request, entry, now)
            if not is_ordinary:
                observer = self._observe(request, entry, now)
            answer = self._handler(request)
            if isinstance(answer, Response):
                self._respond(answer, request, entry, observer, now)
            else:
                self._start(answer, request, entry, observer)
        except Exception as exc:
            if observer is None and not is_ordinary:
                self.observers.refuse(request, entry.remote.endpoint, now)
            self._respond(error_response(exc, request), request, entry, observer, now)

    def address_proved(self, remote: Endpoint, now: float) -> None:
        """See :class:`trio_coap.messaging.local.RemoteListener`."""
        self.verification.add(remote, now)

    def interest_lost(self, remote: Endpoint, request: Request | None, now: float) -> None:
        """See :class:`trio_coap.messaging.local.RemoteListener`."""
        if request is None:
            self.handlers.cancel(remote)
            return
        self.handlers.cancel(remote, message_id=request.message_id)
        self.observers.reject(remote, request, now)

    def may_repeat(self, remote: RemoteEndpointState, octets: int, now: float) -> bool:
        """See :class:`trio_coap.messaging.local.RemoteListener`."""
        return self.verification.may_repeat(remote, octets, now)

    # What handlers ask; see :class:`trio_coap.server.echo.Challenging`.

    def age_of(self, request: Request) -> float | None:
        """Return how long ago the Echo value in *request* was made, in seconds; None if there is none of ours."""
        remote, value = request.source_endpoint, request.options.echo
        if value is None or not isinstance(remote, Endpoint):
            return None
        return self.verification.values.age(value, remote, self._endpoint.clock())

    def challenge(self, request: Request) -> Unauthorized:
        """Return the 4.01 with an Echo value for the client that sent *request*."""
        assert isinstance(request.source_endpoint, Endpoint)
        return self.verification.challenge(request.source_endpoint, self._endpoint.clock())

    # Notifications.

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Ask the handler once more, for a notification; see :class:`trio_coap.server.observers.Answering`."""
        try:
            answer = self._handler(request)
            if isinstance(answer, Response):
                return check_response(answer, request)[0]
            return self._answer_later(answer, request)
        except Exception as exc:
            return error_response(exc, request)

    async def _answer_later(self, awaitable: Awaitable[Response], request: Request) -> Response:
        try:
            return check_response(await awaitable, request)[0]
        except Exception as exc:
            return error_response(exc, request)

    # The end.

    def drain(self, max_age: int, when_drained: Callable[[], None]) -> None:
        """Take no new requests, but blocks of uploads that have begun, and end all observations.

        Args:
          max_age: of the 5.03 that clients get from now on, in seconds.
          when_drained: is called when no handler runs any more, and all that was to arrive has arrived or failed.
        """
        if self._retry_after is None:
            self._retry_after = max_age
            self.observers.finish(_ending(max_age))
            if self._uploads is not None:
                self._uploads.finish(self._check_drained)
        self._when_drained = when_drained
        self._check_drained()

    def _check_drained(self) -> None:
        if self._when_drained is None or self.handlers.count or self._uploads or self._deliveries:
            return
        if self.observers.farewells:
            return
        self._endpoint.end_leisure(self._endpoint.clock())
        self._when_drained()

    # What options may ask for, beside a resource and a format.

    def _may_process(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> bool:
        """Return whether *request* is processed, if only to be answered with 4.02; a NON with a critical option is not."""
        problem = self._find_problem(request)
        if problem is None:
            return True
        self._endpoint.count_rejection(CRITICAL_PROBLEM, "5.4.1", entry.remote.endpoint, problem, now=now)
        if request.type is CON:
            return True
        if not entry.is_multicast:
            entry.reply(reset=True)  # Section 5.4.1: a NON is rejected, which is not answered with a code.
        return False

    def _is_settled(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> bool:
        """Return whether *request* has been answered, with a response that was kept for it.

        Raises:
          ResponseError: if it is not for a handler, because of its options.
        """
        problem = self._find_problem(request)
        if problem is not None:
            raise BadOption(problem)
        _check(request.options)
        if request.options.echo is None:
            return False
        kept = self.verification.take_kept(request, entry.remote.endpoint, now)
        if kept is None:
            return False
        self._respond(kept, request, entry, None, now)
        return True

    def _observe(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> Observer | None:
        """Return the observer that *request* registers, or None."""
        if request.options.observe is None:
            return None
        if not entry.is_multicast and self.observers.is_further(request, entry.remote.endpoint):
            # One state may go where nobody has asked for it, but not as many as there are registrations.
            self.verification.require(entry.remote.endpoint, now)
        return self.observers.request_received(request, entry, now)

    def _find_problem(self, request: Request) -> str | None:
        """Return what is wrong with the critical options of *request*, or None."""
        problem = request.options.find_critical_problem(UNDERSTOOD_OPTIONS)
        if problem is not None and self._understands is not None:
            problem = request.options.find_critical_problem(UNDERSTOOD_OPTIONS | self._understands(request))
        return None if problem is None else str(problem)

    # Handlers that take time.

    def _end_former(self, request: Request, remote: Endpoint) -> None:
        """Cancel the handlers whose response the client that sends *request* cannot want any more."""
        is_deregistration = request.options.observe == DEREGISTER and request.code in OBSERVABLE_METHODS
        if request.token or is_deregistration:
            self.handlers.cancel_token(remote, request.token)

    def _start(
        self,
        awaitable: Awaitable[Response],
        request: Request,
        entry: RcvdMessageCacheEntry,
        observer: Observer | None,
    ) -> None:
        remote = entry.remote.endpoint
        reached = self.handlers.find_limit(remote)
        if reached is not None:
            if isinstance(awaitable, _Closable):
                awaitable.close()
            self._endpoint.counters.turned_away[reached] += 1
            raise ServiceUnavailable("too many requests at a time", max_age=RETRY_AFTER)
        running = RunningHandler(remote, request)
        if observer is not None:
            observer.scope = running
        self.handlers.start(running, self._run(awaitable, running, entry, observer))

    async def _run(
        self,
        awaitable: Awaitable[Response],
        running: RunningHandler,
        entry: RcvdMessageCacheEntry,
        observer: Observer | None,
    ) -> None:
        request = running.request
        try:
            try:
                try:
                    response = await awaitable
                finally:
                    self.handlers.discard(running)
            except Exception as exc:
                response = error_response(exc, request)
            # A client that deregisters meanwhile, or registers again, does not wait for this response any more.
            if not running.is_cancelled:
                self._respond_safely(response, request, entry, observer)
        finally:
            if running.is_cancelled and observer is not None and observer.scope is running:
                self.observers.remove(observer, self._endpoint.clock())
            self._check_drained()

    def _respond_safely(
        self, response: Response, request: Request, entry: RcvdMessageCacheEntry, observer: Observer | None
    ) -> None:
        now = self._endpoint.clock()
        try:
            self._respond(response, request, entry, observer, now)
        except Exception as exc:
            self._respond(error_response(exc, request), request, entry, observer, now)

    def _respond(
        self, response: Response, request: Request, entry: RcvdMessageCacheEntry, observer: Observer | None, now: float
    ) -> None:
        if self._endpoint.is_closed:
            return
        unwanted = request.options.no_response
        response, size = check_response(response, request)
        if entry.is_multicast:
            if is_suppressed(response, request):
                return
        elif not unwanted or not is_unwanted(response.code, unwanted):
            response = self.verification.check(response, size, request, entry, now)
        if observer is not None:
            response = observer.registered(response, now)
            if not observer.is_active:
                observer = None  # It is a response like any other.
        if unwanted and is_unwanted(response.code, unwanted):
            if entry.owes_acknowledgement and entry.cache is not None:
                entry.reply()
            return
        try:
            sent = entry.respond(response, now, listener=observer or self._deliveries)
        except PendingLimitReached as exc:
            _logger.warning("a response was dropped: %s", exc)
            if observer is not None:
                self.observers.remove(observer, now)
            return
        if observer is not None:
            observer.responded(sent)
        elif sent is not None:
            self._deliveries.add(sent)


def _ending(max_age: int) -> ServiceUnavailable:
    return ServiceUnavailable("the server is about to end", max_age=max_age)


def _check(options: Options) -> None:
    if options.proxy_uri is not None or options.proxy_scheme is not None:
        raise ProxyingNotSupported("this server is no proxy")
    if options.raw(_HOP_LIMIT) or options.problems:
        value = next((value for number, value in options if number == _HOP_LIMIT), b"\x01")
        if not 1 <= int.from_bytes(value, "big") <= 255:
            raise BadRequest("a Hop-Limit is 1 to 255 (RFC 8768 section 3)")
