"""Virtual endpoints and the life of a network."""

from __future__ import annotations

import errno
import gc
import tracemalloc
import weakref

import pytest
import trio
import trio.testing

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.testing import Fate, Link, VirtualEndpoint, VirtualNetwork, open_network
from trio_coap.wire.codes import NON, Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Message, Request


async def test_two_networks_do_not_share_endpoints(autojump_clock):
    async with (
        open_network() as one,
        open_network() as other,
        one.open_endpoint("10.0.0.1", 5683) as first,
        other.open_endpoint("10.0.0.1", 5683) as second,
    ):
        assert first is not second
        assert first.remote is second.remote is Endpoint(host="10.0.0.1")
        assert VirtualEndpoint.lookup_endpoint(host="10.0.0.1") is None


async def test_randomness_depends_on_seed_host_port_and_opening():
    def draws(network, host, port):
        endpoint = network.create_bound_endpoint(host, port)
        endpoint.close()
        return endpoint.rng.randbytes(8)

    network = VirtualNetwork(1)
    drawn = [draws(network, host, port) for host in ("a", "b") for port in (1, 2, 2)]
    assert len(set(drawn)) == 6
    assert draws(VirtualNetwork(1), "a", 1) == drawn[0]
    assert draws(VirtualNetwork(2), "a", 1) != drawn[0]


async def test_a_full_inbox_drops_and_counts(coap_network, autojump_clock):
    async with coap_network.open_endpoint("server", 5683, inbox_size=10) as server:
        client = coap_network.create_bound_endpoint("client")
        for message_id in range(15):
            client.rawsendto(Message(message_id=message_id).encode(), server.remote)
        await trio.sleep(1)
        # The receive task holds one already.
        assert server.statistics().turned_away == {"the inbox": 4}
        assert server.statistics().rx_messages == 11
        assert len(coap_network.trace.select(fate=Fate.INBOX_FULL)) == 4
        client.close()


async def test_one_endpoint_cannot_starve_the_others(coap_network, autojump_clock):
    async with coap_network.open_endpoint("server", 5683) as server:
        client = coap_network.create_bound_endpoint("client")
        for _ in range(500):
            client.rawsendto(b"nonsense", server.remote)
        await trio.sleep(0.001)
        turns = 0
        while server.statistics().rx_messages < 500:
            await trio.lowlevel.checkpoint()
            turns += 1
        assert turns >= 500 // 32
        client.close()


async def test_sending_to_a_virtual_endpoint_itself_is_a_mistake(ends, coap_network, autojump_clock):
    first, second = ends
    with pytest.raises(LocalProtocolError, match=r"send to its \.remote"):
        first.send(Request(Code.GET), second)


async def test_a_closed_endpoint_sends_and_receives_no_more(ends, coap_network, autojump_clock):
    first, second = ends
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            with pytest.raises(trio.ClosedResourceError):
                await first.rawrecvfrom()

        await trio.testing.wait_all_tasks_blocked()
        first.close()
    with pytest.raises(trio.ClosedResourceError):
        first.rawsendto(b"x", second.remote)
    with pytest.raises(trio.ClosedResourceError):
        first.join_group("224.0.1.187")
    with pytest.raises(trio.ClosedResourceError):
        await first.rawrecvfrom()


async def test_rawrecvfrom_passes_over_icmp_errors(ends, collect, coap_network, autojump_clock):
    first, second = ends
    first.rawsendto(b"x", Endpoint(host="10.0.0.2", port=9))
    await trio.sleep(1)
    second.rawsendto(b"12345", first.remote)
    assert (await first.rawrecvfrom(3))[0] == b"123"


async def test_a_network_that_does_not_run_is_down():
    network = VirtualNetwork()
    endpoint = network.create_bound_endpoint()
    with pytest.raises(OSError, match="does not run") as caught:
        endpoint.rawsendto(b"x", Endpoint(host="10.0.0.2"))
    assert caught.value.errno == errno.ENETDOWN
    with pytest.raises(OSError, match="does not run"):
        network.inject(b"x", "10.0.0.1", "10.0.0.2")
    endpoint.close()


async def test_a_network_runs_once_at_a_time(autojump_clock):
    network = VirtualNetwork()
    for _ in range(2):
        async with network, network.open_endpoint("a", 1) as first, network.open_endpoint("b", 2) as second:
            with pytest.raises(LocalProtocolError, match="running already"):
                await network.__aenter__()
            first.rawsendto(b"x", second.remote)
            await trio.sleep(1)
            assert second.statistics().rx_messages == 1


async def test_an_exception_of_the_body_comes_out_as_itself(autojump_clock):
    with pytest.raises(ZeroDivisionError):
        async with open_network() as network, network.open_endpoint():
            _ = 1 / 0


async def test_after_a_cancellation_the_body_can_still_exchange_messages(autojump_clock):
    exchanged = False
    with trio.move_on_after(1):
        async with open_network() as network, network.open_endpoint("b", 2) as second:
            first = network.create_bound_endpoint("a", 1)
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(5, shield=True):
                    first.rawsendto(Message(message_id=1).encode(), second.remote)
                    exchanged = (await first.rawrecvfrom())[0] == bytes([0x70, 0, 0, 1])
                first.close()
    assert exchanged


async def test_cancelling_leaves_nothing(autojump_clock):
    tasks = trio.lowlevel.current_statistics().tasks_living
    network = VirtualNetwork(latency=5)
    with trio.move_on_after(1):
        async with network, network.open_endpoint("b", 2) as second, network.open_endpoint("a", 1) as first:
            first.send(Request(Code.GET), second.remote)
            await trio.sleep_forever()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert len(network._traffic.in_flight) == 0
    assert [host.endpoints for host in network.hosts] == [(), ()]


async def test_endpoints_are_garbage_once_they_are_closed(coap_network, autojump_clock):
    async with coap_network.open_endpoint("a", 1) as endpoint:
        coap_network.rebind(endpoint)
        endpoint.rawsendto(b"x", endpoint.remote)
        await trio.sleep(1)
    known = weakref.ref(endpoint)
    del endpoint
    gc.collect()
    assert known() is None


@pytest.mark.slow
async def test_a_hundred_thousand_datagrams_do_not_leak(autojump_clock, monkeypatch):
    """In rounds of 1,000 that arrive before the next; the trace is bounded."""
    async with open_network(max_trace=100) as network, network.open_endpoint("b", 2, inbox_size=1000) as second:
        first = network.create_bound_endpoint("a", 1)
        octets = Request(Code.GET, type=NON, message_id=1).encode()
        counted = 0

        async def send_rounds(rounds):
            for _ in range(rounds):
                for _ in range(1000):
                    network.send(first, octets, remote, None)
                await trio.sleep(0.01)

        def count(*_):
            nonlocal counted
            counted += 1

        monkeypatch.setattr(second, "datagram_received", count)
        remote = second.remote
        await send_rounds(10)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        await send_rounds(5)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await send_rounds(85)
        assert counted == network.trace.total == 100_000
        assert len(network.trace) == 100
        assert len(network._traffic.in_flight) == 0
        assert after - before < 100_000
        first.close()


async def test_a_changed_link_does_not_touch_what_is_on_its_way(ends, collect, coap_network, autojump_clock):
    first, second = ends
    first.rawsendto(b"x", second.remote)
    coap_network.link = Link(loss=1)
    assert await collect(second, 1) == [(0.001, b"x")]
