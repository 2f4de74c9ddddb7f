"""What the kernel says of interfaces, as far as octets go; the rest is in tests/namespaces."""

from __future__ import annotations

import errno
import gc
import socket
import struct
from typing import Any

import pytest

from trio_coap.transports.udp.netlink import MAX_READ, InterfaceWatch, News

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="only Linux has netlink sockets")

NEWLINK, DELLINK, NEWADDR, DELADDR, OTHER = 16, 17, 20, 21, 24
AF_BRIDGE = 7
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
NOTHING: frozenset[int] = frozenset()


def message(kind: int, body: bytes) -> bytes:
    padding = bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + padding


def link(kind: int, index: int, family: int = socket.AF_UNSPEC) -> bytes:
    return message(kind, struct.pack("=BxHiII", family, 1, index, 0, 0) + b"attributes")


def address(kind: int, index: int, family: int, scope: int) -> bytes:
    return message(kind, struct.pack("=BBBBI", family, 64, 0, scope, index) + b"attribute")


class Scripted:
    """Acts like a netlink socket from which there is this to read."""

    def __init__(self, *script: bytes | OSError, sender: int = 0, flags: int = 0) -> None:
        self.script = list(script)
        self.sender = sender
        self.flags = flags

    def recvmsg(self, size: int) -> tuple[bytes, list[Any], int, tuple[int, int]]:
        if not self.script:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        step = self.script.pop(0)
        if isinstance(step, OSError):
            raise step
        return step, [], self.flags, (self.sender, 1)

    def close(self) -> None:
        pass


def read(scripted: Scripted) -> News | None:
    watch = InterfaceWatch()
    watch._sock.close()
    watch._sock = scripted  # type: ignore[assignment]
    return watch.read()


@pytest.mark.parametrize(
    ("data", "news"),
    [
        pytest.param(link(NEWLINK, 3), News(), id="one has come or changed"),
        pytest.param(link(DELLINK, 3), News(frozenset({3})), id="one has gone"),
        pytest.param(link(DELLINK, 3, AF_BRIDGE), None, id="one has left a bridge"),
        pytest.param(address(NEWADDR, 3, socket.AF_INET, SCOPE_GLOBAL), News(), id="an address has come"),
        pytest.param(address(DELADDR, 3, socket.AF_INET6, SCOPE_GLOBAL), None, id="an address has gone"),
        pytest.param(address(DELADDR, 3, socket.AF_INET6, SCOPE_LINK), News(frozenset({3})), id="IPv6 has gone"),
        pytest.param(address(DELADDR, 3, socket.AF_INET, SCOPE_LINK), None, id="an IPv4 address has gone"),
        pytest.param(message(OTHER, b"route"), None, id="something else"),
        pytest.param(link(NEWLINK, 4) + link(DELLINK, 3), News(frozenset({3})), id="several"),
        pytest.param(link(DELLINK, 3)[:20], None, id="cut short"),
        pytest.param(struct.pack("=IHHII", 0, DELLINK, 0, 0, 0) * 3, None, id="without a length"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_what_the_kernel_says(data: bytes, news: News | None) -> None:
    assert read(Scripted(data)) == news


def test_several_datagrams_are_read_in_one_go() -> None:
    assert read(Scripted(link(DELLINK, 3), link(NEWLINK, 3), link(DELLINK, 4))) == News(frozenset({3, 4}))


def test_reading_is_bounded() -> None:
    scripted = Scripted(*[link(NEWLINK, 3)] * (2 * MAX_READ))
    read(scripted)
    assert len(scripted.script) == MAX_READ


def test_an_overrun_means_that_anything_may_have_gone() -> None:
    overrun = OSError(errno.ENOBUFS, "No buffer space available")
    assert read(Scripted(overrun, link(DELLINK, 3))) == News(frozenset({3}), is_incomplete=True)
    assert read(Scripted(overrun)) == News(is_incomplete=True)


def test_a_message_that_is_cut_short_means_that_anything_may_have_gone() -> None:
    assert read(Scripted(link(NEWLINK, 3), flags=socket.MSG_TRUNC)) == News(is_incomplete=True)


def test_another_process_is_not_believed() -> None:
    assert read(Scripted(link(DELLINK, 3), sender=4711)) is None
    assert read(Scripted(link(DELLINK, 3), sender=4711, flags=socket.MSG_TRUNC)) is None


def test_any_other_error_is_the_end() -> None:
    with pytest.raises(OSError, match="gone"):
        read(Scripted(OSError(errno.EBADF, "gone")))


def test_nothing_is_left_open_where_groups_cannot_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sandbox, say."""

    class Refusing(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(PermissionError):
        InterfaceWatch()
    gc.collect()  # A socket left open is a ResourceWarning, and those are errors.
