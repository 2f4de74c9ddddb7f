"""A firewall: nftables without its programs, which few machines have (linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN = 0xA00, 0xA02, 0xA03
_REQUEST, _ACKNOWLEDGE, _CREATE = 0x1, 0x4, 0x400
_ERROR = 2
_IPV4, _IPV6 = 2, 10
_OUTPUT, _DROP = 3, 0
_NFNL_SUBSYS_NFTABLES = 10


@contextmanager
def refusing(*, ipv6: bool) -> Iterator[None]:
    """Let nothing of one family leave the host that is entered now, its own addresses included, while the body runs."""
    family = _IPV6 if ipv6 else _IPV4
    name = _attribute(1, b"refusing\0")
    hook = _attribute(4 | 0x8000, _attribute(1, struct.pack("!I", _OUTPUT)) + _attribute(2, struct.pack("!i", 0)))
    policy = _attribute(5, struct.pack("!I", _DROP))
    chain = name + _attribute(3, b"all\0") + hook + policy + _attribute(7, b"filter\0")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as sock:
        sock.settimeout(5)
        try:
            _run(sock, (_NEW_TABLE, family, name), (_NEW_CHAIN, family, chain))
        except OSError as exc:
            pytest.skip(f"no firewall can be made here ({exc})")
        try:
            yield
        finally:
            _run(sock, (_DELETE_TABLE, family, name))


def _run(sock: socket.socket, *commands: tuple[int, int, bytes]) -> None:
    batch = _message(_BATCH_BEGIN, _REQUEST, 0, 0, b"", _NFNL_SUBSYS_NFTABLES)
    for sequence, (kind, family, attributes) in enumerate(commands, start=1):
        batch += _message(kind, _REQUEST | _ACKNOWLEDGE | _CREATE, sequence, family, attributes)
    sock.send(batch + _message(_BATCH_END, _REQUEST, 0, 0, b"", _NFNL_SUBSYS_NFTABLES))
    for _ in commands:
        _, kind, _, _, _, error = struct.unpack_from("=IHHIIi", sock.recv(4096))
        if kind == _ERROR and error:
            raise OSError(-error, os.strerror(-error))


def _message(kind: int, flags: int, sequence: int, family: int, attributes: bytes, resource: int = 0) -> bytes:
    body = struct.pack("!BBH", family, 0, resource) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
