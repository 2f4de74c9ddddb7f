"""What decoding and encoding of a typical message cost: ours, aiocoap's, and what Python can do at best.

The message is a Confirmable POST: a token of 4 octets, two path segments, Content-Format, Accept, and 64 octets of payload.  A decoder
may leave work for later, and so decoding is measured alone and with reading path, Content-Format and payload.  An encoder may keep
what it made, and so each operation encodes another message ID, and making the message is measured too.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from bench.rounds import Benchmark, Contestant, Goal, Measure, Skipped

PAYLOAD = bytes(range(64))
TOKEN = b"\x01\x02\x03\x04"
DATAGRAM = b"\x44\x02\x12\x34" + TOKEN + b"\xb7sensors\x04temp\x11\x2a\x51\x32\xff" + PAYLOAD
"""Uri-Path sensors, temp; Content-Format 42; Accept 50."""

DECODE, DECODE_AND_READ = Measure("decode", "µs"), Measure("decode and read", "µs")
ENCODE, MAKE_AND_ENCODE = Measure("encode", "µs"), Measure("make and encode", "µs")

Operation = Callable[[int], object]
"""Does it once; gets a message ID."""


def microseconds(operation: Operation, count: int) -> float:
    """Return what *operation* takes, in microseconds of processor time, the loop around it not counted."""
    numbers = [number & 0xFFFF for number in range(count)]
    for number in numbers[:500]:
        operation(number)  # What is made once, is made now.
    started_at = time.process_time()
    for _ in numbers:
        pass
    empty_at = time.process_time()
    for number in numbers:
        operation(number)
    return max(0.0, time.process_time() - empty_at - (empty_at - started_at)) / count * 1e6


def datagrams(count: int) -> list[bytes]:
    """Return *count* different datagrams: nobody can know the answer already."""
    return [DATAGRAM[:2] + (number & 0xFFFF).to_bytes(2, "big") + DATAGRAM[4:] for number in range(count)]


def measure_ours(count: int) -> dict[str, float]:
    """Measure this package."""
    from trio_coap import CON, Code, Message, Options, Request

    received = datagrams(min(count, 0x10000))

    def decode_and_read(number: int) -> object:
        message = Message.decode(received[number])
        return message.options.uri_path, message.options.content_format, message.payload

    def encode(number: int) -> bytes:
        made.message_id = number
        return made.encode()

    def make_and_encode(number: int) -> bytes:
        options = Options(uri_path=("sensors", "temp"), content_format=42, accept=50)
        return Request(Code.POST, PAYLOAD, type=CON, message_id=number, token=TOKEN, options=options).encode()

    made = Message.decode(DATAGRAM).replace()
    made.options = Options(uri_path=("sensors", "temp"), content_format=42, accept=50)
    assert encode(0x1234) == make_and_encode(0x1234) == DATAGRAM
    assert decode_and_read(0) == (("sensors", "temp"), 42, PAYLOAD)
    return {
        DECODE.name: microseconds(lambda number: Message.decode(received[number]), count),
        DECODE_AND_READ.name: microseconds(decode_and_read, count),
        ENCODE.name: microseconds(encode, count),
        MAKE_AND_ENCODE.name: microseconds(make_and_encode, count),
    }


def measure_aiocoap(count: int) -> dict[str, float]:
    """Measure aiocoap.

    Raises:
      Skipped: if it is not installed.
    """
    try:
        from aiocoap import CON, POST, Message
    except ImportError:
        raise Skipped("aiocoap is not installed") from None

    received = datagrams(min(count, 0x10000))

    def decode_and_read(number: int) -> object:
        message = Message.decode(received[number])
        return message.opt.uri_path, message.opt.content_format, message.payload

    def encode(number: int) -> object:
        made.mid = number
        return made.encode()

    def make() -> Message:
        return Message(
            code=POST,
            _mtype=CON,
            _token=TOKEN,
            payload=PAYLOAD,
            uri_path=("sensors", "temp"),
            content_format=42,
            accept=50,
        )

    def make_and_encode(number: int) -> object:
        message = make()
        message.mid = number
        return message.encode()

    made = make()
    assert encode(0x1234) == make_and_encode(0x1234) == DATAGRAM
    assert decode_and_read(0) == (("sensors", "temp"), 42, PAYLOAD)
    return {
        DECODE.name: microseconds(lambda number: Message.decode(received[number]), count),
        DECODE_AND_READ.name: microseconds(decode_and_read, count),
        ENCODE.name: microseconds(encode, count),
        MAKE_AND_ENCODE.name: microseconds(make_and_encode, count),
    }


_HEADER = struct.Struct("!BBH")

Fields = tuple[int, int, int, bytes, list[tuple[int, bytes]], bytes]
"""First octet, code, message ID, token, options, payload."""


def minimal_decode(data: bytes) -> Fields:
    """Decode with the checks that a datagram from the network needs, and nothing else.

    Raises:
      ValueError: if it is not well-formed.
    """
    first, code, message_id = _HEADER.unpack_from(data)
    size = len(data)
    at = 4 + (first & 15)
    if first >> 6 != 1 or at > 12 or at > size:
        raise ValueError("not a message")
    token = data[4:at]
    options = []
    number = 0
    while at < size:
        octet = data[at]
        at += 1
        if octet == 0xFF:
            if at == size:
                raise ValueError("no payload behind the marker")
            break
        delta, length = octet >> 4, octet & 15
        if delta > 12 or length > 12:
            delta, length, at = _extended(data, at, delta, length)
        number += delta
        end = at + length
        if end > size:
            raise ValueError("an option is cut off")
        options.append((number, data[at:end]))
        at = end
    return first, code, message_id, token, options, data[at:]


def _extended(data: bytes, at: int, delta: int, length: int) -> tuple[int, int, int]:
    values = []
    for nibble in (delta, length):
        if nibble == 15:
            raise ValueError("15 is reserved")
        extra = max(0, nibble - 12)
        if extra:
            nibble = int.from_bytes(data[at : at + extra], "big") + (13 if extra == 1 else 269)
        values.append(nibble)
        at += extra
    return values[0], values[1], at


def minimal_encode(message_id: int, options: list[tuple[int, bytes]]) -> bytes:
    """Encode the header, and options whose deltas and lengths are small."""
    pieces = [_HEADER.pack(0x44, 2, message_id), TOKEN]
    last = 0
    for number, value in options:
        pieces.append(bytes((number - last << 4 | len(value),)))
        pieces.append(value)
        last = number
    pieces.append(b"\xff")
    pieces.append(PAYLOAD)
    return b"".join(pieces)


def measure_minimal(count: int) -> dict[str, float]:
    """Measure a hand-written codec without objects: what Python can do at best."""
    received = datagrams(min(count, 0x10000))
    made = [(11, b"sensors"), (11, b"temp"), (12, b"\x2a"), (17, b"\x32")]

    def decode_and_read(number: int) -> object:
        fields = minimal_decode(received[number])
        path = []
        content_format = None
        for option, value in fields[4]:
            if option == 11:
                path.append(value.decode())
            elif option == 12:
                content_format = int.from_bytes(value, "big")
        return tuple(path), content_format, fields[5]

    def make_and_encode(number: int) -> bytes:
        options = [(11, b"sensors"), (11, b"temp"), (12, (42).to_bytes(1, "big")), (17, (50).to_bytes(1, "big"))]
        return minimal_encode(number, options)

    assert minimal_encode(0x1234, made) == make_and_encode(0x1234) == DATAGRAM
    assert decode_and_read(0) == (("sensors", "temp"), 42, PAYLOAD)
    return {
        DECODE.name: microseconds(lambda number: minimal_decode(received[number]), count),
        DECODE_AND_READ.name: microseconds(decode_and_read, count),
        ENCODE.name: microseconds(lambda number: minimal_encode(number, made), count),
        MAKE_AND_ENCODE.name: microseconds(make_and_encode, count),
    }


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    count = 60_000 if is_full else 10_000
    contestants: dict[str, Contestant] = {
        "ours": lambda: measure_ours(count),
        "aiocoap": lambda: measure_aiocoap(count),
        "minimal": lambda: measure_minimal(count),
    }
    return [
        Benchmark(
            "codec",
            "Decoding and encoding of a typical message",
            (DECODE, DECODE_AND_READ, ENCODE, MAKE_AND_ENCODE),
            contestants,
            reference="aiocoap",
            limit="minimal",
            goals=(
                Goal("decode, times aiocoap", "ours", "aiocoap", DECODE.name, 3.5, 5),
                Goal("decode and read, times aiocoap", "ours", "aiocoap", DECODE_AND_READ.name, 3.5, 5),
                Goal("encode, times aiocoap", "ours", "aiocoap", ENCODE.name, 2, 3.5),
                Goal("make and encode, times aiocoap", "ours", "aiocoap", MAKE_AND_ENCODE.name, 2, 3.5),
            ),
            notes=(
                "Processor time. Each datagram has another message ID; its options are the same, as they are in requests that "
                "come again and again.",
                "read: the path, the Content-Format and the payload. make: an object with the options by name.",
                "minimal: tuples, no objects, no table of options; it is no codec for applications.",
            ),
        )
    ]
