"""Request bodies that a handler reads while they come.

Rule 1: at most two blocks are held: one in the handler's hands, one that waits for it.  Rule 2: half a body never looks
like a whole one: what does not come to its end ends with :exc:`BodyIncomplete`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self, final

import trio

from trio_coap.server.representations import fingerprint_of
from trio_coap.wire.errors import RemoteProtocolError
from trio_coap.wire.message import Request
from trio_coap.wire.options import OptionInput, Options


class BodyIncomplete(RemoteProtocolError):
    """The rest of a request's body does not come: its client has given up, begun again, or lost its way.

    A handler gets it from the body that it reads, to clean up; nobody waits for its response any more.
    """


@final
class IncomingBody:
    """What passes the blocks of one body to who reads it.

    Attributes:
      size: octets of the whole body, or None as long as nobody knows.
      accepted: octets that have come.
      received: octets that have been read.
      is_complete: whether the last block has come.
      taken: is set when no block waits to be read.
    """

    def __init__(self, size: int | None = None) -> None:
        """Begin without a block; *size* is the client's word (Size1), or None."""
        self.size = size
        self.accepted = 0
        self.received = 0
        self.is_complete = False
        self.taken = trio.Event()
        self.taken.set()
        self._waiting = b""
        self._handed = b""
        self._reader: trio.lowlevel.Task | None = None
        self._is_taking = False
        self._failure: str | None = None
        self._is_unwanted = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read, and never was."""
        return self.is_complete and not self.accepted

    @property
    def is_waiting(self) -> bool:
        """Whether a block waits to be read."""
        return bool(self._waiting)

    def put(self, piece: bytes, *, is_last: bool) -> None:
        """Take the next block, while none waits; it goes to who reads, or waits, or is not wanted any more."""
        assert not self._waiting
        self.accepted += len(piece)
        if is_last:
            self.is_complete = True
            self.size = self.accepted
        if self._is_unwanted or not (piece or is_last):
            return
        if self._reader is not None:
            self._hand_over(piece)
        elif piece:
            self._waiting = piece
            self.taken = trio.Event()

    def fail(self, reason: str) -> None:
        """Have nothing more to give, but :exc:`BodyIncomplete` with *reason*; a block that waits is dropped."""
        self._failure = reason
        self._drop_waiting()
        if self._reader is not None:
            self._hand_over(b"")

    def discard_rest(self) -> None:
        """Drop what waits and what still comes: nobody reads any more."""
        self._is_unwanted = True
        self._drop_waiting()

    async def receive_some(self) -> bytes:
        """Return the next octets; none at the end.  See :meth:`StreamedRequest.receive_some`."""
        if self._reader is not None or self._is_taking:
            raise trio.BusyResourceError("another task reads this body")
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._failure is None and not self._waiting and not self.is_complete:
            self._reader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
            piece, self._handed = self._handed, b""
        else:
            self._is_taking = True
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._is_taking = False
            piece = self._waiting
            self.received += len(piece)
            self._drop_waiting()
        if self._failure is not None and not piece:
            raise BodyIncomplete(self._failure)
        return piece

    def _hand_over(self, piece: bytes) -> None:
        assert self._reader is not None
        self._handed = piece
        self.received += len(piece)
        trio.lowlevel.reschedule(self._reader)
        self._reader = None

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _drop_waiting(self) -> None:
        self._waiting = b""
        self.taken.set()


@final
class StreamedRequest(Request):
    """A request whose body is read while it comes: what a handler with ``@block_policy(streams=True)`` gets.

    Its payload is empty, however the body comes; its options are those of the first block.  The client gets on as the
    handler reads: a block is answered when the handler has it.

    Example::

        @site.put("/firmware")
        @block_policy(streams=True, max_body=64 * 1024 * 1024)
        async def install(request: StreamedRequest) -> str:
            async with await trio.open_file("firmware.new", "wb") as file:
                async for chunk in request.stream():
                    await file.write(chunk)
            return f"{request.received} octets installed"
    """

    __slots__ = ("_body", "_fingerprint")

    _body: IncomingBody
    _fingerprint: bytes

    @classmethod
    def begin(cls, request: Request, body: IncomingBody) -> Self:
        """Return *request*, which has brought the first block of *body*, as the handler is to get it."""
        streamed = cls(request.code, type=request.type, message_id=request.message_id, token=request.token)
        streamed.options = request.options.replace(block1=None, block2=None)
        streamed.source_endpoint = request.source_endpoint
        streamed.destination_endpoint = request.destination_endpoint
        streamed.local_address = request.local_address
        streamed._body = body
        streamed._fingerprint = b""
        return streamed

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return a request whose whole body is here, likewise."""
        body = IncomingBody()
        body.put(request.payload, is_last=True)
        streamed = cls.begin(request, body)
        streamed._fingerprint = fingerprint_of(request)
        return streamed

    @property
    def fingerprint(self) -> bytes:
        """The hash of the body that :func:`fingerprint_of` gives; nothing of one that came in blocks."""
        return self._fingerprint

    @property
    def has_body(self) -> bool:
        """Whether there is a body, read or not."""
        return not self._body.is_empty

    @property
    def size(self) -> int | None:
        """Octets of the whole body: the client's estimate at first, if it gives one (Size1)."""
        return self._body.size

    @property
    def received(self) -> int:
        """Octets of the body that have been read."""
        return self._body.received

    async def receive_some(self) -> bytes:
        """Return the next octets of the body, one block of them; none at the end.

        Cancelling loses nothing.

        Raises:
          BodyIncomplete: if the rest does not come: the client leaves out a block, sends more than the resource takes,
            begins again from the start, or is silent for EXCHANGE_LIFETIME (247 s).
          trio.BusyResourceError: if another task reads already.
        """
        return await self._body.receive_some()

    def stream(self) -> AsyncIterator[bytes]:
        """Iterate over what is left of the body, block by block; see :meth:`receive_some`."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._body.receive_some()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def replace(
        self, /, *, payload: bytes | str | None = None, options: Options | None = None, **by_name: OptionInput
    ) -> Self:
        """Return a copy that reads the same body; see :meth:`Message.replace`."""
        copy = super().replace(payload=payload, options=options, **by_name)
        copy._body = self._body
        copy._fingerprint = self._fingerprint
        return copy
