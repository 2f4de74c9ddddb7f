"""Membership in groups, as far as the loopback interface goes; the rest is in tests/namespaces."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from tests.transports.sockets import needs_ipv6
from trio_coap import Endpoint, LocalProtocolError, SocketEndpoint, open_endpoint
from trio_coap.transports.udp.groups import ALL_COAP_NODES, Memberships, set_hops
from trio_coap.transports.udp.sockets import open_socket

GROUP = "224.0.1.187"


async def test_another_socket_is_in_the_same_groups() -> None:
    async with open_endpoint("::", 0, groups=[GROUP], interfaces=["lo"]) as endpoint:
        previous = endpoint.set_bound_socket(None)
        assert previous is not None
        previous.close()
        endpoint.set_bound_socket(open_socket("::", endpoint.port))
        assert is_member(endpoint, GROUP)


async def test_a_group_that_is_left_without_a_socket_is_not_joined_again() -> None:
    async with open_endpoint("::", 0, groups=[GROUP], interfaces=["lo"]) as endpoint:
        previous = endpoint.set_bound_socket(None)
        assert previous is not None
        previous.close()
        endpoint.leave_group(GROUP)
        endpoint.set_bound_socket(open_socket("::", endpoint.port))
        assert not is_member(endpoint, GROUP)


def is_member(endpoint: SocketEndpoint, group: str) -> bool:
    """Say whether an endpoint's socket has joined a group on the loopback interface: joining twice is an error."""
    sock = endpoint.bound_socket
    assert sock is not None
    member = socket.inet_aton(group) + bytes(4) + socket.if_nametoindex("lo").to_bytes(4, "little")
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    except OSError as exc:
        return exc.errno == errno.EADDRINUSE
    return False


@needs_ipv6
@pytest.mark.parametrize("host", ["0.0.0.0", "ipv4 only"])
async def test_groups_of_a_family_that_the_socket_lacks_are_passed_over(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    sock = open_ipv4_only() if host == "ipv4 only" else open_socket(host, 0)
    async with open_endpoint(sock=sock, groups=ALL_COAP_NODES, interfaces=["lo"]) as endpoint:
        assert is_member(endpoint, GROUP)
    assert "cannot join ff02::fd" in caplog.text


@needs_ipv6
async def test_groups_of_which_none_can_be_joined_are_an_error() -> None:
    with pytest.raises(LocalProtocolError, match="cannot join ff02::fd"):
        async with open_endpoint("0.0.0.0", 0, groups=["ff02::fd"]):
            pass


@needs_ipv6
@pytest.mark.parametrize("host", ["0.0.0.0", "ipv4 only"])
async def test_a_group_of_a_family_that_the_socket_lacks_is_not_joined(host: str) -> None:
    sock = open_ipv4_only() if host == "ipv4 only" else open_socket(host, 0)
    async with open_endpoint(sock=sock) as endpoint:
        assert not endpoint.capabilities.ipv6_groups
        with pytest.raises(LocalProtocolError, match="cannot join ff02::fd"):
            endpoint.join_group("ff02::fd")


def open_ipv4_only() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("0.0.0.0", 0))
    return sock


async def test_joining_on_another_interface_keeps_the_former() -> None:
    with open_socket("0.0.0.0", 0) as sock:
        joined = Memberships(sock)
        group = Endpoint(host=GROUP)
        joined.join(group, ["lo"])
        joined.join(group, [])
        joined.leave(group)
        assert not joined.joined
        joined.join(group, ["lo"])
        joined.join(group, [])
        assert joined.wanted == {group: ("lo",)}


async def test_an_endpoint_of_one_address_cannot_choose_interfaces() -> None:
    async with open_endpoint("127.0.0.1", 0) as endpoint:
        with pytest.raises(LocalProtocolError, match="cannot choose interfaces"):
            endpoint.group_address(Endpoint(host=GROUP), ["lo"])


def test_hops_of_a_family_that_the_socket_lacks_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux a socket of IPv6 has no options of IPv4."""

    class Strict(socket.socket):
        def setsockopt(self, level: int, *args: Any) -> None:
            if level == socket.IPPROTO_IP:
                raise OSError(errno.EINVAL, "Invalid argument")
            super().setsockopt(level, *args)

    with Strict(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        set_hops(sock, 2)
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 2
    with Strict(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="Invalid"):
        set_hops(sock, 2)
