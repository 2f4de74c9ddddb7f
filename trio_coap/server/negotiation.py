"""Which handler answers, and in which format (:rfc:`7252` sections 5.10.3 and 5.10.4, :rfc:`8132`).

=====================================================  ===============================================
what a request says                                    what happens, for handlers that declare formats
=====================================================  ===============================================
a Content-Format that no handler consumes              4.15
a payload without Content-Format                       4.00
an Accept that no handler produces                     4.06
no Accept                                              the first format that was declared
=====================================================  ===============================================

Rule 1: a handler that declares nothing takes every format, and looks at Accept itself; one that declares the very
format goes before it.  Rule 2: among equals, who was registered first goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import attrs

from trio_coap.server.declarations import ResourceHandler
from trio_coap.server.incoming import StreamedRequest
from trio_coap.server.results import HandlerResult, StreamedBody, success_code, to_result
from trio_coap.wire.codes import Code
from trio_coap.wire.contentformats import TEXT_PLAIN, media_type_of
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import BadRequest, NotAcceptable, UnsupportedContentFormat


@final
@attrs.frozen(eq=False)
class MethodHandler:
    """A handler for one method, and what was declared about it."""

    handler: ResourceHandler
    understands: frozenset[int] = frozenset()
    """The numbers of critical options."""
    produces: tuple[int, ...] = ()
    """Empty if nothing was declared."""
    consumes: tuple[int, ...] = ()
    """Empty if nothing was declared."""

    def is_like(self, other: MethodHandler) -> bool:
        """Whether there are requests of which nobody could tell who answers."""
        return _overlap(self.produces, other.produces) and _overlap(self.consumes, other.consumes)

    def for_format(self, request: Request, picked: int | None) -> Request:
        """Return *request* with the format that was picked as its Accept, if there are several to choose from."""
        if picked is None or len(self.produces) == 1 or request.options.accept is not None:
            return request
        return request.replace(accept=picked)


def _overlap(some: tuple[int, ...], others: tuple[int, ...]) -> bool:
    return not some and not others if not some or not others else not set(some).isdisjoint(others)


def choose(handlers: Sequence[MethodHandler], request: Request) -> tuple[MethodHandler, int | None]:
    """Return who answers *request*, and the format in which; None if that is up to the handler.

    Raises:
      UnsupportedContentFormat, BadRequest, NotAcceptable: see the table.
    """
    content_format, accept = request.options.content_format, request.options.accept
    takers = [one for one in handlers if _takes(one, content_format, request)]
    if not takers:
        taken = _names(number for one in handlers for number in one.consumes)
        if content_format is None:
            raise BadRequest(f"the payload has no Content-Format; {taken} can be taken")
        raise UnsupportedContentFormat(f"{taken} can be taken, not {_name(content_format)}")
    if content_format is not None:
        takers.sort(key=lambda one: content_format not in one.consumes)
    if accept is None:
        return takers[0], takers[0].produces[0] if takers[0].produces else None
    for one in takers:
        if accept in one.produces:
            return one, accept
    for one in takers:
        if not one.produces:
            return one, None
    offered = _names(number for one in takers for number in one.produces)
    raise NotAcceptable(f"there is {offered}, not {_name(accept)}")


def _takes(one: MethodHandler, content_format: int | None, request: Request) -> bool:
    if not one.consumes:
        return True
    if content_format is not None:
        return content_format in one.consumes
    return not (request.has_body if isinstance(request, StreamedRequest) else request.payload)


def _names(numbers: Iterable[int]) -> str:
    return " or ".join([_name(number) for number in dict.fromkeys(numbers)])


def _name(number: int) -> str:
    return f"{number} ({media_type_of(number) or 'unknown'})"


_WITHOUT_REPRESENTATION = frozenset({Code.VALID, Code.CONTINUE})


def label(
    result: HandlerResult, request: Request, picked: int | None, produces: tuple[int, ...]
) -> Response | StreamedBody:
    """Return what *result* stands for, with the Content-Format that was picked if it has none of its own.

    A text says that it is text/plain only for want of anything else, so that this does not count if it was not said in
    so many words, or the handler does not produce text/plain.

    Raises:
      TypeError: if a handler may not return such a thing.
    """
    complete = to_result(result, request)
    if picked is None:
        return complete
    code = (complete.code or success_code(request)) if isinstance(complete, StreamedBody) else complete.code
    if not code.is_success or code in _WITHOUT_REPRESENTATION:
        return complete
    if isinstance(complete, Response) and not complete.payload and code != Code.CONTENT:
        return complete
    said = complete.options.content_format
    is_text = isinstance(result, str) or (isinstance(result, tuple) and isinstance(result[1], str))
    if said is None or (said == TEXT_PLAIN and (is_text or TEXT_PLAIN not in produces)):
        return with_options(complete, complete.options.replace(content_format=picked))
    return complete


def with_options(complete: Response | StreamedBody, options: Options) -> Response | StreamedBody:
    """Return *complete*, which nobody else uses, with other options."""
    if isinstance(complete, StreamedBody):
        return attrs.evolve(complete, options=options)
    complete.options = options
    return complete
