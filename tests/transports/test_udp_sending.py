"""Sending through one socket, which fails in the ways of the kernel."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from trio_coap import Endpoint
from trio_coap.messaging.counters import Counters
from trio_coap.transports.udp import sending
from trio_coap.transports.udp.pktinfo import GroupAddress, PacketInfo
from trio_coap.transports.udp.sending import Sender

PEER = Endpoint(host="10.0.0.2")
ASKED = Endpoint(host="10.0.0.1")
GROUP = Endpoint(host="224.0.1.187")


class FailingSocket:
    """Fails to send as it is told, and remembers what it has sent: with how much ancillary data."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.sent: list[int] = []

    def sendmsg(self, buffers: list[bytes], ancillary: list[Any], flags: int, address: Any) -> int:
        return self._send(len(ancillary))

    def sendto(self, data: bytes, address: Any) -> int:
        return self._send(0)

    def _send(self, ancillary: int) -> int:
        if self.numbers:
            raise OSError(self.numbers.pop(0), "no")
        self.sent.append(ancillary)
        return 1


def make_sender(sock: Any, *, reports_errors: bool = True) -> Sender:
    family = socket.AF_INET6
    return Sender(sock, family, family, PacketInfo(family, 5683), reports_errors=reports_errors, counters=Counters())


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.ECONNREFUSED])
def test_a_pending_error_about_somebody_else_does_not_cost_the_source_address(number: int) -> None:
    """A router's "no route" looks like a source address that is gone, the first time."""
    sock = FailingSocket(number)
    make_sender(sock).send(b"x", PEER, ASKED)
    assert sock.sent == [1]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENODEV])
@pytest.mark.parametrize("reports_errors", [False, True])
def test_without_its_source_address_a_datagram_leaves_somehow(number: int, reports_errors: bool) -> None:
    sock = FailingSocket(*[number] * (2 if reports_errors else 1))
    make_sender(sock, reports_errors=reports_errors).send(b"x", PEER, ASKED)
    assert sock.sent == [0]


@pytest.mark.parametrize("reports_errors", [False, True])
def test_what_a_firewall_refuses_is_not_tried_again(reports_errors: bool) -> None:
    """No ICMP error says that: it is about this very datagram."""
    sock = FailingSocket(errno.EPERM)
    with pytest.raises(PermissionError, match="a firewall of this host"):
        make_sender(sock, reports_errors=reports_errors).send(b"x", PEER, ASKED)
    assert not sock.sent


def test_a_firewall_on_one_interface_leaves_a_group_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "find_interfaces", lambda: {2: "refused", 3: "fine"})
    sock = FailingSocket(errno.EPERM)
    make_sender(sock).send(b"x", GROUP, None)
    assert sock.sent == [1]


@pytest.mark.parametrize("before", range(6))
def test_what_is_not_sent_raises(before: int) -> None:
    """Whatever the order in which errors about others and those of its own come."""
    sock = FailingSocket(*[errno.ECONNREFUSED] * before, errno.EINVAL, errno.EINVAL)
    sender = make_sender(sock)
    try:
        sender.send(b"x", PEER, ASKED)
    except OSError:
        assert not sock.sent
    else:
        assert sock.sent


def test_without_an_interface_a_message_to_a_group_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "find_interfaces", dict)
    with pytest.raises(OSError, match="no interface"):
        make_sender(FailingSocket()).send(b"x", GROUP, None)
    with pytest.raises(OSError, match="no interface"):
        make_sender(FailingSocket()).send(b"x", GROUP, GroupAddress(GROUP, ()))
