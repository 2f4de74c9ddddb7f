"""Bodies that are read piece by piece, and cut into blocks (:rfc:`7959` section 2).

Rule 1: a body is read in order, and never held whole: only what there is from the start of the last block on, which may be
asked for again.  Rule 2: who wants an earlier part gets it if the source can seek, and :exc:`BodyConsumed` otherwise.
Rule 3: a source that failed stays failed: half a body must not look like a short one.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, cast, final, runtime_checkable

from trio_coap.wire.errors import LocalProtocolError, shorten

T = TypeVar("T")

PIECE = 16_384
"""Octets to read from a file at a time: many blocks, so that most need no system call."""


@runtime_checkable
class BinaryFile(Protocol):
    """A file opened for reading octets: Python's own, or Trio's, whose methods are awaited."""

    def read(self, size: int, /) -> bytes | Awaitable[bytes]:
        """Return up to *size* octets, none at the end."""


BodySource = bytes | bytearray | memoryview | str | BinaryFile | Iterable[bytes] | AsyncIterable[bytes]
"""What a body may come from; an iterable gives octets in pieces of any size."""


class BodyConsumed(LocalProtocolError):
    """A part of a body is wanted that has been read and is not kept."""


@final
class BodyReader:
    """Reads a body and cuts blocks from it.

    Attributes:
      size: the octets of the whole body, or None as long as nobody knows; of a file it is known once reading has begun.
    """

    def __init__(self, source: BodySource, size: int | None = None) -> None:
        """Make a reader.

        Args:
          source: octets, a text (read as UTF-8), a file, an iterable or an asynchronous iterable.
          size: octets of the whole body, if the caller knows.

        Raises:
          LocalProtocolError: if *source* is none of these.
        """
        if isinstance(source, str):
            source = source.encode()
        self._source: object = source
        self._file: BinaryFile | None = None
        self._pieces: Iterator[bytes] | None = None
        self._async_pieces: AsyncIterator[bytes] | None = None
        self._base: int | None = None
        self._is_open = self._is_ended = self._is_broken = False
        self._buffer = bytearray()
        self._buffer_at = 0
        self._octets: bytes | None = None
        self.size = size
        if isinstance(source, (bytes, bytearray, memoryview)):
            self._octets = bytes(source)
            self.size = len(self._octets)
        elif isinstance(source, BinaryFile):
            self._file = source
        elif isinstance(source, AsyncIterable):
            self._async_pieces = aiter(source)
        elif isinstance(source, Iterable):
            self._pieces = iter(source)
        else:
            raise LocalProtocolError(f"a body is octets, a file, or an iterable of octets, not {shorten(source)}")

    def block_at_hand(self, start: int, size: int) -> tuple[bytes, bool] | None:
        """Return what :meth:`read_block` does, if the whole body is at hand; else None."""
        octets = self._octets
        return None if octets is None else (octets[start : start + size], start + size < len(octets))

    async def read_block(self, start: int, size: int) -> tuple[bytes, bool]:
        """Return the octets from *start* on, *size* of them if there are so many, and whether more follow.

        It blocks only if the source does.  Who is cancelled in an asynchronous source has ended it.

        Raises:
          BodyConsumed: if *start* lies in a part that is gone, or an earlier read failed.
          TypeError: if an iterable gives something else than octets.
        """
        block_at_hand = self.block_at_hand(start, size)
        if block_at_hand is not None:
            return block_at_hand
        if not self._is_open:
            await self._open()
        if start < self._buffer_at:
            await self._rewind(start)
        self._drop(start)
        await self._fill(start, start + size + 1)
        offset = start - self._buffer_at
        block = bytes(self._buffer[offset : offset + size])
        is_more = len(self._buffer) > offset + size
        if not is_more and self.size is None:
            self.size = self._buffer_at + len(self._buffer)
        return block, is_more

    async def close(self) -> None:
        """Close the file or generator that the body comes from; only its owner does that."""
        self._is_broken = self._octets is None
        close = getattr(self._source, "aclose", None) or getattr(self._source, "close", None)
        if close is not None:
            await _settle(close())

    def _drop(self, start: int) -> None:
        """Forget what lies before *start*."""
        dropped = min(start - self._buffer_at, len(self._buffer))
        del self._buffer[:dropped]
        self._buffer_at += dropped

    async def _fill(self, start: int, end: int) -> None:
        """Read until the octet before *end* is at hand, or the body ends; keep nothing before *start*."""
        while not self._is_ended and self._buffer_at + len(self._buffer) < end:
            if self._is_broken:
                raise BodyConsumed("reading the body failed before, or it was closed")
            self._is_broken = True
            piece = await self._read_piece()
            self._is_broken = False
            if piece is None:
                self._is_ended = True
                return
            self._buffer += piece
            self._drop(start)

    async def _read_piece(self) -> bytes | None:
        piece: object = None
        if self._file is not None:
            piece = await _settle(self._file.read(PIECE)) or None
        elif self._async_pieces is not None:
            piece = await anext(self._async_pieces, None)
        elif self._pieces is not None:
            piece = next(self._pieces, None)
        if piece is None or isinstance(piece, (bytes, bytearray, memoryview)):
            return cast("bytes | None", piece)
        raise TypeError(f"a body consists of octets, not of {shorten(piece)}")

    async def _open(self) -> None:
        """Find out where a file starts, and how long it is, if it can tell."""
        self._is_open = True
        file: Any = self._file
        if file is None or not hasattr(file, "seekable") or not await _settle(file.seekable()):
            return
        self._base = await _settle(file.tell())
        end = await _settle(file.seek(0, 2))
        await _settle(file.seek(self._base))
        if self.size is None:
            self.size = end - self._base

    async def _rewind(self, start: int) -> None:
        if self._base is None or self._is_broken:
            raise BodyConsumed(f"the body has been read up to octet {self._buffer_at}; octet {start} is not kept")
        file: Any = self._file
        await _settle(file.seek(self._base + start))
        self._buffer.clear()
        self._buffer_at = start
        self._is_ended = False


async def _settle(value: T | Awaitable[T]) -> T:
    if inspect.isawaitable(value):
        return await value
    return value
