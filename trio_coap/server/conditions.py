"""ETags, and requests that are to be performed on a condition (:rfc:`7252` sections 5.10.6 and 5.10.8).

=====================================================  ===============================================
what a request says                                    when it is performed; 4.12 otherwise
=====================================================  ===============================================
If-Match with ETags                                    the resource exists, and has one of them
If-Match that is empty                                 the resource exists
If-None-Match                                          the resource does not exist
=====================================================  ===============================================

Rule 1: the ETag ``b""`` stands for a resource that exists and has none.  Rule 2: the state of a resource is what its own
GET handlers say.  Rule 3: the ETag of a representation that has none of its own is a hash of its format and octets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from trio_coap.server.negotiation import MethodHandler, label, with_options
from trio_coap.server.representations import file_etag, octets_etag
from trio_coap.server.results import StreamedBody, find_cause, success_code
from trio_coap.server.steps import Steps, wait
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import NotAcceptable, NotFound, PreconditionFailed, ResponseError

IF_MATCH, IF_NONE_MATCH = 1, 5
CONDITIONS = frozenset({IF_MATCH, IF_NONE_MATCH})
"""The numbers of If-Match and If-None-Match."""

_NOT_FOR_GET = (1, 4, 5, 6, 12, 17, 19, 23, 27, 28, 31, 60, 258, 292)
"""What a request for the state of a resource does not take over: conditions, and what is about the other request's body
or response: ETag, Observe, Content-Format, Accept, the Block and Size options, No-Response, Request-Tag."""


def check_conditions(request: Request, etag: bytes | None, *others: bytes | None) -> None:
    """Check If-Match and If-None-Match against the resource as it is now.

    For handlers that process these options themselves; they must be declared with ``understands=["If-Match",
    "If-None-Match"]``.  Of a resource that is declared with ``etag=`` the site checks them.

    Example::

        @site.put("/lamp", understands=["If-Match", "If-None-Match"])
        def switch(request):
            check_conditions(request, state.etag)
            state.set(request.text)

    Args:
      request: a request; one without these options is always to be performed.
      etag: the ETag of the resource; ``b""`` if it exists and has none; None if it does not exist.
      others: the ETags of its other representations.

    Raises:
      PreconditionFailed: if a condition is not met.
    """
    options = request.options
    existing = {tag for tag in (etag, *others) if tag is not None}
    wanted = options.if_match
    if wanted and not (existing and (b"" in wanted or not existing.isdisjoint(wanted))):
        raise PreconditionFailed("the resource has another ETag" if existing else "the resource does not exist")
    if options.if_none_match and existing:
        raise PreconditionFailed("the resource exists")


def is_conditional(options: Options) -> bool:
    """Whether there is an If-Match or If-None-Match."""
    return bool(options.raw(IF_MATCH) or options.raw(IF_NONE_MATCH))


def add_etag(complete: Response | StreamedBody, request: Request, etag: bytes | None) -> Response | StreamedBody:
    """Return *complete*, which nobody else uses, with *etag*, or if that is None, an ETag made of its octets.

    Only a 2.05 gets one, if it has none of its own; none does if *etag* is empty.  A stream gets one when it is read, unless *etag* is given.
    """
    code = (complete.code or success_code(request)) if isinstance(complete, StreamedBody) else complete.code
    options = complete.options
    if code != Code.CONTENT or options.etag is not None or options.block2 is not None or etag == b"":
        return complete
    if etag is None:
        if isinstance(complete, StreamedBody):
            return complete
        etag = octets_etag(complete.payload, options.content_format)
    return with_options(complete, options.replace(etag=etag))


def find_etags(
    handlers: Iterable[MethodHandler], request: Request, parameters: Mapping[str, Any]
) -> Steps[list[bytes | None]]:
    """Ask the GET *handlers* of a resource for the ETags of all its representations; None for what does not exist.

    Args:
      handlers: those for GET.
      request: a request of any method for the resource.
      parameters: those of its path.

    Raises:
      ResponseError: if a handler fails otherwise than with 4.04 or 4.06: who cannot see the state cannot compare it.
    """
    found: list[bytes | None] = []
    for one in handlers:
        for picked in one.produces or (None,):
            asking = one.for_format(_get_for(request), picked)
            try:
                result = yield from wait(one.handler(asking, **parameters))
                complete = add_etag(label(result, asking, picked, one.produces), asking, None)
                found.append((yield from _etag_of(complete)))
            except Exception as exc:
                if not says(exc, NotFound, NotAcceptable):
                    raise
                found.append(None)
    return found


def says(error: Exception, *kinds: type[ResponseError]) -> bool:
    """Whether who raised *error* says one of *kinds* about its resource; what it got as a client is about another."""
    cause = find_cause(error)
    return isinstance(cause, kinds) and cause.response is None


def _get_for(request: Request) -> Request:
    asking = Request(
        Code.GET,
        options=request.options.without(*_NOT_FOR_GET),
        type=request.type,
        message_id=request.message_id,
        token=request.token,
        source_endpoint=request.source_endpoint,
        destination_endpoint=request.destination_endpoint,
    )
    asking.local_address = request.local_address
    return asking


def _etag_of(complete: Response | StreamedBody) -> Steps[bytes | None]:
    if isinstance(complete, StreamedBody):
        etag = complete.options.etag or file_etag(complete.source) or b""
        yield from _close(complete.source)
        return etag
    code = complete.code
    if code == Code.NOT_FOUND:
        return None
    if not code.is_success:
        error = ResponseError(complete.text)
        error.code, error.options = code, complete.options
        raise error
    return complete.options.etag or b""


def _close(source: object) -> Steps[None]:
    """Close a stream that nobody is to read."""
    close: Callable[[], object] | None = getattr(source, "aclose", None) or getattr(source, "close", None)
    closing = close() if close is not None else None
    if isinstance(closing, Awaitable):
        yield closing
