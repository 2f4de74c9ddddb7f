"""What an endpoint does on hosts whose sockets can do less, and what it says of it."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any

import pytest
import trio

from tests.transports.sockets import PATIENCE, closed_port, needs_ipv6
from trio_coap import (
    Client,
    LocalProtocolError,
    SocketEndpoint,
    TransmissionParameters,
    TransmissionTimeout,
    open_client,
    open_endpoint,
    serve,
)
from trio_coap.transports.udp import endpoint as udp_endpoint
from trio_coap.transports.udp.capabilities import NO_CAPABILITIES
from trio_coap.transports.udp.groups import ALL_COAP_NODES
from trio_coap.transports.udp.sockets import open_socket

GROUP = "224.0.1.187"
IMPATIENT = TransmissionParameters(ack_timeout=0.05, max_retransmit=1, empty_ack_delay=0.01)


@pytest.fixture
def no_packet_info(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_endpoint, "enable_packet_info", lambda sock: False)


@pytest.fixture
def no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_endpoint, "enable_errors", lambda sock: False)


def ipv4_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("0.0.0.0", 0))
    return sock


def ipv6_only_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("::", 0))
    return sock


@needs_ipv6
@pytest.mark.skipif(sys.platform != "linux", reason="these are Linux's")
@pytest.mark.parametrize(
    ("make", "ipv4", "ipv6", "ipv4_groups", "ipv6_groups"),
    [
        pytest.param(lambda: open_socket("::", 0), True, True, True, True, id="::"),
        pytest.param(lambda: open_socket("0.0.0.0", 0), True, False, True, False, id="0.0.0.0"),
        pytest.param(ipv4_socket, True, False, True, False, id="no IPv6"),
        pytest.param(ipv6_only_socket, False, True, False, True, id="IPv6 only"),
        pytest.param(lambda: open_socket("127.0.0.1", 0), True, False, False, False, id="127.0.0.1"),
        pytest.param(lambda: open_socket("::1", 0), False, True, False, False, id="::1"),
    ],
)
async def test_what_sockets_of_this_host_can_do(
    make: Any, ipv4: bool, ipv6: bool, ipv4_groups: bool, ipv6_groups: bool
) -> None:
    async with open_endpoint(sock=make()) as endpoint:
        able = endpoint.capabilities
        assert (able.ipv4, able.ipv6) == (ipv4, ipv6)
        assert able.is_dual_stack is (ipv4 and ipv6)
        assert (able.ipv4_groups, able.ipv6_groups) == (ipv4_groups, ipv6_groups)
        assert able.local_addresses
        assert able.errors
    assert endpoint.capabilities == NO_CAPABILITIES


async def test_without_packet_information_it_is_said_and_requests_are_answered(
    no_packet_info: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, lambda request: str(request.local_address), "0.0.0.0", 0)
        assert not server.endpoint.capabilities.local_addresses
        with trio.fail_after(PATIENCE):
            async with open_client(host="127.0.0.1") as client:
                assert (await client.get(f"coap://127.0.0.1:{server.endpoint.port}/")).text == "None"
        nursery.cancel_scope.cancel()
    assert "do not tell the local addresses of datagrams" in caplog.text


async def test_without_packet_information_there_are_no_groups(no_packet_info: None) -> None:
    """A request to one would be acknowledged like any other, by all members."""
    async with open_endpoint("0.0.0.0", 0) as endpoint:
        assert not endpoint.capabilities.ipv4_groups
        with pytest.raises(LocalProtocolError, match="do not tell what comes to a group"):
            endpoint.join_group(GROUP)


async def test_an_endpoint_of_one_address_needs_nobody_to_tell_it(no_packet_info: None) -> None:
    async with open_endpoint("127.0.0.1", 0) as endpoint:
        assert endpoint.capabilities.local_addresses
        with pytest.raises(LocalProtocolError, match="bind it to ::"):
            endpoint.join_group(GROUP)


async def test_without_icmp_errors_it_is_said_and_a_request_to_nobody_times_out(
    no_errors: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_endpoint("127.0.0.1", 0, parameters=IMPATIENT) as endpoint:
        assert not endpoint.capabilities.errors
        with trio.fail_after(PATIENCE), pytest.raises(TransmissionTimeout):
            await Client(endpoint).get(f"coap://127.0.0.1:{closed_port()}/")
    assert "do not tell the ICMP errors" in caplog.text


async def test_without_ipv6_all_coap_nodes_are_those_of_ipv4(caplog: pytest.LogCaptureFixture) -> None:
    async with open_endpoint(sock=ipv4_socket(), groups=ALL_COAP_NODES, interfaces=["lo"]) as endpoint:
        assert not endpoint.capabilities.ipv6
    assert [group in caplog.text for group in ALL_COAP_NODES] == [False, True, True]


async def test_a_closed_endpoint_can_do_nothing() -> None:
    async with open_endpoint("127.0.0.1", 0) as endpoint:
        pass
    assert isinstance(endpoint, SocketEndpoint)
    with pytest.raises(trio.ClosedResourceError):
        endpoint.join_group(GROUP)
