"""Responses as they may go out, whatever a handler has returned or raised (:rfc:`7252` sections 5.9 and 5.10.4).

Rule: what is not fit to be sent is an error of ours, 5.00, and the log has the reason.
"""

from __future__ import annotations

import logging

from trio_coap.server.results import find_cause
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import InternalServerError, NotAcceptable, ResponseError

_logger = logging.getLogger(__name__)

MAX_CONTENT = 65_507 - 4 - 8 - 1
"""Octets of options and payload that fit into a UDP datagram over IPv4 beside header, token and payload marker."""

MAX_OPTION_HEADER = 5
"""Octets that tell an option's number and length, at most (:rfc:`7252` section 3.1)."""

MAX_OBSERVE = MAX_OPTION_HEADER + 3
"""Octets of an Observe option, at most (:rfc:`7641` section 2)."""


def check_response(response: Response, request: Request) -> tuple[Response, int]:
    """Return *response*, or what must be sent instead, and how many octets of options and payload it has at most."""
    accept = request.options.accept
    if accept is not None and response.code.is_success:
        content_format = response.options.content_format
        if content_format is not None and content_format != accept:
            response = NotAcceptable(f"there is Content-Format {content_format}, not {accept}").to_response()
    # What has no options, and gets none, is as long as its payload.
    is_bare = not response.options and request.options.observe is None
    size = len(response.payload) if is_bare else _size(response, request)
    if size > MAX_CONTENT:
        _logger.error("the response to %r has %d octets, too many for a datagram", request, size)
        response = InternalServerError().to_response()
        size = _size(response, request)
    return response, size


def _size(response: Response, request: Request) -> int:
    if request.options.observe is None:
        return len(response.payload) + len(response.options.encode())
    # A notification gets its number later: its options are yet to be encoded.
    return len(response.payload) + MAX_OBSERVE + sum([len(value) + MAX_OPTION_HEADER for _, value in response.options])


def error_response(exc: Exception, request: Request) -> Response:
    """Return the response that stands for what a handler has raised on *request*."""
    cause = find_cause(exc)
    if isinstance(cause, ResponseError):
        exc = cause
    # An error that a handler got as a client, and let pass, is no answer of ours.
    if isinstance(exc, ResponseError) and exc.response is None:
        try:
            return exc.to_response()
        except Exception as mistake:  # Its code, say, is that of no response.
            exc = mistake
    _logger.error("a handler failed on %r", request, exc_info=exc)
    return Response(Code.INTERNAL_SERVER_ERROR)
