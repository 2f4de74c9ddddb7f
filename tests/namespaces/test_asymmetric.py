"""A host with two cables to its neighbour: an answer leaves from the address that was asked, by the interface that leads back.

That is the one of the routing table, whichever the request came in by; of link-local addresses, and of groups, it is the latter.
"""

from __future__ import annotations

import json
import socket
from functools import partial

import pytest
import trio

from tests.namespaces.conftest import MakeHost
from tests.namespaces.network import Host, connect, ip
from tests.namespaces.test_groups import GET, open_peer
from trio_coap import Code, Endpoint, Request, TransmissionParameters, serve

PATIENCE = 5
ASKED = {False: "10.0.1.1", True: "2001:db8:1::1"}
CLIENT = {False: "10.0.9.1", True: "2001:db8:9::1"}


@pytest.fixture
def neighbour(own_host: Host, make_host: MakeHost) -> Host:
    """Asks from an address of its own over the first cable; the only way back is the second one."""
    other = make_host()
    for number in (1, 2):
        connect(own_host, f"own{number}", other, f"wire{number}")
        own_host.add_addresses(f"own{number}", f"10.0.{number}.1/24", f"2001:db8:{number}::1/64")
        other.add_addresses(f"wire{number}", f"10.0.{number}.2/24", f"2001:db8:{number}::2/64")
        own_host.wait_until_up(f"own{number}")
        other.wait_until_up(f"wire{number}")
    other.add_addresses("lo", "10.0.9.1/32", "2001:db8:9::1/128")
    for host in (own_host, other):
        with host.entered():
            for scope in ("all", "default", *(name for _, name in socket.if_nameindex())):
                with open(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter", "w") as file:
                    file.write("0")  # Strict reverse path filtering would allow no other way back.
    ip("route", "add", "10.0.9.0/24", "via", "10.0.2.2")
    ip("-6", "route", "add", "2001:db8:9::/64", "via", "2001:db8:2::2")
    return other


def open_client_socket(host: Host, *, ipv6: bool) -> trio.socket.SocketType:
    """Open a socket on *host* that takes what comes from the address that is asked only."""
    with host.entered():
        sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((CLIENT[ipv6], 0))
        sock.connect((ASKED[ipv6], 5683))
        sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


def packets_sent_by(interface: str) -> int:
    words = ip("-json", "-statistics", "link", "show", "dev", interface)
    return int(json.loads(words)[0]["stats64"]["tx"]["packets"])


async def slow(request: Request) -> str:
    await trio.sleep(0.15)
    return "here"


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
async def test_an_answer_takes_the_way_back_that_there_is(neighbour: Host, ipv6: bool) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, slow, "::", 5683)
        with open_client_socket(neighbour, ipv6=ipv6) as sock, trio.fail_after(PATIENCE):
            await sock.send(Request(Code.GET, message_id=1, token=b"t").encode())
            assert (await sock.recv(2000))[:2] == b"\x60\x00"
            before = packets_sent_by("own2")
            assert (await sock.recv(2000))[:2] == b"\x41\x45"
            assert packets_sent_by("own2") > before
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("number", [1, 2])
async def test_a_link_local_peer_is_answered_by_its_interface_whoever_has_its_address_elsewhere(
    own_host: Host, neighbour: Host, number: int
) -> None:
    for cable in (1, 2):
        own_host.add_addresses(f"own{cable}", "fe80::a/64")
        neighbour.add_addresses(f"wire{cable}", "fe80::b/64")
    sources = []

    def handler(request: Request) -> str:
        sources.append(request.source_endpoint)
        return "here"

    async with trio.open_nursery() as nursery:
        await nursery.start(serve, handler, "::", 5683)
        with neighbour.entered():
            index = socket.if_nametoindex(f"wire{number}")
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.bind(("fe80::b", 0, 0, index))
            sock.connect(("fe80::a", 5683, 0, index))
        with trio.socket.from_stdlib_socket(sock) as peer, trio.fail_after(PATIENCE):
            await peer.send(Request(Code.GET, message_id=1, token=b"t").encode())
            assert (await peer.recv(2000))[:2] == b"\x61\x45"
        nursery.cancel_scope.cancel()
    (source,) = sources
    assert isinstance(source, Endpoint)
    assert source.scope_id == socket.if_nametoindex(f"own{number}")


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
async def test_who_asks_a_group_from_elsewhere_is_answered(neighbour: Host, ipv6: bool) -> None:
    group = "ff02::fd" if ipv6 else "224.0.1.187"
    start = partial(serve, slow, port=5683, groups=[group], parameters=TransmissionParameters(default_leisure=0.0))
    async with trio.open_nursery() as nursery:
        await nursery.start(start)
        with open_peer(neighbour, "wire1", ipv6=ipv6, address=CLIENT[ipv6]) as peer, trio.fail_after(PATIENCE):
            await peer.sendto(GET, (group, 5683))
            octets, source = await peer.recvfrom(2000)
            assert octets[:2] == b"\x52\x45"
            assert not Endpoint(source[:2]).is_multicast
        nursery.cancel_scope.cancel()
