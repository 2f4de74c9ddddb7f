"""What our own host says of a datagram ends its exchange at once, and nobody is busy afterwards."""

from __future__ import annotations

import errno
import socket
import time

import pytest
import trio

from tests.namespaces.conftest import MakeHost
from tests.namespaces.network import Host, connect, ip
from trio_coap import Client, Endpoint, NetworkError, open_endpoint

AT_ONCE = 1.0
PATIENCE = 10
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2
"""The socket module does not have them; the values are Linux's."""


@pytest.fixture
def neighbour(own_host: Host, make_host: MakeHost) -> Host:
    other = make_host()
    connect(own_host, "own", other, "wire")
    own_host.add_addresses("own", "10.0.1.1/24", "2001:db8:1::1/64")
    other.add_addresses("wire", "10.0.1.2/24", "2001:db8:1::2/64")
    own_host.wait_until_up("own")
    other.wait_until_up("wire")
    for number, kind in enumerate(("unreachable", "prohibit", "blackhole"), start=1):
        ip("route", "add", kind, f"10.9.{number}.0/24")
        ip("-6", "route", "add", kind, f"2001:db8:9:{number}::/64")
    return other


@pytest.mark.parametrize("is_wildcard", [True, False], ids=["all addresses", "one address"])
@pytest.mark.parametrize(
    ("address", "number"),
    [
        pytest.param("10.77.0.1", errno.ENETUNREACH, id="no route, IPv4"),
        pytest.param("[2001:db8:77::1]", errno.ENETUNREACH, id="no route, IPv6"),
        pytest.param("10.9.2.1", errno.EACCES, id="prohibited, IPv4"),
        pytest.param("[2001:db8:9:2::1]", errno.EACCES, id="prohibited, IPv6"),
        pytest.param("10.9.1.1", errno.EHOSTUNREACH, id="unreachable, IPv4"),
        pytest.param("[2001:db8:9:1::1]", errno.EHOSTUNREACH, id="unreachable, IPv6"),
        pytest.param("10.9.3.1", errno.EINVAL, id="a black hole, IPv4"),
        pytest.param("[2001:db8:9:3::1]", errno.EINVAL, id="a black hole, IPv6"),
    ],
)
async def test_what_cannot_be_sent_fails_at_once(neighbour: Host, address: str, number: int, is_wildcard: bool) -> None:
    own = "2001:db8:1::1" if address.startswith("[") else "10.0.1.1"
    async with open_endpoint("::" if is_wildcard else own, 0) as endpoint:
        started_at = time.monotonic()
        with trio.fail_after(PATIENCE), pytest.raises(NetworkError) as info:
            await Client(endpoint).get(f"coap://{address}/r")
        assert time.monotonic() - started_at < AT_ONCE
        assert info.value.os_error.errno == number


@pytest.mark.parametrize("address", ["10.0.1.2", "2001:db8:1::2"])
async def test_a_datagram_that_is_too_big_for_the_link_fails_and_keeps_nobody_busy(
    neighbour: Host, address: str
) -> None:
    ip("link", "set", "own", "mtu", "1300")
    async with open_endpoint("::", 0) as endpoint:
        sock = endpoint.bound_socket
        assert sock is not None
        for option in ((socket.IPPROTO_IP, IP_MTU_DISCOVER), (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)):
            sock.setsockopt(*option, PMTUDISC_DO)
        with pytest.raises(OSError, match="too long"):
            endpoint.rawsendto(b"x" * 1400, Endpoint(host=address))
        before = time.process_time()
        await trio.sleep(0.5)
        assert time.process_time() - before < 0.1, "it is busy though nothing happens"
        counted = endpoint.statistics().socket
        assert counted is not None
        assert counted.errors_believed == 0
        assert counted.errors_ignored["about the way, or of our own host"] >= 1
