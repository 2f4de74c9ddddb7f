"""The cache as a mapping, a queue and a FIFO."""

from __future__ import annotations

import math

import pytest

from tests.messaging.engine import PEER, get
from trio_coap.messaging.cache import MessageCache, MessageCacheEntry
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS, TransmissionParameters
from trio_coap.messaging.queue import DueQueue
from trio_coap.wire.codes import ACK, CON, NON, RST
from trio_coap.wire.errors import LocalProtocolError

Cache = MessageCache[MessageCacheEntry]


def make_cache(**fields) -> Cache:
    return MessageCache(PEER, True, **fields)


def add(cache: Cache, message_id: int | None = 1, *, now: float = 0.0, type=CON, **fields) -> MessageCacheEntry:
    return MessageCacheEntry(cache, get(type=type, message_id=message_id), now, **fields)


# Entries


@pytest.mark.parametrize(("type", "lifetime"), [(CON, 247), (NON, 145)])
def test_an_active_entry_is_due_when_it_expires(type, lifetime: float) -> None:
    entry = add(make_cache(), now=3.0, type=type)
    assert entry.time_due == entry.expires_at == entry.expires_clk == 3 + lifetime
    assert entry.created_at == entry.created_clk == entry.activated_at == entry.activated_clk == 3


def test_an_active_entry_may_be_due_earlier() -> None:
    assert add(make_cache(), now=3.0, time_due_offset=2.0).time_due == 5


def test_the_lifetime_is_that_of_the_caches_parameters() -> None:
    parameters = TransmissionParameters(max_latency=10)
    entry = add(make_cache(parameters=parameters))
    assert entry.parameters is parameters
    assert entry.expires_at == parameters.exchange_lifetime


def test_a_pending_entry_that_gets_a_time_is_activated_now() -> None:
    entry = add(make_cache(clock=lambda: 4.0), now=3.0, activate=False)
    entry.time_due = 9.0
    assert (entry.created_at, entry.activated_at, entry.time_due, entry.expires_at) == (3, 4, 9, 251)
    entry.time_due = 10.0
    assert entry.activated_at == 4


def test_the_clock_of_a_cache_of_its_own_stands_still() -> None:
    entry = add(make_cache(), activate=False)
    entry.time_due = 9.0
    assert entry.activated_at == 0


def test_a_pending_entry_has_no_time() -> None:
    entry = add(make_cache(), now=3.0, activate=False)
    assert entry.time_due is entry.activated_at is entry.expires_at is None
    assert entry.created_at == 3


@pytest.mark.parametrize("type", [ACK, RST])
def test_acknowledgements_and_resets_are_not_cached(type) -> None:
    cache = make_cache()
    with pytest.raises(LocalProtocolError, match="CON and NON"):
        add(cache, type=type)
    assert not cache


def test_a_message_id_is_in_the_cache_once() -> None:
    cache = make_cache()
    entry = add(cache)
    with pytest.raises(LocalProtocolError, match="message ID 1"):
        add(cache, activate=False)
    assert cache[1] is entry
    assert len(cache) == 1
    assert not cache.pending()


def test_an_entry_that_is_removed_has_no_cache_and_no_time() -> None:
    cache = make_cache()
    entry = add(cache)
    cache._remove(entry)
    assert entry.cache is None
    assert entry.time_due is None
    assert entry.parameters is DEFAULT_PARAMETERS
    with pytest.raises(LocalProtocolError, match="in no cache"):
        entry.time_due = 5.0


def test_what_is_due_is_for_a_subclass_to_say() -> None:
    with pytest.raises(NotImplementedError):
        add(make_cache()).process_timeout(0.0)


def test_an_entry_shows_when_it_is_due() -> None:
    cache = make_cache()
    assert "due at 247" in repr(add(cache))
    assert "pending" in repr(add(cache, 2, activate=False))


def test_entries_sort_by_the_time_they_are_due() -> None:
    cache = make_cache()
    early, late = add(cache, 1, time_due_offset=1), add(cache, 2, time_due_offset=2)
    assert early < late
    assert sorted([late, early]) == [early, late]


def test_a_pending_entry_does_not_sort() -> None:
    cache = make_cache()
    with pytest.raises(LocalProtocolError, match="sort"):
        assert add(cache, 1) < add(cache, 2, activate=False)


# The mapping


def test_look_up_by_message_id() -> None:
    cache = make_cache()
    entry, pending = add(cache, 1), add(cache, 2, activate=False)
    assert cache[1] is cache.get(1) is entry
    assert cache[2] is pending
    assert cache.get(3) is None
    assert cache.get(3, "none") == "none"
    assert cache.get(1, "none") is entry
    assert 1 in cache
    assert 3 not in cache
    with pytest.raises(KeyError):
        cache[3]


def test_a_message_stands_for_its_id() -> None:
    cache = make_cache()
    entry = add(cache, 1)
    assert cache[get(message_id=1)] is cache.get(get(message_id=1)) is entry
    assert get(message_id=1) in cache
    assert get(message_id=2) not in cache


def test_the_views_of_the_mapping() -> None:
    cache = make_cache()
    entries = [add(cache, message_id) for message_id in (5, 3, 9)]
    assert list(cache) == list(cache.keys()) == [5, 3, 9]
    assert list(cache.values()) == cache.all_entries() == entries
    assert list(cache.items()) == list(zip((5, 3, 9), entries, strict=True))


def test_pending_entries_count() -> None:
    """CoAPy's len() and clear() forgot them."""
    cache = make_cache()
    assert not cache
    add(cache, 1, activate=False)
    assert len(cache) == 1
    assert cache
    add(cache, None, activate=False)
    assert len(cache) == 2


def test_an_entry_that_waits_for_its_message_id_is_not_in_the_mapping_yet() -> None:
    cache = make_cache()
    entry = add(cache, None, activate=False)
    assert list(cache) == []
    assert cache.all_entries() == [entry]
    assert cache
    cache.number(entry, 7)
    assert cache[7] is entry
    assert entry.message_id == entry.message.message_id == 7
    assert len(cache) == 1


def test_a_message_id_in_use_is_not_given() -> None:
    cache = make_cache()
    add(cache, 7)
    with pytest.raises(LocalProtocolError, match="message ID 7"):
        cache.number(add(cache, None, activate=False), 7)


def test_a_cache_says_whose_it_is() -> None:
    cache: Cache = MessageCache(PEER, False)
    assert cache.endpoint is PEER
    assert cache.is_sent_cache is False
    assert make_cache().is_sent_cache is True


# The queue and the FIFO


def test_the_queue_is_sorted_by_time() -> None:
    cache = make_cache()
    entries = [add(cache, offset, time_due_offset=offset) for offset in (3, 1, 2)]
    assert [entry.time_due for entry in cache.queue()] == [1, 2, 3]
    assert sorted(entries) == list(cache.queue())


def test_the_fifo_has_pending_entries_in_order() -> None:
    cache = make_cache()
    entries = [add(cache, message_id, activate=False) for message_id in (3, 1, 2)]
    assert list(cache.pending()) == entries
    assert len(cache.queue()) == 0


def test_assigning_a_time_activates() -> None:
    cache = make_cache()
    entry = add(cache, activate=False)
    entry.time_due = 5.0
    assert not cache.pending()
    assert list(cache.queue()) == [entry]
    assert entry.time_due == 5


@pytest.mark.parametrize("time", [0.5, 7.0])
def test_assigning_a_time_moves(time: float) -> None:
    cache = make_cache()
    entry, other = add(cache, 1, time_due_offset=5), add(cache, 2, time_due_offset=6)
    entry.time_due = time
    assert list(cache.queue()) == sorted([entry, other])
    assert cache.queue().earliest() == min(time, 6)


def test_an_entry_does_not_become_pending_again() -> None:
    entry = add(make_cache())
    with pytest.raises(LocalProtocolError, match="pending"):
        entry.time_due = None  # type: ignore[assignment]


def test_equal_times_do_not_remove_the_wrong_entry() -> None:
    """CoAPy's did."""
    cache = make_cache()
    entries = [add(cache, message_id, time_due_offset=5) for message_id in range(5)]
    cache._remove(entries[2])
    assert list(cache.queue()) == [entries[0], entries[1], entries[3], entries[4]]
    assert 2 not in cache


def test_clearing_removes_all_entries() -> None:
    """CoAPy's forgot the pending ones."""
    cache = make_cache()
    entries = [add(cache, 1), add(cache, 2, activate=False), add(cache, None, activate=False)]
    cache.clear()
    assert len(cache) == len(cache.queue()) == len(cache.pending()) == 0
    assert not cache
    assert [entry.cache for entry in entries] == [None] * 3


def test_caches_may_share_a_queue() -> None:
    queue: DueQueue[MessageCacheEntry] = DueQueue()
    one, two = make_cache(queue=queue), make_cache(queue=queue)
    first, second = add(one, 1, time_due_offset=1), add(two, 1, time_due_offset=2)
    assert one.queue() is two.queue() is queue
    assert list(queue) == [first, second]
    one.clear()
    assert list(queue) == [second]
    assert queue.earliest() == 2
    assert two[1] is second


def test_an_entry_may_wait_for_ever() -> None:
    cache = make_cache()
    entry = add(cache, time_due_offset=math.inf)
    assert cache.queue().peek(1e12) is None
    entry.time_due = 5.0
    assert cache.queue().peek(5.0) is entry
