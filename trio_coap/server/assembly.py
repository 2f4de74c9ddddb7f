"""Request bodies that come in blocks (:rfc:`7959` sections 2.5 and 2.9).

=====================================================  ===============================================
what arrives                                           what happens
=====================================================  ===============================================
block 0, more to come                                  a new body, in place of an unfinished one
the block that is next                                 2.31, or the whole body if it is the last
the block before once more, with the same octets       answered as before (2.5)
the last block once more, after a 4.01 with Echo       the whole body again (:rfc:`9175` section 2)
any other block                                        4.08 (2.9.2)
a block that is not the last, and not of its size      4.00 (2.2)
more than the resource takes, or announced by Size1    4.13 with the limit in Size1 (2.9.3)
more than there is room for                            5.03 with Max-Age
=====================================================  ===============================================

Rule: a body belongs to a remote endpoint, a method, and the options that identify the resource and the body: Uri-*, all
others of the cache key, Content-Format, Request-Tag (:rfc:`9175` section 3).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import final

import attrs

from trio_coap.server.ledger import Key, Ledger
from trio_coap.server.limits import BlockLimits
from trio_coap.wire.block import Block
from trio_coap.wire.codes import Code
from trio_coap.wire.definitions import is_no_cache_key
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import (
    BadRequest,
    RequestEntityIncomplete,
    RequestEntityTooLarge,
    ServiceUnavailable,
)

NOT_IN_KEY = frozenset({5, 6, 23, 27})
"""What differs between the blocks of one body: If-None-Match (only in the first, section 2.10), Observe, Block2, Block1."""

RETRY_AFTER = 60
"""Max-Age of a 5.03 for want of room, in seconds: about when the unfinished bodies of others are given up."""


@attrs.define(eq=False)
class _Body:
    """A body of which more blocks are to come."""

    options: Options
    """Of its first block."""
    octets: bytearray
    last: bytes = b""
    """What the last block brought."""


@attrs.define(eq=False)
class _Answered:
    """A body that is complete: what its last block was answered with."""

    start: int
    last: bytes
    response: Response | None = None
    """None while the handler runs."""
    body: _Body | None = None
    """What came before the last block, while the handler runs."""


def transfer_key(request: Request, *without: int) -> Key:
    """Return what the blocks of one body have in common (:rfc:`7252` section 5.6)."""
    options = tuple(
        [
            (number, value)
            for number, value in request.options
            if number not in NOT_IN_KEY and number not in without and not is_no_cache_key(number)
        ]
    )
    remote: object = request.source_endpoint
    assert isinstance(remote, Hashable)
    return remote, (request.code, options)


@final
class Assembler:
    """Puts request bodies together.

    Args:
      limits: how much it holds.
      lifetime: how long an unfinished body waits for its next block, in seconds (EXCHANGE_LIFETIME).
      patience: after how many seconds without a block a remote's body makes room for its next one (MAX_TRANSMIT_WAIT).
    """

    def __init__(self, limits: BlockLimits, lifetime: float, patience: float) -> None:
        self._limits = limits
        self._patience = patience
        self._bodies: Ledger[_Body] = Ledger(limits.for_one_table(), lifetime)
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
        if block.more and len(payload) != block.size:
            raise BadRequest(f"a block that is not the last has {block.size} octets, not {len(payload)}")
        if max(block.start + len(payload), request.options.size1 or 0) > max_body:
            self._bodies.discard(transfer_key(request))
            raise too_large(max_body)
        key = transfer_key(request)
        if block.number == 0 and not block.more:
            self._bodies.discard(key)
            return request
        body = self._start(key, request, now) if block.number == 0 else self._bodies.get(key, now)
        if body is None or block.start != len(body.octets):
            return self._accept_repeated(key, body, block, payload, now)
        if not block.more:
            fresh = request.options.echo or body.options.echo  # RFC 9175 section 2: either may have it.
            options = body.options.replace(block1=None, block2=request.options.block2, echo=fresh)
            return request.replace(payload=bytes(body.octets) + payload, options=options)
        self._require_room(key, len(payload), now, new=False)
        body.octets += payload
        body.last = payload
        self._bodies.grow(key, len(payload))
        return Response(Code.CONTINUE, block1=self._echo(block))

    def handling(self, request: Request, now: float) -> None:
        """Take into account that the body that *request* has completed is being answered."""
        block = request.options.block1
        key = transfer_key(request)
        body = self._bodies.get(key, now)
        if block is None or body is None:
            return
        self._bodies.discard(key)
        answered = _Answered(block.start, request.payload, body=body)
        self._answered.put_evicting(key, answered, len(body.octets) + len(request.payload), now)

    def answered(self, request: Request, response: Response | None, now: float) -> None:
        """Take into account what the body that *request* has completed was answered with; None if the handler failed."""
        if request.options.block1 is None:
            return
        key = transfer_key(request)
        if response is None:
            self._bodies.discard(key)
            self._answered.discard(key)
            return
        answered = self._answered.get(key, now)
        if answered is None or answered.last != request.payload:
            return
        body, answered.body = answered.body, None
        if body is not None and response.options.echo is not None:
            # The last block, or all of them, will come once more with the Echo option.
            self._answered.discard(key)
            if not self._bodies.find_excess(key[0], len(body.octets), new=True):
                self._bodies.put(key, body, len(body.octets), now)
            return
        answered.response = response
        self._answered.grow(key, len(response.payload) - (0 if body is None else len(body.octets)))

    def _start(self, key: Key, request: Request, now: float) -> _Body:
        self._bodies.expire(now)
        self._bodies.discard(key)
        if self._bodies.find_excess(key[0], len(request.payload), new=True):
            self._bodies.discard_idle(key[0], self._patience, now)
        self._require_room(key, len(request.payload), now, new=True)
        body = _Body(request.options, bytearray())
        self._bodies.put(key, body, 0, now)
        self._answered.discard(key)
        return body

    def _require_room(self, key: Key, octets: int, now: float, *, new: bool) -> None:
        excess = self._bodies.find_excess(key[0], octets, new=new)
        if excess is not None:
            self._bodies.discard(key)
            raise ServiceUnavailable(f"no room for unfinished bodies: {excess}", max_age=RETRY_AFTER)

    def _accept_repeated(self, key: Key, body: _Body | None, block: Block, payload: bytes, now: float) -> Response:
        if body is not None and block.more and body.last == payload and block.start == len(body.octets) - len(payload):
            return Response(Code.CONTINUE, block1=self._echo(block))
        answered = self._answered.get(key, now)
        if body is None and answered is not None and (answered.start, answered.last) == (block.start, payload):
            if answered.response is None:
                raise ServiceUnavailable("the body is being processed", max_age=1)
            return answered.response
        expected = "with block 0" if body is None else f"at octet {len(body.octets)}"
        raise RequestEntityIncomplete(f"the body goes on {expected}, not at octet {block.start}")

    def _echo(self, block: Block) -> Block:
        return echo(block, self._limits.max_block_size)


def echo(block: Block, max_block_size: int) -> Block:
    """Return the Block1 option of a response: what it answers for, and the size that we would rather have."""
    return Block.of(block.number, block.more, min(block.size, max_block_size))


def too_large(max_body: int) -> RequestEntityTooLarge:
    """Return the error for a body above *max_body* octets."""
    return RequestEntityTooLarge(f"a body has at most {max_body} octets here", size1=max_body)
