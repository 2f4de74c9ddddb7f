"""What is sent: options and payload, from the words of the command line.

Rule: a value that does not fit is a :exc:`UsageError` or an error of the wire's that says what would.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import stat
import sys
from argparse import Namespace
from pathlib import Path
from typing import BinaryIO, final

import attrs

from trio_coap.cli.problems import CommandFailure, UsageError, missing_extra
from trio_coap.wire.contentformats import JSON, content_format_of, is_cbor, is_json
from trio_coap.wire.definitions import DEFINITIONS, OptionDefinition, OptionFormat, OptionValue, find_definition
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.options import Options

_CONTENT_FORMATS = frozenset({12, 17})  # Content-Format and Accept


LONG = 1024
"""Octets of a file above which it is not held in memory: it goes in blocks anyway."""


@final
@attrs.frozen
class LongFile:
    """A file that is sent as it is read."""

    path: str

    def open(self) -> BinaryIO:
        """Open it.

        Raises:
          CommandFailure: if it cannot be read any more.
        """
        try:
            return open(self.path, "rb")
        except OSError as exc:
            raise CommandFailure(f"the file {self.path!r} of -d cannot be read: {exc.strerror}") from exc

    def read(self) -> bytes:
        """Return all of it.

        Raises:
          CommandFailure: if it cannot be read any more.
        """
        with self.open() as file:
            return file.read()


@attrs.frozen
class Payload:
    """What is sent, and what it is."""

    value: bytes | str | LongFile = b""
    content_format: int | None = None
    """None leaves it to the message: text/plain for a text, nothing for octets."""


def octets_from_hex(text: str) -> bytes:
    """Return the octets that *text* has in hexadecimal; white space, colons and a leading ``0x`` do not matter.

    Raises:
      UsageError: if it has something else.
    """
    digits = "".join(text.split()).replace(":", "")
    digits = digits[2:] if digits[:2] in ("0x", "0X") else digits
    for digit in digits:
        if digit not in "0123456789abcdefABCDEF":
            raise UsageError(f"{digit!r} in {_shown(text)} is no hexadecimal digit: write octets as in 0a1b2c")
    if len(digits) % 2:
        raise UsageError(f"{_shown(text)} has {len(digits)} hexadecimal digits: an octet takes two")
    return bytes.fromhex(digits)


def read_options(words: list[str], **by_name: int | None) -> Options:
    """Return the options that ``-o Name=value`` gives, and those *by_name* that are not None.

    Raises:
      UsageError: for an unknown name, a value of the wrong kind, or an option that is given once too often.
      LocalProtocolError: for a value of the wrong length.
    """
    pairs: list[tuple[OptionDefinition, OptionValue]] = []
    for name, number in by_name.items():
        if number is not None:
            pairs.append((find_definition(name), number))
    for word in words:
        name, equals, text = word.partition("=")
        definition = _definition(name.strip())
        if not definition.is_repeatable and any(given == definition for given, _ in pairs):
            raise UsageError(f"the option {definition.name} can be given once only: leave the other out")
        pairs.append((definition, _option_value(definition, text if equals else None)))
    return Options(pairs)


def read_payload(arguments: Namespace) -> Payload:
    """Return the payload that ``-d``, ``--hex`` or ``--json`` gives, with its content format.

    Raises:
      UsageError: if it cannot be read, or not be sent in the format that ``-f`` asks for.
    """
    content_format: int | None = arguments.format
    if arguments.hex is not None:
        return Payload(octets_from_hex(arguments.hex), content_format)
    if arguments.json is not None:
        return _json_payload(_text_or_file(arguments.json, "--json"), content_format)
    if arguments.data is not None and _is_long_file(arguments.data):
        return Payload(LongFile(arguments.data[1:]), content_format)
    if arguments.data is not None:
        return Payload(_text_or_file(arguments.data, "-d"), content_format)
    return Payload(content_format=content_format)


def _definition(name: str) -> OptionDefinition:
    number = _integer(name)
    if number is not None:
        return find_definition(number)
    try:
        return find_definition(name)
    except LocalProtocolError:
        names = {known.name.lower(): known.name for known in DEFINITIONS.values()}
        close = [names[match] for match in difflib.get_close_matches(name.lower().replace("_", "-"), names)]
        hint = f"did you mean {' or '.join(close)}?" if close else "write its number, as in -o 65001=0x0102"
        raise UsageError(f"there is no option named {name!r}: {hint}") from None


def _option_value(definition: OptionDefinition, text: str | None) -> OptionValue:
    name = definition.name
    if definition.format is OptionFormat.EMPTY:
        if text:
            raise UsageError(f"the option {name} has no value: write -o {name}")
        return b""
    if text is None:
        raise UsageError(f"the option {name} lacks its value: write -o {name}=value")
    if definition.format is OptionFormat.STRING:
        return text
    if definition.format is OptionFormat.OPAQUE:
        return octets_from_hex(text) if text[:2] in ("0x", "0X") else text.encode(errors="surrogateescape")
    number = _integer(text)
    if number is not None:
        return number
    if definition.number in _CONTENT_FORMATS:
        return content_format_of(text)
    raise UsageError(f"the option {name} is a number, not {_shown(text)}: write -o {name}=60")


def _integer(text: str) -> int | None:
    try:
        return int(text, 16) if text[:2] in ("0x", "0X") else int(text) if text.isascii() and text.isdigit() else None
    except ValueError:
        return None


def _text_or_file(word: str, option: str) -> bytes | str:
    """Return *word*, or with an @ in front of it what stands in that file, or for ``@-`` at standard input."""
    if not word.startswith("@"):
        try:
            word.encode()
        except UnicodeEncodeError:
            return word.encode(errors="surrogateescape")  # Octets that are no UTF-8, as the shell gave them.
        return word
    if word == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(word[1:]).read_bytes()
    except OSError as exc:
        raise UsageError(f"the file {word[1:]!r} of {option} cannot be read: {exc.strerror}") from exc


def _is_long_file(word: str) -> bool:
    """Return whether *word* names a file that is better read while it is sent; one that can be read, as far as we know."""
    if not word.startswith("@") or word == "@-":
        return False
    try:
        with open(word[1:], "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            return stat.S_ISREG(status.st_mode) and status.st_size > LONG
    except OSError:
        return False  # Reading it says why.


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for who writes to a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _json_payload(text: bytes | str, content_format: int | None) -> Payload:
    content_format = JSON if content_format is None else content_format
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as exc:
        where = f" (line {exc.lineno}, column {exc.colno})" if isinstance(exc, json.JSONDecodeError) else ""
        raise UsageError(
            f"the value of --json is not JSON{where}: quote it for the shell, as in '{{\"a\": 1}}'"
        ) from exc
    if is_json(content_format):
        # ASCII with escapes: a lone surrogate would be no UTF-8.
        return Payload(json.dumps(value, separators=(",", ":"), allow_nan=False).encode(), content_format)
    if not is_cbor(content_format):
        raise UsageError("--json is sent as JSON or CBOR: write -f json or -f cbor, or use -d for another format")
    try:
        import cbor2
    except ImportError:
        raise missing_extra("sending CBOR", "cbor") from None
    try:
        return Payload(cbor2.dumps(value), content_format)
    except (cbor2.CBOREncodeError, ValueError) as exc:
        raise UsageError(f"the value of --json has no form in CBOR: {exc}") from exc


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise UsageError(f"the number {_shown(text)} in --json is out of range: the limit is 1.8e308")
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
