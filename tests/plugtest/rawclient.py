"""A client on a plain UDP socket, octet by octet (:rfc:`7252` section 3).

Rule: nothing here comes from the package: what its codec gets wrong must not be wrong here in the same way.  Rule 2: the
test is the message layer; nothing is acknowledged, repeated or matched unless it says so.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import attrs
import trio

CON, NON, ACK, RST = range(4)
EMPTY, GET, POST, PUT, DELETE = "0.00", "0.01", "0.02", "0.03", "0.04"

IF_MATCH, ETAG, IF_NONE_MATCH, OBSERVE, LOCATION_PATH, URI_PATH, CONTENT_FORMAT = 1, 4, 5, 6, 8, 11, 12
MAX_AGE, URI_QUERY, ACCEPT, LOCATION_QUERY, BLOCK2, BLOCK1, SIZE2, SIZE1 = 14, 15, 17, 20, 23, 27, 28, 60

PATIENCE = 10.0
"""Seconds to wait for a datagram that must come; on a busy machine too."""

OptionValue = bytes | str | int


class Block(NamedTuple):
    """The value of a Block option (:rfc:`7959` section 2.2)."""

    number: int
    is_more: bool
    exponent: int

    @property
    def size(self) -> int:
        return 1 << self.exponent + 4

    @property
    def value(self) -> int:
        return self.number << 4 | self.is_more << 3 | self.exponent


@attrs.define
class Message:
    """What a datagram says."""

    type: int
    code: str
    message_id: int
    token: bytes = b""
    options: list[tuple[int, bytes]] = attrs.Factory(list)
    payload: bytes = b""

    def all(self, number: int) -> list[bytes]:
        return [value for found, value in self.options if found == number]

    def octets(self, number: int) -> bytes | None:
        """Return the value of the option, which must not be there twice; None if it is not there."""
        values = self.all(number)
        assert len(values) <= 1
        return values[0] if values else None

    def number(self, number: int) -> int | None:
        value = self.octets(number)
        return None if value is None else int.from_bytes(value, "big")

    def block(self, number: int) -> Block | None:
        value = self.number(number)
        return None if value is None else Block(value >> 4, bool(value & 8), value & 7)

    @property
    def text(self) -> str:
        return self.payload.decode()

    def encode(self) -> bytes:
        class_, _, detail = self.code.partition(".")
        octets = bytes((1 << 6 | self.type << 4 | len(self.token), int(class_) << 5 | int(detail)))
        octets += self.message_id.to_bytes(2, "big") + self.token
        previous = 0
        for number, value in sorted(self.options, key=lambda option: option[0]):
            delta, more_delta = _nibble(number - previous)
            length, more_length = _nibble(len(value))
            octets += bytes((delta << 4 | length,)) + more_delta + more_length + value
            previous = number
        return octets + (b"\xff" + self.payload if self.payload else b"")


def _nibble(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    return 14, (value - 269).to_bytes(2, "big")


def decode(octets: bytes) -> Message:
    """Return what *octets* say; asserts that they are well-formed."""
    assert len(octets) >= 4
    assert octets[0] >> 6 == 1
    length = octets[0] & 15
    assert length <= 8
    code = f"{octets[1] >> 5}.{octets[1] & 31:02}"
    message = Message(octets[0] >> 4 & 3, code, int.from_bytes(octets[2:4], "big"), octets[4 : 4 + length])
    assert len(message.token) == length
    position, number = 4 + length, 0
    while position < len(octets) and octets[position] != 0xFF:
        nibbles = octets[position]
        delta, position = _extended(octets, nibbles >> 4, position + 1)
        size, position = _extended(octets, nibbles & 15, position)
        number += delta
        value = octets[position : position + size]
        assert len(value) == size
        message.options.append((number, value))
        position += size
    message.payload = octets[position + 1 :]
    assert bool(message.payload) == (position < len(octets))
    assert code != EMPTY or len(octets) == 4
    return message


def _extended(octets: bytes, nibble: int, position: int) -> tuple[int, int]:
    assert nibble < 15
    if nibble < 13:
        return nibble, position
    if nibble == 13:
        return octets[position] + 13, position + 1
    return int.from_bytes(octets[position : position + 2], "big") + 269, position + 2


def _to_octets(value: OptionValue) -> bytes:
    if isinstance(value, int):
        return value.to_bytes((value.bit_length() + 7) // 8, "big")
    return value.encode() if isinstance(value, str) else value


class RawClient:
    """A socket that is connected to a server, and what came that no test has taken yet."""

    def __init__(self, sock: trio.socket.SocketType, first_message_id: int = 0x1000) -> None:
        self._socket = sock
        self._backlog: list[Message] = []
        self._message_ids = itertools.count(first_message_id)
        self._tokens = itertools.count(1)

    def new_token(self) -> bytes:
        return b"t" + next(self._tokens).to_bytes(2, "big")

    def make(
        self,
        code: str,
        path: str = "",
        *options: tuple[int, OptionValue],
        payload: bytes | str = b"",
        type: int = CON,
        token: bytes | None = None,
    ) -> Message:
        """Return a request with a new message ID and, unless given, a new token."""
        path, _, query = path.partition("?")
        parts: list[tuple[int, OptionValue]] = [(URI_PATH, segment) for segment in path.split("/") if segment]
        parts += [(URI_QUERY, argument) for argument in query.split("&") if argument]
        return Message(
            type,
            code,
            next(self._message_ids),
            self.new_token() if token is None else token,
            [(number, _to_octets(value)) for number, value in (*parts, *options)],
            payload.encode() if isinstance(payload, str) else payload,
        )

    async def send(self, message: Message) -> None:
        await self._socket.send(message.encode())

    async def receive(
        self, where: Callable[[Message], bool] = lambda message: True, *, seconds: float = PATIENCE
    ) -> Message:
        """Return the first message of which *where* holds; the others wait for whoever wants them."""
        for message in self._backlog:
            if where(message):
                self._backlog.remove(message)
                return message
        with trio.fail_after(seconds):
            while True:
                message = decode(await self._socket.recv(65_535))
                if where(message):
                    return message
                self._backlog.append(message)

    async def hears_nothing(self, seconds: float, where: Callable[[Message], bool] = lambda message: True) -> bool:
        try:
            await self.receive(where, seconds=seconds)
        except trio.TooSlowError:
            return True
        return False

    async def acknowledge(self, message: Message) -> None:
        await self.send(Message(ACK, EMPTY, message.message_id))

    async def reset(self, message: Message) -> None:
        await self.send(Message(RST, EMPTY, message.message_id))

    async def exchange(self, request: Message) -> Message:
        """Send a request and return its response: piggybacked for a CON, a NON for a NON, under its token."""
        await self.send(request)
        response = await self.receive(lambda message: message.type is RST or message.token == request.token)
        if request.type == CON:
            assert (response.type, response.message_id) == (ACK, request.message_id)
        else:
            assert response.type == NON
        return response

    async def exchange_persistently(self, request: Message, *, patience: float = 0.3) -> tuple[Message, int]:
        """Send *request* until something comes within *patience*; return that, and how often it was sent."""
        for attempt in range(1, 6):
            await self.send(request)
            with contextlib.suppress(trio.TooSlowError):
                return await self.receive(seconds=patience), attempt
        raise AssertionError("nothing came")

    async def ask(
        self,
        code: str,
        path: str,
        *options: tuple[int, OptionValue],
        payload: bytes | str = b"",
        type: int = CON,
        token: bytes | None = None,
    ) -> Message:
        """Make a request, and return its response; see :meth:`make` and :meth:`exchange`."""
        return await self.exchange(self.make(code, path, *options, payload=payload, type=type, token=token))

    async def notification(self, token: bytes) -> Message:
        """Return the next notification, acknowledged if it is a CON."""
        message = await self.receive(lambda message: message.token == token and message.type in (CON, NON))
        if message.type == CON:
            await self.acknowledge(message)
        return message


@asynccontextmanager
async def open_raw_client(address: tuple[str, int]) -> AsyncIterator[RawClient]:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
        await sock.connect(address)
        yield RawClient(sock)


_ATTRIBUTE = r';([a-z]+)(?:=(?:"([^"]*)"|([^";,]*)))?'
_LINK = re.compile(rf"<([^>]*)>((?:{_ATTRIBUTE})*)(?:,|$)")


def parse_links(text: str) -> dict[str, dict[str, str]]:
    """Return the attributes of each link by its target (:rfc:`6690` section 2)."""
    links: dict[str, dict[str, str]] = {}
    position = 0
    while position < len(text):
        link = _LINK.match(text, position)
        assert link is not None, text[position:]
        assert link[1] not in links
        links[link[1]] = {name: quoted or plain for name, quoted, plain in re.findall(_ATTRIBUTE, link[2])}
        position = link.end()
    return links
