"""Two engines and an adversarial network: nothing raises, no handler runs twice, nothing is left over."""

from __future__ import annotations

import contextlib
import errno
import math
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.messaging.engine import GROUP, OTHER, Datagram, EngineEndpoint, make_engine
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError, PendingLimitReached
from trio_coap.messaging.expiry import ExpiryOrder
from trio_coap.messaging.parameters import Limits, TransmissionParameters
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.wire.codes import CON, NON, Code, MessageType
from trio_coap.wire.errors import MessageFormatError
from trio_coap.wire.message import Message, Request, Response

ONE = Endpoint(("192.0.2.101", 5683))
TWO = Endpoint(("192.0.2.102", 5683))
UNREACHABLE = OSError(errno.EHOSTUNREACH, "No route to host")

indices = st.integers(0, 1 << 16)
delays = st.sampled_from([0.05, 0.2, 1.0, 3.0, 20.0, 100.0, 300.0])
types = st.sampled_from([CON, NON])


class Exchange:
    """A request and who waits for its response: what a client has for each."""

    def __init__(self, engine: EngineEndpoint, remote: Endpoint) -> None:
        self.engine = engine
        self.remote = remote
        self.token = engine.new_token(remote)
        self.entry: SentMessageCacheEntry | None = None
        self.endings = 0
        engine.tokens[remote, self.token] = self

    def end(self) -> None:
        """Do what the ``finally`` of a client does."""
        self.engine.tokens.pop((self.remote, self.token), None)
        if self.entry is not None:
            self.entry.complete(self.engine.now)

    def response_received(self, response: Response, now: float) -> bool:
        assert response.source_endpoint is self.remote
        assert response.token == self.token
        self.endings += 1
        self.end()
        return True

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        assert entry.message.type is CON
        assert entry.transmissions > 0

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        assert 1 <= error.transmissions <= 1 + entry.parameters.max_retransmit
        self.endings += 1
        self.engine.tokens.pop((self.remote, self.token), None)

    def endpoint_closed(self) -> None:
        raise AssertionError("nothing is closed here")


class Handler:
    """Serves requests as their path says: ``now``, ``later`` or never; and notes whom it served."""

    def __init__(self, engine: EngineEndpoint) -> None:
        self.engine = engine
        self.unanswered: list[RcvdMessageCacheEntry] = []
        self.served: dict[tuple[Any, int | None], RcvdMessageCacheEntry] = {}

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        before = self.served.get((request.source_endpoint, request.message_id))
        # Section 4.5: an idempotent request may be forgotten early.
        if before is not None and not (before.is_forgettable and before.cache is None):
            parameters = self.engine.parameters
            is_confirmable = before.message.type is CON
            lifetime = parameters.exchange_lifetime if is_confirmable else parameters.non_lifetime
            assert now >= before.created_at + lifetime, "a handler ran twice for one message"
        self.served[request.source_endpoint, request.message_id] = entry
        if request.options.uri_path == ("now",):
            self.answer(entry)
        elif request.options.uri_path == ("later",):
            self.unanswered.append(entry)

    def answer(self, entry: RcvdMessageCacheEntry) -> None:
        try:
            entry.respond(Response(Code.CONTENT, entry.message.payload), self.engine.now)
        except PendingLimitReached:
            assert entry.remote.pending >= self.engine.limits.max_pending_per_remote


def names_of(entries: Iterable[RcvdMessageCacheEntry]) -> list[tuple[Any, int | None]]:
    return [(entry.remote.rcvd_cache, entry.message_id) for entry in entries]


def places_of(order: ExpiryOrder, start: int = 0) -> list[tuple[Any, int]]:
    """Return the cache and message ID of each place of *order*, from *start* on, that is not stale."""
    places = range(max(start, order._first), len(order._keys))
    found = [(order._cache_at(place), order._keys[place] & 0xFFFF) for place in places]
    return [(cache, message_id) for cache, message_id in found if cache is not None]


class MessageLayerMachine(RuleBasedStateMachine):
    """The adversary decides about every datagram, and about the time."""

    @initialize(
        nstart=st.integers(1, 3),
        probing_rate=st.sampled_from([1.0, 20.0, math.inf]),
        max_remembered=st.sampled_from([1, 3, 100_000]),
        max_pending=st.sampled_from([2, 100]),
        seed=st.integers(0, 3),
    )
    def make_engines(self, nstart: int, probing_rate: float, max_remembered: int, max_pending: int, seed: int) -> None:
        parameters = TransmissionParameters(nstart=nstart, probing_rate=probing_rate)
        limits = Limits(max_remembered=max_remembered, max_pending_per_remote=max_pending, max_remotes=3)
        self.now = 0.0
        self.engines = {
            ONE: make_engine(ONE.sockaddr, seed=seed, parameters=parameters, limits=limits),
            TWO: make_engine(TWO.sockaddr, seed=seed + 100, parameters=parameters, limits=limits),
        }
        self.handlers = {address: Handler(engine) for address, engine in self.engines.items()}
        for address, engine in self.engines.items():
            engine.request_listener = self.handlers[address]
        self.flying: list[Datagram] = []
        self.history: list[Datagram] = []
        self.exchanges: list[Exchange] = []

    # What applications do

    @rule(is_one=st.booleans(), type=types, path=st.sampled_from(["now", "later", "never"]), is_post=st.booleans())
    def request(self, is_one: bool, type: MessageType, path: str, is_post: bool) -> None:
        ours, theirs = (ONE, TWO) if is_one else (TWO, ONE)
        exchange = Exchange(self.engines[ours], theirs)
        code = Code.POST if is_post else Code.GET
        message = Request(code, path.encode(), type=type, token=exchange.token, uri_path=[path])
        try:
            exchange.entry = self.engines[ours].send(message, theirs, listener=exchange)
        except PendingLimitReached:
            exchange.end()
            return
        if not exchange.endings:
            self.exchanges.append(exchange)

    @rule(is_one=st.booleans())
    def ping(self, is_one: bool) -> None:
        ours, theirs = (ONE, TWO) if is_one else (TWO, ONE)
        with contextlib.suppress(PendingLimitReached):
            self.engines[ours].send(Message(type=CON), theirs)

    @precondition(lambda self: self.exchanges)
    @rule(index=indices)
    def cancel(self, index: int) -> None:
        self.exchanges.pop(index % len(self.exchanges)).end()

    @precondition(lambda self: any(handler.unanswered for handler in self.handlers.values()))
    @rule(index=indices)
    def answer(self, index: int) -> None:
        handlers = [handler for handler in self.handlers.values() if handler.unanswered]
        handler = handlers[index % len(handlers)]
        handler.answer(handler.unanswered.pop(index % len(handler.unanswered)))

    # What time does

    @rule(delay=delays)
    def wait(self, delay: float) -> None:
        self._run_until(self.now + delay)

    def _run_until(self, end: float) -> None:
        while (at := min(engine.queue.earliest() for engine in self.engines.values())) <= end:
            self.now = max(self.now, at)
            for engine in self.engines.values():
                engine.now = self.now
                engine.process_due(self.now)
        self.now = end
        for engine in self.engines.values():
            engine.now = end
        self._collect()

    # What the network does

    def _collect(self) -> None:
        for engine in self.engines.values():
            self.flying += engine.outbox
            self.history += engine.outbox
            engine.outbox.clear()

    def _arrive(self, data: bytes, source: Endpoint, destination: Endpoint, local_address: Endpoint | None) -> None:
        engine = self.engines.get(destination)
        if engine is None:
            return
        with contextlib.suppress(MessageFormatError):
            engine.datagram_received(data, source, self.now, local_address)
        self._collect()

    def _pick(self, datagrams: list[Datagram], index: int) -> Datagram:
        return datagrams[index % len(datagrams)]

    @precondition(lambda self: self.flying)
    @rule()
    def deliver_all_in_order(self) -> None:
        flying, self.flying = self.flying, []
        for datagram in flying:
            self._arrive(datagram.data, datagram.source, datagram.destination, datagram.destination)

    @precondition(lambda self: self.flying)
    @rule(index=indices)
    def deliver_any(self, index: int) -> None:
        datagram = self.flying.pop(index % len(self.flying))
        self._arrive(datagram.data, datagram.source, datagram.destination, None)

    @precondition(lambda self: self.flying)
    @rule(index=indices)
    def deliver_twice(self, index: int) -> None:
        datagram = self._pick(self.flying, index)
        for _ in range(2):
            self._arrive(datagram.data, datagram.source, datagram.destination, datagram.destination)

    @precondition(lambda self: self.flying)
    @rule(index=indices)
    def drop(self, index: int) -> None:
        self.flying.pop(index % len(self.flying))

    @precondition(lambda self: self.flying)
    @rule(index=indices, at=st.integers(0, 15), mask=st.integers(1, 255))
    def corrupt(self, index: int, at: int, mask: int) -> None:
        datagram = self.flying.pop(index % len(self.flying))
        data = bytearray(datagram.data)
        data[at % len(data)] ^= mask
        self._arrive(bytes(data), datagram.source, datagram.destination, None)

    @precondition(lambda self: self.history)
    @rule(index=indices)
    def replay(self, index: int) -> None:
        datagram = self._pick(self.history, index)
        self._arrive(datagram.data, datagram.source, datagram.destination, datagram.destination)

    @precondition(lambda self: self.history)
    @rule(index=indices, source=st.sampled_from([OTHER, ONE, TWO]), destination=st.sampled_from([ONE, TWO]))
    def pretend_another_source(self, index: int, source: Endpoint, destination: Endpoint) -> None:
        self._arrive(self._pick(self.history, index).data, source, destination, None)

    @precondition(lambda self: self.history)
    @rule(index=indices, destination=st.sampled_from([ONE, TWO]))
    def deliver_to_a_group(self, index: int, destination: Endpoint) -> None:
        self._arrive(self._pick(self.history, index).data, OTHER, destination, GROUP)

    @precondition(lambda self: self.history)
    @rule(index=indices, type=st.sampled_from(MessageType), source=st.sampled_from([OTHER, ONE, TWO]))
    def forge_an_empty_message(self, index: int, type: MessageType, source: Endpoint) -> None:
        datagram = self._pick(self.history, index)
        forged = Message(type=type, message_id=datagram.message.message_id)
        self._arrive(forged.encode(), source, datagram.source, None)

    @rule(data=st.binary(max_size=24), source=st.sampled_from([OTHER, ONE]))
    def inject_anything(self, data: bytes, source: Endpoint) -> None:
        self._arrive(data, source, TWO, None)

    @precondition(lambda self: self.history)
    @rule(index=indices, length=st.integers(0, 24), about=st.sampled_from([OTHER, ONE, TWO]))
    def quote_in_an_icmp_error(self, index: int, length: int, about: Endpoint) -> None:
        datagram = self._pick(self.history, index)
        if datagram.source in self.engines:
            self.engines[datagram.source].error_received(about, datagram.data[:length], UNREACHABLE, self.now)
            self._collect()

    @rule(is_one=st.booleans(), is_broken=st.booleans())
    def break_or_mend_a_socket(self, is_one: bool, is_broken: bool) -> None:
        self.engines[ONE if is_one else TWO].send_error = UNREACHABLE if is_broken else None

    # What must hold

    @invariant()
    def outstanding_messages_are_limited(self) -> None:
        for engine in self.engines.values():
            for state in engine._remotes.values():
                outstanding = [entry for entry in state.sent_cache.values() if entry.is_outstanding]
                assert 0 <= state.outstanding == len(outstanding) <= engine.parameters.nstart
                # Message IDs never run out here: who waits, waits for a slot.
                assert not state.sent_cache.pending() or state.outstanding == engine.parameters.nstart
                assert state.pending <= engine.limits.max_pending_per_remote

    @invariant()
    def counters_agree_with_the_caches(self) -> None:
        for engine in self.engines.values():
            states = list(engine._remotes.values())
            received = [entry for state in states for entry in state.rcvd_cache.values()]
            sent = [entry for state in states for entry in state.sent_cache.all_entries()]
            assert engine.counters.sent == sum(len(state.sent_cache) for state in states) == len(sent)
            assert engine.counters.sent_octets == sum(entry.size for entry in sent)
            assert engine.counters.received == len(received) <= engine.limits.max_remembered
            assert engine.counters.received_octets == sum(entry.size for entry in received)
            assert engine.counters.received_octets == sum(state.received_octets for state in states)
            forgettable = [entry for entry in received if entry.is_forgettable]
            memory = engine.memory
            kinds = [memory._confirmable, memory._non_confirmable]
            assert Counter(chain(*(places_of(order) for order in kinds))) == Counter(names_of(received))
            orders = [*kinds, memory._late]
            candidates = set(chain(*(places_of(order, order._candidate) for order in orders)))
            assert candidates >= set(names_of(forgettable))
            for state in states:
                if state.forgettable is not None:
                    of_state = [entry for entry in forgettable if entry.remote is state]
                    assert set(places_of(state.forgettable, state.forgettable._candidate)) >= set(names_of(of_state))
            assert engine.statistics().remotes == len(states)
            # Of what PROBING_RATE holds back, only the first is in the queue.
            pending = sum(len(state.sent_cache.pending()) + len(list(state.held)[1:]) for state in states)
            assert len(engine.queue) + pending == engine.counters.sent + engine.counters.received

    @invariant()
    def entries_are_in_order(self) -> None:
        for engine in self.engines.values():
            for state in engine._remotes.values():
                assert not state.is_idle
                assert not state.rcvd_cache.pending()
                for entry in state.sent_cache.values():
                    assert (entry.transmissions == 0) is (entry.state is SentState.PENDING)
                    assert entry.transmissions <= 1 + entry.parameters.max_retransmit
                    waits = entry in state.sent_cache.pending() or entry in list(state.held)[1:]
                    assert (entry.time_due is None) is waits

    def teardown(self) -> None:
        if not hasattr(self, "engines"):
            return
        for exchange in self.exchanges:
            assert exchange.endings <= 1 or exchange.entry is None or exchange.entry.message.type is NON
            exchange.end()
        self._run_until(self.now + 1e6)
        for engine in self.engines.values():
            statistics = engine.statistics()
            assert statistics.sent == statistics.received == statistics.remotes == statistics.pending == 0
            assert engine.counters.received_octets == engine.counters.sent_octets == len(engine.queue) == 0
            assert engine.queue.earliest() == math.inf
            assert not engine.tokens


TestMessageLayerMachine = MessageLayerMachine.TestCase
TestMessageLayerMachine.settings = settings(
    max_examples=120,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
