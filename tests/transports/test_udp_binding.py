"""Which sockets an endpoint takes."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trio

from tests.transports.sockets import PATIENCE, needs_ipv6
from trio_coap import Client, Endpoint, LocalProtocolError, open_endpoint, serve
from trio_coap.transports.udp.sockets import open_socket

GROUP = "224.0.1.187"


@pytest.mark.parametrize("group", [GROUP, pytest.param("ff05::fd", marks=needs_ipv6)])
async def test_the_address_of_a_group_is_joined_not_bound_to(group: str) -> None:
    """Linux would bind to it, and all that comes there would be acknowledged and answered at once."""
    with pytest.raises(LocalProtocolError, match=r"is a group: .* join"):
        async with open_endpoint(group, 0):
            pass


async def test_a_socket_that_is_bound_to_a_group_is_refused_and_closed() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((GROUP, 0))
    with pytest.raises(LocalProtocolError, match="is a group"):
        async with open_endpoint(sock=sock):
            pass
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "is not bound"),
        (lambda: socket.create_server(("127.0.0.1", 0)), "is no UDP socket"),
    ],
)
async def test_a_socket_that_is_of_no_use_is_refused(make: Callable[[], socket.socket], reason: str) -> None:
    sock = make()
    with pytest.raises(LocalProtocolError, match=reason):
        async with open_endpoint(sock=sock):
            pass
    assert sock.fileno() == -1


@pytest.mark.parametrize("is_wildcard", [True, False], ids=["all addresses", "one address"])
async def test_a_socket_that_blocks_does_not_block_the_program(is_wildcard: bool) -> None:
    """One that comes from a supervisor, say."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0" if is_wildcard else "127.0.0.1", 0))
    async with open_endpoint(sock=sock) as endpoint, trio.open_nursery() as nursery:
        assert not sock.getblocking()
        await nursery.start(lambda **status: serve(lambda request: "here", endpoint=endpoint, **status))
        with trio.fail_after(PATIENCE):
            assert (await Client(endpoint).get(f"coap://127.0.0.1:{endpoint.port}/")).text == "here"
        nursery.cancel_scope.cancel()


async def test_another_socket_sends_to_groups_as_far_as_the_former() -> None:
    async with open_endpoint("0.0.0.0", 0, multicast_hops=4) as endpoint:
        previous = endpoint.set_bound_socket(None)
        assert previous is not None
        previous.close()
        sock = open_socket("0.0.0.0", endpoint.port)
        endpoint.set_bound_socket(sock)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 4


@needs_ipv6
async def test_a_group_with_a_zone_goes_by_no_other_interface() -> None:
    async with open_endpoint("::", 0) as endpoint:
        group = Endpoint(host=f"ff02::fd%{socket.if_nametoindex('lo') + 1000}")
        with pytest.raises(LocalProtocolError, match="has a zone"):
            endpoint.group_address(group, ["lo"])
