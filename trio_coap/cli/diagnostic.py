"""CBOR in diagnostic notation (:rfc:`8949` section 8).

Written straight from the octets, because values of Python would hide tags, indefinite lengths and simple values; it
needs no library.  Rule: whatever the octets, out come a text or a ValueError.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from textwrap import indent
from typing import final

from trio_coap.cli.describe import quoted

MAX_DEPTH = 64
"""How deep items may be nested: nobody reads more, and every level is a call."""

LINE = 76
"""Characters up to which an array or a map stays on one line."""

_SIMPLE = {20: "false", 21: "true", 22: "null", 23: "undefined"}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_BREAK = 0xFF


def diagnose_untrusted(data: bytes) -> str:
    """Return one item in diagnostic notation, on several lines if it is long.

    Raises:
      ValueError: if *data* is not exactly one well-formed item.
    """
    items = list(diagnose_sequence_untrusted(data))
    if len(items) != 1:
        raise ValueError(f"{len(items)} items instead of one")
    return items[0]


def diagnose_sequence_untrusted(data: bytes) -> Iterator[str]:
    """Yield the items of a CBOR sequence (:rfc:`8742`) in diagnostic notation.

    Raises:
      ValueError: if *data* is none.
    """
    reader = _Reader(data)
    while reader.at < len(data):
        yield reader.item(0)


@final
class _Reader:
    """Reads items from octets, one behind the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """Return the next *count* octets."""
        octets = self.data[self.at : self.at + count]
        if len(octets) < count:
            raise ValueError("an item is cut off")
        self.at += count
        return octets

    def head(self) -> tuple[int, int, int | None]:
        """Return major type, additional information and argument; None for an indefinite length."""
        first = self.take(1)[0]
        information = first & 31
        if information < 24:
            return first >> 5, information, information
        if information < 28:
            return first >> 5, information, int.from_bytes(self.take(1 << (information - 24)), "big")
        if information < 31:
            raise ValueError(f"the additional information {information} is reserved")
        return first >> 5, information, None

    def item(self, depth: int) -> str:
        """Return the next item."""
        if depth > MAX_DEPTH:
            raise ValueError(f"items are nested deeper than {MAX_DEPTH}")
        major, information, argument = self.head()
        if argument is None and major in (0, 1, 6, 7):
            raise ValueError("an indefinite length, or a break, where there is none")
        if major in (2, 3):
            return self.string(major, argument)
        if major == 4:
            return _bracketed("[]", self.items(argument, depth), argument is None)
        if major == 5:
            return _bracketed("{}", self.pairs(argument, depth), argument is None)
        assert argument is not None
        if major == 6:
            return f"{argument}({self.item(depth + 1)})"
        return self.simple(information, argument) if major == 7 else str(argument if major == 0 else -1 - argument)

    def string(self, major: int, length: int | None) -> str:
        """Return a string of octets (2) or text (3)."""
        if length is not None:
            octets = self.take(length)
            return f"h'{octets.hex()}'" if major == 2 else quoted(octets.decode())
        chunks = []
        while not self.at_break():
            chunk_major, _, length = self.head()
            if chunk_major != major or length is None:
                raise ValueError("a chunk of a string is no string of that kind")
            chunks.append(self.string(major, length))
        return f"(_ {', '.join(chunks)})"

    def simple(self, information: int, argument: int) -> str:
        """Return a simple value or a float."""
        layout = _FLOATS.get(information)
        if layout is None:
            return _SIMPLE.get(argument, f"simple({argument})")
        size = struct.calcsize(layout)
        value: float = struct.unpack(layout, argument.to_bytes(size, "big"))[0]
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return "NaN" if math.isnan(value) else repr(value)

    def items(self, count: int | None, depth: int) -> list[str]:
        """Return *count* items, or those up to a break."""
        found: list[str] = []
        while not self.at_break() if count is None else len(found) < count:
            found.append(self.item(depth + 1))
        return found

    def pairs(self, count: int | None, depth: int) -> list[str]:
        """Return *count* pairs of key and value, or those up to a break."""
        found: list[str] = []
        while not self.at_break() if count is None else len(found) < count:
            key = self.item(depth + 1)
            found.append(f"{key}: {self.item(depth + 1)}")
        return found

    def at_break(self) -> bool:
        """Return whether a break comes next, and pass over it."""
        if self.data[self.at : self.at + 1] != bytes([_BREAK]):
            return False
        self.at += 1
        return True


def _bracketed(brackets: str, parts: list[str], is_indefinite: bool) -> str:
    opening = brackets[0] + ("_ " if is_indefinite else "")
    if sum(map(len, parts)) + 2 * len(parts) <= LINE and not any("\n" in part for part in parts):
        return f"{opening}{', '.join(parts)}{brackets[1]}"
    inside = indent(",\n".join(parts), "  ")
    return f"{opening.rstrip()}\n{inside}\n{brackets[1]}"
