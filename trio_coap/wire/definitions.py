"""What is known of each option: number, name, format, lengths, repeatability (:rfc:`7252` section 5.10).

Rule 1: the table says what an option's value may look like; what it means is said elsewhere.  Rule 2:
critical, unsafe and no-cache-key are read off the number (section 5.4.6), so that they hold for
unknown options too.
"""

from __future__ import annotations

import enum
import keyword
from collections.abc import Callable
from typing import Any

import attrs

from trio_coap.wire.errors import LocalProtocolError, shorten
from trio_coap.wire.patterns import lazy_pattern

OptionValue = int | str | bytes
"""A decoded option value: uint as int, string as str, opaque and unknown as bytes, empty as ``b""``."""

MAX_OPTION_NUMBER = 0xFFFF
"""Option numbers are 16 bits wide (:rfc:`7252` section 12.2)."""

MAX_OPTION_LENGTH = 269 + 0xFFFF
"""The longest value that the wire can carry, in octets (:rfc:`7252` section 3.1)."""

_NAME = lazy_pattern(r"[A-Za-z][A-Za-z0-9-]*")

RESERVED_KEYWORDS: set[str] = set()
"""What no option may be called, because it would be hidden: the attributes of options and the fields of messages.

The modules that define those enter them here."""


class OptionFormat(enum.Enum):
    """The formats of option values (:rfc:`7252` section 3.2)."""

    EMPTY = "empty"
    OPAQUE = "opaque"
    UINT = "uint"
    STRING = "string"


# Python 3.11 looks up the member of an enum by a function written in Python.
_EMPTY, _UINT, _STRING = OptionFormat.EMPTY, OptionFormat.UINT, OptionFormat.STRING


def is_critical(number: int) -> bool:
    """True if an endpoint that does not know option *number* must reject the message (section 5.4.1)."""
    return number & 1 == 1


def is_unsafe(number: int) -> bool:
    """True if a proxy that does not know option *number* must not forward it (section 5.4.2)."""
    return number & 2 == 2


def is_no_cache_key(number: int) -> bool:
    """True if option *number* is left out of the cache key (section 5.4.2)."""
    return number & 0x1E == 0x1C


def encode_uint(value: int) -> bytes:
    """Encode *value* in as few octets as it takes: none for zero (:rfc:`7252` section 3.2)."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def encode_text(text: str, what: str) -> bytes:
    """Encode *text* as UTF-8.

    Raises:
      LocalProtocolError: if it has a lone surrogate; *what* says which text it is.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise LocalProtocolError(f"{what} has a lone surrogate, which is no UTF-8: {shorten(text)}") from exc


@attrs.frozen
class OptionDefinition:
    """One row of the option table.

    Lengths are in octets.  An empty option is always written without a value; where its *max_length* is not 0, a
    value that comes is ignored instead of being a fault.
    """

    number: int
    name: str
    format: OptionFormat
    min_length: int = 0
    max_length: int = 0
    is_repeatable: bool = False
    forbidden: frozenset[bytes] = frozenset()
    """Values that it must not have."""

    @property
    def is_critical(self) -> bool:
        """See :func:`is_critical`."""
        return is_critical(self.number)

    @property
    def is_unsafe(self) -> bool:
        """See :func:`is_unsafe`."""
        return is_unsafe(self.number)

    @property
    def is_no_cache_key(self) -> bool:
        """See :func:`is_no_cache_key`."""
        return is_no_cache_key(self.number)

    def fault_of(self, value: bytes) -> str | None:
        """Say what is wrong with *value* for this option, or return None (sections 5.4.3 and 3.2)."""
        if not self.min_length <= len(value) <= self.max_length:
            allowed = f"{self.min_length} to {self.max_length}"
            if self.min_length == self.max_length:
                allowed = str(self.max_length)
            return f"has {len(value)} octets, allowed: {allowed}"
        if self.format is _STRING and not value.isascii():
            try:
                value.decode("utf-8")
            except UnicodeDecodeError:
                return "is not UTF-8"
        if self.forbidden and value in self.forbidden:
            return f"must not be {value.decode()!r}"
        return None

    def decode(self, value: bytes) -> OptionValue:
        """Return *value*, already judged by :meth:`fault_of`, as the format's Python type."""
        if self.format is _UINT:
            return int.from_bytes(value, "big")
        if self.format is _STRING:
            return value.decode("utf-8")
        if self.format is _EMPTY:
            return b""
        return value

    def encode(self, value: OptionValue) -> bytes:
        """Return the octets for *value*.

        Args:
          value: int for uint, str for string, bytes for opaque, and True or ``b""`` for empty.

        Raises:
          LocalProtocolError: if *value* has the wrong type or length.
        """
        encoded = self._convert(value)
        # What was made from a str is UTF-8.
        if not self.min_length <= len(encoded) <= self.max_length or (self.forbidden and encoded in self.forbidden):
            raise LocalProtocolError(f"the value of option {self.name} {self.fault_of(encoded)}: {shorten(value)}")
        return encoded

    def _convert(self, value: OptionValue) -> bytes:
        if self.format is _STRING:
            if isinstance(value, str):
                return encode_text(value, self.name)
        elif self.format is _UINT:
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value.to_bytes(max(self.min_length, value.bit_length() + 7 >> 3), "big")
        elif self.format is _EMPTY:
            if value is True or value == b"":
                return b""
        elif isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        raise LocalProtocolError(
            f"option {self.name} takes a value of format {self.format.value}, not {shorten(value)}"
        )


def _standard() -> list[OptionDefinition]:
    empty, opaque, uint, string = OptionFormat.EMPTY, OptionFormat.OPAQUE, OptionFormat.UINT, OptionFormat.STRING
    dots = frozenset({b".", b".."})  # Sections 5.10.1 and 5.10.7: references are resolved before.
    rows: list[tuple[Any, ...]] = [
        (1, "If-Match", opaque, 0, 8, True),
        (3, "Uri-Host", string, 1, 255, False),
        (4, "ETag", opaque, 1, 8, True),
        (5, "If-None-Match", empty, 0, 0, False),
        (6, "Observe", uint, 0, 3, False),  # RFC 7641
        (7, "Uri-Port", uint, 0, 2, False),
        (8, "Location-Path", string, 0, 255, True, dots),
        (9, "OSCORE", opaque, 0, 255, False),  # RFC 8613
        (11, "Uri-Path", string, 0, 255, True, dots),
        (12, "Content-Format", uint, 0, 2, False),
        (14, "Max-Age", uint, 0, 4, False),
        (15, "Uri-Query", string, 0, 255, True),
        (16, "Hop-Limit", uint, 1, 1, False),  # RFC 8768
        (17, "Accept", uint, 0, 2, False),
        (19, "Q-Block1", uint, 0, 3, False),  # RFC 9177
        (20, "Location-Query", string, 0, 255, True),
        (21, "EDHOC", empty, 0, MAX_OPTION_LENGTH, False),  # RFC 9668 section 3.1: a value is ignored
        (23, "Block2", uint, 0, 3, False),  # RFC 7959
        (27, "Block1", uint, 0, 3, False),  # RFC 7959
        (28, "Size2", uint, 0, 4, False),  # RFC 7959
        (31, "Q-Block2", uint, 0, 3, True),  # RFC 9177
        (35, "Proxy-Uri", string, 1, 1034, False),
        (39, "Proxy-Scheme", string, 1, 255, False),
        (60, "Size1", uint, 0, 4, False),
        (252, "Echo", opaque, 1, 40, False),  # RFC 9175
        (258, "No-Response", uint, 0, 1, False),  # RFC 7967
        (292, "Request-Tag", opaque, 0, 8, True),  # RFC 9175
    ]
    return [OptionDefinition(*row) for row in rows]


DEFINITIONS: dict[int, OptionDefinition] = {row.number: row for row in _standard()}
"""All known options by number; :func:`register_option` adds to it."""

_BY_NAME = {row.name.lower(): row for row in DEFINITIONS.values()}


WHEN_REGISTERED: list[Callable[[], None]] = []
"""What must forget its judgement of options when the table changes; filled by the modules that have one."""


def register_option(
    number: int,
    name: str,
    format: OptionFormat = OptionFormat.OPAQUE,
    *,
    min_length: int = 0,
    max_length: int = 255,
    is_repeatable: bool = False,
) -> OptionDefinition:
    """Make an option of the application's own known, by number and by *name*.

    The definition that comes back may be given wherever an option is named.  Registering the same
    definition twice is fine.

    Args:
      number: 0 to 65535; its low bits say whether it is critical, unsafe and part of the cache key.
      name: letters, digits and hyphens, such as ``"Lamp-Mode"``; as a keyword it is spelled ``lamp_mode``.
      format: the format of its values.
      min_length, max_length: of its values, in octets, up to 65804; an empty option has none.
      is_repeatable: whether a message may have it more than once.

    Raises:
      LocalProtocolError: if the number or the name stands for another option, a range is wrong, or the name
        cannot be used as a keyword.
    """
    _check_number(number)
    if format is OptionFormat.EMPTY:
        max_length = 0
    if not 0 <= min_length <= max_length <= MAX_OPTION_LENGTH:
        raise LocalProtocolError(
            f"option {shorten(name)}: the lengths {min_length} to {max_length} are no range up to {MAX_OPTION_LENGTH}"
        )
    of_table = DEFINITIONS.get(number)
    forbidden: frozenset[bytes] = frozenset() if of_table is None else of_table.forbidden
    definition = OptionDefinition(number, name, format, min_length, max_length, is_repeatable, forbidden)
    for known in (of_table, _BY_NAME.get(_plain(name))):
        if known == definition:
            return known
        if known is not None:
            raise LocalProtocolError(f"option {number} {shorten(name)} collides with {known.number} {known.name!r}")
    _check_name(name)
    for forget in WHEN_REGISTERED:
        forget()
    DEFINITIONS[number] = definition
    _BY_NAME[_plain(name)] = definition
    return definition


def find_definition(option: int | str | OptionDefinition) -> OptionDefinition:
    """Return the definition of *option*; an unknown number gets a nameless opaque one.

    Args:
      option: a number, a definition, or a name in any of the spellings ``"Uri-Path"``, ``"uri_path"``.

    Raises:
      LocalProtocolError: for an unknown name, a number out of range, or what is neither.
    """
    if isinstance(option, OptionDefinition):
        return option
    if isinstance(option, str):
        known = _BY_NAME.get(_plain(option))
        if known is None:
            raise LocalProtocolError(f"there is no option named {shorten(option)}; register_option() makes one known")
        return known
    _check_number(option)
    known = DEFINITIONS.get(option)
    # Any value that the wire can carry, as often as it comes.
    return known or OptionDefinition(option, str(option), OptionFormat.OPAQUE, 0, MAX_OPTION_LENGTH, True)


def _check_number(number: object) -> None:
    # bool is an int, but True as an option number is a slip, not If-Match.
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_OPTION_NUMBER:
        raise LocalProtocolError(f"an option number is 0 to {MAX_OPTION_NUMBER}, not {shorten(number)}")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise LocalProtocolError(
            f"an option's name is made of letters, digits and hyphens and starts with a letter, not {shorten(name)}"
        )
    spelled = _plain(name).replace("-", "_")
    if spelled in RESERVED_KEYWORDS or keyword.iskeyword(spelled):
        raise LocalProtocolError(f"no option can be named {shorten(name)}: {spelled} means something else already")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
