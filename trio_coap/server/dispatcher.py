"""From requests to handlers to responses (:rfc:`7252` section 5).

=====================================================  ===============================================
what arrives                                           what happens
=====================================================  ===============================================
an unsupported critical option                         4.02 with its number; a NON is rejected (5.4.1)
Proxy-Uri or Proxy-Scheme                              5.05 (5.10.2)
a method that does not exist                           4.05 (5.8)
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
from collections.abc import Awaitable, Callable, Coroutine
from typing import final

import trio

from trio_coap.messaging.errors import PendingLimitReached
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.server.observer import Observer
from trio_coap.server.observers import MAX_OBSERVERS, MAX_OBSERVERS_PER_REMOTE, Observers
from trio_coap.server.results import HandlerResult, to_response
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.codes import CON, Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import (
    BadOption,
    InternalServerError,
    MethodNotAllowed,
    NotAcceptable,
    ProxyingNotSupported,
    ResponseError,
    ServiceUnavailable,
)

_logger = logging.getLogger(__name__)

Handler = Callable[[Request], "HandlerResult | Awaitable[HandlerResult]"]
"""Answers requests: a plain function, which must not block, or an ``async def``."""

UNDERSTOOD_OPTIONS = frozenset({1, 3, 5, 7, 11, 15, 17, 35, 39})
"""The critical options that are processed here or left to handlers: If-Match, Uri-Host, If-None-Match, Uri-Port,
Uri-Path, Uri-Query and Accept; Proxy-Uri and Proxy-Scheme have an answer of their own."""

MAX_PAYLOAD = 65_000
"""Octets of payload that fit into a datagram with whatever options."""

RETRY_AFTER = 5
"""Max-Age of a 5.03 from a server at its limit: seconds after which to try again (:rfc:`7252` section 5.9.3.4)."""


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
        self._endpoint = endpoint
        self._nursery = nursery
        self._max_running_handlers = max_running_handlers
        self.running = 0
        self.observers = Observers(handler, self, endpoint, nursery, max_observers, max_observers_per_remote)

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.local.RequestListener`."""
        problem = request.options.find_critical_problem(UNDERSTOOD_OPTIONS)
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
            if not isinstance(result, Awaitable):
                self._respond(to_response(result, request), request, entry, observer)
                return
            self._start(result, request, entry, observer)
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
        if self.running >= self._max_running_handlers:
            if isinstance(awaitable, Coroutine):
                awaitable.close()
            self._endpoint.counters.turned_away["max_running_handlers"] += 1
            raise ServiceUnavailable("too many requests at a time", max_age=RETRY_AFTER)
        self.running += 1
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
                response = to_response(await awaitable, request)
            except Exception as exc:
                response = _error_response(exc, request)
            finally:
                self.running -= 1
            # A client that deregisters meanwhile, or registers again, does not wait for this response any more.
            if not self._endpoint.is_closed and not scope.cancel_called:
                self._respond(response, request, entry, observer)

    def _respond(
        self, response: Response, request: Request, entry: RcvdMessageCacheEntry, observer: Observer | None
    ) -> None:
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
    if len(response.payload) > MAX_PAYLOAD:
        _logger.error("the response to %r has %d octets, too many for a datagram", request, len(response.payload))
        response = InternalServerError().to_response()
    return response


def _check(request: Request) -> None:
    options = request.options
    if options.proxy_uri is not None or options.proxy_scheme is not None:
        raise ProxyingNotSupported("this server is no proxy")
    if not request.code.name:
        raise MethodNotAllowed(f"there is no method {request.code.dotted}")


def _error_response(exc: Exception, request: Request) -> Response:
    # An error that a handler got as a client, and let pass, is no answer of ours.
    if isinstance(exc, ResponseError) and exc.response is None:
        return exc.to_response()
    _logger.error("a handler failed on %r", request, exc_info=exc)
    return Response(Code.INTERNAL_SERVER_ERROR)
