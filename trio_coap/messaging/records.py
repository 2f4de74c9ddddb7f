"""A received message as octets: what is kept of it once nothing more is to be done about it.

A record is when the message came, how long its datagram is, the datagram, and that of the reply.  Rule: it is one object
in which a garbage collector finds nothing to walk; entries are made of it when somebody asks (:mod:`~.receivedcache`).
"""

from __future__ import annotations

import struct

from trio_coap.wire.codes import RST

_HEADER = struct.Struct("<dH")
"""When the message came, in seconds, and the length of its datagram, in octets."""

HEADER_LENGTH = _HEADER.size
"""Octets of a record that are neither the message's nor the reply's."""

pack_header = _HEADER.pack
"""Return the beginning of a record, behind which the datagrams of the message and of its reply stand."""

_HARMLESS = frozenset({1, 3, 4, 5, 7, *range(0x40, 0x100)})
"""The codes of messages that may be executed twice: GET, PUT, DELETE, FETCH and iPATCH (:rfc:`7252` section 5.1,
:rfc:`8132` section 2), and responses."""

_ERROR_CLASSES = frozenset({4, 5})


def unpack(record: bytes) -> tuple[float, bytes, bytes]:
    """Return when the message of a record came, in seconds, its datagram, and that of the reply."""
    created_at, length = _HEADER.unpack_from(record)
    end = HEADER_LENGTH + length
    return created_at, record[HEADER_LENGTH:end], record[end:]


def creation_of(record: bytes) -> float:
    """Return when the message of a record came, in seconds."""
    created_at: float = _HEADER.unpack_from(record)[0]
    return created_at


def reply_of(record: bytes) -> bytes:
    """Return the datagram of the reply to the message of a record; empty if there is none."""
    _, length = _HEADER.unpack_from(record)
    return record[HEADER_LENGTH + length :]


def is_of(record: bytes, created_at: float, datagram: bytes) -> bool:
    """Return whether a record is of the message that came then, in seconds, as these octets."""
    length = len(datagram)
    return _HEADER.unpack_from(record) == (created_at, length) and record.startswith(datagram, HEADER_LENGTH)


def is_harmless(datagram: bytes) -> bool:
    """Return whether a message is of a kind that may be executed twice."""
    return datagram[1] in _HARMLESS


def was_in_vain(reply: bytes) -> bool:
    """Return whether a reply is a Reset or an error, so that nothing has been executed."""
    return bool(reply) and (reply[0] >> 4 & 3 == RST or reply[1] >> 5 in _ERROR_CLASSES)


def is_harmless_since(record: bytes, latest: float) -> bool:
    """Return whether the message of a record came by *latest*, in seconds, and executing it twice does no harm.

    See :rfc:`7252` section 4.5.
    """
    created_at, length = _HEADER.unpack_from(record)
    if created_at > latest:
        return False
    return record[HEADER_LENGTH + 1] in _HARMLESS or was_in_vain(record[HEADER_LENGTH + length :])
