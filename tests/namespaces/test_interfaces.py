"""Groups on interfaces that go and come back while the endpoint runs: they are heard again, soon."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.namespaces.conftest import MakeHost
from tests.namespaces.network import Host, connect, ip
from tests.namespaces.test_groups import GET, open_peer
from trio_coap import Request, open_endpoint
from trio_coap.transports.udp import following
from trio_coap.transports.udp.netlink import InterfaceWatch

GROUPS = ["224.0.1.187", "ff02::fd"]
SOON = 4.0
"""Seconds of real time within which a group is to be heard again.  It takes as long as IPv6 takes to come up; who looks from
time to time takes longer."""

ANOTHER_INDEX = 77


@attrs.define
class Ears:
    """What an endpoint has heard."""

    heard: set[str] = attrs.Factory(set)

    def request_received(self, request: Request, entry: object, now: float) -> None:
        assert request.local_address is not None
        self.heard.add(request.local_address.hostinfo.partition("%")[0].strip("[]"))


@attrs.frozen
class Link:
    """The test's host and another one."""

    own: Host
    other: Host

    def make(self, *words: str) -> None:
        """Lay a cable between the two; *words* are for ``ip link add``."""
        with self.own.entered():
            ip("link", "add", "own", *words, "type", "veth", "peer", "name", "wire", "netns", self.other.path)
        self.set_up()

    def set_up(self) -> None:
        self.own.add_addresses("own", "10.0.1.1/24", "2001:db8:1::1/64")
        self.other.add_addresses("wire", "10.0.1.2/24", "2001:db8:1::2/64")
        self.own.wait_until_up("own")
        self.other.wait_until_up("wire")

    async def is_heard(self, ears: Ears, groups: list[str]) -> bool:
        """Say whether what the other host sends to *groups* is heard soon."""
        ears.heard.clear()
        with trio.move_on_after(SOON):
            while not ears.heard >= set(groups):
                for group in set(groups) - ears.heard:
                    with open_peer(self.other, "wire", ipv6=":" in group) as peer:
                        await peer.sendto(GET, (group, 5683))
                await trio.sleep(0.02)
        return ears.heard >= set(groups)


@pytest.fixture
def link(own_host: Host, make_host: MakeHost) -> Link:
    other = make_host()
    connect(own_host, "own", other, "wire")
    link = Link(own_host, other)
    link.set_up()
    return link


@asynccontextmanager
async def open_ears(interfaces: list[str] | None) -> AsyncIterator[Ears]:
    ears = Ears()
    async with open_endpoint("::", 5683, groups=GROUPS, interfaces=interfaces) as endpoint:
        endpoint.request_listener = ears
        yield ears


@pytest.mark.parametrize("interfaces", [None, ["own"]], ids=["all interfaces", "named"])
@pytest.mark.parametrize("index", ["the same", "another"])
async def test_an_interface_that_is_made_anew_is_heard_again(
    link: Link, index: str, interfaces: list[str] | None
) -> None:
    before = socket.if_nametoindex("own")
    async with open_ears(interfaces) as ears:
        assert await link.is_heard(ears, GROUPS)
        ip("link", "delete", "own")
        link.make("index", str(before if index == "the same" else ANOTHER_INDEX))
        assert (socket.if_nametoindex("own") == before) == (index == "the same")
        assert await link.is_heard(ears, GROUPS)


async def test_an_interface_that_is_made_anew_later_is_heard_again(link: Link) -> None:
    before = socket.if_nametoindex("own")
    async with open_ears(None) as ears:
        for _ in range(3):
            ip("link", "delete", "own")
            await trio.sleep(0.2)
            link.make("index", str(before))
            assert await link.is_heard(ears, GROUPS)


async def test_an_interface_that_is_lent_to_another_host_is_heard_again(link: Link, make_host: MakeHost) -> None:
    """It takes its index along, and brings it back."""
    borrower = make_host()
    async with open_ears(None) as ears:
        ip("link", "set", "own", "netns", borrower.path)
        with borrower.entered():
            ip("link", "set", "own", "netns", link.own.path)
        link.set_up()
        assert await link.is_heard(ears, GROUPS)


async def test_an_interface_that_goes_down_and_up_is_heard_again(link: Link) -> None:
    async with open_ears(None) as ears:
        for _ in range(2):
            ip("link", "set", "own", "down")
            await trio.sleep(0.02)
            link.set_up()
            assert await link.is_heard(ears, GROUPS)


async def test_an_interface_that_comes_up_later_is_heard(own_host: Host, make_host: MakeHost) -> None:
    other = make_host()
    async with open_ears(None) as ears:
        connect(own_host, "own", other, "wire")
        await trio.sleep(0.2)
        link = Link(own_host, other)
        link.set_up()
        assert await link.is_heard(ears, GROUPS)


async def test_ipv6_that_was_off_is_heard_again(link: Link) -> None:
    """Below 1280 octets there is no IPv6, and the kernel forgets who has joined what."""
    async with open_ears(None) as ears:
        ip("link", "set", "own", "mtu", "1000")
        await trio.sleep(0.2)
        ip("link", "set", "own", "mtu", "1500")
        link.set_up()
        assert await link.is_heard(ears, GROUPS)


async def test_without_netlink_interfaces_are_looked_for_from_time_to_time(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    monkeypatch.setattr(following, "LOOK_INTERVAL", 0.1)
    async with open_ears(None) as ears:
        ip("link", "delete", "own")
        link.make("index", str(ANOTHER_INDEX))
        assert await link.is_heard(ears, GROUPS)


async def test_who_hears_of_nothing_new_is_not_busy(link: Link) -> None:
    """As long as nothing comes or goes there is nothing to wake up for."""
    async with open_ears(None):
        await trio.sleep(0.2)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 1000


async def test_news_that_are_too_many_for_the_kernel_to_keep_are_known_to_be_incomplete(own_host: Host) -> None:
    watch = InterfaceWatch()
    try:
        watch._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(5):
            ip("link", "add", "brief", "type", "veth", "peer", "name", "other")
            ip("link", "delete", "brief")
        news = watch.read()
        assert news is not None
        assert news.is_incomplete
        assert watch.read() is None, "and all is well again"
    finally:
        watch.close()
