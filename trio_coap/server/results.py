"""From what a handler returns or raises to a response (:rfc:`7252` sections 5.8 and 5.9)."""

from __future__ import annotations

from trio_coap.wire.codes import CON, Code
from trio_coap.wire.message import Request, Response

HandlerResult = Response | bytes | str | tuple[Code, bytes | str] | None
"""What a handler may return: a response; a payload, with the code that means success for the method; code and
payload; or None, for success with nothing to say."""

_SUCCESS = {
    Code.GET: Code.CONTENT,
    Code.FETCH: Code.CONTENT,
    Code.DELETE: Code.DELETED,
}
"""The codes of success by method; 2.04 for those that are not here."""


def to_response(result: HandlerResult, request: Request) -> Response:
    """Return the response that *result* stands for, one that is not used elsewhere.

    Raises:
      TypeError: if a handler may not return such a thing.
    """
    if isinstance(result, Response):
        # The layers below fill in the copy: a handler may return one response many times, or one that it got itself.
        copy = result.replace()
        if copy.message_id is not None:
            copy.message_id = None
            copy.type = CON  # How it came says nothing about how it is to go on.
        return copy
    if result is None:
        return Response(success_code(request))
    if isinstance(result, (bytes, str)):
        return Response(success_code(request), result)
    # Handlers are not all type-checked: what comes here may be anything.
    if isinstance(result, tuple):
        code, payload = result
        return Response(Code(code), payload)
    raise TypeError(f"a handler returns a Response, bytes, str, (code, payload) or None, not {result!r}")


def success_code(request: Request) -> Code:
    """Return the code for success: 2.05 for GET and FETCH, 2.02 for DELETE, 2.04 for the others."""
    return _SUCCESS.get(request.code, Code.CHANGED)
