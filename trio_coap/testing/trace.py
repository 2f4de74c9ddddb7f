"""What happened on a virtual network: one record for each datagram and receiver.

Rule: :meth:`Trace.format` sorts by time and then by source, destination and number, because what several tasks do
at the same instant happens in an order that differs from run to run.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import final, overload

import attrs

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.testing.datagram import Datagram
from trio_coap.wire.codes import Code, MessageType
from trio_coap.wire.errors import MessageFormatError
from trio_coap.wire.message import Message

MAX_TRACE = 100_000
"""Records that a trace keeps by default, about 50 MB of them; the oldest are forgotten first."""


class Fate(enum.Enum):
    """What became of a datagram."""

    DELIVERED = "delivered"
    LOST = "lost"
    DROPPED = "dropped"
    TOO_BIG = "larger than the MTU"
    PARTITIONED = "partitioned"
    NOBODY = "nobody has this address"
    PORT_UNREACHABLE = "port unreachable"
    PORT_SILENT = "nobody listens"
    INBOX_FULL = "inbox full"


@final
@attrs.frozen
class TraceRecord:
    """What became of one datagram, at one receiver."""

    datagram: Datagram
    """What was sent."""

    fate: Fate
    """What became of it; :attr:`Fate.DELIVERED` already while it is on its way."""

    arrives_at: tuple[float, ...] = ()
    """When it arrives, in seconds, once for each copy; empty if it does not."""

    arriving_octets: bytes | None = None
    """What arrives, if that is not what was sent."""

    @property
    def time(self) -> float:
        """When it was sent, in seconds."""
        return self.datagram.time

    @property
    def source(self) -> Endpoint:
        """From where it came, as others see it."""
        return self.datagram.source

    @property
    def destination(self) -> Endpoint:
        """To where it was sent."""
        return self.datagram.destination

    @property
    def octets(self) -> bytes:
        """What was sent."""
        return self.datagram.octets

    @property
    def message(self) -> Message | None:
        """The message in it, or None if it is no well-formed one."""
        return self.datagram.message

    @property
    def decoded(self) -> Message | MessageFormatError:
        """The message in it, or what is the matter with it."""
        return self.datagram.decoded

    def __str__(self) -> str:
        datagram = self.datagram
        decoded = datagram.decoded
        content = f"{datagram.octets.hex()} ({decoded})" if isinstance(decoded, Exception) else repr(decoded)
        return f"{datagram.time:12.6f}  {_flow_text(datagram)}  {content}  {self._fate_text()}"

    def _fate_text(self) -> str:
        text = self.fate.value
        if self.arrives_at:
            text += " at " + ", ".join(f"{at:.6f}" for at in self.arrives_at)
        if self.arriving_octets is not None:
            text += f" as {self.arriving_octets.hex()}"
        return text

    @property
    def _order(self) -> tuple[float, str, int, str]:
        datagram = self.datagram
        return datagram.time, _flow_text(datagram), datagram.number, datagram.receiver


def address_text(endpoint: Endpoint) -> str:
    """Return the address of *endpoint* with its port."""
    return f"{endpoint.uri_host}:{endpoint.port}"


def _flow_text(datagram: Datagram) -> str:
    text = f"{address_text(datagram.source)} > {address_text(datagram.destination)}"
    return f"{text} ({datagram.receiver})" if datagram.destination.is_multicast else text


def format_trace(records: Iterable[TraceRecord]) -> str:
    """Return *records* as text, a line for each, sorted by time, source and destination.

    With the same seed this is the same text, octet for octet.
    """
    return "".join(f"{record}\n" for record in sorted(records, key=lambda record: record._order))


@final
class Trace(Sequence[TraceRecord]):
    """The records of a network, in the order in which the datagrams were sent.

    Attributes:
      total: how many records there were, those that were forgotten included.
    """

    def __init__(self, limit: int = MAX_TRACE) -> None:
        """Keep at most *limit* records; 0 keeps none."""
        self._records: deque[TraceRecord] = deque(maxlen=limit)
        self.total = 0

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> TraceRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[TraceRecord]: ...

    def __getitem__(self, index: int | slice) -> TraceRecord | list[TraceRecord]:
        if isinstance(index, slice):
            return list(self._records)[index]
        return self._records[index]

    def __iter__(self) -> Iterator[TraceRecord]:
        return iter(self._records)

    def __str__(self) -> str:
        return self.format()

    def format(self) -> str:
        """Return the trace as text; see :func:`format_trace`."""
        return format_trace(self._records)

    def clear(self) -> None:
        """Forget all records."""
        self._records.clear()

    def since(self, total: int) -> list[TraceRecord]:
        """Return the records made after :attr:`total` had that value."""
        count = min(max(self.total - total, 0), len(self._records))
        return list(islice(self._records, len(self._records) - count, None))

    def select(
        self,
        *,
        source: str | None = None,
        destination: str | None = None,
        fate: Fate | None = None,
        type: MessageType | None = None,
        code: Code | None = None,
        message_id: int | None = None,
        token: bytes | None = None,
    ) -> list[TraceRecord]:
        """Return the records that fit all that is given, the oldest first.

        Args:
          source, destination: a host's name, or an address with or without port.
          fate: what became of the datagram.
          type, code, message_id, token: of the message in it.
        """
        wanted = {"type": type, "code": code, "message_id": message_id, "token": token}
        of_message = {name: value for name, value in wanted.items() if value is not None}
        found = []
        for record in self._records:
            datagram = record.datagram
            if fate is not None and record.fate is not fate:
                continue
            if source is not None and not datagram.involves(source, as_source=True):
                continue
            if destination is not None and not datagram.involves(destination, as_source=False):
                continue
            if of_message:
                message = datagram.message
                if any(getattr(message, name, None) != value for name, value in of_message.items()):
                    continue
            found.append(record)
        return found

    def append(self, record: TraceRecord) -> int:
        """Add *record*; the network does so.  Return its position, to change its fate by."""
        self._records.append(record)
        self.total += 1
        return self.total - 1

    def change(self, position: int, fate: Fate) -> None:
        """Correct the fate of the record at *position*, if it is still there."""
        index = position - (self.total - len(self._records))
        if 0 <= index < len(self._records):
            self._records[index] = attrs.evolve(self._records[index], fate=fate)
