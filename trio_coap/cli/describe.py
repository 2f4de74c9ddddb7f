"""Messages in words, for people at a terminal.

Rule 1: nothing here does I/O.  Rule 2: what comes from a peer is shown without its control characters, which a
terminal would obey.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from trio_coap.wire.block import Block
from trio_coap.wire.codes import ACK, CON, RST
from trio_coap.wire.contentformats import is_cbor, is_json, is_text, media_type_of
from trio_coap.wire.definitions import DEFINITIONS, OptionFormat
from trio_coap.wire.message import Message, Request
from trio_coap.wire.patterns import lazy_pattern

MAX_SHOWN_OCTETS = 32
"""Octets of a payload that a line shows: a line, not a page."""

_CONTENT_FORMATS = frozenset({12, 17})  # Content-Format and Accept
_BLOCKS = frozenset({19, 23, 27, 31})
_CONTROL = lazy_pattern(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_CONTROL_OR_BREAK = lazy_pattern(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


def printable(text: str, *, one_line: bool = False) -> str:
    """Return *text* with its control characters escaped; line breaks and tabs stay, unless it must be one line."""
    return (_CONTROL_OR_BREAK if one_line else _CONTROL).sub(_escape, text)


def quoted(text: str) -> str:
    """Return *text* in double quotes, on one line."""
    return printable(json.dumps(text, ensure_ascii=False), one_line=True)


def format_name(number: int) -> str:
    """Return the media type of a content format, with its number."""
    media_type = media_type_of(number)
    return f"{number}" if media_type is None else f"{media_type} ({number})"


def option_name(number: int) -> str:
    """Return the name of an option, or ``Option 65001`` for an unknown one."""
    known = DEFINITIONS.get(number)
    return f"Option {number}" if known is None else known.name


def option_text(number: int, value: bytes) -> str:
    """Return the value of an option as people read it; as octets where it is malformed or unknown."""
    known = DEFINITIONS.get(number)
    if known is None or known.format is OptionFormat.OPAQUE or known.fault_of(value) is not None:
        return _hexadecimal(value)
    if known.format is OptionFormat.EMPTY:
        return ""
    decoded = known.decode(value)
    if number in _CONTENT_FORMATS and isinstance(decoded, int):
        return format_name(decoded)
    if number in _BLOCKS and isinstance(decoded, int):
        block = Block.from_uint(decoded)
        return f"block {block.number} of {block.size} octets, {'more follow' if block.more else 'the last one'}"
    return quoted(decoded) if isinstance(decoded, str) else str(decoded)


def _hexadecimal(value: bytes) -> str:
    if len(value) > MAX_SHOWN_OCTETS:
        return f"0x{value[:MAX_SHOWN_OCTETS].hex()}... ({len(value)} octets)"
    return f"0x{value.hex()}" if value else "(empty)"


def option_line(number: int, value: bytes) -> str:
    """Return an option with name and value, such as ``Max-Age: 60``."""
    return f"{option_name(number)}: {option_text(number, value)}".removesuffix(": ")


def octets_text(data: bytes, content_format: int | None = None) -> str:
    """Return the beginning of *data* on one line: as text where it is text, in hexadecimal otherwise."""
    shown = data[:MAX_SHOWN_OCTETS]
    dots = "..." if len(data) > MAX_SHOWN_OCTETS else ""
    try:
        # Cutting may go through a character.
        text = shown.decode() if not dots else data.decode()[:MAX_SHOWN_OCTETS]
    except UnicodeDecodeError:
        return shown.hex(" ") + dots
    looks_like_text = content_format is None and text.isprintable()
    return quoted(text) + dots if looks_like_text or is_textual(content_format) else shown.hex(" ") + dots


def is_textual(content_format: int | None) -> bool:
    """Return whether payloads in this format are text; without a format they may be."""
    if content_format is None:
        return False
    media_type = (media_type_of(content_format) or "").partition(";")[0]
    return is_text(content_format) or is_json(content_format) or media_type.endswith(("/xml", "+xml", "/link-format"))


def message_summary(message: Message) -> str:
    """Return *message* on one line: type, code, what it asks for, its identifiers, options and payload."""
    return ", ".join(_parts(message))


def _parts(message: Message) -> Iterator[str]:
    identifiers = [f"message ID {message.message_id:#06x}"] if message.message_id is not None else []
    if message.token:
        identifiers.append(f"token {message.token.hex()}")
    yield f"{_kind(message)} ({', '.join(identifiers)})"
    for number, value in message.options:
        if not (isinstance(message, Request) and number in (11, 15)):
            yield option_line(number, value)
    if message.payload:
        unit = "octet" if len(message.payload) == 1 else "octets"
        yield f"{len(message.payload)} {unit} {octets_text(message.payload, message.options.content_format)}"


def _kind(message: Message) -> str:
    if message.is_empty:
        return {CON: "CON, empty: a ping", ACK: "ACK, empty", RST: "RST"}.get(message.type, "NON, empty")
    if isinstance(message, Request):
        name = message.code.name or message.code.dotted
        return f"{message.type.name} {name} {request_path(message)}"
    return f"{message.type.name} {message.code}"


def request_path(request: Request) -> str:
    """Return the path and query that *request* asks for."""
    path = "/" + "/".join(request.options.uri_path)
    query = "&".join(request.options.uri_query)
    return printable(f"{path}?{query}" if query else path, one_line=True)


def message_record(message: Message) -> dict[str, JsonValue]:
    """Return *message* as a record for JSON."""
    options: list[JsonValue] = []
    for number, value in message.options:
        options.append({"number": number, "name": option_name(number), "value": _option_json(number, value)})
    record: dict[str, JsonValue] = {
        "type": message.type.name,
        "code": message.code.dotted,
        "name": message.code.name,
        "message_id": message.message_id,
        "token": message.token.hex(),
        "options": options,
    }
    record.update(payload_record(message.payload, message.options.content_format))
    return record


def payload_record(payload: bytes, content_format: int | None) -> dict[str, JsonValue]:
    """Return ``payload``, a text, where it is one, and ``payload_hex`` otherwise."""
    binary = content_format is not None and (is_cbor(content_format) or not is_textual(content_format))
    try:
        return {"payload_hex": payload.hex()} if binary else {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload_hex": payload.hex()}


def _option_json(number: int, value: bytes) -> JsonValue:
    known = DEFINITIONS.get(number)
    if known is None or known.format is OptionFormat.OPAQUE or known.fault_of(value) is not None:
        return f"0x{value.hex()}"
    decoded = known.decode(value)
    return True if isinstance(decoded, bytes) else decoded


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
