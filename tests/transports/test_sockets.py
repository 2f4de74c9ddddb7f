"""Opening sockets."""

from __future__ import annotations

import errno
import logging
import re
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
        assert re.search(r"asked for 1073741824 octets of SO_RCVBUF, got \d+", caplog.text)
        assert "of SO_SNDBUF" in caplog.text


def test_a_buffer_that_is_refused_leaves_the_usual_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_option(monkeypatch, socket.SOL_SOCKET, socket.SO_RCVBUF)
    caplog.set_level(logging.INFO, logger="trio_coap")
    with open_socket("127.0.0.1", 0):
        assert "of SO_RCVBUF, got" in caplog.text


@needs_ipv6
@pytest.mark.parametrize(("host", "family"), [("::", socket.AF_INET6), ("0.0.0.0", socket.AF_INET)])
def test_where_no_socket_serves_both_families_each_has_its_own(
    host: str, family: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenBSD has no dual-stack sockets."""
    refuse_option(monkeypatch, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    caplog.set_level(logging.INFO, logger="trio_coap")
    with open_socket(host, 0) as sock:
        assert (sock.family, sock.getsockname()[0]) == (family, host)
    assert ("without IPv4" in caplog.text) is (host == "::")


def test_where_ports_cannot_be_shared_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(OSError, match="cannot share a port"):
        sockets.open_shared_sockets("127.0.0.1", 0, 2)


def refuse_option(monkeypatch: pytest.MonkeyPatch, level: int, option: int) -> None:
    class Socket(socket.socket):
        def setsockopt(self, *args: Any) -> None:
            if args[:2] == (level, option):
                raise OSError(errno.ENOBUFS, "refused")
            super().setsockopt(*args)

    monkeypatch.setattr("trio_coap.transports.udp.sockets.socket.socket", Socket)
