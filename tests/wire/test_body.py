"""Bodies that are read piece by piece: RFC 7959 section 2."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from trio_coap.wire.body import PIECE, BodyConsumed, BodyReader
from trio_coap.wire.errors import LocalProtocolError


def pieces(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield number.to_bytes(2, "big") * 512


async def async_pieces(count: int) -> AsyncIterator[bytes]:
    for piece in pieces(count):
        yield piece


class AsyncFile:
    """A file whose methods are awaited, as those of Trio's files are."""

    def __init__(self, octets: bytes) -> None:
        self._file = io.BytesIO(octets)

    async def read(self, size: int) -> bytes:
        return self._file.read(size)

    async def seekable(self) -> bool:
        return True

    async def tell(self) -> int:
        return self._file.tell()

    async def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    async def aclose(self) -> None:
        self._file.close()


class Pipe(io.BytesIO):
    """A file that is read once."""

    def seekable(self) -> bool:
        return False


class ReadOnly:
    """The least that a file can do."""

    def __init__(self, octets: bytes) -> None:
        self._file = io.BytesIO(octets)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


async def read_all(reader: BodyReader, size: int = 1024) -> bytes:
    """Read blocks until no more follow."""
    body, is_more = b"", True
    while is_more:
        block, is_more = await reader.read_block(len(body), size)
        assert len(block) == size or not is_more
        body += block
    return body


BODY = b"".join(pieces(40))
"""More than is read from a file at a time."""

SOURCES: dict[str, Any] = {
    "octets": lambda: BODY,
    "an array": lambda: bytearray(BODY),
    "a view": lambda: memoryview(BODY),
    "a text": lambda: BODY.decode("ascii"),
    "a file": lambda: io.BytesIO(BODY),
    "a file whose methods are awaited": lambda: AsyncFile(BODY),
    "a pipe": lambda: Pipe(BODY),
    "what can only be read": lambda: ReadOnly(BODY),
    "an iterable": lambda: pieces(40),
    "an asynchronous iterable": lambda: async_pieces(40),
}


@pytest.mark.parametrize("size", [16, 1000, 1024, 3 * PIECE])
@pytest.mark.parametrize("kind", SOURCES)
async def test_blocks_make_up_the_body(kind: str, size: int) -> None:
    reader = BodyReader(SOURCES[kind]())
    assert await read_all(reader, size) == BODY
    assert reader.size == len(BODY)


@pytest.mark.parametrize("kind", SOURCES)
async def test_the_last_block_is_there_again(kind: str) -> None:
    reader = BodyReader(SOURCES[kind]())
    block = await reader.read_block(2048, 1024)
    assert await reader.read_block(2048, 1024) == block == (BODY[2048:3072], True)
    if kind == "an asynchronous iterable":
        await reader.close()


@pytest.mark.parametrize("kind", ["a pipe", "what can only be read", "an iterable", "an asynchronous iterable"])
async def test_an_earlier_part_of_what_cannot_seek_is_gone(kind: str) -> None:
    reader = BodyReader(SOURCES[kind]())
    await reader.read_block(1024, 1024)
    with pytest.raises(BodyConsumed, match="up to octet 1024; octet 0 is not kept"):
        await reader.read_block(0, 1024)
    if kind == "an asynchronous iterable":
        await reader.close()


@pytest.mark.parametrize("kind", ["octets", "a file", "a file whose methods are awaited"])
async def test_an_earlier_part_of_what_can_seek_is_read_again(kind: str) -> None:
    reader = BodyReader(SOURCES[kind]())
    await read_all(reader)
    assert await reader.read_block(1024, 1024) == (BODY[1024:2048], True)


@pytest.mark.parametrize("make", [io.BytesIO, AsyncFile])
async def test_a_file_is_read_from_where_it_stands(make: Any) -> None:
    file = make(b"heading" + BODY)
    position = file.seek(7)
    if make is AsyncFile:
        await position
    reader = BodyReader(file)
    assert await reader.read_block(1024, 1024) == (BODY[1024:2048], True)
    assert await reader.read_block(0, 1024) == (BODY[:1024], True)
    assert reader.size == len(BODY)


async def test_the_size_that_the_caller_knows_stands() -> None:
    reader = BodyReader(io.BytesIO(BODY), size=5)
    await read_all(reader)
    assert reader.size == 5
    reader = BodyReader(pieces(2), size=5)
    await read_all(reader)
    assert reader.size == 5


async def test_nothing_lies_behind_the_end() -> None:
    assert await BodyReader(pieces(3)).read_block(5000, 1024) == (b"", False)
    assert await BodyReader(b"").read_block(0, 16) == (b"", False)


async def test_a_text_is_read_as_utf_8() -> None:
    assert await BodyReader("grün").read_block(0, 16) == ("grün".encode(), False)


async def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="not 5"):
        BodyReader(5)  # type: ignore[arg-type]


async def test_an_iterable_gives_octets() -> None:
    with pytest.raises(TypeError, match="consists of octets"):
        await BodyReader(iter(["text"])).read_block(0, 16)  # type: ignore[arg-type]


async def test_a_source_that_failed_stays_failed() -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(10)
        raise OSError("no disk")

    reader = BodyReader(broken())
    with pytest.raises(OSError, match="no disk"):
        await reader.read_block(0, 16)
    with pytest.raises(BodyConsumed, match="failed before"):
        await reader.read_block(0, 16)


async def test_a_file_that_failed_is_not_read_from_the_start() -> None:
    file = io.BytesIO(BODY)
    reader = BodyReader(file)
    await reader.read_block(1024, 1024)
    file.close()
    with pytest.raises(ValueError, match="closed file"):
        await reader.read_block(2 * PIECE, 1024)
    with pytest.raises(BodyConsumed, match="octet 0 is not kept"):
        await reader.read_block(0, 16)


@pytest.mark.parametrize(
    "kind", ["a file", "a file whose methods are awaited", "an iterable", "an asynchronous iterable"]
)
async def test_what_is_closed_is_not_read_any_more(kind: str) -> None:
    source = SOURCES[kind]()
    reader = BodyReader(source)
    await reader.read_block(0, 16)
    await reader.close()
    with pytest.raises(BodyConsumed, match="was closed"):
        await reader.read_block(2 * PIECE, 1024)
    if kind == "a file":
        assert source.closed


async def test_octets_outlive_closing() -> None:
    reader = BodyReader(b"abc")
    await reader.close()
    assert await reader.read_block(0, 16) == (b"abc", False)
