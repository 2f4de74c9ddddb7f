"""Engines without a loop, for the tests of the message layer: the clock is a field, the wire is a list.

:class:`EngineEndpoint` is one engine.  :class:`Network` joins several of them and has the only loop there is: over
(time, sequence), so that the same seed gives the same trace.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import attrs

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.codes import CON, Code, MessageType
from trio_coap.wire.message import EndpointAddress, Message, Request, Response, decode_message_untrusted

OURS = Endpoint(("192.0.2.1", 5683))
PEER = Endpoint(("192.0.2.2", 5683))
OTHER = Endpoint(("192.0.2.3", 5683))
GROUP = Endpoint(("224.0.1.187", 5683))


@attrs.frozen
class Datagram:
    """What went out: when, from whom, to whom."""

    at: float
    data: bytes
    source: Endpoint
    destination: Endpoint
    local_address: EndpointAddress | None

    @property
    def message(self) -> Message:
        return decode_message_untrusted(self.data)


class EngineEndpoint(LocalEndpoint):
    """An engine whose time is set, and whose datagrams are kept in a list."""

    now: float
    outbox: list[Datagram]
    send_error: Exception | None
    network: Network | None

    @classmethod
    def _realm(cls, options: dict[str, Any]) -> Hashable:
        # Each test has engines of its own at the same few addresses.
        return cls, options.get("rng")

    def _reset(self) -> None:
        super()._reset()
        self.now = 0.0
        self.outbox = []
        self.send_error = None
        self.network = None
        self.inbox: list[tuple[bytes, Endpoint]] = []
        self.woken: list[float] = []

    def clock(self) -> float:
        return self.now

    def _wake_earlier(self, time_due: float) -> None:
        self.woken.append(time_due)

    def _rawsendto(
        self, data: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None = None
    ) -> None:
        if self.send_error is not None:
            raise self.send_error
        datagram = Datagram(self.now, data, Endpoint(self.sockaddr), destination_endpoint, local_address)
        self.outbox.append(datagram)
        if self.network is not None:
            self.network.carry(datagram)

    async def _rawrecvfrom(self, bufsize: int) -> tuple[bytes, Endpoint]:
        data, source = self.inbox.pop(0)
        return data[:bufsize], source

    def take(self) -> list[Message]:
        """Return what went out since the last call."""
        messages = [datagram.message for datagram in self.outbox]
        self.outbox.clear()
        return messages

    def take_one(self) -> Message:
        """Return the one message that went out since the last call."""
        (message,) = self.take()
        return message

    def hear(self, message: Message, source: Endpoint, local_address: EndpointAddress | None = None) -> Message | None:
        """Let *message* arrive."""
        return self.datagram_received(message.encode(), source, self.now, local_address)

    def run_until(self, end: float) -> None:
        """Process what is due up to *end*, each at its time."""
        while self.queue.earliest() <= end:
            self.now = max(self.now, self.queue.earliest())
            self.process_due(self.now)
        self.now = end

    def state_of(self, remote: Endpoint) -> Any:
        state = self.known_remote(remote)
        assert state is not None
        return state


def make_engine(
    sockaddr: tuple[Any, ...] = OURS.sockaddr,
    *,
    seed: int = 7252,
    parameters: TransmissionParameters = DEFAULT_PARAMETERS,
    limits: Limits = DEFAULT_LIMITS,
) -> EngineEndpoint:
    return EngineEndpoint(sockaddr, rng=random.Random(seed), parameters=parameters, limits=limits)


def get(
    path: str = "t", *, type: MessageType = CON, token: bytes = b"\x20", code: Code = Code.GET, **fields: Any
) -> Request:
    """Make a request."""
    return Request(code, type=type, token=token, uri_path=[path], **fields)


class Fate:
    """Who sent a message and notes what became of it."""

    def __init__(self) -> None:
        self.acknowledged: list[float] = []
        self.failures: list[DeliveryError] = []
        self.failed_at: list[float] = []
        self.closed = 0

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        self.acknowledged.append(now)

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        self.failures.append(error)
        self.failed_at.append(now)

    def endpoint_closed(self) -> None:
        self.closed += 1


class Server:
    """Who serves requests: notes them, and answers if it has an answer."""

    def __init__(self, answer: Callable[[Request], Response | None] | None = None) -> None:
        self.answer = answer
        self.entries: list[RcvdMessageCacheEntry] = []

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        self.entries.append(entry)
        response = None if self.answer is None else self.answer(request)
        if response is not None:
            entry.respond(response, now)


class Waiter:
    """Who waits for responses with a token."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.accepts = accepts
        self.responses: list[Response] = []
        self.is_closed = False

    def response_received(self, response: Response, now: float) -> bool:
        self.responses.append(response)
        return self.accepts

    def endpoint_closed(self) -> None:
        self.is_closed = True


def content(payload: str = "22.3 C") -> Callable[[Request], Response]:
    """Return a handler that answers 2.05, the payload without a Content-Format as in Appendix A."""
    return lambda request: Response(Code.CONTENT, payload.encode())


Fates = Callable[[Datagram], Iterable[float]]
"""Says after how many seconds a datagram arrives, each time that it does."""


def after(delay: float) -> Fates:
    return lambda datagram: (delay,)


class Network:
    """Joins engines: a datagram arrives when and as often as its fate says.

    Attributes:
      now: the time, in seconds.
      trace: every datagram that was sent, in the order in which it was sent.
    """

    def __init__(self, fates: Fates | None = None) -> None:
        self.fates = fates or after(0.01)
        self.now = 0.0
        self.trace: list[Datagram] = []
        self._engines: dict[Endpoint, EngineEndpoint] = {}
        self._groups: dict[Endpoint, list[EngineEndpoint]] = {}
        self._flying: list[tuple[float, int, Datagram]] = []
        self._sequence = 0

    def join(self, engine: EngineEndpoint, *groups: Endpoint) -> EngineEndpoint:
        engine.network = self
        self._engines[Endpoint(engine.sockaddr)] = engine
        for group in groups:
            self._groups.setdefault(group, []).append(engine)
        return engine

    def leave(self, engine: EngineEndpoint) -> None:
        engine.network = None
        del self._engines[Endpoint(engine.sockaddr)]

    def carry(self, datagram: Datagram) -> None:
        self.trace.append(datagram)
        for delay in self.fates(datagram):
            self.put(datagram, self.now + delay)

    def put(self, datagram: Datagram, arrives_at: float) -> None:
        """Let *datagram* arrive, whoever sent it."""
        self._sequence += 1
        heapq.heappush(self._flying, (arrives_at, self._sequence, datagram))

    def next_at(self) -> float:
        """Return when something happens next; infinity if nothing ever will."""
        arrival = self._flying[0][0] if self._flying else math.inf
        return min([arrival, *(engine.queue.earliest() for engine in self._engines.values())])

    def run_until(self, end: float) -> None:
        """Let everything happen that happens up to *end*."""
        while (at := self.next_at()) <= end:
            self._go_to(at)
            while self._flying and self._flying[0][0] <= self.now:
                self._deliver(heapq.heappop(self._flying)[2])
            for engine in list(self._engines.values()):
                engine.process_due(self.now)
        self._go_to(end)

    def _go_to(self, at: float) -> None:
        self.now = max(self.now, at)
        for engine in self._engines.values():
            engine.now = self.now

    def _deliver(self, datagram: Datagram) -> None:
        if datagram.destination in self._groups:
            for engine in self._groups[datagram.destination]:
                engine.datagram_received(datagram.data, datagram.source, self.now, datagram.destination)
        elif datagram.destination in self._engines:
            engine = self._engines[datagram.destination]
            engine.datagram_received(datagram.data, datagram.source, self.now, Endpoint(engine.sockaddr))
