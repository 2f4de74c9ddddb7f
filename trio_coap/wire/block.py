"""The value of the Block1 and Block2 options (:rfc:`7959` section 2.2).

Rule 1: whatever three octets come over the wire, they are a :class:`Block`; what a reserved size means is
said elsewhere.  Rule 2: no :class:`Block` is read back as another one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Self

import attrs

from trio_coap.wire.errors import LocalProtocolError

MAX_BLOCK_NUMBER = 0xFFFFF
"""Block numbers have 20 bits (:rfc:`7959` section 2.2)."""

MAX_SIZE_EXPONENT = 7
"""SZX has three bits; 7 is reserved over datagrams and stands for BERT over TCP (:rfc:`8323` section 6)."""

MAX_KEPT_BLOCKS = 256
"""Blocks that are kept for who reads their values again: all bodies have blocks of the same low numbers.  That is 80 kB."""


@attrs.frozen
class Block:
    """A block's place in a body: NUM, M and SZX.

    ``Block.of(number, more, size)`` takes the size in octets.

    Raises:
      LocalProtocolError: if the number or the size exponent is out of range.
    """

    number: int
    """The number of the block, from 0 to 1048575, counted in blocks of this size."""

    more: bool = attrs.field(default=False, converter=bool)
    """Whether more blocks follow (or, in a request for Block2, nothing)."""

    size_exponent: int = 6
    """SZX: the size is 2 ** (SZX + 4) octets; 7 is reserved over datagrams, and made only to be read."""

    size: int = attrs.field(init=False, repr=False, eq=False)
    """The size of the blocks, in octets (SZX 7 stands for blocks of 1024 octets: BERT, :rfc:`8323`)."""

    start: int = attrs.field(init=False, repr=False, eq=False)
    """Where the block starts in the body, in octets."""

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.number <= MAX_BLOCK_NUMBER:
            raise LocalProtocolError(f"a block number is 0 to {MAX_BLOCK_NUMBER}, not {self.number}")
        if not 0 <= self.size_exponent <= MAX_SIZE_EXPONENT:
            raise LocalProtocolError(f"a size exponent is 0 to {MAX_SIZE_EXPONENT}, not {self.size_exponent}")
        size = 16 << min(self.size_exponent, 6)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "start", self.number * size)

    @classmethod
    def of(cls, number: int, more: bool, size: int) -> Self:
        """Make a block from its *number* and its *size* in octets: 16, 32, ... 1024.

        Raises:
          LocalProtocolError: if one of them is out of range.
        """
        exponent = size.bit_length() - 5
        if not 0 <= exponent <= 6 or size != 16 << exponent:
            raise LocalProtocolError(f"a block has 16, 32, 64, 128, 256, 512 or 1024 octets, not {size}")
        return cls(number, more, exponent)

    @classmethod
    def from_uint(cls, value: int) -> Self:
        """Read an option's value: any number of up to three octets, reserved sizes included."""
        return cls(value >> 4, bool(value & 8), value & 7)

    def to_uint(self) -> int:
        """Return the option's value."""
        return (self.number << 4) | (self.more << 3) | self.size_exponent

    def __str__(self) -> str:
        return f"{self.number}/{int(self.more)}/{self.size}"


@lru_cache(MAX_KEPT_BLOCKS)
def read_block(octets: bytes) -> Block:
    """Return the block that *octets*, three of them at most, stand for in an option."""
    return Block.from_uint(int.from_bytes(octets, "big"))


def block_uint(start: int, more: bool, size: int) -> int:
    """Return the value of the option for the block that begins at octet *start*: of a size and a number that there are."""
    return start // size << 4 | more << 3 | size.bit_length() - 5
