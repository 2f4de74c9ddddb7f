"""Datagrams on their way, and what can be done to them."""

from __future__ import annotations

from typing import final

import attrs

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.errors import LocalProtocolError, MessageFormatError
from trio_coap.wire.message import Message, decode_message_untrusted


@final
@attrs.frozen
class Datagram:
    """A datagram on its way to one host."""

    time: float
    """When it was sent, in seconds."""

    source: Endpoint
    """From where, as others see it."""

    destination: Endpoint
    """To where; possibly a group."""

    octets: bytes
    """What it carries."""

    number: int = 1
    """It is the n-th datagram from this source to this destination, counted from 1."""

    sender: str = ""
    """The name of the host that sends it; empty if there is none."""

    receiver: str = ""
    """The name of the host that it goes to; empty if there is none."""

    @property
    def decoded(self) -> Message | MessageFormatError:
        """The message in it, or what is the matter with it."""
        try:
            return decode_message_untrusted(self.octets)
        except MessageFormatError as exc:
            return exc

    @property
    def message(self) -> Message | None:
        """The message in it, or None if it is no well-formed one."""
        decoded = self.decoded
        return decoded if isinstance(decoded, Message) else None

    def involves(self, end: str, *, as_source: bool) -> bool:
        """Return whether *end*, a host's name or an address with or without port, is its source, or its destination."""
        endpoint = self.source if as_source else self.destination
        name = self.sender if as_source else self.receiver
        literal = endpoint.uri_host
        return end in (name, endpoint.sockaddr[0], literal, f"{literal}:{endpoint.port}")


@final
@attrs.frozen(kw_only=True)
class Action:
    """What happens to a datagram by order of a script or a filter, in place of what the link would do.

    It still takes the link's latency.
    """

    copies: int = 1
    """How many of it arrive; 0 drops it."""

    delay: float = 0.0
    """How much longer than the link's latency it takes, in seconds; later datagrams overtake it."""

    octets: bytes | None = None
    """What arrives in place of what was sent; None for the same."""

    flip: int | None = None
    """The position of the octet that arrives with all its bits inverted, negative from the end; None for none."""

    def __attrs_post_init__(self) -> None:
        if self.copies < 0 or not 0 <= self.delay < float("inf"):
            raise LocalProtocolError(f"copies and delay are 0 or more, not {self.copies} and {self.delay}")

    def apply(self, octets: bytes) -> bytes:
        """Return what arrives of *octets*."""
        if self.octets is not None:
            octets = self.octets
        if self.flip is None or not -len(octets) <= self.flip < len(octets):
            return octets
        changed = bytearray(octets)
        changed[self.flip] ^= 0xFF
        return bytes(changed)


DELIVER = Action()
"""Deliver the datagram, whatever the link's loss."""

DROP = Action(copies=0)
"""Drop it."""

DUPLICATE = Action(copies=2)
"""Deliver it twice."""

CORRUPT = Action(flip=0)
"""Invert its first octet, so that it is no message of CoAP any more."""


def delay(seconds: float) -> Action:
    """Return the action that delivers a datagram *seconds* later than usual."""
    return Action(delay=seconds)


def corrupt(position: int = 0) -> Action:
    """Return the action that inverts the octet at *position*."""
    return Action(flip=position)


def change(octets: bytes | Message) -> Action:
    """Return the action that delivers *octets*, or a message, in place of what was sent."""
    return Action(octets=octets.encode() if isinstance(octets, Message) else octets)
