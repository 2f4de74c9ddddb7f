"""What a link does to datagrams."""

from __future__ import annotations

import math
import random

import attrs
import pytest
import trio

from trio_coap.testing import Fate, Link
from trio_coap.wire.errors import LocalProtocolError


def numbered(count):
    return [b"%06d" % number for number in range(count)]


async def send_all(first, second, datagrams, interval=0.0):
    for datagram in datagrams:
        first.rawsendto(datagram, second.remote)
        if interval:
            await trio.sleep(interval)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", 1.1),
        ("loss", -0.1),
        ("loss", math.nan),
        ("duplication", 2),
        ("reordering", 30),
        ("latency", -1),
        ("latency", math.inf),
        ("jitter", math.nan),
        ("reordering_delay", -1),
        ("mtu", 0),
        ("bandwidth", 0),
    ],
)
def test_a_property_out_of_range_is_refused(name, value):
    with pytest.raises(LocalProtocolError, match=name):
        Link(**{name: value})


def test_one_property_does_not_change_the_draws_of_another():
    plain = Link(jitter=1.0, loss=0.3)
    other = attrs.evolve(plain, duplication=0.5, reordering=0.5)
    for seed in range(200):
        some, more = plain.draw(random.Random(seed)), other.draw(random.Random(seed))
        assert bool(some) == bool(more)
        if some and more[0].keeps_order:
            assert more[0] == some[0]


@pytest.mark.coap_network(latency=0.25)
async def test_a_datagram_takes_the_latency(ends, collect, autojump_clock):
    first, second = ends
    first.rawsendto(b"hello", second.remote)
    assert await collect(second, 1) == [(0.25, b"hello")]


async def test_every_hop_takes_a_millisecond_by_default(ends, collect, autojump_clock):
    first, second = ends
    first.rawsendto(b"hello", second.remote)
    assert await collect(second, 1) == [(0.001, b"hello")]


@pytest.mark.coap_network(latency=0)
async def test_without_latency_time_stands_still(ends, autojump_clock):
    first, second = ends
    first.rawsendto(b"hello", second.remote)
    assert (await second.rawrecvfrom())[0] == b"hello"
    second.rawsendto(b"hello", first.remote)
    await first.rawrecvfrom()
    assert trio.current_time() == 0


@pytest.mark.coap_network(latency=0.1, jitter=0.5)
async def test_jitter_delays_and_keeps_the_order(ends, collect, coap_network, autojump_clock):
    first, second = ends
    await send_all(first, second, numbered(100), interval=0.01)
    assert [data for _, data in await collect(second, 10)] == numbered(100)
    delays = [record.arrives_at[0] - record.time for record in coap_network.trace]
    assert min(delays) >= 0.1
    assert max(delays) <= 0.6
    assert max(delays) - min(delays) > 0.2


@pytest.mark.coap_network(loss=0.3)
async def test_loss_takes_its_share(ends, collect, coap_network, autojump_clock):
    first, second = ends
    await send_all(first, second, numbered(1000))
    found = await collect(second, 1)
    assert 620 < len(found) < 780
    assert len(coap_network.trace.select(fate=Fate.LOST)) == 1000 - len(found)


@pytest.mark.coap_network(loss=1)
async def test_a_loss_of_one_loses_everything(ends, collect, autojump_clock):
    first, second = ends
    await send_all(first, second, numbered(100))
    assert await collect(second, 1) == []


@pytest.mark.coap_network(duplication=0.5)
async def test_duplicates_arrive_twice(ends, collect, autojump_clock):
    first, second = ends
    await send_all(first, second, numbered(200))
    found = [data for _, data in await collect(second, 1)]
    assert set(found) == set(numbered(200))
    assert 260 < len(found) < 340
    assert max(map(found.count, found)) == 2


@pytest.mark.coap_network(reordering=0.2, reordering_delay=0.1)
async def test_reordered_datagrams_are_overtaken(ends, collect, autojump_clock):
    first, second = ends
    await send_all(first, second, numbered(100), interval=0.01)
    found = [data for _, data in await collect(second, 10)]
    assert sorted(found) == numbered(100)
    overtaken = sum(1 for number, data in enumerate(found) if any(later < data for later in found[number:]))
    assert 5 < overtaken < 95


@pytest.mark.coap_network(mtu=100)
async def test_what_is_larger_than_the_mtu_is_dropped(ends, collect, coap_network, autojump_clock):
    first, second = ends
    await send_all(first, second, [bytes(100), bytes(101)])
    assert [data for _, data in await collect(second, 1)] == [bytes(100)]
    assert [record.fate for record in coap_network.trace] == [Fate.DELIVERED, Fate.TOO_BIG]


@pytest.mark.coap_network(latency=1, bandwidth=1000)
async def test_bandwidth_lets_datagrams_wait_for_each_other(ends, collect, autojump_clock):
    first, second = ends
    await send_all(first, second, [bytes(500), bytes(100)])
    second.rawsendto(bytes(10), first.remote)
    assert [at for at, _ in await collect(second, 10)] == [1.5, 1.6]


async def test_a_link_is_set_for_one_direction(ends, collect, coap_network, autojump_clock):
    first, second = ends
    coap_network.set_link("a", "b", Link(latency=0.5))
    first.rawsendto(b"there", second.remote)
    assert await collect(second, 1) == [(0.5, b"there")]
    second.rawsendto(b"back", first.remote)
    assert await collect(first, 2) == [(1.001, b"back")]


async def test_the_most_specific_link_counts(ends, coap_network, autojump_clock):
    first, second = ends

    def latency():
        first.rawsendto(b"x", second.remote)
        record = coap_network.trace[-1]
        return record.arrives_at[0] - record.time

    coap_network.link = Link(latency=4)
    assert latency() == 4
    coap_network.set_link(None, "b", Link(latency=3))
    assert latency() == 3
    coap_network.set_link("10.0.0.1", None, Link(latency=2))
    assert latency() == 2
    coap_network.set_link("a", "b", Link(latency=1))
    assert latency() == 1
    assert coap_network.link == Link(latency=4)


async def test_a_faster_link_lets_later_datagrams_overtake(ends, collect, coap_network, autojump_clock):
    first, second = ends
    coap_network.link = Link(latency=2)
    first.rawsendto(b"slow", second.remote)
    coap_network.link = Link(latency=1)
    first.rawsendto(b"fast", second.remote)
    assert await collect(second, 5) == [(1, b"fast"), (2, b"slow")]


async def test_a_link_of_an_unknown_host_is_refused(coap_network, autojump_clock):
    with pytest.raises(LocalProtocolError, match="no host 'nobody'"):
        coap_network.set_link("nobody", None, Link())
