"""Block-wise transfer, the server's side: a handler around the application's handler (:rfc:`7959`).

The application's handler sees one request with the whole body, and returns one response with the whole body, or a
stream.  :mod:`trio_coap.server.assembly` says what becomes of the blocks of a request.  For a response:

=====================================================  ===============================================
what is asked for                                      what happens
=====================================================  ===============================================
no block, or block 0                                   the handler runs; its body goes whole if it fits
                                                       into a block, else its first block does, with
                                                       Block2, ETag and Size2
a later block of a body that is remembered             that block (2.4)
a later block of a body that is not remembered         GET, FETCH: the handler runs again, and the block
                                                       is cut from the new body; else 4.08
a part of a stream that has been read and is gone      likewise, if the source cannot seek
a body that the client says it has (ETag)              2.03, without it (RFC 7252 section 5.10.6.2); this
                                                       is not for later blocks
a block behind the end                                 4.00
a block size above ours                                ours (2.4)
the reserved size 7                                    4.00 (2.2)
=====================================================  ===============================================
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Protocol, final, runtime_checkable

import trio

from trio_coap.server.assembly import NOT_IN_KEY, Assembler, echo, too_large, transfer_key
from trio_coap.server.dispatcher import Handler
from trio_coap.server.groups import AnswersGroup
from trio_coap.server.incoming import StreamedRequest
from trio_coap.server.ledger import Key, Ledger
from trio_coap.server.limits import DEFAULT_BLOCK_LIMITS, BlockLimits
from trio_coap.server.observable import FindObservable, Observable
from trio_coap.server.policy import BlockPolicy, policy_of
from trio_coap.server.representations import Representation, represent_octets, represent_stream
from trio_coap.server.results import WHOLE, HandlerResult, StreamedBody, find_cause, to_response, to_result
from trio_coap.server.uploads import Uploads
from trio_coap.server.validation import validate
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.block import Block
from trio_coap.wire.body import BodyConsumed, BodyReader
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import BadRequest, RequestEntityIncomplete, ResponseError

_logger = logging.getLogger(__name__)

_CONTENT_FORMAT, _ETAG = 12, 4
_NOT_IN_KEY = NOT_IN_KEY | {_CONTENT_FORMAT, _ETAG}
_SAFE = frozenset({Code.GET, Code.FETCH})

CLOSE_SECONDS = 5.0
"""How long a stream may take to close."""


@runtime_checkable
class _FindsHandlers(Protocol):
    """A site: a handler that passes requests on."""

    def find_handler(self, request: Request) -> object:
        """Return who answers *request*, or None."""


@final
class BlockwiseHandler:
    """A handler that puts blocks together and cuts bodies into blocks for another one."""

    def __init__(
        self,
        handler: Handler,
        endpoint: DrivenEndpoint,
        nursery: trio.Nursery,
        limits: BlockLimits = DEFAULT_BLOCK_LIMITS,
    ) -> None:
        """Transfer block by block for *handler*.

        Args:
          handler: the application's handler.
          endpoint: gives the time and random numbers.
          nursery: for the tasks that close streams nobody reads any more.
          limits: how much is remembered.
        """
        self._handler = handler
        self._finds_handlers = isinstance(handler, _FindsHandlers)
        self._endpoint = endpoint
        self._nursery = nursery
        self._limits = limits
        parameters, turned_away = endpoint.parameters, endpoint.counters.turned_away
        lifetime = parameters.exchange_lifetime
        self.assembler = Assembler(limits, lifetime, parameters.max_transmit_wait, turned_away)
        self.uploads = Uploads(handler, endpoint, nursery, limits, self.assembler, self._discard_stream)
        self.representations = Ledger[Representation](limits.for_one_table(), lifetime, self._dropped, turned_away)

    def understands(self, request: Request) -> frozenset[int]:
        """Return the numbers of the critical options that the application's handler processes for *request*."""
        understands: Callable[[Request], frozenset[int]] | None = getattr(self._handler, "understands", None)
        return frozenset() if understands is None else understands(request)

    def answers_group(self, request: Request) -> bool:
        """Return whether the application's handler processes *request*, which came to a group."""
        answers_group: AnswersGroup | None = getattr(self._handler, "answers_group", None)
        return answers_group is None or answers_group(request)

    def find_observable(self, request: Request) -> tuple[Observable, dict[str, object]] | None:
        """Return what *request* is about; None if the application's handler says that it cannot be observed.

        A registration asks for the first block, and each notification is that of a new state; the others are asked for
        without Observe (section 2.6).  What comes in blocks itself is not kept, so that it cannot be answered again.
        """
        block1, block2 = request.options.block1, request.options.block2
        if block1 is not None or (block2 is not None and block2.number):
            return None
        find: FindObservable | None = getattr(self._handler, "find_observable", None)
        return None if find is None else find(request)

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """Answer *request*, with a response that is used nowhere else.

        Raises:
          ResponseError: see the tables.
        """
        block1, block2 = request.options.block1, request.options.block2
        if block1 is None and block2 is not None and block2.number and block2.size_exponent < 7:
            # Who it was that gave a body need not be asked for the rest of it.
            answer = self._answer_later_block(request)
            if answer is not None:
                return answer
        policy = self._policy_for(request)
        if block1 is None and block2 is None:
            if request.payload:
                self._check_size(request, policy)
            return self._run(request, request, policy)
        if policy.sees_blocks:
            return self._pass(request)
        for block in (block1, block2):
            if block is not None and block.size_exponent == 7:
                raise BadRequest("the block size 7 is reserved (RFC 7959 section 2.2)")
        if block1 is not None:
            return self._accept(request, block1, policy)
        if block2 is not None and block2.number:
            return self._run_again(request)
        self._check_size(request, policy)
        return self._run(request, request, policy)

    async def close(self) -> None:
        """Close the streams that are not read to their end; nobody waits for more blocks."""
        self.uploads.close()
        async with trio.open_nursery() as nursery:
            for representation in self.representations.values():
                nursery.start_soon(_close, representation)

    # Requests.

    def _policy_for(self, request: Request) -> BlockPolicy:
        handler: object = self._handler
        if self._finds_handlers:
            handler = handler.find_handler(request)  # type: ignore[attr-defined]
        return policy_of(handler)

    def _max_body(self, policy: BlockPolicy) -> int:
        return self._limits.max_body if policy.max_body is None else policy.max_body

    def _check_size(self, request: Request, policy: BlockPolicy) -> None:
        max_body = self._max_body(policy)
        if len(request.payload) > max_body:
            self._endpoint.counters.turned_away["max_body"] += 1
            raise too_large(max_body)

    def _pass(self, request: Request) -> Response | Awaitable[Response]:
        """Run a handler that sees blocks."""
        result = self._handler(request)
        if not isinstance(result, Awaitable):
            return to_response(result, request)
        return _Later(_wait(result, request), result.close if isinstance(result, Coroutine) else _do_nothing)

    def _accept(self, request: Request, block1: Block, policy: BlockPolicy) -> Response | Awaitable[Response]:
        """Take a block of a request's body."""
        now = self._endpoint.clock()
        max_body = self._max_body(policy)
        if policy.streams:
            answer = self.uploads.accept(request, block1, max_body, now)
            if isinstance(answer, Response):
                return answer
            return _Later(self._run_on(answer, request, answer.upload.request), answer.close)
        whole = self.assembler.accept(request, block1, max_body, now)
        return whole if isinstance(whole, Response) else self._run(whole, request, policy)

    def _run(self, whole: Request, request: Request, policy: BlockPolicy) -> Response | Awaitable[Response]:
        """Run the handler on *whole*, which *request* has completed."""
        if policy.streams:
            whole = StreamedRequest.of(whole)
        elif whole.options.block2 is not None or whole.options.block1 is not None:
            whole = whole.replace(block1=None, block2=None)
        try:
            try:
                result = self._handler(whole)
                if isinstance(result, WHOLE):
                    complete: Response | StreamedBody = to_response(result, whole)
                elif isinstance(result, Awaitable):
                    return _Later(self._run_on(result, request, whole), partial(self._refused, request, result))
                else:
                    complete = to_result(result, whole)
            except Exception as exc:
                complete = _response_of(exc)
        except BaseException:
            self.assembler.answered(request, None, self._endpoint.clock())
            raise
        if isinstance(complete, StreamedBody):
            return _Later(self._run_on(complete, request, whole), partial(self._refused, request, complete))
        if self.assembler.unfinished:
            self.assembler.handling(request, self._endpoint.clock())
        return self._respond(complete, request, whole)

    def _refused(self, request: Request, inner: object) -> None:
        """Close what *request* would have waited for; its body may come once more."""
        self.assembler.refused(request, self._endpoint.clock())
        if isinstance(inner, StreamedBody):
            self._discard_stream(inner)
        elif isinstance(inner, Coroutine):
            inner.close()

    async def _run_on(
        self, result: StreamedBody | Awaitable[HandlerResult], request: Request, whole: Request
    ) -> Response:
        """Wait for the handler, and for the first block of a stream."""
        if self.assembler.unfinished:
            self.assembler.handling(request, self._endpoint.clock())
        try:
            try:
                complete = result if isinstance(result, StreamedBody) else to_result(await result, whole)
                if isinstance(complete, StreamedBody):
                    representation = represent_stream(complete, whole, self._endpoint.rng.randbytes(8))
                    return await self._read_block(representation, request, whole, is_remembered=False)
            except Exception as exc:
                complete = _response_of(exc)
            return self._respond(complete, request, whole)
        except BaseException:
            self.assembler.answered(request, None, self._endpoint.clock())
            raise

    def _answer_later_block(self, request: Request) -> Response | Awaitable[Response] | None:
        """Answer with a block of a body that is remembered; None if there is none."""
        representation = self.representations.get(_key(request), self._endpoint.clock())
        if representation is None or not representation.answers(request):
            return None
        if representation.is_stream:
            return self._read_block(representation, request, request, is_remembered=True)
        return self._cut_block(representation, request, is_remembered=True)

    def _run_again(self, request: Request) -> Response | Awaitable[Response]:
        # Without its payload, a FETCH does not say what it wants.
        if request.code not in _SAFE or (request.code == Code.FETCH and not request.payload):
            raise RequestEntityIncomplete("the response is not remembered any more")
        # Who asks for a later block has the first one of this body, and wants the rest whatever else it has.
        return self._run(request.replace(etag=None), request, self._policy_for(request))

    # Responses.

    def _respond(self, response: Response, request: Request, whole: Request) -> Response:
        if request.options.is_plain and len(response.payload) <= self._limits.max_block_size:
            return response  # Nobody asks for blocks, or has said what he has got.
        asked = request.options.block2
        size = self._size(asked)
        if whole.options.etags and (asked is None or not asked.number):
            response = validate(response, whole)
        if (asked is None and len(response.payload) <= size) or response.options.block2 is not None:
            block = response
        elif asked is not None and asked.number and not _has_blocks(response):
            block = response.replace(payload=response.payload[:size])
        else:
            block = self._cut_block(represent_octets(response, whole, size), request, is_remembered=False)
        return self._complete(block, request)

    def _cut_block(self, representation: Representation, request: Request, *, is_remembered: bool) -> Response:
        asked = request.options.block2
        size = self._size(asked)
        start = 0 if asked is None else asked.start
        payload, is_more = representation.cut(start, size)
        if is_more and not is_remembered:
            self._remember(representation, request)
        return representation.make_block(payload, is_more, start, size, asked)

    async def _read_block(
        self, representation: Representation, request: Request, whole: Request, *, is_remembered: bool
    ) -> Response:
        asked = request.options.block2
        size = self._size(asked)
        start = 0 if asked is None else asked.start
        is_kept = False
        try:
            if not representation.is_current:
                raise BodyConsumed("the file has changed")
            head = representation.head if start else validate(representation.head, whole)
            if head.code == Code.VALID:
                return self._complete(head, request)
            payload, is_more = await representation.read(start, size)
            is_kept = is_more and (is_remembered or self._remember(representation, request))
            block = representation.make_block(payload, is_more, start, size, asked)
        except BodyConsumed:
            self._forget(representation, request)
            again = self._run_again(request)
            return await again if isinstance(again, Awaitable) else again
        finally:
            if not is_kept or representation.is_dropped:
                await _close(representation)
        return self._complete(block, request)

    def _complete(self, block: Response, request: Request) -> Response:
        """Say which block of the request's body is answered, and take note of the answer."""
        block1 = request.options.block1
        if block1 is None:
            return block
        if block.options.block1 is None:
            block = block.replace(block1=echo(block1, self._limits.max_block_size))
        self.assembler.answered(request, block, self._endpoint.clock())
        return block

    def _size(self, asked: Block | None) -> int:
        return self._limits.max_block_size if asked is None else min(asked.size, self._limits.max_block_size)

    def _remember(self, representation: Representation, request: Request) -> bool:
        now = self._endpoint.clock()
        return self.representations.put_evicting(_key(request), representation, representation.octets, now)

    def _forget(self, representation: Representation, request: Request) -> None:
        """Forget *representation*, if it is what is remembered: somebody may have asked anew meanwhile."""
        key = _key(request)
        if self.representations.get(key, self._endpoint.clock()) is representation:
            self.representations.discard(key)

    def _dropped(self, representation: Representation) -> None:
        representation.is_dropped = True
        # Who reads closes it then: a generator cannot be closed while it runs.
        if representation.is_stream and not representation.lock.locked():
            self._nursery.start_soon(_close, representation)

    def _discard_stream(self, body: StreamedBody) -> None:
        self._nursery.start_soon(_close, Representation(_NO_RESPONSE, BodyReader(body.source)))


@final
class _Later(Awaitable[Response]):
    """Waits for a handler, or for a stream; whoever does not wait closes it, and with it what it would wait for."""

    def __init__(self, waiting: Coroutine[object, object, Response], refused: Callable[[], None]) -> None:
        self._waiting = waiting
        self._refused = refused

    def __await__(self) -> Generator[object, object, Response]:
        return self._waiting.__await__()

    def close(self) -> None:
        self._waiting.close()
        self._refused()


_NO_RESPONSE = Response(Code.CONTENT)


def _do_nothing() -> None:
    pass


async def _wait(awaitable: Awaitable[HandlerResult], request: Request) -> Response:
    return to_response(await awaitable, request)


def _key(request: Request) -> Key:
    # Requests for later blocks have no payload, and some clients leave out the format of what is not there.  ETags are
    # interpreted here, and so not part of a cache key (RFC 7252 section 5.6).
    return transfer_key(request, _NOT_IN_KEY)


def _has_blocks(response: Response) -> bool:
    return response.code.is_success and response.code != Code.VALID


def _response_of(error: Exception) -> Response:
    cause = find_cause(error)
    # An error that a handler got as a client, and let pass, is no answer of ours.
    if not isinstance(cause, ResponseError) or cause.response is not None:
        raise error
    return cause.to_response()


async def _close(representation: Representation) -> None:
    try:
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await representation.close()
    except Exception:
        _logger.exception("closing the source of a response failed")
