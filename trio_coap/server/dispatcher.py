"""From requests to handlers to responses (:rfc:`7252` section 5).

=====================================================  ===============================================
what arrives                                           what happens
=====================================================  ===============================================
an unsupported critical option                         4.02 with its number; a NON is rejected (5.4.1)
Proxy-Uri or Proxy-Scheme                              5.05 (5.10.2)
a method that does not exist                           4.05 (5.8)
a Hop-Limit that is not 1 to 255                       4.00 (:rfc:`8768` section 3); any other is for proxies
a handler is a plain function                          it runs at once
a handler is an ``async def``                          it runs in a task of its own; above the limit, 5.03
a handler raises a ResponseError                       the response that it stands for
a handler raises something else                        5.00, and the traceback in the log
an Accept that the response does not meet              4.06 (5.10.4)
=====================================================  ===============================================

Rule: whatever a handler does, the server goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol, final, runtime_checkable

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import PendingLimitReached
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.server.observer import Observer
from trio_coap.server.observers import MAX_OBSERVERS, MAX_OBSERVERS_PER_REMOTE, Observers
from trio_coap.server.results import HandlerResult, to_response
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.codes import CON, Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import CRITICAL_PROBLEM
from trio_coap.wire.response_errors import (
    BadOption,
    BadRequest,
    InternalServerError,
    MethodNotAllowed,
    NotAcceptable,
    ProxyingNotSupported,
    ResponseError,
    ServiceUnavailable,
)

_logger = logging.getLogger(__name__)


@runtime_checkable
class _Closable(Protocol):
    """A coroutine, or something like it."""

    def close(self) -> None:
        """Have it never run."""


Handler = Callable[[Request], "HandlerResult | Awaitable[HandlerResult]"]
"""Answers requests: a plain function, which must not block, or an ``async def``."""

UNDERSTOOD_OPTIONS = frozenset({3, 7, 11, 15, 17, 23, 27, 35, 39})
"""The critical options that are processed here or mean nothing that could be missed: Uri-Host, Uri-Port, Uri-Path,
Uri-Query, Accept, Block2 and Block1; Proxy-Uri and Proxy-Scheme have an answer of their own.  For others, such as If-Match, the handler
must say that it processes them; see :class:`UnderstandingHandler`."""

_HOP_LIMIT = 16

MAX_CONTENT = 65_507 - 4 - 8 - 1
"""Octets of options and payload that fit into a UDP datagram over IPv4 beside header, token and payload marker."""

MAX_OPTION_HEADER = 5
"""Octets that tell an option's number and length, at most (:rfc:`7252` section 3.1)."""

MAX_OBSERVE = MAX_OPTION_HEADER + 3
"""Octets of an Observe option, at most (:rfc:`7641` section 2)."""

MAX_RUNNING_FOR_ONE = 250
"""Handler tasks at a time for one remote endpoint: a quarter of the default for all, so that one cannot lock out the
others."""

RETRY_AFTER = 5
"""Max-Age of a 5.03 from a server at its limit: seconds after which to try again (:rfc:`7252` section 5.9.3.4)."""


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
      running: handler tasks that run now, those of notifications not counted: of these each observer has one at most.
      observers: who observes what.
    """

    def __init__(
        self,
        handler: Handler,
        endpoint: DrivenEndpoint,
        nursery: trio.Nursery,
        max_running_handlers: int,
        max_observers: int = MAX_OBSERVERS,
        max_observers_per_remote: int = MAX_OBSERVERS_PER_REMOTE,
    ) -> None:
        """Dispatch to *handler*.

        Args:
          handler: answers the requests.
          endpoint: counts what is turned away.
          nursery: for the tasks of ``async def`` handlers.
          max_running_handlers: how many of them may run at a time.
          max_observers, max_observers_per_remote: how many observers there may be.
        """
        self._handler = handler
        self._understands: Callable[[Request], frozenset[int]] | None = getattr(handler, "understands", None)
        self._endpoint = endpoint
        self._nursery = nursery
        self._max_running_handlers = max_running_handlers
        self.running = 0
        self.observers = Observers(handler, self, endpoint, nursery, max_observers, max_observers_per_remote)
        self._running_for: Counter[Endpoint] = Counter()

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.local.RequestListener`."""
        problem = request.options.find_critical_problem(UNDERSTOOD_OPTIONS)
        if problem is not None and self._understands is not None:
            problem = request.options.find_critical_problem(UNDERSTOOD_OPTIONS | self._understands(request))
        if problem is not None:
            self._endpoint.count_rejection(CRITICAL_PROBLEM, "5.4.1", entry.remote.endpoint, str(problem), now=now)
        if problem is not None and request.type is not CON:
            if not entry.is_multicast:
                entry.reply(reset=True)  # Section 5.4.1: a NON is rejected, which is not answered with a code.
            return
        observer = None
        try:
            if problem is not None:
                raise BadOption(str(problem))
            _check(request)
            observer = self.observers.request_received(request, entry, now)
            result = self._handler(request)
            if isinstance(result, Awaitable):
                self._start(result, request, entry, observer)
            else:
                self._respond(to_response(result, request), request, entry, observer)
        except Exception as exc:
            self._respond(_error_response(exc, request), request, entry, observer)

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Ask the handler once more, for a notification; see :class:`trio_coap.server.observers.Answering`."""
        try:
            result = self._handler(request)
            if isinstance(result, Awaitable):
                return self._answer_later(result, request)
            return _check_response(to_response(result, request), request)
        except Exception as exc:
            return _error_response(exc, request)

    async def _answer_later(self, awaitable: Awaitable[HandlerResult], request: Request) -> Response:
        try:
            return _check_response(to_response(await awaitable, request), request)
        except Exception as exc:
            return _error_response(exc, request)

    def _start(
        self,
        awaitable: Awaitable[HandlerResult],
        request: Request,
        entry: RcvdMessageCacheEntry,
        observer: Observer | None,
    ) -> None:
        remote = entry.remote.endpoint
        reached = None
        if self.running >= self._max_running_handlers:
            reached = "max_running_handlers"
        elif self._running_for[remote] >= MAX_RUNNING_FOR_ONE:
            reached = "MAX_RUNNING_FOR_ONE"
        if reached is not None:
            if isinstance(awaitable, _Closable):
                awaitable.close()
            self._endpoint.counters.turned_away[reached] += 1
            raise ServiceUnavailable("too many requests at a time", max_age=RETRY_AFTER)
        self.running += 1
        self._running_for[remote] += 1
        scope = trio.CancelScope()
        if observer is not None:
            observer.scope = scope
        self._nursery.start_soon(self._run, awaitable, request, entry, observer, scope)

    async def _run(
        self,
        awaitable: Awaitable[HandlerResult],
        request: Request,
        entry: RcvdMessageCacheEntry,
        observer: Observer | None,
        scope: trio.CancelScope,
    ) -> None:
        with scope:
            try:
                try:
                    result = await awaitable
                finally:
                    self._end(entry.remote.endpoint)
                response = to_response(result, request)
            except Exception as exc:
                response = _error_response(exc, request)
            # A client that deregisters meanwhile, or registers again, does not wait for this response any more.
            if scope.cancel_called:
                return
            try:
                self._respond(response, request, entry, observer)
            except Exception as exc:
                self._respond(_error_response(exc, request), request, entry, observer)

    def _end(self, remote: Endpoint) -> None:
        self.running -= 1
        self._running_for[remote] -= 1
        if not self._running_for[remote]:
            del self._running_for[remote]

    def _respond(
        self, response: Response, request: Request, entry: RcvdMessageCacheEntry, observer: Observer | None
    ) -> None:
        if self._endpoint.is_closed:
            return
        response = _check_response(response, request)
        now = self._endpoint.clock()
        if observer is not None:
            response = observer.registered(response, now)
        try:
            sent = entry.respond(response, now, listener=observer)
        except PendingLimitReached as exc:
            _logger.warning("a response was dropped: %s", exc)
            if observer is not None:
                self.observers.remove(observer, now)
            return
        if observer is not None:
            observer.responded(sent)


def _check_response(response: Response, request: Request) -> Response:
    """Return *response*, or what must be sent instead."""
    accept = request.options.accept
    if accept is not None and response.code.is_success:
        content_format = response.options.content_format
        if content_format is not None and content_format != accept:
            response = NotAcceptable(f"there is Content-Format {content_format}, not {accept}").to_response()
    size = len(response.payload) + sum([len(value) + MAX_OPTION_HEADER for _, value in response.options])
    if request.options.observe is not None:
        size += MAX_OBSERVE  # A notification gets its number later.
    if size > MAX_CONTENT:
        _logger.error("the response to %r has %d octets, too many for a datagram", request, size)
        response = InternalServerError().to_response()
    return response


def _check(request: Request) -> None:
    options = request.options
    if options.proxy_uri is not None or options.proxy_scheme is not None:
        raise ProxyingNotSupported("this server is no proxy")
    if not request.code.name:
        raise MethodNotAllowed(f"there is no method {request.code.dotted}")
    if options.raw(_HOP_LIMIT) or options.problems:
        value = next((value for number, value in options if number == _HOP_LIMIT), b"\x01")
        if not 1 <= int.from_bytes(value, "big") <= 255:
            raise BadRequest("a Hop-Limit is 1 to 255 (RFC 8768 section 3)")


def _error_response(exc: Exception, request: Request) -> Response:
    # A handler that raised it in a nursery of its own meant the error, not the group around it.
    leaf: BaseException = exc
    while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
        leaf = leaf.exceptions[0]
    if isinstance(leaf, ResponseError):
        exc = leaf
    # An error that a handler got as a client, and let pass, is no answer of ours.
    if isinstance(exc, ResponseError) and exc.response is None:
        try:
            return exc.to_response()
        except Exception as mistake:  # Its code, say, is that of no response.
            exc = mistake
    _logger.error("a handler failed on %r", request, exc_info=exc)
    return Response(Code.INTERNAL_SERVER_ERROR)
