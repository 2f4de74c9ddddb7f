"""Hosts, addresses, ports, groups and translation."""

from __future__ import annotations

import errno

import pytest
import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import NetworkError
from trio_coap.testing import Fate, VirtualNetwork
from trio_coap.wire.codes import NON, Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Message, Request


class Fates:
    """Learns what becomes of a message."""

    def __init__(self):
        self.errors = []

    def message_acknowledged(self, entry, now):
        pass

    def message_failed(self, entry, error, now):
        self.errors.append((now, error))

    def endpoint_closed(self):
        pass


# Hosts and addresses.


def test_a_host_without_addresses_gets_one():
    network = VirtualNetwork()
    network.host("10.0.0.2", name="taken")
    assert [network.host().address for _ in range(2)] == ["10.0.0.1", "10.0.0.3"]
    assert len(network.hosts) == 3


def test_names_and_addresses_belong_to_one_host():
    network = VirtualNetwork()
    host = network.host("10.0.0.1", "2001:DB8::1", name="a")
    assert host.addresses == ("10.0.0.1", "2001:db8::1")
    assert network.find_host("[2001:db8:0::1]") is network.find_host("a") is network.find_host(host) is host
    with pytest.raises(LocalProtocolError, match="belongs to"):
        network.host("2001:db8::1")
    with pytest.raises(LocalProtocolError, match="already"):
        network.host(name="a")
    with pytest.raises(LocalProtocolError, match="not a numeric address"):
        network.host("b")
    with pytest.raises(LocalProtocolError, match="no host"):
        VirtualNetwork().find_host(host)
    assert "a" in repr(host)


async def test_hosts_are_made_as_they_are_named(coap_network, autojump_clock):
    async with (
        coap_network.open_endpoint() as unnamed,
        coap_network.open_endpoint("server", 5683) as named,
        coap_network.open_endpoint("2001:db8::7") as numeric,
        coap_network.open_endpoint("2001:db8::7") as same,
    ):
        assert unnamed.uri == "coap://10.0.0.1:49152"
        assert named.uri == "coap://10.0.0.2"
        assert named.is_wildcard
        assert numeric.uri == "coap://[2001:db8::7]:49152"
        assert not numeric.is_wildcard
        assert numeric.owner is same.owner
        assert same.port == 49153


async def test_an_answer_leaves_from_the_address_that_was_asked(coap_network, autojump_clock):
    network = coap_network
    network.host("10.0.0.1", "10.0.0.9", "2001:db8::1", name="server")
    network.host("10.0.0.2", "2001:db8::2", name="client")
    async with network.open_endpoint("server", 5683), network.open_endpoint("client") as client:
        for address in ("10.0.0.1", "10.0.0.9", "2001:db8::1"):
            client.rawsendto(Message(message_id=1).encode(), Endpoint(host=address))
        await trio.sleep(1)
    assert [record.source.uri_host for record in network.trace.select(source="server")] == [
        "10.0.0.1",
        "10.0.0.9",
        "[2001:db8::1]",
    ]
    assert network.trace[2].source.uri_host == "[2001:db8::2]"


async def test_without_an_address_of_the_family_nothing_is_sent(coap_network, autojump_clock):
    first = coap_network.create_bound_endpoint("10.0.0.1", 1000)
    second = coap_network.create_bound_endpoint("b", 1000)
    for endpoint in (first, second):
        with pytest.raises(OSError, match="no address") as caught:
            endpoint.rawsendto(b"x", Endpoint(host="2001:db8::1"))
        assert caught.value.errno == errno.ENETUNREACH
        with pytest.raises(OSError, match=r"Endpoint\.resolve"):
            endpoint.rawsendto(b"x", Endpoint(host="somewhere", family=None))
        endpoint.close()


async def test_addresses_come_and_go(ends, collect, coap_network, autojump_clock):
    first, second = ends
    coap_network.add_address("b", "10.0.0.77")
    first.rawsendto(b"1", Endpoint(host="10.0.0.77", port=2000))
    assert await collect(second, 1) == [(0.001, b"1")]
    coap_network.remove_address("10.0.0.2")
    first.rawsendto(b"2", Endpoint(host="10.0.0.2", port=2000))
    assert await collect(second, 2) == []
    assert coap_network.trace[-1].fate is Fate.NOBODY
    with pytest.raises(LocalProtocolError, match="only address"):
        coap_network.remove_address("10.0.0.77")
    with pytest.raises(LocalProtocolError, match="belongs"):
        coap_network.add_address("b", "10.0.0.1")


async def test_an_endpoint_of_one_address_gets_nothing_for_the_others(coap_network, autojump_clock):
    coap_network.host("10.0.0.1", "10.0.0.9", name="a")
    endpoint = coap_network.create_bound_endpoint("10.0.0.9", 1000)
    other = coap_network.create_bound_endpoint("b", 1000)
    other.rawsendto(b"x", Endpoint(host="10.0.0.1", port=1000))
    await trio.sleep(1)
    assert coap_network.trace[0].fate is Fate.PORT_UNREACHABLE
    endpoint.rawsendto(b"x", other.remote)
    assert coap_network.trace[1].source.uri_host == "10.0.0.9"
    endpoint.close()
    other.close()


# Ports.


async def test_a_port_is_taken_once(coap_network, autojump_clock):
    async with coap_network.open_endpoint("10.0.0.1", 5683), coap_network.open_endpoint("b", 5683):
        for host in ("10.0.0.1", coap_network.find_host("10.0.0.1"), "b", coap_network.find_host("b").address):
            with pytest.raises(OSError, match="taken") as caught:
                coap_network.create_bound_endpoint(host, 5683)
            assert caught.value.errno == errno.EADDRINUSE
    async with coap_network.open_endpoint("b", 5683):
        pass


async def test_ports_are_chosen_until_there_are_none(coap_network, autojump_clock, monkeypatch):
    monkeypatch.setattr("trio_coap.testing.host.LAST_PORT", 49152 + 99)
    host = coap_network.host()
    endpoints = [coap_network.create_bound_endpoint(host) for _ in range(100)]
    assert len({endpoint.port for endpoint in endpoints}) == len(endpoints)
    with pytest.raises(OSError, match="all ports"):
        coap_network.create_bound_endpoint(host)
    endpoints[5].close()
    again = coap_network.create_bound_endpoint(host)
    assert again.port == endpoints[5].port
    for endpoint in (*endpoints, again):
        endpoint.close()


@pytest.mark.coap_network(latency=0.5)
async def test_a_closed_port_is_unreachable(coap_network, autojump_clock):
    coap_network.host("10.0.0.9", name="closed")
    fates = Fates()
    async with coap_network.open_endpoint("client") as client:
        client.send(Request(Code.GET), Endpoint(host="10.0.0.9"), listener=fates)
        await trio.sleep(200)
    [(at, error)] = fates.errors
    assert at == 1
    assert isinstance(error, NetworkError)
    assert error.os_error.errno == errno.ECONNREFUSED
    assert [record.fate for record in coap_network.trace] == [Fate.PORT_UNREACHABLE]


async def test_an_error_quotes_the_octets_that_arrived(ends, coap_network, autojump_clock):
    first, _ = ends
    seen = []
    first.error_received = lambda *arguments: seen.append(arguments)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first._receive_task)
        first.rawsendto(bytes(1000), Endpoint(host="10.0.0.2", port=9))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    [(remote, quoted, error, now)] = seen
    assert (remote.hostinfo, quoted, error.errno) == ("10.0.0.2:9", bytes(520), errno.ECONNREFUSED)
    assert now == pytest.approx(0.002)


@pytest.mark.parametrize("reason", ["silent host", "unknown host", "partition on the way back"])
async def test_silence_is_no_error(coap_network, autojump_clock, reason):
    coap_network.host("10.0.0.9", name="closed", port_unreachable=reason != "silent host")
    fates = Fates()
    async with coap_network.open_endpoint("client") as client:
        client.send(
            Request(Code.GET), Endpoint(host="10.0.0.8" if reason == "unknown host" else "10.0.0.9"), listener=fates
        )
        if reason == "partition on the way back":
            coap_network.partition("client")
        await trio.sleep(50)
        assert fates.errors == []


async def test_who_left_before_an_error_comes_back_gets_none(ends, coap_network, autojump_clock):
    first, _ = ends
    first.rawsendto(b"x", Endpoint(host="10.0.0.2", port=9))
    first.close()
    await trio.sleep(1)
    assert coap_network.trace[0].fate is Fate.PORT_UNREACHABLE


async def test_an_endpoint_that_closes_leaves_a_closed_port(ends, coap_network, autojump_clock):
    first, second = ends
    remote = second.remote
    first.rawsendto(b"x", remote)
    second.close()
    await trio.sleep(1)
    assert coap_network.trace[0].fate is Fate.PORT_UNREACHABLE


# Groups.


@pytest.mark.parametrize("group", ["224.0.1.187", "ff02::fd"])
async def test_a_group_reaches_its_members(coap_network, autojump_clock, group):
    network = coap_network
    seen = []
    endpoints = {}
    for number, name in enumerate(("client", "one", "two", "not", "other port")):
        host = network.host(f"10.0.0.{number + 1}", f"2001:db8::{number + 1}", name=name)
        port = 0 if name == "client" else 61616 if name == "other port" else 5683
        endpoints[name] = network.create_bound_endpoint(host, port)
    for name in ("one", "two", "other port"):
        endpoints[name].join_group(group)
        endpoints[name].join_group(group)
    endpoints["client"].rawsendto(Request(Code.GET, message_id=1, type=NON).encode(), Endpoint(host=group))
    async with trio.open_nursery() as nursery:
        for name, endpoint in endpoints.items():

            def receive(data, source, now, local_address, name=name):
                seen.append((name, source.hostinfo, local_address.uri_host, local_address.is_multicast))

            endpoint.datagram_received = receive
            nursery.start_soon(endpoint._receive_task)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    source = endpoints["client"].remote if ":" not in group else Endpoint(host="2001:db8::1", port=49152)
    literal = f"[{group}]" if ":" in group else group
    assert sorted(seen) == [(name, source.hostinfo, literal, True) for name in ("one", "two")]
    assert [record.datagram.receiver for record in network.trace] == ["one", "two"]
    assert "(one)" in network.format_trace()
    for endpoint in endpoints.values():
        endpoint.close()


async def test_who_leaves_a_group_is_not_reached(ends, collect, coap_network, autojump_clock):
    first, second = ends
    group = Endpoint(host="224.0.1.187", port=2000)
    second.join_group("224.0.1.187")
    assert second.groups == {"224.0.1.187"}
    second.leave_group("224.0.1.187")
    second.leave_group("224.0.1.187")
    first.rawsendto(b"x", group)
    assert await collect(second, 1) == []
    assert coap_network.trace[0].fate is Fate.NOBODY
    with pytest.raises(LocalProtocolError, match="not the address of a group"):
        second.join_group("10.0.0.1")


@pytest.mark.coap_network(loss=0.5)
async def test_each_member_has_its_own_luck(coap_network, autojump_clock):
    members = [coap_network.create_bound_endpoint(f"m{number}", 5683) for number in range(20)]
    for member in members:
        member.join_group("224.0.1.187")
    members[0].rawsendto(b"x", Endpoint(host="224.0.1.187"))
    delivered = len(coap_network.trace.select(fate=Fate.DELIVERED))
    assert 3 < delivered < 17
    assert len(coap_network.trace) == 20
    members[1].close()  # What is on its way to it is lost.
    await trio.sleep(1)
    for member in members:
        member.close()


# Translation.


async def test_a_rebound_endpoint_appears_elsewhere(ends, coap_network, autojump_clock):
    first, second = ends
    second.rawsendto(b"1", first.remote)
    outside = coap_network.rebind(second)
    assert second.remote is outside
    assert outside.hostinfo == "10.0.0.2:61000"
    second.rawsendto(b"2", first.remote)
    assert coap_network.rebind(second, "203.0.113.5", 7).hostinfo == "203.0.113.5:7"
    second.rawsendto(b"3", first.remote)
    assert [(await first.rawrecvfrom())[1].hostinfo for _ in range(3)] == [
        "10.0.0.2:2000",
        "10.0.0.2:61000",
        "203.0.113.5:7",
    ]
    assert second.hostinfo == "10.0.0.2:2000"


async def test_only_the_latest_address_reaches_a_rebound_endpoint(ends, collect, coap_network, autojump_clock):
    first, second = ends
    inside = second.remote
    before = coap_network.rebind(second)
    now = coap_network.rebind(second)
    assert (before.port, now.port) == (61000, 61001)
    for number, destination in enumerate((inside, before, now)):
        first.rawsendto(b"%d" % number, destination)
    assert [data for _, data in await collect(second, 1)] == [b"2"]


async def test_a_rebound_endpoint_sees_its_own_address(ends, coap_network, autojump_clock):
    first, second = ends
    seen = []
    second.datagram_received = lambda *arguments: seen.append(arguments)
    coap_network.rebind(second, "203.0.113.5")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second._receive_task)
        first.rawsendto(b"x", second.remote)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert seen[0][3].hostinfo == "10.0.0.2:2000"


async def test_links_follow_the_host_behind_a_translator(ends, coap_network, autojump_clock):
    first, second = ends
    coap_network.rebind(second, "203.0.113.5")
    coap_network.partition("a", "b")
    first.rawsendto(b"x", second.remote)
    second.rawsendto(b"x", first.remote)
    assert [record.fate for record in coap_network.trace] == [Fate.PARTITIONED] * 2


async def test_an_address_that_is_taken_is_not_to_be_had(ends, coap_network, autojump_clock):
    first, second = ends
    with pytest.raises(OSError, match="taken"):
        coap_network.rebind(second, "10.0.0.1", first.port)
    second.close()
    with pytest.raises(trio.ClosedResourceError):
        coap_network.rebind(second)


async def test_a_closed_endpoint_gives_its_outside_address_back(ends, coap_network, autojump_clock):
    first, second = ends
    coap_network.rebind(second, "203.0.113.5", 7)
    second.close()
    assert coap_network.rebind(first, "203.0.113.5", 7).port == 7


# Datagrams of nobody.


async def test_a_forged_datagram_comes_from_where_it_says(ends, coap_network, autojump_clock):
    first, second = ends
    coap_network.inject(b"1", first.remote, second)
    coap_network.inject(Message(message_id=9), "203.0.113.5:77", "10.0.0.2:2000")
    coap_network.inject(b"3", "2001:db8::5", second.remote)
    coap_network.inject(b"4", "[2001:db8::5]:8", second.remote)
    coap_network.inject(b"5", "10.0.0.1", "10.0.0.2:9")
    found = [await second.rawrecvfrom() for _ in range(4)]
    assert sorted((data, source.hostinfo) for data, source in found) == [
        (b"1", "10.0.0.1:1000"),
        (b"3", "[2001:db8::5]"),
        (b"4", "[2001:db8::5]:8"),
        (Message(message_id=9).encode(), "203.0.113.5:77"),
    ]
    await trio.sleep(1)
    assert coap_network.trace[-1].fate is Fate.PORT_UNREACHABLE
