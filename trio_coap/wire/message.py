"""Messages and their encoding (:rfc:`7252` section 3).

Rule 1: the decoder judges the format alone; whether a type suits a code, or an option makes sense, is for
others.  Rule 2: whatever the octets, out come a message or a :class:`MessageFormatError`.  Rule 3: a message is
filled in by whom each field belongs to: the application gives code, options and payload, the
request layer the token, the message layer type and message ID.  That is why messages are mutable, unlike
everything that they are made of; whoever is given one by another layer changes only the fields of its own.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Protocol, Self, final

import attrs

from trio_coap.wire.codes import CODES, CON, Code, MessageType
from trio_coap.wire.contentformats import media_type_of
from trio_coap.wire.definitions import RESERVED_KEYWORDS, WHEN_REGISTERED, encode_text
from trio_coap.wire.encoding import PAYLOAD_MARKER, FormatFault, decode_items_untrusted
from trio_coap.wire.errors import LocalProtocolError, MessageFormatError, PayloadFormatError
from trio_coap.wire.options import OptionInput, Options
from trio_coap.wire.recent import Recent
from trio_coap.wire.response_errors import error_for_response

MAX_TOKEN_LENGTH = 8
"""In octets (:rfc:`7252` section 3)."""

MAX_MESSAGE_ID = 0xFFFF
"""Message IDs are 16 bits wide (:rfc:`7252` section 3)."""

MAX_REMEMBERED_OPTIONS = 4096
MAX_REMEMBERED_LENGTH = 64
"""A client asks for the same few things again and again: so many sequences of options, of so many octets at most, are
kept decoded and judged, or twice as many: about a kilobyte each.  A peer that varies its options gains nothing by it."""

_remembered: Recent[bytes, Options] = Recent(MAX_REMEMBERED_OPTIONS)
WHEN_REGISTERED.append(_remembered.clear)

_MARKER = bytes((PAYLOAD_MARKER,))
_HEADER = struct.Struct("!BBH")
_MAX_OPTIONS_AT = 4 + MAX_TOKEN_LENGTH
NO_OPTIONS = Options()
"""Of messages that have none: most responses."""
_TYPES = (MessageType.CON, MessageType.NON, MessageType.ACK, MessageType.RST)


class EndpointAddress(Protocol):
    """What an application may ask of the other end, or of our own (:class:`trio_coap.Endpoint` is one)."""

    @property
    def port(self) -> int:
        """The transport-layer port."""

    @property
    def hostinfo(self) -> str:
        """The authority component of URIs at this endpoint."""

    @property
    def uri(self) -> str:
        """Scheme and authority."""

    @property
    def is_multicast(self) -> bool:
        """Whether the address is that of a group."""


@attrs.define(init=False, repr=False, eq=False)
class Message:
    """A CoAP message.

    Two messages are equal if they say the same on the wire; neither endpoints nor the class count.
    """

    _default_code: ClassVar[Code] = Code.EMPTY
    _codes: ClassVar[frozenset[Code]] = frozenset(CODES)
    _codes_wanted: ClassVar[str] = "a code"

    code: Code
    payload: bytes
    options: Options
    type: MessageType
    message_id: int | None
    """0 to 65535, or None as long as the message layer has not given one."""

    token: bytes
    """0 to 8 octets, opaque."""

    source_endpoint: EndpointAddress | None
    destination_endpoint: EndpointAddress | None
    local_address: EndpointAddress | None
    """Of a received message: the address of ours that it was sent to, where the socket tells; None elsewhere."""

    def __init__(
        self,
        code: Code | int | None = None,
        payload: bytes | str = b"",
        *,
        options: Options = NO_OPTIONS,
        type: MessageType = CON,
        message_id: int | None = None,
        token: bytes = b"",
        source_endpoint: EndpointAddress | None = None,
        destination_endpoint: EndpointAddress | None = None,
        **by_name: OptionInput,
    ) -> None:
        """Make a message.

        Args:
          code: method or response code; by default 0.00 (Empty), of a Response 2.05 (Content).  A Request has none
            by default.
          payload: octets, or a text that is sent as UTF-8; without a Content-Format a text is sent as
            text/plain, but not in an error response, where it is the diagnostic payload.
          options: the options.
          type: the message type; the layers below may still change it.
          message_id: 0 to 65535; usually left to the message layer.
          token: up to 8 octets; usually left to the client.
          source_endpoint, destination_endpoint: who sends, and to whom.
          by_name: more options by name; they replace those in *options*.

        Raises:
          ValueError: for a code that is no octet.
          LocalProtocolError: for an option, token or message ID that does not fit, a text that has no UTF-8, or a
            code that a Request or Response cannot have.
        """
        if by_name:
            options = options.replace(**by_name) if options else Options(**by_name)
        if not isinstance(code, Code):
            code = self._default_code if code is None else Code(code)
        if code not in self._codes:
            raise LocalProtocolError(f"a {self.__class__.__name__} has {self._codes_wanted}, not {code}")
        if message_id is not None or token:
            _check_numbers(message_id or 0, token)
        if isinstance(payload, str):
            payload, options = _encode_payload(code, payload, options)
        elif not isinstance(payload, bytes):
            payload = _to_octets(payload)
        self.code = code
        self.payload = payload
        self.options = options
        self.type = type
        self.message_id = message_id
        self.token = token
        self.source_endpoint = source_endpoint
        self.destination_endpoint = destination_endpoint
        self.local_address = None

    @property
    def is_confirmable(self) -> bool:
        """True for type CON."""
        return self.type is CON

    @property
    def is_empty(self) -> bool:
        """True for code 0.00."""
        return self.code == 0

    @property
    def is_multicast_locally(self) -> bool:
        """True for a received message that was sent to a group."""
        return self.local_address is not None and self.local_address.is_multicast

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; octets that are none become U+FFFD."""
        return self.payload.decode("utf-8", errors="replace")

    def json(self) -> object:
        """Return what the payload says as JSON, whatever the Content-Format.

        Raises:
          PayloadFormatError: if it is not JSON; this is a ValueError, too.
        """
        import json  # Only here: most programs have none.

        try:
            decoded: object = json.loads(self.payload)
        except (ValueError, RecursionError) as exc:
            number = self.options.content_format
            said = "none" if number is None else f"{number} ({media_type_of(number) or 'unknown'})"
            raise PayloadFormatError(
                f"the payload of {len(self.payload)} octets is not JSON: {exc}; its Content-Format is {said}"
            ) from exc
        return decoded

    def replace(
        self, /, *, payload: bytes | str | None = None, options: Options | None = None, **by_name: OptionInput
    ) -> Self:
        """Return a copy with another payload, other options, or options replaced by name.

        A payload that is a text is treated as when a message is made.

        Raises:
          LocalProtocolError: for an option that does not fit, or a text that has no UTF-8.
        """
        copy = self.__class__.__new__(self.__class__)
        copy.code = self.code
        copy.payload = self.payload
        copy.options = self.options if options is None else options
        copy.type = self.type
        copy.message_id = self.message_id
        copy.token = self.token
        copy.source_endpoint = self.source_endpoint
        copy.destination_endpoint = self.destination_endpoint
        copy.local_address = self.local_address
        if by_name:
            copy.options = copy.options.replace(**by_name)
        if isinstance(payload, str):
            copy.payload, copy.options = _encode_payload(copy.code, payload, copy.options)
        elif payload is not None:
            copy.payload = _to_octets(payload)
        return copy

    def encode(self) -> bytes:
        """Return the datagram.

        Raises:
          LocalProtocolError: if the message has no message ID yet or one that is out of range, a token over 8
            octets, a code of a reserved class, or is empty (code 0.00) and has something behind its header.
        """
        message_id = self.message_id
        if message_id is None:
            raise LocalProtocolError("the message has no message ID; LocalEndpoint.send() gives one")
        return encode_message(self.type, self.code, message_id, self.token, self.options, self.payload)

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> Message:
        """Return the message in the datagram *data*: a Request, a Response, or for code 0.00 a plain Message.

        Payload, token and option values are bytes, whatever *data* is.

        Raises:
          MessageFormatError: if it is not well-formed.
        """
        return decode_message_untrusted(data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self.type is other.type
            and self.code == other.code
            and self.message_id == other.message_id
            and self.token == other.token
            and self.options == other.options
            and self.payload == other.payload
        )

    def __repr__(self) -> str:
        message_id = "-" if self.message_id is None else f"{self.message_id:#06x}"
        parts = [self.type.name, message_id, str(self.code)]
        if self.token:
            parts.append(f"token={self.token.hex()}")
        if self.options:
            parts.append(repr(self.options))
        if self.payload:
            shown = self.payload if len(self.payload) <= 32 else self.payload[:29] + b"..."
            parts.append(f"{len(self.payload)} octets {shown!r}")
        return f"<{self.__class__.__name__} {' '.join(parts)}>"


@attrs.define(init=False, repr=False, eq=False)
class Request(Message):
    """A message with a method code, 0.01 to 0.31."""

    _codes: ClassVar[frozenset[Code]] = frozenset(code for code in CODES if code.is_request)
    _codes_wanted: ClassVar[str] = "a method code, 0.01 to 0.31"


@final
@attrs.define(init=False, repr=False, eq=False)
class Response(Message):
    """A message with a response code: class 2, 4 or 5."""

    _default_code: ClassVar[Code] = Code.CONTENT
    _codes: ClassVar[frozenset[Code]] = frozenset(code for code in CODES if code.is_response)
    _codes_wanted: ClassVar[str] = "a response code of class 2, 4 or 5"

    def raise_for_code(self) -> Self:
        """Return this response if it is a success (class 2).

        >>> Response(Code.CONTENT, "21 °C").raise_for_code().text
        '21 °C'

        Raises:
          ResponseError: otherwise; of the subclass for its code, such as :exc:`NotFound` for 4.04.  An unknown code
            raises the subclass for x.00 of its class (:rfc:`7252` section 5.9).
        """
        if self.code.is_success:
            return self
        raise error_for_response(self)


RESERVED_KEYWORDS.update([field.name for field in attrs.fields(Message)])

_CLASS_OF_CODE: tuple[type[Message] | None, ...] = tuple(
    [Message if not code else Request if code.is_request else Response if code.is_response else None for code in CODES]
)
"""By octet: the class of messages with this code, or None where a datagram cannot have it."""


def encode_message(
    type: MessageType, code: Code, message_id: int, token: bytes, options: Options, payload: bytes
) -> bytes:
    """Return the datagram for these fields; see :meth:`Message.encode`."""
    length = len(token)
    if length > MAX_TOKEN_LENGTH or not 0 <= message_id <= MAX_MESSAGE_ID:
        _check_numbers(message_id, token)
    if _CLASS_OF_CODE[code] is None:
        raise LocalProtocolError(f"code {code} is of a class that is reserved over datagrams (RFC 7252 section 12.1)")
    header = _HEADER.pack(0x40 | type << 4 | length, code, message_id)
    if code == 0:
        if token or payload or options:
            raise LocalProtocolError("an empty message ends behind its header (RFC 7252 section 4.1)")
        return header
    encoded = b"" if options is NO_OPTIONS else options.encode()
    return b"".join((header, token, encoded, _MARKER, payload)) if payload else header + token + encoded


def _check_numbers(message_id: int, token: bytes) -> None:
    if len(token) > MAX_TOKEN_LENGTH:
        raise LocalProtocolError(f"a token has at most {MAX_TOKEN_LENGTH} octets, not {len(token)}")
    if not 0 <= message_id <= MAX_MESSAGE_ID:
        raise LocalProtocolError(f"a message ID is 0 to {MAX_MESSAGE_ID}, not {message_id}")


def _to_octets(payload: object) -> bytes:
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise LocalProtocolError(f"a payload is octets or a text, not {payload!r}")


def _encode_payload(code: Code, text: str, options: Options) -> tuple[bytes, Options]:
    """Return *text* as a payload, and *options* with the Content-Format of a text where one is due."""
    payload = encode_text(text, "the payload")
    # In an error response a text without Content-Format is the diagnostic payload (section 5.5.2).
    if payload and code < Code.BAD_REQUEST and 12 not in options:
        options = options.replace(content_format=0)
    return payload, options


def decode_message_untrusted(
    data: bytes | bytearray | memoryview,
    source: EndpointAddress | None = None,
    destination: EndpointAddress | None = None,
    local_address: EndpointAddress | None = None,
) -> Message:
    """Decode one datagram, which came from *source* to *destination*; see :meth:`Message.decode`."""
    if not isinstance(data, bytes):
        data = bytes(data)
    size = len(data)
    if size < 4:
        raise MessageFormatError("the datagram is shorter than a header", "3", size)
    first, code = data[0], data[1]
    if first >> 6 != 1:
        # Section 3: other versions must be silently ignored, hence no type and no message ID.
        raise MessageFormatError("the version is not 1", "3", 0)
    message_id = data[2] << 8 | data[3]
    offset = 4 + (first & 15)
    cls = _CLASS_OF_CODE[code]
    if cls is None or (cls is Message and size > 4) or not 4 <= offset <= _MAX_OPTIONS_AT or offset > size:
        _check_header(data, message_id)
        cls = _CLASS_OF_CODE[code] or Message
    payload = b""
    options = NO_OPTIONS
    if offset < size:
        # What stands before the first 0xFF was perhaps seen before, as all options of a message: it is read in one way only.
        end = data.find(PAYLOAD_MARKER, offset)
        encoded = data[offset:end] if end >= 0 else data[offset:]
        known = _remembered.young.get(encoded)
        if known is None or end == size - 1:
            options, payload = _decode_options(data, offset, encoded, message_id)
        else:
            options = known
            if end >= 0:
                payload = data[end + 1 :]
    message = cls.__new__(cls)
    message.code = CODES[code]
    message.payload = payload
    message.options = options
    message.type = _TYPES[first >> 4 & 3]
    message.message_id = message_id
    message.token = data[4:offset]
    message.source_endpoint = source
    message.destination_endpoint = destination
    message.local_address = local_address
    return message


def _check_header(data: bytes, message_id: int) -> None:
    """Raise what is wrong with code, token length or length, if anything is."""
    size, token_length = len(data), data[0] & 15
    cls = _CLASS_OF_CODE[data[1]]
    if token_length > MAX_TOKEN_LENGTH:
        # 13 and 14 announce the extended tokens of RFC 8974, which nobody negotiated here.
        fault = "the token length is above 8", "3", 0
    elif cls is None:
        # Section 4.2 has messages of the classes 1, 6 and 7 rejected (RFC 8323 gave 7 to reliable transports only).
        # Class 3 is for responses, but all of it is reserved, and nobody could say what such a response means.
        class_ = data[1] >> 5
        fault = f"the code class {class_} is reserved", "12.1.2" if class_ == 3 else "4.2", 1
    elif cls is Message and size > 4:
        fault = "an empty message has something behind its header", "4.1", 4
    elif 4 + token_length > size:
        fault = "the token is cut off", "3", size
    else:
        return
    raise MessageFormatError(*fault, message_type=_TYPES[data[0] >> 4 & 3], message_id=message_id)


def _decode_options(data: bytes, offset: int, encoded: bytes, message_id: int) -> tuple[Options, bytes]:
    """Return the options, which begin at *offset*, and the payload; *encoded* is what stands before the first 0xFF."""
    size, end = len(data), offset + len(encoded)
    if end != size - 1:
        known = _remembered.find(encoded)
        if known is not None:
            return known, data[end + 1 :]
    try:
        items, payload_at = decode_items_untrusted(data, offset, size)
    except FormatFault as fault:
        rule, section, at = fault.args
        raise MessageFormatError(
            rule, section, at, message_type=_TYPES[data[0] >> 4 & 3], message_id=message_id
        ) from None
    options = Options.from_wire(items)
    options_end = size if payload_at == size else payload_at - 1
    if end == options_end and len(encoded) <= MAX_REMEMBERED_LENGTH:  # Otherwise the first 0xFF stands in an option.
        _remembered.put(encoded, options)
    return options, data[payload_at:]
