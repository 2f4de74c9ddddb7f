"""Request bodies on their way to handlers that read them as they come (:rfc:`7959` section 2.5).

=====================================================  ===============================================
what arrives                                           what happens
=====================================================  ===============================================
block 0                                                the handler starts, in a task of its own; that of an
                                                       unfinished body gets BodyIncomplete, and ends first
the block that is next                                 2.31 once the handler has it; to the last block, the
                                                       handler's response
the block before once more, with the same octets       answered as before
a block, while the one before waits for the handler    5.03 with Max-Age
a block after the handler has failed                   its error, which ends the transfer
a block after the handler has answered a success       2.31: the rest is dropped; the last block is answered
any other block                                        4.08, and BodyIncomplete for the handler (2.9.2)
more than the resource takes, or announced by Size1    4.13, likewise
nothing, for EXCHANGE_LIFETIME                         BodyIncomplete for the handler
nobody waits for the answer to a block any more        likewise; a handler that has the whole body is cancelled
                                                       (:mod:`trio_coap.server.running`)
=====================================================  ===============================================

Rule 1: a transfer is over when its last block, or a failure, has been answered; what its handler says after that, nobody
hears.  Rule 2: the time that a block waits for the handler is not the client's.  Rule 3: handlers that have not ended count
against the limits, also when their transfer is over.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Generator
from typing import final

import trio

from trio_coap.messaging.timer import Timer
from trio_coap.server.assembly import Assembler, check_block, echo, no_room, transfer_key
from trio_coap.server.incoming import BodyIncomplete, IncomingBody, StreamedRequest
from trio_coap.server.ledger import Key, Ledger
from trio_coap.server.limits import BlockLimits
from trio_coap.server.results import HandlerResult, StreamedBody, to_result
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.block import Block
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import (
    RequestEntityIncomplete,
    RequestEntityTooLarge,
    ResponseError,
    ServiceUnavailable,
)

_logger = logging.getLogger(__name__)

HELD_OCTETS = 2 * 1024
"""What a transfer holds of its body: the block in the handler's hands, and the one that waits for it."""


@final
class Upload:
    """A body on its way to its handler."""

    __slots__ = (
        "body",
        "ended_by",
        "finished",
        "first",
        "is_answered",
        "is_answering",
        "key",
        "last",
        "outcome",
        "request",
        "scope",
        "timer",
        "waiting",
    )

    request: StreamedRequest
    """What the handler gets."""

    first: Request
    """Which brought block 0."""

    last: tuple[int, bool, bytes]
    """Of the last block that was taken: start, whether more follow, octets."""

    outcome: Response | StreamedBody | Exception | None
    """What the handler has returned or raised."""

    finished: trio.Event
    """Is set when the handler's task has ended."""

    ended_by: str | None
    """Why the transfer was given up; None as long as it was not."""

    scope: trio.CancelScope
    """Of the handler's task."""

    waiting: int
    """Requests that wait for an answer to their block."""

    is_answering: bool
    """Whether somebody waits for the response to the last block."""

    is_answered: bool
    """Whether the outcome has been taken to the client."""

    def __init__(self, key: Key, request: StreamedRequest, body: IncomingBody, first: Request) -> None:
        self.key = key
        self.request = request
        self.body = body
        self.first = first
        self.timer: Timer | None = None
        self.last = (0, True, b"")
        self.outcome = None
        self.finished = trio.Event()
        self.ended_by = None
        self.scope = trio.CancelScope()
        self.waiting = 0
        self.is_answering = self.is_answered = False

    @property
    def has_failed(self) -> bool:
        """Whether the handler has ended with an error."""
        outcome = self.outcome
        if outcome is None or isinstance(outcome, Exception):
            return outcome is not None
        return outcome.code is not None and not outcome.code.is_success

    def repeats(self, request: Request, block: Block) -> bool:
        """Whether *request* brings the last block once more."""
        if block.number == 0 and (self.outcome is not None or not block.more or request.options != self.first.options):
            return False
        return self.last == (block.start, block.more, request.payload)


@final
class Uploads:
    """The bodies that handlers read as they come.

    ``len(uploads)`` is how many handlers run for them, or have a response that waits for its block.
    """

    def __init__(
        self,
        handler: Callable[[Request], HandlerResult | Awaitable[HandlerResult]],
        endpoint: DrivenEndpoint,
        nursery: trio.Nursery,
        limits: BlockLimits,
        assembler: Assembler,
        close_body: Callable[[StreamedBody], None],
    ) -> None:
        """Start without any.

        Args:
          handler: the application's handler.
          endpoint: gives the time, and counts what is turned away.
          nursery: for the handlers' tasks.
          limits: how many there may be.
          assembler: knows what blocks were answered with whose transfer is over.
          close_body: closes a response that nobody fetches.
        """
        self._handler = handler
        self._endpoint = endpoint
        self._nursery = nursery
        self._limits = limits
        self._assembler = assembler
        self._close_body = close_body
        self._when_none: Callable[[], None] | None = None
        self._lifetime = endpoint.parameters.exchange_lifetime
        self._patience = endpoint.parameters.max_transmit_wait
        # The lifetime is that of the timers: it does not pass while a block waits for the handler.
        self._uploads: Ledger[Upload] = Ledger(limits.for_one_table(), math.inf)
        # Twice as many: a body may begin again before the handler of the last attempt has ended.
        self._ending: Ledger[Upload] = Ledger(limits.for_one_table(times=2), math.inf)

    def __len__(self) -> int:
        return len(self._uploads) + len(self._ending)

    def resumes(self, request: Request) -> bool:
        """Return whether *request* brings a block of a body that has begun: a server that ends lets it."""
        block = request.options.block1
        if block is None:
            return False
        upload = self._uploads.get(transfer_key(request), self._endpoint.clock())
        return upload is not None and (block.number > 0 or upload.repeats(request, block))

    def finish(self, when_none: Callable[[], None]) -> None:
        """Call *when_none* whenever no handler is left that runs for a body, or waits for the rest of one."""
        self._when_none = when_none

    def accept(self, request: Request, block: Block, max_body: int, now: float) -> Response | UploadAnswer:
        """Take a block into account.

        Args:
          request: the request that brings it.
          block: its Block1.
          max_body: what the resource takes, in octets.
          now: the current time, in seconds.

        Returns:
          The response to this block, or what will have it.

        Raises:
          ResponseError: see the table.
        """
        key = transfer_key(request)
        upload = self._uploads.get(key, now)
        try:
            check_block(request, block, max_body)
        except RequestEntityTooLarge as exc:
            self._endpoint.counters.turned_away["max_body"] += 1
            if upload is not None and not upload.is_answering:
                self._end(upload, exc.diagnostic)
            raise
        is_repeated = upload is not None and upload.repeats(request, block)
        if block.number == 0 and not is_repeated:
            upload = self._start(key, upload, request, now)
        if upload is None:
            return self._assembler.repeat(request, block, now)
        if not is_repeated and not upload.has_failed:
            self._put(upload, request, block)
        return self._answer(upload, request, block, now)

    def refused(self, upload: Upload, request: Request) -> None:
        """Take into account that *request* was not taken: there is no room to wait for the answer to its block."""
        upload.waiting -= 1
        upload.is_answering = False
        if request is upload.first:
            self._end(upload, "the server has no room")
        elif upload.ended_by is None:
            self._rest(upload, self._endpoint.clock())

    def close(self) -> None:
        """End all transfers, because the server ends."""
        for upload in self._uploads.values():
            self._give_up(upload, "the server is closed")

    def _start(self, key: Key, previous: Upload | None, request: Request, now: float) -> Upload:
        if previous is not None:
            if previous.is_answering:
                self._detach(previous)  # Its body is complete, and its handler at work: this is another request.
                previous = None
            else:
                self._end(previous, "the client begins again")
        self._require_room(key, now)
        self._assembler.forget(key)
        body = IncomingBody(request.options.size1)
        upload = Upload(key, StreamedRequest.begin(request, body), body, request)
        upload.timer = Timer(self._endpoint.queue, lambda now: self._end(upload, "the client is silent"))
        self._uploads.put(key, upload, HELD_OCTETS, now)
        self._nursery.start_soon(self._run, upload, previous)
        return upload

    def _require_room(self, key: Key, now: float) -> None:
        excess = self._uploads.find_excess(key[0], HELD_OCTETS, new=True)
        if excess is not None:
            remote = key[0] if excess.limit.endswith("_per_remote") else None
            for idle in self._uploads.idle(self._patience, now, remote):
                upload = self._uploads.get(idle, now)
                if upload is not None and upload.timer is not None and upload.timer.queue_time is not None:
                    self._end(upload, "the client is silent, and others need the room")
            excess = self._uploads.find_excess(key[0], HELD_OCTETS, new=True)
        excess = excess or self._ending.find_excess(key[0], HELD_OCTETS, new=True)
        if excess is not None:
            self._endpoint.counters.turned_away[excess.limit] += 1
            raise no_room(excess)

    def _put(self, upload: Upload, request: Request, block: Block) -> None:
        body = upload.body
        if block.start != body.accepted or body.is_complete:
            reason = f"the body goes on at octet {body.accepted}, not at octet {block.start}"
            if not upload.is_answering:
                self._end(upload, reason)
            raise RequestEntityIncomplete(reason)
        if body.is_waiting:
            raise ServiceUnavailable("the block before is being processed", max_age=1)
        upload.last = (block.start, block.more, request.payload)
        body.put(request.payload, is_last=not block.more)

    def _answer(self, upload: Upload, request: Request, block: Block, now: float) -> Response | UploadAnswer:
        assert upload.timer is not None
        if block.more and not upload.has_failed and not upload.body.is_waiting:
            self._rest(upload, now)
            return self._continue(block)
        if not block.more:
            if upload.is_answering:
                raise ServiceUnavailable("the body is being processed", max_age=1)
            upload.is_answering = True
        upload.timer.stop()
        upload.waiting += 1
        return UploadAnswer(self, upload, request, block)

    async def wait_for_answer(self, upload: Upload, request: Request, block: Block) -> Response | StreamedBody:
        """Wait until the handler has the block, or has answered; see :meth:`accept`."""
        try:
            await (upload.body.taken if block.more else upload.finished).wait()
        except BaseException:
            upload.waiting -= 1
            self._lose_interest(upload)
            raise
        upload.waiting -= 1
        now = self._endpoint.clock()
        if upload.ended_by is not None:
            raise RequestEntityIncomplete(upload.ended_by)
        if block.more and not upload.has_failed:
            self._rest(upload, now)
            return self._continue(block)
        if not upload.is_answered:
            upload.is_answered = True
            self._detach(upload)
            self._assembler.remember(request, now)
        if isinstance(upload.outcome, Exception):
            raise upload.outcome
        assert upload.outcome is not None
        return upload.outcome

    def _lose_interest(self, upload: Upload) -> None:
        """Take into account that a request for an answer was given up; it may have come once more meanwhile."""
        if upload.waiting or upload.ended_by is not None:
            return
        self._end(upload, "the client does not want to know any more")
        if upload.body.is_complete:
            upload.scope.cancel()

    def _continue(self, block: Block) -> Response:
        return Response(Code.CONTINUE, block1=echo(block, self._limits.max_block_size))

    def _rest(self, upload: Upload, now: float) -> None:
        """Wait for the client's next block from now on."""
        assert upload.timer is not None
        self._uploads.get(upload.key, now)
        upload.timer.start(now + self._lifetime)

    def _detach(self, upload: Upload) -> None:
        """Take the upload from the table: no block is for it any more."""
        assert upload.timer is not None
        upload.timer.stop()
        now = self._endpoint.clock()
        if self._uploads.get(upload.key, now) is upload:
            self._uploads.discard(upload.key)
        if not upload.finished.is_set():
            self._ending.put((upload.key[0], upload), upload, HELD_OCTETS, now)
        self._check_finished()

    def _check_finished(self) -> None:
        if self._when_none is not None and not len(self):
            self._when_none()

    def _end(self, upload: Upload, reason: str) -> None:
        """Give the transfer up, and tell the handler."""
        self._give_up(upload, reason)
        upload.body.fail(reason)

    def _give_up(self, upload: Upload, reason: str) -> None:
        self._detach(upload)
        upload.ended_by = reason
        self._drop_outcome(upload)

    async def _run(self, upload: Upload, previous: Upload | None) -> None:
        """Run the handler; it has what *previous* was replaced with."""
        try:
            if previous is not None:
                await previous.finished.wait()
            with upload.scope:
                if upload.ended_by is None:
                    result = self._handler(upload.request)
                    result = await result if isinstance(result, Awaitable) else result
                    upload.outcome = to_result(result, upload.request)
        except Exception as exc:
            upload.outcome = exc
        finally:
            upload.finished.set()
            upload.body.discard_rest()
            self._ending.discard((upload.key[0], upload))
            if upload.ended_by is not None:
                self._drop_outcome(upload)
            self._check_finished()

    def _drop_outcome(self, upload: Upload) -> None:
        """Forget what the handler has said, which nobody hears; a defect is logged all the same."""
        outcome, upload.outcome = upload.outcome, None
        if isinstance(outcome, StreamedBody):
            self._close_body(outcome)
        elif isinstance(outcome, Exception) and not _is_expected(outcome):
            _logger.error("a handler failed on %r", upload.request, exc_info=outcome)


@final
class UploadAnswer(Awaitable[Response | StreamedBody]):
    """Will have the response to a block; who does not wait for it closes it."""

    def __init__(self, uploads: Uploads, upload: Upload, request: Request, block: Block) -> None:
        self.upload = upload
        self._uploads = uploads
        self._request = request
        self._block = block

    def __await__(self) -> Generator[object, object, Response | StreamedBody]:
        return self._uploads.wait_for_answer(self.upload, self._request, self._block).__await__()

    def close(self) -> None:
        """Do not wait."""
        self._uploads.refused(self.upload, self._request)


def _is_expected(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return all(_is_expected(inner) for inner in exc.exceptions)
    return isinstance(exc, (BodyIncomplete, ResponseError))
