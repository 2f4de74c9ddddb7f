"""Watching what goes over the wire: an endpoint that tells of each datagram (``-v``, and the demo).

Rule: watching changes nothing; each datagram is decoded a second time, for the watcher only, and a watcher that fails
is told no more.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TextIO, final

import attrs

from trio_coap.cli.describe import message_summary, octets_text
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS, TransmissionParameters
from trio_coap.transports.driver import run_endpoint
from trio_coap.transports.udp.endpoint import SocketEndpoint
from trio_coap.transports.udp.opening import open_endpoint
from trio_coap.wire.errors import MessageFormatError
from trio_coap.wire.message import EndpointAddress, Message, decode_message_untrusted

_logger = logging.getLogger(__name__)


@final
@attrs.frozen
class WireEvent:
    """A datagram that was sent or received."""

    at: float
    """When, in seconds, by the endpoint's clock."""

    is_sent: bool
    """True if it was sent, False if it was received."""

    remote: Endpoint
    """To whom, or from whom."""

    octets: bytes
    """What it carries."""

    repetition: int = 0
    """How often the same octets went the same way before."""

    os_error: OSError | None = None
    """Why the system did not take it, if it did not."""

    @property
    def decoded(self) -> Message | MessageFormatError:
        """The message in it, or what is the matter with it."""
        try:
            return decode_message_untrusted(self.octets)
        except MessageFormatError as exc:
            return exc

    def describe(self) -> str:
        """Return it in words, on one line."""
        decoded = self.decoded
        if isinstance(decoded, Message):
            text = message_summary(decoded)
        else:
            text = f"malformed: {decoded}: {octets_text(self.octets)}"
        if self.repetition:
            text += f", the same as before ({_ordinal(self.repetition + 1)} time)"
        if self.os_error is not None:
            text += f", not sent: {self.os_error.strerror or self.os_error}"
        return text


Watcher = Callable[[WireEvent], None]
"""Is told of each datagram."""


class WatchedEndpoint(SocketEndpoint):
    """A UDP endpoint that tells a watcher of each datagram; made by :func:`open_watched_endpoint`."""

    _watcher: Watcher | None = None
    _times: dict[tuple[bool, Endpoint, bytes], int]

    def watch(self, watcher: Watcher) -> None:
        """Tell *watcher* of each datagram from now on."""
        self._watcher = watcher
        self._times = {}

    def rawsendto(
        self, data: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None = None
    ) -> None:
        """Send a datagram; see :meth:`SocketEndpoint.rawsendto`."""
        at = self.clock()
        try:
            super().rawsendto(data, destination_endpoint, local_address)
        except OSError as exc:
            self._tell(True, destination_endpoint, data, at, exc)
            raise
        self._tell(True, destination_endpoint, data, at)

    def datagram_received(
        self, data: bytes, source_endpoint: Endpoint, now: float, local_address: EndpointAddress | None = None
    ) -> Message | None:
        """Process a datagram; see :meth:`SocketEndpoint.datagram_received`."""
        self._tell(False, source_endpoint, data, now)
        return super().datagram_received(data, source_endpoint, now, local_address)

    def _tell(self, is_sent: bool, remote: Endpoint, octets: bytes, at: float, os_error: OSError | None = None) -> None:
        if self._watcher is None:
            return
        key = (is_sent, remote, octets)
        repetition = self._times.get(key, 0)
        self._times[key] = repetition + 1
        try:
            self._watcher(WireEvent(at, is_sent, remote, octets, repetition, os_error))
        except Exception as exc:
            self._watcher = None
            if not isinstance(exc, OSError):  # Whoever read the trace has gone; anything else is a defect.
                _logger.exception("watching ends, as the watcher failed")


@asynccontextmanager
async def open_watched_endpoint(
    watcher: Watcher | None,
    host: str = "::",
    port: int = 0,
    *,
    parameters: TransmissionParameters = DEFAULT_PARAMETERS,
) -> AsyncIterator[SocketEndpoint]:
    """Open a UDP endpoint that tells *watcher* of each datagram; without one it is a plain one.

    Args:
      watcher: is told, or None.
      host, port, parameters: see :func:`trio_coap.open_endpoint`.

    Raises:
      OSError: if the address is not to be had.
    """
    if watcher is None:
        async with open_endpoint(host, port, parameters=parameters) as plain:
            yield plain
        return
    endpoint = WatchedEndpoint.create_bound_endpoint(host=host, port=port, parameters=parameters)
    endpoint.watch(watcher)
    async with run_endpoint(endpoint):
        yield endpoint


@final
class TracePrinter:
    """A watcher that prints a line for each datagram, with the time since the first one."""

    def __init__(self, stream: TextIO | None = None, *, sent: str = "->", received: str = "<-") -> None:
        """Print to *stream*, by default standard error; *sent* and *received* name the direction."""
        self._stream = sys.stderr if stream is None else stream
        self._names = {True: sent, False: received}
        self._started_at: float | None = None

    def __call__(self, event: WireEvent) -> None:
        """Print *event*."""
        if self._started_at is None:
            self._started_at = event.at
        elapsed = event.at - self._started_at
        line = f"{elapsed:8.3f} s  {self._names[event.is_sent]} {event.remote.hostinfo}  {event.describe()}"
        print(line, file=self._stream, flush=True)


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
