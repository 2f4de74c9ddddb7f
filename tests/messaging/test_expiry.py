"""The order in which received messages are forgotten: RFC 7252 sections 4.5 and 4.8.2."""

from __future__ import annotations

import math
from collections.abc import Callable

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
from trio_coap.wire.codes import NON

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


# How much is looked at


def places_looked_at(order: ExpiryOrder, action: Callable[[], object]) -> int:
    """Return how many places of *order* are looked at while something is done."""
    looked_at, find = 0, order._find

    def find_and_count(number: int) -> ReceivedCache | None:
        nonlocal looked_at
        looked_at += 1
        return find(number)

    order._find = find_and_count
    action()
    order._find = find
    return looked_at


def test_only_a_few_places_are_looked_at_for_one_message_that_may_be_forgotten() -> None:
    order, cache = order_of(*map(float, range(5000)), datagram=HARMFUL)
    cache.kept[4999] = pack_header(4999.0, len(HARMLESS)) + HARMLESS
    looks = 0
    while order.candidate() is None:
        looks += 1
    assert 4 < looks < 100
    assert order.candidate() == (cache, 4999, 4999.0)
    assert places_looked_at(order, order.candidate) <= 2


def test_where_nothing_may_be_forgotten_nobody_looks_twice() -> None:
    order, cache = order_of(*map(float, range(5000)), datagram=HARMFUL)
    for message_id in range(1, 5000):
        del cache.kept[message_id]
    for _ in range(100):
        assert order.candidate() is None
    assert places_looked_at(order, order.candidate) <= 2


def test_only_a_few_stale_places_are_looked_at_to_know_what_is_due() -> None:
    order, cache = order_of(*map(float, range(5000)))
    order.lifetime = 10.0
    for message_id in range(4999):
        del cache.kept[message_id]
    assert places_looked_at(order, order.earliest) < 1000
    assert order.earliest() < 5009.0  # Too early is right, too late is not.
    for _ in range(100):
        order.earliest()
    assert order.earliest() == 5009.0
    del cache.kept[4999]
    assert order.earliest() == math.inf


def test_a_copy_begins_where_the_order_does() -> None:
    order, cache = order_of(*map(float, range(1000)))
    for message_id in range(1, 1000, 2):
        del cache.kept[message_id]
        order.message_removed(1 << MESSAGE_ID_BITS | message_id, 100)
        if order._copy is not None:
            break
    order._drop_until(500)
    places = len(order._keys) - order._first
    for _ in range(places // expiry._COPIED_AT_ONCE + 1):
        order.message_removed(0, 1000)
    assert order._copy is None


def test_a_remote_forgets_its_oldest_message_also_if_it_has_come_to_do_so_late() -> None:
    engine = serving(1000)
    for message_id in range(1000):
        engine.hear(get(message_id=message_id), PEER)
    cache = engine.state_of(PEER).rcvd_cache
    assert engine.state_of(PEER).forgettable is not None
    oldest = next(iter(cache))
    engine.hear(get(message_id=oldest), PEER)
    engine.hear(get(message_id=2000), PEER)
    assert oldest not in cache
    assert oldest + 1 in cache
    engine.hear(get(message_id=oldest), PEER)
    engine.hear(get(message_id=2001), PEER)
    assert oldest in cache
