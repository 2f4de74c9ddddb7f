"""ICMP errors end the request that they quote, and no other; what is only about the way ends none.

The cases are those of Linux with a router between two hosts: the test's host, a router, and a host behind it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import attrs
import pytest
import trio

from tests.namespaces.conftest import MakeHost
from tests.namespaces.network import Host, connect, ip
from trio_coap import Client, Code, Endpoint, NetworkError, SocketEndpoint, open_client

PATIENCE = 10
AT_ONCE = 1.0
"""Seconds of real time within which an error must have arrived; it takes milliseconds."""


@attrs.frozen
class Way:
    """A router, and a host behind it."""

    router: Host
    far: Host


@pytest.fixture
def way(own_host: Host, make_host: MakeHost) -> Way:
    router, far = make_host(), make_host()
    connect(own_host, "own", router, "near")
    connect(router, "beyond", far, "wire")
    own_host.add_addresses("own", "10.0.1.1/24", "2001:db8:1::1/64")
    router.add_addresses("near", "10.0.1.2/24", "2001:db8:1::2/64")
    router.add_addresses("beyond", "10.0.2.2/24", "2001:db8:2::2/64")
    far.add_addresses("wire", "10.0.2.1/24", "2001:db8:2::1/64")
    for host, interface in ((own_host, "own"), (router, "near"), (router, "beyond"), (far, "wire")):
        host.wait_until_up(interface)
    for host, gateway in ((own_host, "1"), (far, "2")):
        with host.entered():
            ip("route", "add", "default", "via", f"10.0.{gateway}.2")
            ip("-6", "route", "add", "default", "via", f"2001:db8:{gateway}::2")
    with router.entered():
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            with open(f"/proc/sys/net/{path}", "w") as file:
                file.write("1")
        unlimited("ipv6/icmp/ratelimit")
        for family, unreachable, prohibited in (
            ("-4", "10.9.1.0/24", "10.9.2.0/24"),
            ("-6", "2001:db8:a::/48", "2001:db8:b::/48"),
        ):
            ip(family, "route", "add", "unreachable", unreachable)
            ip(family, "route", "add", "prohibit", prohibited)
    with far.entered():
        unlimited("ipv4/icmp_ratelimit")
        unlimited("ipv6/icmp/ratelimit")
        unlimited("ipv4/icmp_msgs_per_sec", "10000")
        unlimited("ipv4/icmp_msgs_burst", "10000")
    return Way(router, far)


def unlimited(limit: str, value: str = "0") -> None:
    """Let there be as many errors as there are causes, where the kernel has this limit for each host."""
    with suppress(OSError), open(f"/proc/sys/net/{limit}", "w") as file:
        file.write(value)


async def fail(client: Client, uri: str) -> tuple[int | None, float]:
    """Return the errno with which a request fails, and after how many seconds."""
    started_at = time.monotonic()
    with trio.fail_after(PATIENCE), pytest.raises(NetworkError) as info:
        await client.get(uri)
    assert info.value.transmissions >= 1
    return info.value.os_error.errno, time.monotonic() - started_at


@pytest.mark.parametrize(
    ("uri", "number"),
    [
        pytest.param("coap://10.0.2.1/r", errno.ECONNREFUSED, id="port unreachable, IPv4"),
        pytest.param("coap://[2001:db8:2::1]/r", errno.ECONNREFUSED, id="port unreachable, IPv6"),
        pytest.param("coap://10.9.1.1/r", errno.EHOSTUNREACH, id="the router has no route, IPv4"),
        pytest.param("coap://[2001:db8:a::1]/r", errno.ENETUNREACH, id="the router has no route, IPv6"),
        pytest.param("coap://10.9.2.1/r", errno.EHOSTUNREACH, id="prohibited, IPv4"),
        pytest.param("coap://[2001:db8:b::1]/r", errno.EACCES, id="prohibited, IPv6"),
    ],
)
async def test_an_error_of_the_network_ends_its_request_at_once_and_no_other(way: Way, uri: str, number: int) -> None:
    async with open_client() as client:
        with socket_on(way.far, "10.0.2.1", 5999):
            async with client.request(Code.GET, "coap://10.0.2.1:5999/silent") as other:
                failed_with, seconds = await fail(client, uri)
                assert failed_with == number
                assert seconds < AT_ONCE
                assert client.endpoint.statistics().tokens == 1
                assert other.transmissions == 1


@pytest.mark.parametrize(
    "uri", [pytest.param("coap://10.0.1.77/r", id="IPv4"), pytest.param("coap://[2001:db8:1::77]/r", id="IPv6")]
)
@pytest.mark.slow
async def test_nobody_on_the_link_ends_the_request_after_the_kernels_three_seconds(way: Way, uri: str) -> None:
    async with open_client() as client:
        failed_with, seconds = await fail(client, uri)
        assert failed_with == errno.EHOSTUNREACH
        assert seconds < 5


@pytest.mark.parametrize(
    ("uri", "hops"),
    [("coap://10.0.2.1:5999/r", socket.IP_TTL), ("coap://[2001:db8:2::1]:5999/r", socket.IPV6_UNICAST_HOPS)],
    ids=["IPv4", "IPv6"],
)
async def test_a_hop_limit_that_is_too_low_is_about_the_way(way: Way, uri: str, hops: int) -> None:
    async with open_client() as client:
        sock = bound_socket(client)
        level = socket.IPPROTO_IP if hops == socket.IP_TTL else socket.IPPROTO_IPV6
        sock.setsockopt(level, hops, 1)
        with trio.move_on_after(0.3):
            await client.get(uri)
            pytest.fail("nobody can have answered")
        counted = client.endpoint.statistics().socket
        assert counted is not None
        assert sum(counted.errors_ignored.values()) >= 1
        assert counted.errors_believed == 0


async def test_the_death_of_a_peer_does_not_disturb_a_message_to_another(way: Way) -> None:
    """The error about one makes the next send fail once, whoever that is for."""
    async with open_client() as client:
        with socket_on(way.far, "10.0.2.1", 5999) as listening:
            for _ in range(20):
                async with client.request(Code.GET, "coap://10.0.2.1/dead") as dead:
                    assert dead.transmissions == 1
                    await trio.sleep(0.002)
                async with client.request(Code.GET, "coap://10.0.2.1:5999/alive") as alive:
                    with trio.fail_after(AT_ONCE):
                        await listening.recv(100)
                    assert alive.transmissions == 1


async def test_a_forged_error_ends_nothing(way: Way) -> None:
    """An ICMP error that quotes another token, from where the real one would come."""
    async with open_client() as client:
        with socket_on(way.far, "10.0.2.1", 5999) as listening:
            async with client.request(Code.GET, "coap://10.0.2.1:5999/r") as handle:
                octets, source = await listening.recvfrom(100)
                forged = octets[:4] + bytes(len(octets) - 4)
                with way.far.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
                    raw.sendto(_port_unreachable("10.0.1.1", source[1], "10.0.2.1", 5999, forged), ("10.0.1.1", 0))
                with trio.move_on_after(0.3):
                    await handle.receive()
                    pytest.fail("nobody can have answered")
                counted = client.endpoint.statistics().socket
                assert counted is not None
                assert counted.errors_ignored == {"quotes nothing that was sent": 1}
                with way.far.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
                    raw.sendto(_port_unreachable("10.0.1.1", source[1], "10.0.2.1", 5999, octets), ("10.0.1.1", 0))
                with trio.fail_after(AT_ONCE), pytest.raises(NetworkError):
                    await handle.receive()


@pytest.mark.parametrize("address", ["10.0.2.1", "2001:db8:2::1"])
async def test_a_flood_of_errors_costs_neither_data_nor_time(way: Way, address: str) -> None:
    async with open_client() as client:
        with socket_on(way.far, "10.0.2.1", 5999) as listening:
            send_to_nobody(client, address, FLOOD)
            async with client.request(Code.GET, "coap://10.0.2.1:5999/r") as handle:
                octets, source = await listening.recvfrom(100)
                await listening.sendto(b"\x64\x45" + octets[2:8], source)
                with trio.fail_after(AT_ONCE):
                    assert (await handle.receive()).code is Code.CONTENT
        await trio.sleep(0.2)
        assert errors_ignored(client) >= 0.9 * errors_expected()
        await require_idleness(client)


@pytest.mark.slow
@pytest.mark.parametrize("address", ["10.0.2.1", "2001:db8:2::1"])
async def test_errors_that_come_while_nothing_else_happens_keep_nobody_busy(way: Way, address: str) -> None:
    """They are there, in the queue and in the socket, when the second begins."""
    async with open_client() as client:
        sock = bound_socket(client)
        send_to_nobody(client, address, 20)
        time.sleep(0.05)  # noqa: ASYNC251 - nobody is to read them yet
        with pytest.raises(OSError, match="refused"):
            sock.recv(100)  # One waits in the socket, as it would for whoever receives.
        await require_idleness(client)
        assert errors_ignored(client) >= 10, "they were pending, and were read"
        with pytest.raises(BlockingIOError):
            sock.recv(100, socket.MSG_ERRQUEUE)


FLOOD = 255


def send_to_nobody(client: Client, address: str, count: int) -> None:
    for _ in range(count):
        client.endpoint.rawsendto(bytes.fromhex("70001234"), Endpoint(host=address))


def errors_expected() -> int:
    """Return how many errors a flood brings: an older kernel has one limit of rate for all hosts, of 50 at a time."""
    return FLOOD if os.path.exists("/proc/sys/net/ipv4/icmp_msgs_burst") else 50


def errors_ignored(client: Client) -> int:
    counted = client.endpoint.statistics().socket
    assert counted is not None
    return counted.errors_ignored["quotes nothing that was sent"]


async def require_idleness(client: Client) -> None:
    before = time.process_time()
    await trio.sleep(1)
    assert time.process_time() - before < 0.1, "it is busy though nothing happens"


@contextmanager
def socket_on(host: Host, address: str, port: int) -> Iterator[trio.socket.SocketType]:
    """Open a socket on *host*."""
    with host.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.setblocking(False)
    with trio.socket.from_stdlib_socket(sock) as opened:
        yield opened


def bound_socket(client: Client) -> socket.socket:
    assert isinstance(client.endpoint, SocketEndpoint)
    sock = client.endpoint.bound_socket
    assert sock is not None
    return sock


def _port_unreachable(source: str, source_port: int, destination: str, port: int, payload: bytes) -> bytes:
    """Return an ICMP message that quotes a datagram (RFC 792)."""
    udp = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0x4000, 63, socket.IPPROTO_UDP, 0) + addresses
    message = struct.pack("!BBHI", 3, 3, 0, 0) + header + udp
    return message[:2] + _checksum(message) + message[4:]


def _checksum(message: bytes) -> bytes:
    words = struct.unpack(f"!{len(message) // 2}H", message[: len(message) // 2 * 2])
    total = sum(words) + (message[-1] << 8 if len(message) % 2 else 0)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")
