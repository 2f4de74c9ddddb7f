"""Response bodies that go out in blocks (:rfc:`7959` sections 2.4 and 2.7).

Rule 1: later blocks come from the body of the first, as long as that is remembered; the handler does not run again.
Rule 2: all blocks of a body have one ETag.  Octets are hashed, with their format; of a regular file it is made of its times and size; any
other stream gets one of its own for each reading.  Rule 3: a stream is read as its blocks are asked for.
"""

from __future__ import annotations

import hashlib
import os
from typing import final

import trio

from trio_coap.server.results import StreamedBody, success_code
from trio_coap.wire.block import MAX_BLOCK_NUMBER, Block, block_uint
from trio_coap.wire.body import BodyReader
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import BadRequest

_OBSERVE, _BLOCK2 = 6, 23
_ETAG_LENGTH = 8


@final
class Representation:
    """The body of a response, and what its blocks have in common."""

    __slots__ = ("body", "file_etag", "fingerprint", "head", "is_dropped", "lock", "source")

    head: Response
    """Code and options; without payload."""

    source: object
    """Where the reader reads, if there is one."""

    file_etag: bytes | None
    """The ETag made of the file, if it was."""

    fingerprint: bytes
    """Of the payload of the request: that of a FETCH says what was asked for (:rfc:`8132` section 2)."""

    lock: trio.Lock
    """One block of a stream is read at a time."""

    is_dropped: bool
    """Whether it is not remembered any more."""

    def __init__(
        self,
        head: Response,
        body: bytes | BodyReader,
        source: object = None,
        file_etag: bytes | None = None,
        fingerprint: bytes = b"",
    ) -> None:
        self.head = head
        self.body = body
        self.source = source
        self.file_etag = file_etag
        self.fingerprint = fingerprint
        self.lock = trio.Lock()
        self.is_dropped = False

    @property
    def octets(self) -> int:
        """What it holds in memory."""
        return len(self.body) if isinstance(self.body, bytes) else 0

    @property
    def is_stream(self) -> bool:
        """Whether the body is read as it goes out."""
        return isinstance(self.body, BodyReader)

    @property
    def is_current(self) -> bool:
        """False if the file has changed since the first block."""
        return self.file_etag is None or file_etag(self.source) in (None, self.file_etag)

    def answers(self, request: Request) -> bool:
        """Whether *request* may be for a block of it: the body of a FETCH need not be repeated, but must not differ."""
        return not request.payload or fingerprint_of(request) == self.fingerprint

    def cut(self, start: int, size: int) -> tuple[bytes, bool]:
        """Return a block of a body that is held in memory, and whether more follow."""
        assert isinstance(self.body, bytes)
        return self.body[start : start + size], start + size < len(self.body)

    async def read(self, start: int, size: int) -> tuple[bytes, bool]:
        """Return a block of a stream, and whether more follow.

        Raises:
          BodyConsumed: if that part is not kept.
        """
        assert isinstance(self.body, BodyReader)
        async with self.lock:
            return await self.body.read_block(start, size)

    async def close(self) -> None:
        """Close the stream, if it is one."""
        if isinstance(self.body, BodyReader):
            await self.body.close()

    def make_block(self, payload: bytes, is_more: bool, start: int, size: int, asked: Block | None) -> Response:
        """Return the response with one block.

        Raises:
          BadRequest: if the body ends before *start*, or our smaller blocks have no number for it.
        """
        if start and not payload:
            raise BadRequest(f"the body ends before octet {start}")
        if start // size > MAX_BLOCK_NUMBER:
            raise BadRequest(f"octet {start} is behind the last of {MAX_BLOCK_NUMBER + 1} blocks of {size} octets")
        if not is_more and (asked is None or not payload):
            return self.head.replace(payload=payload)
        options = self.head.options.without(_OBSERVE) if start else self.head.options
        size2 = self.size if start == 0 and is_more else None
        if options.size2 is None and size2 is not None:
            options = options.replace(size2=size2)
        return self.head.replace(payload=payload, options=options.with_uint(_BLOCK2, block_uint(start, is_more, size)))

    @property
    def size(self) -> int | None:
        """Octets of the body, if known."""
        return self.body.size if isinstance(self.body, BodyReader) else len(self.body)


def represent_octets(response: Response, request: Request, size: int) -> Representation:
    """Return *response* as it is sent in blocks of *size* octets; with an ETag, if it takes more than one."""
    head, body = response.replace(payload=b""), response.payload
    if len(body) > size and head.code.is_success and head.options.etag is None:
        head = head.replace(etag=octets_etag(body, head.options.content_format))
    return Representation(head, body, fingerprint=fingerprint_of(request))


def represent_stream(result: StreamedBody, request: Request, unique: bytes) -> Representation:
    """Return what is sent of *result*, with *unique* as its ETag if nothing is known of the stream."""
    head = Response(result.code or success_code(request), options=result.options)
    of_file = None
    if head.options.etag is None:
        of_file = file_etag(result.source)
        head = head.replace(etag=of_file or unique)
    reader = BodyReader(result.source, result.size)
    return Representation(head, reader, result.source, of_file, fingerprint_of(request))


def fingerprint_of(request: Request) -> bytes:
    """Return a hash of the payload of a FETCH, which is part of its cache key; nothing for other methods."""
    if request.code != Code.FETCH or not request.payload:
        # Of a body that was streamed, the handler's request has it not any more.
        return getattr(request, "fingerprint", b"")
    return hashlib.sha256(request.payload).digest()


def octets_etag(body: bytes, content_format: int | None) -> bytes:
    """Return an ETag for *body*, which is another representation in another format."""
    prefix = b"" if content_format is None else b"%d" % content_format
    return hashlib.sha256(prefix + b"\0" + body).digest()[:_ETAG_LENGTH]


def file_etag(source: object) -> bytes | None:
    """Return an ETag for a regular file that is open; None for anything else."""
    fileno = getattr(source, "fileno", None)
    if fileno is None:
        return None
    try:
        status = os.fstat(fileno())
    except (OSError, ValueError, TypeError):
        return None
    text = f"{status.st_dev}/{status.st_ino}/{status.st_mtime_ns}/{status.st_size}"
    return hashlib.sha256(text.encode()).digest()[:_ETAG_LENGTH]
