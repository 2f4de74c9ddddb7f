"""Network namespaces with veth pairs: hosts of their own, with real sockets, that the tests make and take down.

A test's own host is a new namespace too; other hosts are entered to open sockets in them, which stay there.  That takes
CAP_SYS_ADMIN: run the tests as root, or by ``unshare -rn``.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *arguments: int) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def ip(*words: str) -> str:
    """Run ``ip`` in the namespace that is entered now, and return what it prints."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


class Host:
    """A network namespace."""

    def __init__(self) -> None:
        """Make one, with its loopback interface up; the namespace entered before is entered still."""
        before = os.open(_OWN, os.O_RDONLY)
        try:
            _call("unshare", _CLONE_NEWNET)
            self._fd = os.open(_OWN, os.O_RDONLY)
            # So that addresses are usable at once, not after duplicate address detection.
            for scope in ("all", "default"):
                with open(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad", "w") as file:
                    file.write("0")
            ip("link", "set", "lo", "up")
        finally:
            _call("setns", before, _CLONE_NEWNET)
            os.close(before)

    @property
    def path(self) -> str:
        """What stands for it on the command line of ``ip``."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What the body opens or runs is on this host; without awaiting in between."""
        before = os.open(_OWN, os.O_RDONLY)
        _call("setns", self._fd, _CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", before, _CLONE_NEWNET)
            os.close(before)

    def add_addresses(self, interface: str, *addresses: str) -> None:
        """Give *interface* addresses with their prefix length, and set it up."""
        with self.entered():
            for address in addresses:
                ip("address", "replace", address, "dev", interface, *(["nodad"] if ":" in address else []))
            ip("link", "set", interface, "up")

    def wait_until_up(self, interface: str) -> None:
        """Wait until IPv6 works on *interface*: that takes a moment after the cable is in."""
        with self.entered():
            for _ in range(200):
                if f"multicast ff00::/8 dev {interface}" in ip("-6", "route", "show", "table", "all"):
                    return
                time.sleep(0.01)
        raise AssertionError(f"{interface} does not come up")

    def close(self) -> None:
        """Let it go when nothing is in it any more."""
        os.close(self._fd)


def connect(one: Host, one_interface: str, other: Host, other_interface: str) -> None:
    """Lay a cable: a veth pair, whose ends are down still."""
    with one.entered():
        try:
            ip("link", "add", one_interface, "type", "veth", "peer", "name", other_interface, "netns", other.path)
        except AssertionError as exc:
            pytest.skip(f"no veth pair can be made here ({exc})")
