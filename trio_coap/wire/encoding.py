"""A sequence of options on the wire (:rfc:`7252` section 3.1).

Rule: this module knows numbers and octets, and judges their format alone; :mod:`trio_coap.wire.options` knows what they
mean.
"""

from __future__ import annotations

from typing import NamedTuple

from trio_coap.wire.definitions import MAX_OPTION_NUMBER
from trio_coap.wire.errors import LocalProtocolError

PAYLOAD_MARKER = 0xFF

MAX_OPTIONS = 256
"""Options in a message: a datagram could hold 65,000 empty ones, and would cost as much time as thousands of others.
The longest path that fits into the 1152 octets of :rfc:`7252` section 4.6 with segments of four octets has fewer."""

Items = tuple[tuple[int, bytes], ...]
"""Pairs of option number and octets, in ascending order of the numbers."""


class FormatFault(Exception):
    """(rule, section, offset): on its way to become a MessageFormatError."""


def encode_items(items: Items, previous: int = 0) -> bytes:
    """Return the octets of *items*, which stand behind an option of the number *previous*.

    Raises:
      LocalProtocolError: if there are too many.
    """
    _require_encodable(len(items))
    encoded = bytearray()
    for number, value in items:
        delta = number - previous
        length = len(value)
        previous = number
        if delta < 13 and length < 13:
            encoded.append(delta << 4 | length)
        else:
            delta_nibble, delta_octets = _extend(delta)
            length_nibble, length_octets = _extend(length)
            encoded.append(delta_nibble << 4 | length_nibble)
            encoded += delta_octets
            encoded += length_octets
        encoded += value
    return bytes(encoded)


class Frame(NamedTuple):
    """What stands around one occurrence of an option, for who sends many messages that differ in its value alone."""

    number: int
    """Of the option."""

    before: Items
    behind: Items
    nibble: int
    """Of the option's delta, in place."""

    encoded_before: bytes
    """The octets of what stands before, and the extension of the delta, are apart: a header octet is between them."""

    extension: bytes
    encoded_behind: bytes

    @classmethod
    def around(cls, number: int, items: Items) -> Frame:
        """Return what stands around option *number* among *items*; occurrences that it has there are left out.

        Raises:
          LocalProtocolError: if there are too many.
        """
        before = tuple([item for item in items if item[0] < number])
        behind = tuple([item for item in items if item[0] > number])
        _require_encodable(len(before) + 1 + len(behind))
        nibble, extension = _extend(number - before[-1][0] if before else number)
        return cls(number, before, behind, nibble << 4, encode_items(before), extension, encode_items(behind, number))

    def fill(self, value: bytes) -> tuple[Items, bytes]:
        """Return the items with *value*, of 12 octets at most, and the octets of all."""
        header = _OCTETS[self.nibble | len(value)]
        encoded = b"%b%b%b%b%b" % (self.encoded_before, header, self.extension, value, self.encoded_behind)
        return (*self.before, (self.number, value), *self.behind), encoded


_OCTETS = tuple([bytes((octet,)) for octet in range(256)])


def _require_encodable(number: int) -> None:
    if number > MAX_OPTIONS:
        raise LocalProtocolError(f"a message has at most {MAX_OPTIONS} options, not {number}")


def _extend(value: int) -> tuple[int, bytes]:
    """Return the nibble and the extension octets for an option's delta or length (section 3.1)."""
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    return 14, (value - 269).to_bytes(2, "big")


def decode_items_untrusted(data: bytes, offset: int, size: int) -> tuple[Items, int]:
    """Read the options in *data* from *offset* on.

    Returns:
      The options, and where the payload starts; *size*, the size of *data*, if there is none.

    Raises:
      FormatFault: if they are malformed, or too many.
    """
    items: list[tuple[int, bytes]] = []
    number = 0
    while offset < size:
        first = data[offset]
        if first == PAYLOAD_MARKER:
            if offset + 1 == size:
                raise FormatFault("nothing follows the payload marker", "3", offset)
            return tuple(items), offset + 1
        started_at = offset
        offset += 1
        delta = first >> 4
        if delta > 12:
            delta, offset = _extension(data, offset, delta, "delta", started_at)
        length = first & 15
        if length > 12:
            length, offset = _extension(data, offset, length, "length", started_at)
        number += delta
        if number > MAX_OPTION_NUMBER:
            raise FormatFault("the option number is above 65535", "12.2", started_at)
        end = offset + length
        if end > size:
            raise FormatFault("an option is cut off", "3.1", started_at)
        if len(items) == MAX_OPTIONS:
            raise FormatFault(f"there are more than {MAX_OPTIONS} options", "4.2", started_at)
        items.append((number, data[offset:end]))
        offset = end
    return tuple(items), size


def _extension(data: bytes, offset: int, nibble: int, what: str, nibble_at: int) -> tuple[int, int]:
    """Return the delta or length that *nibble* announces, and the offset behind it (section 3.1)."""
    if nibble == 13:
        if offset < len(data):
            return data[offset] + 13, offset + 1
    elif nibble == 14:
        if offset + 1 < len(data):
            return (data[offset] << 8 | data[offset + 1]) + 269, offset + 2
    else:
        raise FormatFault(f"the option {what} nibble is 15", "3.1", nibble_at)
    raise FormatFault(f"the extended option {what} is cut off", "3.1", offset)
