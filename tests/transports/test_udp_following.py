"""Following interfaces with a kernel that says what the test wants, and on a clock that the test has."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.transports.test_udp_groups import GROUP, is_member
from trio_coap import Endpoint, LocalProtocolError, SocketEndpoint, open_endpoint
from trio_coap.transports.udp import following
from trio_coap.transports.udp.following import LOOK_INTERVAL
from trio_coap.transports.udp.groups import Memberships
from trio_coap.transports.udp.netlink import News
from trio_coap.transports.udp.sockets import open_socket


class Watch:
    """Says what the test wants, once it is told to."""

    opened = 0

    def __init__(self) -> None:
        type(self).opened += 1
        self._news: list[News | OSError] = []
        self._ours, self._theirs = socket.socketpair()

    def say(self, news: News | OSError) -> None:
        self._news.append(news)
        self._ours.send(b"x")

    def fileno(self) -> int:
        return self._theirs.fileno()

    def read(self) -> News | None:
        self._theirs.recv(1)
        news = self._news.pop(0)
        if isinstance(news, OSError):
            raise news
        return news

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> list[Watch]:
    """The watches that have been opened."""
    opened: list[Watch] = []

    def make() -> Watch:
        opened.append(Watch())
        return opened[-1]

    monkeypatch.setattr(following, "InterfaceWatch", make)
    return opened


@pytest.fixture
def no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)


@asynccontextmanager
async def open_member() -> AsyncIterator[SocketEndpoint]:
    async with open_endpoint("::", 0, groups=[GROUP], interfaces=["lo"]) as endpoint:
        await wait_all_tasks_blocked()
        yield endpoint


def leave_unnoticed(endpoint: SocketEndpoint) -> None:
    """Take the socket out of the group, as the kernel does when an interface goes."""
    sock = endpoint.bound_socket
    assert sock is not None
    member = socket.inet_aton(GROUP) + bytes(4) + socket.if_nametoindex("lo").to_bytes(4, "little")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, member)


LOOPBACK = frozenset({socket.if_nametoindex("lo")})


@pytest.mark.parametrize(
    ("news", "is_back"),
    [
        pytest.param(News(LOOPBACK), True, id="it has gone"),
        pytest.param(News(is_incomplete=True), True, id="anything may have gone"),
        pytest.param(News(frozenset({99})), False, id="another has gone"),
        pytest.param(News(), False, id="one has come"),
    ],
)
async def test_what_may_have_gone_is_joined_again(watches: list[Watch], news: News, is_back: bool) -> None:
    async with open_member() as endpoint:
        leave_unnoticed(endpoint)
        watches[0].say(news)
        await wait_all_tasks_blocked(0.02)
        assert is_member(endpoint, GROUP) is is_back


async def test_news_that_come_together_are_taken_together(
    watches: list[Watch], monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    looks = []
    async with open_member():
        monkeypatch.setattr(Memberships, "renew", lambda self, gone: looks.append(trio.current_time()))
        started_at = trio.current_time()
        for _ in range(50):
            watches[0].say(News())
        await trio.sleep(1)
    assert len(looks) <= 11
    assert looks[0] == started_at


async def test_when_there_are_no_more_news_it_looks_from_time_to_time(
    watches: list[Watch], autojump_clock: MockClock
) -> None:
    async with open_member() as endpoint:
        watches[0].say(OSError(errno.EBADF, "gone"))
        await wait_all_tasks_blocked(0.02)
        await looks_every_so_often(endpoint)


async def test_without_news_it_looks_from_time_to_time(no_watch: None, autojump_clock: MockClock) -> None:
    async with open_member() as endpoint:
        await looks_every_so_often(endpoint)


async def test_that_there_are_no_news_is_said_once(
    no_watch: None, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with open_member() as endpoint:
        await trio.sleep(0.7 * LOOK_INTERVAL)
        endpoint.join_group("224.0.1.188", ["lo"])
        with pytest.MonkeyPatch.context() as patch:
            looks: list[float] = []
            patch.setattr(Memberships, "refresh", lambda self: looks.append(trio.current_time()))
            await trio.sleep(0.7 * LOOK_INTERVAL)
        assert looks, "joining puts nothing off"
    assert caplog.text.count("looking for new interfaces every 10 s") == 1


async def looks_every_so_often(endpoint: SocketEndpoint) -> None:
    looks = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memberships, "refresh", lambda self: looks.append(trio.current_time()))
        await trio.sleep(3.5 * LOOK_INTERVAL)
    assert len(looks) == 3
    assert looks[2] - looks[0] == pytest.approx(2 * LOOK_INTERVAL)


@pytest.mark.parametrize("tells", [True, False])
async def test_a_system_that_is_short_of_descriptors_is_asked_again(
    watches: list[Watch], tells: bool, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not tells:
        monkeypatch.undo()
        monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    async with open_member() as endpoint:
        leave_unnoticed(endpoint)
        with pytest.MonkeyPatch.context() as patch:

            def fail() -> None:
                raise OSError(errno.EMFILE, "Too many open files")

            patch.setattr(socket, "if_nameindex", fail)
            if tells:
                watches[0].say(News(LOOPBACK))
                await wait_all_tasks_blocked(0.02)
            else:
                await trio.sleep(1.5 * LOOK_INTERVAL)
        assert endpoint.bound_socket is not None, "it goes on"
        if tells:
            await trio.sleep(1.1 * LOOK_INTERVAL)
            assert is_member(endpoint, GROUP)


async def test_who_is_in_no_group_any_more_does_not_listen(watches: list[Watch]) -> None:
    async with open_member() as endpoint:
        endpoint.leave_group(GROUP)
        assert watches[0].fileno() == -1
        endpoint.join_group(GROUP, ["lo"])
        endpoint.join_group("224.0.1.188", ["lo"])
        await wait_all_tasks_blocked()
        assert len(watches) == 2
        leave_unnoticed(endpoint)
        watches[1].say(News(LOOPBACK))
        await wait_all_tasks_blocked(0.02)
        assert is_member(endpoint, GROUP)
        endpoint.leave_group(GROUP)
        assert watches[1].fileno() != -1
    assert watches[1].fileno() == -1


async def test_who_could_join_nothing_does_not_listen(watches: list[Watch]) -> None:
    async with open_endpoint("::", 0) as endpoint:
        with pytest.raises(LocalProtocolError):
            endpoint.join_group(GROUP, ["none such"])
        assert watches[0].fileno() == -1


async def test_who_has_no_socket_for_a_while_listens_still(watches: list[Watch]) -> None:
    async with open_member() as endpoint:
        previous = endpoint.set_bound_socket(None)
        assert previous is not None
        previous.close()
        watches[0].say(News(LOOPBACK))
        await wait_all_tasks_blocked(0.02)
        endpoint.set_bound_socket(open_socket("::", endpoint.port))
        leave_unnoticed(endpoint)
        await trio.sleep(following.GATHERING)
        watches[0].say(News(LOOPBACK))
        await wait_all_tasks_blocked(0.02)
        assert is_member(endpoint, GROUP)


def test_closing_outside_of_a_loop_leaves_nothing_open(watches: list[Watch]) -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="::", port=0)
    assert endpoint.bound_socket is not None
    endpoint._groups.join(endpoint.bound_socket, Endpoint(host=GROUP), ["lo"], 0.0)
    assert is_member(endpoint, GROUP)
    endpoint.close()
    assert watches[0].fileno() == -1
