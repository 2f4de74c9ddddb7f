"""``coap decode``: a datagram explained field by field (:rfc:`7252` section 3).

Rule 1: whether a datagram is well-formed is for the codec to say; this module only finds the fields, as far as they
can be read.  Rule 2: whatever the octets, out comes an explanation.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator

import attrs

from trio_coap.cli.describe import JsonValue, message_record, octets_text, option_name, option_text
from trio_coap.cli.inputs import octets_from_hex
from trio_coap.cli.problems import FAILURE, SUCCESS, UsageError
from trio_coap.wire.codes import ACK, CODES, RST, MessageType
from trio_coap.wire.definitions import DEFINITIONS, is_critical, is_no_cache_key, is_unsafe
from trio_coap.wire.errors import MessageFormatError
from trio_coap.wire.message import Message, Request, decode_message_untrusted

HEADER_SIZE = 4
"""In octets: what is shorter is no datagram of CoAP."""

MAX_COLUMN = 24
"""Characters of octets in front of an explanation."""


@attrs.frozen
class Field:
    """A part of a datagram, and what it says."""

    offset: int
    octets: bytes
    text: str


def run_decode(arguments: Namespace) -> int:
    """Explain the datagrams that *arguments* or standard input give and return the exit status."""
    datagrams = read_datagrams(arguments.hex)
    status = SUCCESS
    for number, data in enumerate(datagrams, start=1):
        try:
            message: Message | None = decode_message_untrusted(data)
            fault: MessageFormatError | None = None
        except MessageFormatError as exc:
            message, fault, status = None, exc, FAILURE
        if arguments.jsonl:
            print(json.dumps(_record(data, message, fault)), flush=True)
            continue
        if len(datagrams) > 1:
            print(f"{'' if number == 1 else chr(10)}datagram {number}, {len(data)} octets")
        for line in explain_datagram(data, message, fault):
            print(line)
    return status


def read_datagrams(words: list[str]) -> list[bytes]:
    """Return the datagrams in *words*, one each; from standard input, one a line, if there are none.

    Words that are all shorter than a header are the octets of one datagram.

    Raises:
      UsageError: if they are not hexadecimal.
    """
    if not words or words == ["-"]:
        lines = sys.stdin.read().splitlines()
        words = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not words:
            raise UsageError("there is no datagram on standard input: write its octets in hexadecimal, one a line")
        return [octets_from_hex(word) for word in words]
    datagrams = [octets_from_hex(word) for word in words]
    return [b"".join(datagrams)] if all(len(data) < HEADER_SIZE for data in datagrams) else datagrams


def explain_datagram(data: bytes, message: Message | None, fault: MessageFormatError | None) -> Iterator[str]:
    """Yield the lines that explain *data*: its fields, and what is wrong with it."""
    yield "offset  octets                    meaning"
    for field in find_fields(data):
        octets = field.octets.hex(" ")
        if len(octets) > MAX_COLUMN:
            octets = field.octets[: MAX_COLUMN // 3 - 1].hex(" ") + " ..."
        yield f"{field.offset:6}  {octets:{MAX_COLUMN}}  {field.text}"
    if fault is not None:
        yield f"malformed: {fault}"
    if message is not None:
        for note in find_notes(message):
            yield f"note: {note}"


def find_fields(data: bytes) -> Iterator[Field]:
    """Yield the fields of *data* in order, as far as they can be told apart."""
    if not data:
        return
    first = data[0]
    token_length = first & 15
    kind = MessageType(first >> 4 & 3).name
    yield Field(0, data[:1], f"version {first >> 6}, type {kind}, token length {token_length}")
    if first >> 6 != 1 or len(data) < HEADER_SIZE:
        if data[1:]:
            yield Field(1, data[1:], "not looked at")
        return
    yield Field(1, data[1:2], f"code {CODES[data[1]]}")
    yield Field(2, data[2:4], f"message ID {int.from_bytes(data[2:4], 'big'):#06x}")
    end = HEADER_SIZE + token_length
    if token_length > 8 or end > len(data) or (data[1] == 0 and len(data) > HEADER_SIZE):
        if data[HEADER_SIZE:]:
            yield Field(HEADER_SIZE, data[HEADER_SIZE:], "not looked at")
        return
    if token_length:
        yield Field(HEADER_SIZE, data[HEADER_SIZE:end], "token")
    yield from _find_options(data, end)


def _find_options(data: bytes, offset: int) -> Iterator[Field]:
    number = 0
    content_format: int | None = None
    while offset < len(data):
        if data[offset] == 0xFF:
            yield Field(offset, data[offset : offset + 1], "payload marker")
            payload = data[offset + 1 :]
            if payload:
                unit = "octet" if len(payload) == 1 else "octets"
                yield Field(
                    offset + 1, payload, f"payload, {len(payload)} {unit}: {octets_text(payload, content_format)}"
                )
            return
        header = _option_header(data, offset)
        if header is None or number + header[0] > 0xFFFF or header[2] + header[1] > len(data):
            yield Field(offset, data[offset:], "not looked at")
            return
        delta, length, value_at = header
        number += delta
        end = value_at + length
        value = data[value_at:end]
        if number == 12 and len(value) <= 2 and content_format is None:
            content_format = int.from_bytes(value, "big")
        yield Field(offset, data[offset:end], f"option {number}, {_option_meaning(number, value)}")
        offset = end


def _option_header(data: bytes, offset: int) -> tuple[int, int, int] | None:
    """Return delta and length of the option at *offset*, and where its value starts; None if that cannot be read."""
    values = []
    at = offset + 1
    for nibble in (data[offset] >> 4, data[offset] & 15):
        if nibble == 15:
            return None
        size = max(0, nibble - 12)
        if at + size > len(data):
            return None
        values.append(int.from_bytes(data[at : at + size], "big") + {1: 13, 2: 269}[size] if size else nibble)
        at += size
    return values[0], values[1], at


def _option_meaning(number: int, value: bytes) -> str:
    marks = ["critical" if is_critical(number) else "elective"]
    if is_unsafe(number):
        marks.append("unsafe to forward")
    elif is_no_cache_key(number):
        marks.append("no cache key")
    name = option_name(number) if number in DEFINITIONS else "unknown"
    text = option_text(number, value)
    return f"{name}{f': {text}' if text else ''} ({', '.join(marks)})"


def find_notes(message: Message) -> Iterator[str]:
    """Yield what is remarkable about a well-formed message: what the layers above will stumble over."""
    for problem in message.options.problems:
        fate = "the message is rejected for it" if problem.is_critical else "it is ignored"
        yield f"{problem}: {fate} (RFC 7252 section 5.4)"
    if message.type is RST and not message.is_empty:
        yield "a Reset is always empty (RFC 7252 section 4.2)"
    if message.type is ACK and isinstance(message, Request):
        yield "an acknowledgement carries a response or nothing (RFC 7252 section 4.2)"
    if message.code.is_request and not message.code.name:
        yield f"there is no method {message.code.dotted}: it is answered with 4.05 (RFC 7252 section 5.8)"


def _record(data: bytes, message: Message | None, fault: MessageFormatError | None) -> dict[str, JsonValue]:
    if message is not None:
        return message_record(message)
    assert fault is not None
    return {"malformed": fault.rule, "section": fault.section, "offset": fault.offset, "octets": data.hex()}
