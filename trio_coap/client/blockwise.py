"""Block-wise transfer, the client's side (:rfc:`7959`).

===========================================  ========================================================================
what the server answers                      what happens
===========================================  ========================================================================
to a block of the request's body:
2.31 with Block1                             the next block; smaller ones from now on if its size is smaller (2.3)
success with Block1, more=False              the next block: the server acts on each by itself (figure 8)
4.13 with a smaller size in Block1           the body from its start, in blocks of that size (2.9.3)
4.08                                         the body from its start, once, with another Request-Tag (2.9.2)
anything else                                that is the response
with a block of the response's body:
Block2, more=True                            the next block, of the size that the server gave, or ours if smaller (2.4)
another ETag than the first block's          GET and FETCH: from the start, MAX_RESTARTS times; then an error (2.4)
2.03, instead of a block                     the same: it has become one that the request names
a block that does not fit                    :exc:`BlockTransferError`
an error, instead of a block                 that is the response
===========================================  ========================================================================
"""

from __future__ import annotations

from typing import final

from trio_coap.client.transfer import (
    MAX_BLOCK_SIZE,
    MAX_RESTARTS,
    NO_OPTIONS,
    NOTHING,
    BlockTransferError,
    BodyTooLarge,
    Conversation,
    Follow,
    Progress,
    RepresentationChanged,
    RequestTags,
)
from trio_coap.wire.block import MAX_BLOCK_NUMBER, Block
from trio_coap.wire.body import BodyConsumed, BodyReader
from trio_coap.wire.codes import Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Response
from trio_coap.wire.options import Options

_IF_NONE_MATCH, _OBSERVE, _BLOCK2, _BLOCK1, _SIZE2 = 5, 6, 23, 27, 28
_LATER_BLOCKS_LACK = frozenset({_IF_NONE_MATCH, _OBSERVE})
"""Section 2.10 has no If-None-Match on later blocks; an observation is of the whole resource (section 2.6)."""

_REQUESTS_FOR_BLOCKS_LACK = _LATER_BLOCKS_LACK | {_SIZE2}
"""Who asks for the size of the response's body (section 4) has been told with its first block."""

SAFE = frozenset({Code.GET, Code.FETCH})
"""The methods that may be repeated, and whose requests need not be told apart."""


class _RestartNeeded(Exception):
    """The upload is to begin again, with other blocks."""


@final
class Upload:
    """Sends the body of a request, and returns the response to it."""

    def __init__(
        self,
        conversation: Conversation,
        body: BodyReader,
        tags: RequestTags,
        progress: Progress,
        block_size: int | None = None,
        uri: str = "",
        *,
        answer: Response | None = None,
        number: int | None = None,
    ) -> None:
        """Prepare an upload.

        Args:
          conversation: sends the blocks.
          body: what is sent.
          tags: gives the Request-Tag.
          progress: is kept up to date.
          block_size: 16 to 1024 octets; it is also what the response is asked to come in.
          uri: of the request; bodies of one message are kept apart by it.
          answer: to the first block, if that has been sent already, with no option of its own but the tag of *number*.
          number: of the request, if it has been entered already; see :meth:`RequestTags.enter`.
        """
        self._uri = uri
        self._number = number
        self._conversation = conversation
        self._body = body
        self._tags = tags
        self._progress = progress
        self._size = block_size or MAX_BLOCK_SIZE
        self._start = 0
        # What the requests that follow at once have in common; None until the first one does.
        self._common: Options | None = None
        self._early = Options(block2=Block.of(0, False, block_size)) if block_size else NO_OPTIONS
        self._has_own_tag = bool(conversation.template.options.request_tag)
        self._tag: int | None = None
        self._may_restart = True
        self._is_in_blocks = False
        self._answer = answer
        self.repeated_payload = b""
        """What requests for further blocks of the response carry: the body of a FETCH, which is part of its cache key
        (:rfc:`8132` section 2), if it fits into one message."""
        self.options = NO_OPTIONS
        """The options that requests for further blocks of the response have in common with those of the upload."""

    async def run(self) -> Response:
        """Send the body, and return the final response."""
        while True:
            self._tag = None
            self.options = NO_OPTIONS
            try:
                return await self._send_all()
            except _RestartNeeded:
                continue

    def end(self) -> None:
        """Let others have the Request-Tag: the whole response is there, or is not wanted; not sooner.

        The requests for further blocks of the response carry it, too (see :attr:`options`).
        """
        if self._tag is not None:
            self._tags.release(self._tag)
            self._tag = None

    def leave(self) -> None:
        """End the transfer, by whatever way."""
        if self._number is not None:
            self._tags.leave(self._uri, self._number)
            self._number = None

    async def _send_all(self) -> Response:
        self._start = 0
        self._common = None
        while True:
            payload, is_more = await self._body.read_block(self._start, self._size)
            self._progress.to_send = self._body.size
            if max(self._body.size or 0, self._start + len(payload)) > (MAX_BLOCK_NUMBER + 1) * self._size:
                raise LocalProtocolError(
                    f"blocks of {self._size} octets are too small for the body (RFC 7959 section 2.2)"
                )
            response = await self._send_block(self._start, payload, is_more)
            block = response.options.block1
            if block is not None and block.size_exponent == 7:
                raise BlockTransferError("the server answered with the reserved block size 7", response)
            if await self._must_restart(response, block, self._start):
                raise _RestartNeeded
            if not response.code.is_success:
                return response
            if not is_more:
                if response.code == Code.CONTINUE:
                    raise BlockTransferError("the server wants more (2.31), where all has been sent", response)
                self._progress.sent = self._start + len(payload)
                self._progress.to_send = self._body.size
                return response
            if block is None or block.number != self._start // self._size:
                seen = "no block" if block is None else f"block {block.number}"
                raise BlockTransferError(
                    f"the server answered for {seen}, not for block {self._start // self._size} of {self._size} octets",
                    response,
                )
            self._block_arrived(block)

    def _block_arrived(self, block: Block) -> None:
        """Go on behind the block that was sent last, which is not the last one: the server has answered for it."""
        self._start += self._size
        self._progress.sent = self._start
        self._size = min(self._size, block.size)

    def _follow(self, response: Response) -> tuple[bytes, Options] | None:
        """Return payload and options of the next block, unless that is the last one, or there is more to be decided."""
        block = response.options.block1
        if response.code is not Code.CONTINUE or block is None or block.size_exponent == 7:
            return None
        start, size = self._start + self._size, min(self._size, block.size)
        following = self._body.block_at_hand(start, size)
        if block.number != self._start // self._size or following is None or not following[1]:
            return None
        if (self._body.size or 0) > (MAX_BLOCK_NUMBER + 1) * size:
            return None
        self._block_arrived(block)
        common = self._common
        if common is None:
            common = self._common = self._conversation.options_of(self.options, _LATER_BLOCKS_LACK)
        return following[0], common.with_uint(_BLOCK1, Block.of(start // size, True, size).to_uint())

    async def _send_block(self, start: int, payload: bytes, is_more: bool) -> Response:
        options = NO_OPTIONS if is_more else self._early
        if start or is_more or self._is_in_blocks:
            if is_more and not start and not self._has_own_tag:
                self._tag = self._tags.take()
                self.options = Options(request_tag=[self._tags.encode(self._tag)])
            size1 = self._body.size if is_more and not start else None
            options += self.options.with_uint(_BLOCK1, Block.of(start // self._size, is_more, self._size).to_uint())
            if size1 is not None:
                options += Options(size1=size1)
        elif self._conversation.template.code == Code.FETCH:
            self.repeated_payload = payload
        elif self._conversation.template.code not in SAFE and not self._has_own_tag:
            if self._number is None:
                self._number = self._tags.enter(self._uri)
            if self._number:
                self.options = Options(request_tag=[self._tags.encode(self._number)])
            options += self.options
        if self._answer is not None:
            answer, self._answer = self._answer, None
            return answer
        without = _LATER_BLOCKS_LACK if start else NOTHING
        follow = self._follow if is_more else None
        return await self._conversation.ask(payload, options=options, without=without, follow=follow)

    async def _must_restart(self, response: Response, block: Block | None, start: int) -> bool:
        """Say whether *response* asks for the body once more, and the body can be read once more."""
        if response.code == Code.REQUEST_ENTITY_TOO_LARGE and block is not None and block.size < self._size:
            size = block.size
        elif response.code == Code.REQUEST_ENTITY_INCOMPLETE and start and self._may_restart:
            self._may_restart = False
            size = self._size
        else:
            return False
        try:
            await self._body.read_block(0, size)
        except BodyConsumed:
            return False
        self._is_in_blocks = True
        self._size = size
        self._progress.sent = 0
        return True


def is_whole(response: Response, max_body: int) -> bool:
    """Say whether there is nothing about the response to a request of one block that this module has rules for."""
    options = response.options
    return (
        options.block2 is None
        and options.block1 is None
        and options.size2 is None
        and response.code is not Code.CONTINUE
        and len(response.payload) <= max_body
    )


@final
class Download:
    """Reads the body of a response, block by block."""

    def __init__(
        self, conversation: Conversation, first: Response, upload: Upload, progress: Progress, block_size: int | None
    ) -> None:
        """Begin with the response to a request.

        Raises:
          BlockTransferError: if its block is none that a body begins with.
        """
        self._conversation = conversation
        self._upload = upload
        self._progress = progress
        self._limit = block_size or MAX_BLOCK_SIZE
        self._restarts = 0
        self._begin(first)

    def _begin(self, first: Response) -> None:
        self._common: Options | None = None  # As that of an upload.
        self.first = first
        self.response = first
        self.payload = first.payload
        """What the last block has brought."""
        self.offset = 0
        """Octets that came before it."""
        self._accept(first)

    @property
    def is_complete(self) -> bool:
        """Whether the last block is here, or an error instead."""
        block = self.response.options.block2
        return block is None or not block.more

    async def advance(self) -> bool:
        """Fetch the next block.

        Returns:
          False if an error came instead, which is now :attr:`response`.

        Raises:
          RepresentationChanged: if the block belongs to another version of the representation.
          BlockTransferError: if it does not fit.
        """
        return self._take(await self._ask(self._next_block()))

    def _next_block(self) -> Block:
        """Return what is asked for next.

        Raises:
          BlockTransferError: if no block has such a number.
        """
        block = self.response.options.block2
        assert block is not None
        size = min(block.size, self._limit)
        start = self.offset + len(self.payload)
        if start // size > MAX_BLOCK_NUMBER:
            raise BlockTransferError(f"blocks of {size} octets end at octet {start}; there is more", self.response)
        return Block.of(start // size, False, size)

    def _take(self, response: Response) -> bool:
        """Take what answers the request for the next block, as :meth:`advance` says."""
        first = self.first
        if response.code != first.code:
            if not response.code.is_success:
                self.response = response
                self._upload.end()
                return False
            if response.code == Code.VALID:
                # It has become one that the request names by its ETag.
                raise RepresentationChanged("the representation changed while it was read", response)
            raise BlockTransferError(f"a block of a {first.code} is a {response.code}", response)
        if response.options.etag != first.options.etag:
            raise RepresentationChanged("the representation changed while it was read", response)
        if response.options.content_format != first.options.content_format:
            raise BlockTransferError("the blocks of the body differ in Content-Format (RFC 7959 section 2.3)", response)
        self.offset += len(self.payload)
        self.payload = response.payload
        self.response = response
        self._accept(response)
        return True

    async def read_all(self, max_body: int) -> Response:
        """Return the response with its whole body.

        Raises:
          BodyTooLarge: if it has more than *max_body* octets.
          RepresentationChanged: if it changes again and again, or cannot be asked for again.
          BlockTransferError: if the blocks do not fit together.
        """
        while True:
            try:
                return await self.read_once(max_body)
            except RepresentationChanged:
                if self._conversation.template.code not in SAFE or self._restarts >= MAX_RESTARTS:
                    raise
            self._restarts += 1
            self._progress.received = 0
            self._upload.end()
            self._begin(await self._upload.run())

    async def read_once(self, max_body: int) -> Response:
        """Return the response with its whole body, or the error that came instead of a block, without a second try.

        Raises:
          BlockTransferError: see :meth:`read_all`.
        """
        body = bytearray(self.payload)
        self._check_limit(len(body), max_body)

        def follow(response: Response) -> tuple[bytes, Options] | None:
            block = response.options.block2
            if block is None or not block.more or response.code is not self.first.code:
                return None  # The last block, or something else instead.
            take(response)
            if self._common is None:
                self._common = self._conversation.options_of(self._upload.options, _REQUESTS_FOR_BLOCKS_LACK)
            return self._upload.repeated_payload, self._common.with_uint(_BLOCK2, self._next_block().to_uint())

        def take(response: Response) -> bool:
            if not self._take(response):
                return False
            body.extend(self.payload)
            self._check_limit(len(body), max_body)
            return True

        while not self.is_complete:
            if not take(await self._ask(self._next_block(), follow)):
                return self.response
        response = self.response
        if response.options.block2 is not None or (response.code.is_success and response.options.block1 is not None):
            # What is whole is no block any more.
            return response.replace(payload=bytes(body), block1=None, block2=None)
        return response

    def _check_limit(self, octets: int, max_body: int) -> None:
        if max(octets, self.response.options.size2 or 0) > max_body:
            raise BodyTooLarge(f"the body of the response is larger than {max_body} octets", self.response)

    async def _ask(self, block: Block, follow: Follow | None = None) -> Response:
        return await self._conversation.ask(
            self._upload.repeated_payload,
            options=self._upload.options.with_uint(_BLOCK2, block.to_uint()),
            without=_REQUESTS_FOR_BLOCKS_LACK,
            follow=follow,
        )

    def _accept(self, response: Response) -> None:
        """Check where the block of *response* belongs, and take note of the progress."""
        block = response.options.block2
        start = 0 if block is None else block.start
        if block is not None and block.size_exponent == 7:
            raise BlockTransferError("a block has the reserved size 7 (RFC 7959 section 2.2)", response)
        if start != self.offset:
            raise BlockTransferError(f"a block begins at octet {start}, not at {self.offset}", response)
        if block is not None and block.more and len(response.payload) != block.size:
            raise BlockTransferError(
                f"a block that is not the last has {len(response.payload)} octets, not {block.size}", response
            )
        progress = self._progress
        progress.received = self.offset + len(response.payload)
        if response.options.size2 is not None:
            progress.to_receive = response.options.size2
        if self.is_complete:
            progress.to_receive = progress.received
            self._upload.end()
