"""Groups on a host with two interfaces, in both families (:rfc:`7252` section 8)."""

from __future__ import annotations

import socket

import pytest
import trio

from tests.namespaces.conftest import MakeHost
from tests.namespaces.network import Host, connect, ip
from trio_coap import NON, Code, Endpoint, Request, open_endpoint
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.transports.udp.groups import ALL_COAP_NODES, Memberships
from trio_coap.transports.udp.sockets import open_socket

GET = Request(Code.GET, message_id=0x1234, token=b"tk", type=NON).encode()
PATIENCE = 5


def open_peer(host: Host, interface: str, *, ipv6: bool, address: str = "") -> trio.socket.SocketType:
    """Open a socket on *host* that sends to groups through *interface*, possibly from a certain *address*."""
    with host.entered():
        sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        index = socket.if_nametoindex(interface)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        else:
            mreqn = bytes(8) + index.to_bytes(4, "little")
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, mreqn)
        sock.bind((address, 0))
        sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


@pytest.fixture
def neighbours(own_host: Host, make_host: MakeHost) -> list[Host]:
    """Two hosts, each on a link of its own with the test's."""
    hosts = []
    for number in (1, 2):
        other = make_host()
        connect(own_host, f"own{number}", other, "wire")
        own_host.add_addresses(f"own{number}", f"10.0.{number}.1/24", f"2001:db8:{number}::1/64")
        other.add_addresses("wire", f"10.0.{number}.2/24", f"2001:db8:{number}::2/64")
        own_host.wait_until_up(f"own{number}")
        other.wait_until_up("wire")
        hosts.append(other)
    return hosts


@pytest.mark.parametrize("group", ALL_COAP_NODES)
async def test_a_group_is_heard_on_each_interface(neighbours: list[Host], group: str) -> None:
    arrived: list[tuple[str, str]] = []
    are_all_here = trio.Event()

    class Listener:
        def request_received(self, request: Request, entry: object, now: float) -> None:
            assert request.local_address is not None
            assert request.local_address.is_multicast
            assert request.source_endpoint is not None
            arrived.append((request.source_endpoint.hostinfo, request.local_address.hostinfo))
            if len(arrived) == len(neighbours):
                are_all_here.set()

    async with open_endpoint("::", 5683, groups=ALL_COAP_NODES) as endpoint:
        endpoint.request_listener = Listener()
        for host in neighbours:
            with open_peer(host, "wire", ipv6=":" in group) as peer:
                await peer.sendto(GET, (group, 5683))
        with trio.fail_after(PATIENCE):
            await are_all_here.wait()
    assert len({source for source, _ in arrived}) == 2
    assert all(group in local for _, local in arrived)


async def test_a_message_to_a_group_goes_out_by_each_interface(neighbours: list[Host]) -> None:
    async with open_endpoint("::", 0) as endpoint:
        for group in ALL_COAP_NODES:
            ears = []
            for host in neighbours:
                with host.entered():
                    family = socket.AF_INET6 if ":" in group else socket.AF_INET
                    sock = socket.socket(family, socket.SOCK_DGRAM)
                    index = socket.if_nametoindex("wire")
                    packed = socket.inet_pton(family, group)
                    if family == socket.AF_INET6:
                        member = packed + index.to_bytes(4, "little")
                        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
                    else:
                        member = packed + bytes(4) + index.to_bytes(4, "little")
                        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                    sock.bind(("", 5683))
                    sock.setblocking(False)
                ears.append(trio.socket.from_stdlib_socket(sock))
            endpoint.send(Request(Code.GET, type=NON), Endpoint(host=group))
            with trio.fail_after(PATIENCE):
                heard = {await ear.recv(100) for ear in ears}
            for ear in ears:
                ear.close()
            assert len(heard) == 1, "one message, with one message ID"


async def test_an_interface_that_comes_later_is_joined_too(own_host: Host, make_host: MakeHost) -> None:
    arrived = trio.Event()

    class Listener:
        def request_received(self, request: Request, entry: object, now: float) -> None:
            arrived.set()

    async with open_endpoint("::", 5683, groups=["ff02::fd"]) as endpoint:
        endpoint.request_listener = Listener()
        other = make_host()
        connect(own_host, "late", other, "wire")
        own_host.add_addresses("late", "2001:db8::1/64")
        other.add_addresses("wire", "2001:db8::2/64")
        other.wait_until_up("wire")
        with trio.fail_after(PATIENCE), open_peer(other, "wire", ipv6=True) as peer:
            while not arrived.is_set():
                await peer.sendto(GET, ("ff02::fd", 5683))
                await trio.sleep(0.05)
    assert arrived.is_set()


@pytest.mark.parametrize("group", ALL_COAP_NODES)
async def test_who_has_not_joined_a_group_hears_nothing_of_it(neighbours: list[Host], group: str) -> None:
    """Otherwise each of several workers would answer what is sent to a group that one of them has joined."""
    heard: list[bool] = []
    has_heard = trio.Event()

    class Listener:
        def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
            heard.append(entry.is_multicast)
            has_heard.set()

    async with open_endpoint("::", 5683) as endpoint:
        endpoint.request_listener = Listener()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as member:
            Memberships(member).join(Endpoint(host=group), ["own1"])
            with open_peer(neighbours[0], "wire", ipv6=":" in group) as peer:
                await peer.sendto(GET, (group, 5683))
                await peer.sendto(GET, ("2001:db8:1::1" if ":" in group else "10.0.1.1", 5683))
            with trio.fail_after(PATIENCE):
                await has_heard.wait()
    assert heard == [False]


async def test_interfaces_that_come_and_go_do_not_use_up_the_memberships(own_host: Host) -> None:
    """Linux allows 20 of IPv4 for a socket, those on interfaces that are gone included."""
    with open_socket("::", 0) as sock:
        joined = Memberships(sock)
        joined.join(Endpoint(host="224.0.1.187"), None)
        for _ in range(25):
            ip("link", "add", "brief", "type", "veth", "peer", "name", "other")
            for end in ("brief", "other"):
                ip("link", "set", end, "up")
            joined.refresh()
            assert {index for _, index in joined.joined} >= {socket.if_nametoindex("brief")}
            ip("link", "delete", "brief")
            joined.refresh()


async def test_more_memberships_than_the_kernel_allows_are_logged_once(
    own_host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(12):
        ip("link", "add", f"one{number}", "type", "veth", "peer", "name", f"two{number}")
        ip("link", "set", f"one{number}", "up")
        ip("link", "set", f"two{number}", "up")
    async with open_endpoint("::", 0) as endpoint:
        endpoint.join_group("224.0.1.187")
        warnings = len(caplog.records)
        assert warnings >= 4
        endpoint.join_group("224.0.1.187")
        assert len(caplog.records) == warnings
        endpoint.join_group("ff02::fd")
        assert len(caplog.records) == warnings, "IPv6 has no such limit"
