"""From what a handler returns or raises to a response (:rfc:`7252` sections 5.8 and 5.9)."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator
from typing import final

import attrs

from trio_coap.wire.body import BinaryFile, BodySource
from trio_coap.wire.codes import CON, Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import Options


@final
@attrs.frozen
class StreamedBody:
    """A response whose body is read as its blocks are asked for (:rfc:`7959` section 2.4), and never held whole.

    A handler returns one, or just the source.  The server closes the source when its last block has gone out, or when
    nobody has asked for more in EXCHANGE_LIFETIME.  Who asks for an earlier part than the last block gets it if the
    source is a file that can seek; otherwise the handler runs again if the method is safe, and the answer is 4.08 if not.
    A file that changes meanwhile gets another ETag, and the client begins again.
    """

    source: BodySource
    """A file opened for reading octets (Trio's too), an iterable or an asynchronous iterable of octets.  The methods of
    Python's own files, and those of an iterable, are called in Trio's thread: they must not block for long."""

    code: Code | None = None
    """By default the code for success."""

    options: Options = attrs.field(factory=Options)
    """Content-Format, say.  An ETag given here must differ when the body does."""

    size: int | None = None
    """Octets of the whole body, if known; it is sent as Size2.  Of a file that can seek it is found out."""


HandlerResult = (
    Response
    | StreamedBody
    | bytes
    | str
    | tuple[Code, bytes | str]
    | BinaryFile
    | Iterator[bytes]
    | AsyncIterable[bytes]
    | None
)
"""What a handler may return: a response; a payload, with the code that means success for the method; code and
payload; a file, an iterator or an asynchronous iterable of octets, which is streamed; or None, for success with nothing
to say."""

_SUCCESS = {
    Code.GET: Code.CONTENT,
    Code.FETCH: Code.CONTENT,
    Code.DELETE: Code.DELETED,
}
"""The codes of success by method; 2.04 for those that are not here."""


WHOLE = (Response, bytes, str, tuple, type(None))
"""What most handlers return; to find out whether something is a file, or is to be awaited, takes longer."""


def to_result(result: HandlerResult, request: Request) -> Response | StreamedBody:
    """Return the response, or the streamed body, that *result* stands for.

    Raises:
      TypeError: if a handler may not return such a thing.
    """
    if isinstance(result, WHOLE):
        return to_response(result, request)
    if isinstance(result, StreamedBody):
        return result
    if isinstance(result, (BinaryFile, Iterator, AsyncIterable)):
        return StreamedBody(result)
    return to_response(result, request)


def to_response(result: HandlerResult, request: Request) -> Response:
    """Return the response that *result* stands for, one that is not used elsewhere.

    Raises:
      TypeError: if a handler may not return such a thing.
    """
    if isinstance(result, bytes):
        return Response(_SUCCESS.get(request.code, Code.CHANGED), result)
    if isinstance(result, Response):
        # The layers below fill in the copy: a handler may return one response many times, or one that it got itself.
        copy = result.replace()
        if copy.message_id is not None:
            copy.message_id = None
            copy.type = CON  # How it came says nothing about how it is to go on.
        return copy
    if result is None:
        return Response(success_code(request))
    if isinstance(result, str):
        return Response(success_code(request), result)
    # Handlers are not all type-checked: what comes here may be anything.
    if isinstance(result, tuple):
        code, payload = result
        return Response(Code(code), payload)
    raise TypeError(f"a handler returns a Response, bytes, str, (code, payload), a stream or None, not {result!r}")


def find_cause(error: BaseException) -> BaseException:
    """Return what a handler meant that raised *error*: the only exception in a group that a nursery of its own has made."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def success_code(request: Request) -> Code:
    """Return the code for success: 2.05 for GET and FETCH, 2.02 for DELETE, 2.04 for the others."""
    return _SUCCESS.get(request.code, Code.CHANGED)
