"""Opening sockets."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest

from tests.transports.sockets import needs_ipv6
from trio_coap import SocketEndpoint
from trio_coap.transports.udp import sockets
from trio_coap.transports.udp.sockets import open_socket


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        pytest.param("::1", socket.AF_INET6, marks=needs_ipv6),
        pytest.param("::", socket.AF_INET6, marks=needs_ipv6),
    ],
)
def test_a_socket_is_not_blocking_and_has_large_buffers(host: str, family: int) -> None:
    with open_socket(host, 0) as sock:
        assert (sock.family, sock.getblocking()) == (family, False)
        assert sock.getsockname()[1] != 0
        with socket.socket(family, socket.SOCK_DGRAM) as usual:
            kind = socket.SO_RCVBUF
            assert sock.getsockopt(socket.SOL_SOCKET, kind) >= usual.getsockopt(socket.SOL_SOCKET, kind)


@needs_ipv6
def test_only_the_wildcard_is_dual_stack() -> None:
    for host, v6_only in (("::", 0), ("::1", 1)):
        with open_socket(host, 0) as sock:
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == v6_only


@pytest.fixture
def no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket(socket.socket):
        def __init__(self, family: int = -1, *args: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *args)

    monkeypatch.setattr("trio_coap.transports.udp.sockets.socket.socket", Socket)


@pytest.mark.parametrize("host", ["::", "0.0.0.0"])
def test_without_ipv6_a_wildcard_socket_is_one_for_ipv4(
    host: str, no_ipv6: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with open_socket(host, 0) as sock:
        assert (sock.family, sock.getsockname()[0]) == (socket.AF_INET, "0.0.0.0")
    assert ("there is no IPv6" in caplog.text) is (host == "::")


def test_without_ipv6_an_ipv6_address_is_not_to_be_had(no_ipv6: None) -> None:
    with pytest.raises(OSError, match="not supported"):
        open_socket("::1", 0)


async def test_without_ipv6_an_endpoint_for_all_addresses_is_one_for_ipv4(no_ipv6: None) -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="::", port=0)
    assert endpoint.family == socket.AF_INET
    endpoint.close()


def test_a_small_buffer_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "BUFFER_SIZE", 2**30)
    caplog.set_level(logging.DEBUG, logger="trio_coap")
    with open_socket("127.0.0.1", 0):
        assert "asked for a socket buffer of 1073741824 octets" in caplog.text
