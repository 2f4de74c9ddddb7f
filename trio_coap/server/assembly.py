"""Request bodies that come in blocks (:rfc:`7959` sections 2.5 and 2.9).

=====================================================  ===============================================
what arrives                                           what happens
=====================================================  ===============================================
block 0, more to come                                  a new body, in place of an unfinished one
the block that is next                                 2.31, or the whole body if it is the last
the block before once more, with the same octets       answered as before (2.5)
the last block once more, after a 4.01 with Echo       the whole body again (:rfc:`9175` section 2)
the last block once more, while the handler runs       5.03 with Max-Age
any other block                                        4.08 (2.9.2)
a block that is not the last, and not of its size      4.00 (2.2)
more than the resource takes, or announced by Size1    4.13 with the limit in Size1 (2.9.3)
more than there is room for                            5.03 with Max-Age, unless bodies that nobody has gone on
                                                       with for MAX_TRANSMIT_WAIT can make room
=====================================================  ===============================================

Rule: a body belongs to a remote endpoint, a method, and the options that identify the resource and the body: Uri-*, all
others of the cache key, Content-Format, Request-Tag (:rfc:`9175` section 3).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, final

from trio_coap.server.ledger import Excess, Key, Ledger
from trio_coap.server.limits import BlockLimits
from trio_coap.wire.block import Block
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import (
    BadRequest,
    RequestEntityIncomplete,
    RequestEntityTooLarge,
    ServiceUnavailable,
)

NOT_IN_KEY = frozenset({5, 6, 16, 23, 27, 258})
"""What differs between the blocks of one body: If-None-Match (only in the first, section 2.10), Observe, Hop-Limit (as the
way does), Block2, Block1, No-Response (only in the last, of a client that wants to hear 2.31)."""

_BLOCK1 = 27
_NO_OPTIONS = Options()

RETRY_AFTER = 60
"""Max-Age of a 5.03 for want of room, in seconds: about when the unfinished bodies of others are given up."""


@final
class _Body:
    """A body of which more blocks are to come."""

    __slots__ = ("is_complete", "last", "octets", "options")

    options: Options
    """Of its first block."""
    last: bytes
    """What the last block brought."""
    is_complete: bool
    """Whether the last block has come, and a handler is to run for it."""

    def __init__(self, options: Options, octets: bytearray) -> None:
        self.options = options
        self.octets = octets
        self.last = b""
        self.is_complete = False


@final
class _Answered:
    """A body that is complete: what its last block was answered with."""

    __slots__ = ("body", "last", "request", "response", "start")

    request: Request
    """Which brought that block."""
    response: Response | None
    """None while the handler runs."""
    body: _Body | None
    """What came before the last block, while the handler runs."""

    def __init__(self, request: Request, start: int, last: bytes, *, body: _Body | None = None) -> None:
        self.request = request
        self.start = start
        self.last = last
        self.response = None
        self.body = body


def transfer_key(request: Request, without: frozenset[int] = NOT_IN_KEY) -> Key:
    """Return what the blocks of one body have in common (:rfc:`7252` section 5.6).

    Args:
      request: which brings a block, or asks for one.
      without: the options that may differ, beside those that never are part of a cache key.
    """
    remote: Any = request.source_endpoint
    assert remote is not None
    return remote, (request.code, request.options.body_key(without))


@final
class Assembler:
    """Puts request bodies together.

    Args:
      limits: how much it holds.
      lifetime: how long an unfinished body waits for its next block, in seconds (EXCHANGE_LIFETIME).
      patience: after how many seconds without a block a body makes room for another one (MAX_TRANSMIT_WAIT).
      turned_away: counts what is refused because of a limit, by its name.
    """

    def __init__(
        self, limits: BlockLimits, lifetime: float, patience: float, turned_away: Counter[str] | None = None
    ) -> None:
        self._limits = limits
        self._patience = patience
        self._turned_away = Counter() if turned_away is None else turned_away
        self._bodies: Ledger[_Body] = Ledger(limits.for_one_table(), lifetime)
        # What is forgotten here was answered: nobody is turned away.
        self._answered: Ledger[_Answered] = Ledger(limits.for_one_table(), lifetime)

    @property
    def unfinished(self) -> int:
        """Bodies of which more blocks are to come."""
        return len(self._bodies)

    @property
    def octets(self) -> int:
        """Octets of those bodies."""
        return self._bodies.octets

    def accept(self, request: Request, block: Block, max_body: int, now: float) -> Request | Response:
        """Take a block into account.

        Args:
          request: the request that brings it.
          block: its Block1.
          max_body: what the resource takes, in octets.
          now: the current time, in seconds.

        Returns:
          The request with its whole body, or the response to this block.

        Raises:
          ResponseError: see the table.
        """
        payload = request.payload
        key = transfer_key(request)
        try:
            check_block(request, block, max_body)
        except RequestEntityTooLarge:
            self._turned_away["max_body"] += 1
            self._bodies.discard(key)
            raise
        if block.number == 0 and not block.more:
            self._bodies.discard(key)
            return request
        body = self._start(key, request, now) if block.number == 0 else self._bodies.get(key, now)
        if body is None or block.start != len(body.octets):
            return self._accept_repeated(key, body, block, payload, now)
        if body.is_complete:
            raise _processing()
        if not block.more:
            body.is_complete = True
            fresh = request.options.echo or body.options.echo  # RFC 9175 section 2: either may have it.
            options = body.options.replace(block1=None, block2=request.options.block2, echo=fresh)
            return request.replace(payload=bytes(body.octets) + payload, options=options)
        self._require_room(key, len(payload), now, new=False)
        body.octets += payload
        body.last = payload
        self._bodies.grow(key, len(payload))
        return self._continue(block)

    def handling(self, request: Request, now: float) -> None:
        """Take into account that the body that *request* has completed is being answered."""
        key = transfer_key(request)
        body = self._bodies.get(key, now)
        if request.options.block1 is None or body is None or not body.is_complete:
            return
        self._bodies.discard(key)
        self.remember(request, now, body)

    def remember(self, request: Request, now: float, body: _Body | None = None) -> None:
        """Take into account that *request* has completed a body, which is being answered."""
        block = request.options.block1
        assert block is not None
        answered = _Answered(request, block.start, request.payload, body=body)
        octets = len(request.payload) + (0 if body is None else len(body.octets))
        self._answered.put_evicting(transfer_key(request), answered, octets, now)

    def refused(self, request: Request, now: float) -> None:
        """Take into account that there is no handler for the body that *request* has completed: it may come again."""
        if request.options.block1 is not None:
            body = self._bodies.get(transfer_key(request), now)
            if body is not None:
                body.is_complete = False

    def answered(self, request: Request, response: Response | None, now: float) -> None:
        """Take into account what the body that *request* has completed was answered with; None if the handler failed."""
        if request.options.block1 is None:
            return
        # The client may have begun another body meanwhile, of which nothing is said here.
        key = transfer_key(request)
        answered = self._answered.get(key, now)
        is_ours = answered is not None and answered.request is request
        if response is None:
            if self._is_completed(key, now):
                self._bodies.discard(key)
            if is_ours:
                self._answered.discard(key)
        elif answered is not None and is_ours:
            self._take_answer(key, answered, response, now)

    def _take_answer(self, key: Key, answered: _Answered, response: Response, now: float) -> None:
        body, answered.body = answered.body, None
        if body is None or response.options.echo is None:
            answered.response = response.replace()  # The layers below fill in the one that goes out, as any later one.
            self._answered.grow(key, len(response.payload) - (0 if body is None else len(body.octets)))
            return
        # The last block, or all of them, will come once more with the Echo option.
        self._answered.discard(key)
        if self._bodies.get(key, now) is None and not self._bodies.find_excess(key[0], len(body.octets), new=True):
            body.is_complete = False
            self._bodies.put(key, body, len(body.octets), now)

    def repeat(self, request: Request, block: Block, now: float) -> Response:
        """Return the answer to a block of a body that is not there any more.

        Raises:
          ResponseError: if it is not the last one that was answered.
        """
        return self._accept_repeated(transfer_key(request), None, block, request.payload, now)

    def forget(self, key: Key) -> None:
        """Do not repeat what a body was answered with: another one begins."""
        self._answered.discard(key)

    def _is_completed(self, key: Key, now: float) -> bool:
        body = self._bodies.get(key, now)
        return body is not None and body.is_complete

    def _start(self, key: Key, request: Request, now: float) -> _Body:
        self._bodies.expire(now)
        self._bodies.discard(key)
        excess = self._bodies.find_excess(key[0], len(request.payload), new=True)
        if excess is not None:
            # What is short for all need not be this endpoint's doing.
            remote = key[0] if excess.limit.endswith("_per_remote") else None
            for idle in self._bodies.idle(self._patience, now, remote):
                self._bodies.discard(idle)
        self._require_room(key, len(request.payload), now, new=True)
        body = _Body(request.options, bytearray())
        self._bodies.put(key, body, 0, now)
        self.forget(key)
        return body

    def _require_room(self, key: Key, octets: int, now: float, *, new: bool) -> None:
        excess = self._bodies.find_excess(key[0], octets, new=new)
        if excess is not None:
            self._bodies.discard(key)
            self._turned_away[excess.limit] += 1
            raise no_room(excess)

    def _accept_repeated(self, key: Key, body: _Body | None, block: Block, payload: bytes, now: float) -> Response:
        if body is not None and block.more and body.last == payload and block.start == len(body.octets) - len(payload):
            return self._continue(block)
        answered = self._answered.get(key, now)
        if body is None and answered is not None and (answered.start, answered.last) == (block.start, payload):
            if answered.response is None:
                raise _processing()
            return answered.response.replace()
        expected = "with block 0" if body is None else f"at octet {len(body.octets)}"
        raise RequestEntityIncomplete(f"the body goes on {expected}, not at octet {block.start}")

    def _continue(self, block: Block) -> Response:
        echoed = echo(block, self._limits.max_block_size)
        return Response(Code.CONTINUE, options=_NO_OPTIONS.with_uint(_BLOCK1, echoed.to_uint()))


def echo(block: Block, max_block_size: int) -> Block:
    """Return the Block1 option of a response: what it answers for, and the size that we would rather have."""
    return block if block.size <= max_block_size else Block.of(block.number, block.more, max_block_size)


def check_block(request: Request, block: Block, max_body: int) -> None:
    """Check what *block* brings, wherever it belongs.

    Raises:
      BadRequest: if it is not the last, and not of its size.
      RequestEntityTooLarge: if there is more than *max_body* octets, or will be.
    """
    octets = len(request.payload)
    if block.more and octets != block.size:
        raise BadRequest(f"a block that is not the last has {block.size} octets, not {octets}")
    if max(block.start + octets, request.options.size1 or 0) > max_body:
        raise too_large(max_body)


def no_room(excess: Excess) -> ServiceUnavailable:
    """Return the error for a body that there is no room for."""
    return ServiceUnavailable(f"no room for unfinished bodies: {excess}", max_age=RETRY_AFTER)


def _processing() -> ServiceUnavailable:
    return ServiceUnavailable("the body is being processed", max_age=1)


def too_large(max_body: int) -> RequestEntityTooLarge:
    """Return the error for a body above *max_body* octets."""
    return RequestEntityTooLarge(f"a body has at most {max_body} octets here", size1=max_body)
