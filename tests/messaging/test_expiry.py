"""The order in which received messages are forgotten: RFC 7252 sections 4.5 and 4.8.2."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.messaging.engine import OTHER, OURS, PEER, EngineEndpoint, Server, content, get, make_engine
from trio_coap.messaging import expiry
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.expiry import MESSAGE_ID_BITS, ExpiryOrder
from trio_coap.messaging.parameters import Limits
from trio_coap.messaging.receivedcache import ReceivedCache
from trio_coap.messaging.records import pack_header
from trio_coap.wire.codes import ACK, CON, NON, Code
from trio_coap.wire.message import Message, Request, Response

HARMLESS = bytes.fromhex("40010000")
"""The datagram of a GET."""

HARMFUL = bytes.fromhex("40020000")
"""The datagram of a POST."""


class OrderMachine(RuleBasedStateMachine):
    """An order of the messages of three caches, against a list."""

    def __init__(self) -> None:
        super().__init__()
        engine = make_engine()
        self.caches = {
            number: ReceivedCache(engine.remote_state(Endpoint((f"192.0.2.{number}", 5683))), engine.memory)
            for number in (1, 2, 3)
        }
        self.order = ExpiryOrder(self.caches.get)
        self.now = 0.0
        self.model: list[tuple[int, int, float, bool]] = []

    def present(self) -> list[tuple[ReceivedCache, int, float]]:
        return [(self.caches[number], message_id, created_at) for number, message_id, created_at, _ in self.model]

    @rule(
        number=st.integers(1, 3),
        count=st.integers(1, 40),
        is_harmless=st.booleans(),
        delay=st.sampled_from([0.001, 1.0]),
    )
    def add(self, number: int, count: int, is_harmless: bool, delay: float) -> None:
        for _ in range(count):
            self.now += delay
            cache = self.caches[number]
            message_id = next(each for each in range(len(cache.kept) + 1) if each not in cache.kept)
            datagram = HARMLESS if is_harmless else HARMFUL
            cache.kept[message_id] = pack_header(self.now, len(datagram)) + datagram
            self.order.append(number << MESSAGE_ID_BITS | message_id, self.now)
            self.model.append((number, message_id, self.now, is_harmless))

    def remove(self, place: int, *, in_turn: bool = False) -> None:
        number, message_id, _, _ = self.model.pop(place)
        del self.caches[number].kept[message_id]
        if in_turn:
            self.order.drop_first()
        else:
            self.order.message_removed(number << MESSAGE_ID_BITS | message_id, len(self.model))

    @precondition(lambda self: self.model)
    @rule(places=st.lists(st.integers(0, 1000), min_size=1, max_size=40))
    def remove_out_of_turn(self, places: list[int]) -> None:
        for place in places[: len(self.model)]:
            self.remove(place % len(self.model))

    @rule(number=st.integers(1, 3), count=st.integers(1, 40))
    def remove_the_oldest_of_one(self, number: int, count: int) -> None:
        for _ in range(count):
            places = [place for place, (of, *_) in enumerate(self.model) if of == number]
            if places:
                self.remove(places[0])

    @rule(count=st.integers(1, 40))
    def expire(self, count: int) -> None:
        for _ in range(min(count, len(self.model))):
            assert self.order.first() == self.present()[0]
            self.remove(0, in_turn=True)

    @rule(count=st.integers(1, 40))
    def forget_early(self, count: int) -> None:
        for _ in range(count):
            places = [place for place, (*_, is_harmless) in enumerate(self.model) if is_harmless]
            candidate = self.order.candidate()
            assert candidate == (self.present()[places[0]] if places else None)
            if places:
                self.remove(places[0])

    @rule(number=st.integers(1, 3))
    def a_remote_is_forgotten(self, number: int) -> None:
        for message_id in list(self.caches[number].kept):
            del self.caches[number].kept[message_id]
            self.order.message_removed(number << MESSAGE_ID_BITS | message_id, len(self.caches[number].kept))
        self.model = [each for each in self.model if each[0] != number]
        self.caches[number + 3] = self.caches.pop(number)
        self.caches[number] = ReceivedCache(self.caches.pop(number + 3).state, make_engine().memory)

    @invariant()
    def the_first_is_the_oldest(self) -> None:
        present = self.present()
        assert self.order.first() == (present[0] if present else None)

    @invariant()
    def stale_places_are_bounded(self) -> None:
        # While most of them are copied, as many again may come.
        most = 2 * (expiry._MOST_STALE * len(self.model) + expiry._MIN_COMPACTION) + 500
        assert len(self.order._keys) <= most


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def order_of(*created: float, datagram: bytes = HARMLESS) -> tuple[ExpiryOrder, ReceivedCache]:
    """Return an order of messages 0, 1, ... that came at these times."""
    engine = make_engine()
    cache = ReceivedCache(engine.remote_state(PEER), engine.memory)
    order = ExpiryOrder({1: cache}.get)
    for message_id, created_at in enumerate(created):
        cache.kept[message_id] = pack_header(created_at, len(datagram)) + datagram
        order.append(1 << MESSAGE_ID_BITS | message_id, created_at)
    return order, cache


def test_only_the_first_one_of_all_is_the_only_one() -> None:
    order, _ = order_of()
    assert not order
    assert order.append(1 << MESSAGE_ID_BITS, 0.0)
    assert order
    assert not order.append(1 << MESSAGE_ID_BITS | 1, 0.0)


def test_an_id_that_came_again_counts_with_its_later_message() -> None:
    order, cache = order_of(1.0, 2.0)
    cache.kept[0] = pack_header(3.0, len(HARMLESS)) + HARMLESS
    order.append(1 << MESSAGE_ID_BITS, 3.0)
    assert order.first() == order.candidate() == (cache, 1, 2.0)
    order.drop_first()
    assert order.first() == (cache, 0, 3.0)


def test_a_clock_that_goes_back_does_not_upset_the_order() -> None:
    order, cache = order_of(5.0, 4.0)
    order.drop_first()
    assert order.first() == (cache, 1, 5.0)


def test_what_may_not_be_forgotten_is_passed_over_once_and_expires_all_the_same() -> None:
    order, cache = order_of(1.0, 2.0, datagram=HARMFUL)
    assert order.candidate() is None
    assert order.first() == (cache, 0, 1.0)


@given(st.integers(0, 300), st.integers(0, 300))
def test_dropping_gives_the_memory_back(count: int, dropped: int) -> None:
    order, _ = order_of(*map(float, range(count)))
    for _ in range(min(dropped, count)):
        order.drop_first()
    assert len(order._keys) <= 2 * max(count - dropped, 0) + expiry._MIN_COMPACTION + 1


# The same from outside


def serving(limit: int) -> EngineEndpoint:
    engine = make_engine(limits=Limits(max_remembered=limit))
    engine.request_listener = Server(content())
    return engine


def test_a_silent_remote_costs_those_that_come_after_it_no_places() -> None:
    engine = serving(1000)
    for message_id in range(400):
        engine.hear(get(message_id=message_id), PEER)
    for message_id in range(20_000):
        engine.hear(get(message_id=message_id), OTHER)
        engine.take()
    assert len(engine.state_of(PEER).rcvd_cache) == 400
    assert len(engine.memory._confirmable._keys) < 2 * expiry._MOST_STALE * 1000


def test_at_a_large_limit_several_are_forgotten_at_once() -> None:
    engine = serving(16 * 4096)
    for remote in (PEER, OTHER):
        for message_id in range(40_000):
            engine.hear(get(message_id=message_id), remote)
            engine.outbox.clear()
    turned_away = engine.statistics().turned_away["max_remembered"]
    assert turned_away % 16 == 0
    assert engine.statistics().received == 80_000 - turned_away <= 16 * 4096


def test_an_endpoint_that_closes_forgets_all() -> None:
    engine = serving(1000)
    for message_id in range(10):
        engine.hear(get(message_id=message_id), PEER, OURS)
        engine.hear(get(type=NON, message_id=message_id + 10), PEER)
    engine.abandon()
    assert engine.counters.received == engine.counters.received_octets == 0
    assert len(engine.queue) == 0


# Entries of what is kept


def remembered(request: Request | None = None) -> EngineEndpoint:
    engine = serving(1000)
    engine.hear(request or get(message_id=1), PEER, OURS)
    engine.outbox.clear()
    return engine


def test_an_entry_of_what_is_kept_knows_all_that_it_knew() -> None:
    engine = remembered()
    entry = engine.state_of(PEER).rcvd_cache[1]
    assert entry.message.type is CON
    assert entry.message.options.uri_path == ("t",)
    assert entry.message.message_id == entry.message_id == 1
    assert entry.message.source_endpoint is PEER
    assert entry.local_address is OURS
    assert entry.reply_message is not None
    assert (entry.reply_message.type, entry.reply_message.code) == (ACK, Code.CONTENT)
    assert entry.created_at == entry.activated_at == 0.0
    assert entry.time_due == entry.expires_at == 247
    assert entry.reception_count == 1
    assert entry.cache is engine.state_of(PEER).rcvd_cache


def test_another_address_of_ours_is_not_forgotten() -> None:
    engine = remembered()
    ours = Endpoint(("192.0.2.77", 5683))
    engine.hear(get(message_id=2), PEER, ours)
    engine.hear(get(message_id=3), PEER)
    cache = engine.state_of(PEER).rcvd_cache
    assert [cache[message_id].local_address for message_id in (1, 2, 3)] == [OURS, ours, None]


def test_the_queue_has_what_is_kept() -> None:
    engine = remembered()
    engine.request_listener = Server()
    engine.hear(get(type=NON, message_id=2), PEER)
    assert [entry.message_id for entry in engine.queue] == [2, 1]  # type: ignore[union-attr]
    assert len(engine.queue) == 2
    assert engine.queue.earliest() == 145
    first = engine.queue.peek()
    assert first is not None
    assert first.message_id == 2  # type: ignore[union-attr]
    assert engine.queue.peek(100) is None


def test_processing_an_entry_early_forgets_it() -> None:
    engine = remembered()
    entry = engine.state_of(PEER).rcvd_cache[1]
    entry.process_timeout(1.0)
    assert entry.cache is None
    assert entry.time_due is None
    assert engine.statistics().remotes == 0


def test_an_entry_can_be_given_another_time() -> None:
    engine = remembered()
    entry = engine.state_of(PEER).rcvd_cache[1]
    entry.time_due = 100
    assert engine.state_of(PEER).rcvd_cache[1] is entry
    assert engine.queue.earliest() == entry.time_due == 100


def test_two_entries_of_one_message_say_the_same() -> None:
    engine = remembered()
    cache = engine.state_of(PEER).rcvd_cache
    one, other = cache[1], cache[1]
    engine.hear(get(message_id=1), PEER)
    assert one.reception_count == other.reception_count == 2
    one.time_due = 100.0
    assert other.time_due == one.time_due == 100.0
    other.time_due = 50.0
    assert one.time_due == 50.0
    assert len(engine.queue) == 1


def test_late_responses_are_kept_too() -> None:
    engine = make_engine()
    server = Server()
    engine.request_listener = server
    engine.hear(get(type=NON, message_id=1), PEER)
    (entry,) = server.entries
    assert entry.is_kept
    entry.respond(Response(Code.CONTENT, b"late"), 3.0)
    (sent,) = engine.take()
    engine.hear(get(type=NON, message_id=1), PEER)
    assert engine.take() == [sent]
    assert engine.state_of(PEER).rcvd_cache[1].reply_message == sent


def test_a_message_stands_for_its_id() -> None:
    engine = remembered()
    cache = engine.state_of(PEER).rcvd_cache
    message = Message(type=CON, message_id=1)
    assert message in cache
    assert cache[message].message_id == 1
    assert cache.get(message) is not None
    assert cache.get(7) is None
    assert cache.get(7, "nothing") == "nothing"
    assert list(cache) == list(cache.keys()) == [1]
    assert [message_id for message_id, _ in cache.items()] == [1]
