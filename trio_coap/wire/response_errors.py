"""Error responses as exceptions, one class per registered code (:rfc:`7252` section 5.9, and the code registry).

Rule 1: they go both ways.  A handler raises one, and the server makes the response of it; a client gets one from
:meth:`Response.raise_for_code`, and then the response is at hand.  Rule 2: an unknown code is treated like the
generic one of its class (section 5.9), so that whoever catches :exc:`BadRequest` gets 4.30 too; the code stays
as it was received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_coap.wire.codes import CODES, Code
from trio_coap.wire.contentformats import CONCISE_PROBLEM_DETAILS
from trio_coap.wire.definitions import RESERVED_KEYWORDS
from trio_coap.wire.errors import CoapError, LocalProtocolError, MissingExtra, PayloadFormatError
from trio_coap.wire.options import OptionInput, Options

if TYPE_CHECKING:
    from trio_coap.wire.message import Response
    from trio_coap.wire.problems import ProblemDetails

_MAX_SHOWN = 200
"""Characters of a diagnostic in ``str(error)``: whole sentences, but not what a peer may send block by block."""

RESERVED_KEYWORDS.add("problem")


class ResponseError(CoapError):
    """A request was, or is to be, answered with an error code.

    >>> error = ServiceUnavailable("the pump is busy", max_age=5)
    >>> error.to_response()
    <Response CON - 5.03 Service Unavailable Options(max_age=5) 16 octets b'the pump is busy'>

    A subclass of the application's own gives its code as a class attribute.

    Args:
      diagnostic: what went wrong, for a human reader (section 5.5.2); it is sent.
      problem: what went wrong, for programs, too (:rfc:`9290`); it is sent instead of the diagnostic, which is its
        detail if it has none of its own.
      by_name: options for the response, as for :class:`Options`.

    Raises:
      LocalProtocolError: for an option that does not fit, or a problem that cannot be sent with this code.
      MissingExtra: for a problem, if cbor2 is not installed.
    """

    code: Code = Code.INTERNAL_SERVER_ERROR
    """The code of the class; of a response with an unknown code, that one."""

    response: Response | None = None
    """The response that was received, or None where the error is still to become one."""

    problem: ProblemDetails | None = None
    """The problem details that are to be sent, or were received."""

    problem_fault: str | None = None
    """Why the problem details of :attr:`response` cannot be read: they are malformed, or cbor2 is not installed."""

    def __init__(
        self, diagnostic: str = "", /, *, problem: ProblemDetails | None = None, **by_name: OptionInput
    ) -> None:
        # The only arg; the rest is in __dict__.  Together they make copies and pickles complete.
        super().__init__(diagnostic)
        self.diagnostic = diagnostic
        self.options = Options(**by_name)
        if problem is not None:
            self.problem = _sendable(problem, diagnostic, self.code)

    def to_response(self) -> Response:
        """Return a response with our code and options; its payload is the problem, or the diagnostic (section 5.5.2).

        Nothing of :attr:`response` is passed on but code and diagnostic or problem: its options were meant for us.  An
        Accept option of the request is about representations of the resource, and does not apply to this one.

        Raises:
          LocalProtocolError: if a problem, changed since, cannot be sent.
        """
        # Response knows the errors that it raises, so the errors get to know it only when one is sent.
        from trio_coap.wire.message import Response

        if self.problem is not None and not self.problem.is_empty:
            options = self.options.replace(content_format=CONCISE_PROBLEM_DETAILS)
            return Response(self.code, self.problem.encode(), options=options)
        # A diagnostic is often the text of another error; what is no UTF-8 in it must not become yet another.
        payload = self.diagnostic.encode("utf-8", errors="backslashreplace")
        return Response(self.code, payload, options=self.options)

    def __str__(self) -> str:
        said = self.diagnostic if self.problem is None else str(self.problem)
        if self.problem_fault is not None:
            said = self.problem_fault
        if not said:
            return str(self.code)
        is_long = len(said) > _MAX_SHOWN
        return f"{self.code}: {said[:_MAX_SHOWN]}{'...' if is_long else ''}"


def _sendable(problem: ProblemDetails, diagnostic: str, code: Code) -> ProblemDetails:
    """Return *problem*, with *diagnostic* as its detail if it has none; who raises the error learns what is wrong."""
    if problem.response_code not in (None, code):
        # RFC 9290 section 2: generators must use the same code.
        raise LocalProtocolError(f"the problem says {problem.response_code}, its error {code}")
    if diagnostic and problem.detail is None:
        problem = attrs.evolve(problem, detail=diagnostic)
    problem.encode()
    return problem


class ClientError(ResponseError):
    """Class 4: the request is wrong, or cannot be served as it is (:rfc:`7252` section 5.9.2)."""

    code = Code.BAD_REQUEST


class ServerError(ResponseError):
    """Class 5: the server failed, or a server behind it (:rfc:`7252` section 5.9.3)."""

    code = Code.INTERNAL_SERVER_ERROR


class BadRequest(ClientError):
    """4.00, and every unknown code of class 4."""

    code = Code.BAD_REQUEST


class Unauthorized(ClientError):
    """4.01: the client must authenticate itself first."""

    code = Code.UNAUTHORIZED


class BadOption(ClientError):
    """4.02: a critical option is unknown or malformed."""

    code = Code.BAD_OPTION


class Forbidden(ClientError):
    """4.03: refused, whoever asks."""

    code = Code.FORBIDDEN


class NotFound(ClientError):
    """4.04: there is no such resource."""

    code = Code.NOT_FOUND


class MethodNotAllowed(ClientError):
    """4.05: the resource does not have this method."""

    code = Code.METHOD_NOT_ALLOWED


class NotAcceptable(ClientError):
    """4.06: the resource has no representation in the format of the Accept option."""

    code = Code.NOT_ACCEPTABLE


class RequestEntityIncomplete(ClientError):
    """4.08: blocks of the request's body are missing (:rfc:`7959` section 2.9.2)."""

    code = Code.REQUEST_ENTITY_INCOMPLETE


class Conflict(ClientError):
    """4.09: the request does not suit the state of the resource (:rfc:`8132` section 2.3)."""

    code = Code.CONFLICT


class PreconditionFailed(ClientError):
    """4.12: the condition of If-Match or If-None-Match is not met."""

    code = Code.PRECONDITION_FAILED


class RequestEntityTooLarge(ClientError):
    """4.13: the body is too large; a Size1 option tells the limit, a Block1 option the size of blocks."""

    code = Code.REQUEST_ENTITY_TOO_LARGE


class UnsupportedContentFormat(ClientError):
    """4.15: the resource does not take this Content-Format."""

    code = Code.UNSUPPORTED_CONTENT_FORMAT


class UnprocessableEntity(ClientError):
    """4.22: the format is right, but what it says cannot be done (:rfc:`8132` section 2.3)."""

    code = Code.UNPROCESSABLE_ENTITY


class TooManyRequests(ClientError):
    """4.29: Max-Age tells when to ask again (:rfc:`8516`)."""

    code = Code.TOO_MANY_REQUESTS


class InternalServerError(ServerError):
    """5.00, and every unknown code of class 5."""

    code = Code.INTERNAL_SERVER_ERROR


class NotImplementedByServer(ServerError):
    """5.01 Not Implemented: the server does not have what the request takes, such as its method."""

    code = Code.NOT_IMPLEMENTED


class BadGateway(ServerError):
    """5.02: the server behind the proxy gave no proper response."""

    code = Code.BAD_GATEWAY


class ServiceUnavailable(ServerError):
    """5.03: Max-Age tells when to ask again."""

    code = Code.SERVICE_UNAVAILABLE


class GatewayTimeout(ServerError):
    """5.04: the server behind the proxy gave no response in time."""

    code = Code.GATEWAY_TIMEOUT


class ProxyingNotSupported(ServerError):
    """5.05: the server is no proxy for the URI of the request."""

    code = Code.PROXYING_NOT_SUPPORTED


class HopLimitReached(ServerError):
    """5.08: too many proxies in a row, perhaps in a circle (:rfc:`8768`)."""

    code = Code.HOP_LIMIT_REACHED


_BY_CODE: dict[Code, type[ResponseError]] = {
    cls.code: cls for cls in (*ClientError.__subclasses__(), *ServerError.__subclasses__())
}


def error_for_response(response: Response) -> ResponseError:
    """Return the exception for a *response* of class 4 or 5: of the class for its code, with the response in it.

    The diagnostic is the payload as text if the response has no Content-Format (:rfc:`7252` section 5.5.2) or that of
    a text; it is empty otherwise.  A payload of problem details (:rfc:`9290`) becomes :attr:`ResponseError.problem`; if it
    cannot be read, that is None, and :attr:`ResponseError.problem_fault` says why.

    Raises:
      LocalProtocolError: for a code that is no error.
    """
    code = response.code
    cls = _BY_CODE.get(code) or _BY_CODE.get(CODES[code & 0xE0])
    if cls is None:
        raise LocalProtocolError(f"an error response has a code of class 4 or 5, not {code}")
    error = cls(response.text if response.options.content_format in (None, 0) else "")
    error.code = code
    error.response = response
    if response.options.content_format == CONCISE_PROBLEM_DETAILS:
        from trio_coap.wire.problems import ProblemDetails  # Only here: few errors have any.

        try:
            error.problem = ProblemDetails.decode(response.payload)
        except (PayloadFormatError, MissingExtra) as exc:
            error.problem_fault = str(exc)
    return error
