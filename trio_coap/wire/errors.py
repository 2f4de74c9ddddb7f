"""The roots of every exception of this package, and the errors about octets that are not what they should be.

Rule 1: :class:`LocalProtocolError` is our caller's mistake, :class:`RemoteProtocolError` the peer's.
Rule 2: parsers of network octets raise :class:`MessageFormatError` and nothing else.  Rule 3: the text of an error
stays short, however long the value that it is about.
"""

from __future__ import annotations

_MAX_SHOWN = 120
"""Of a value in the text of an error, in characters or octets: a line of a log, not a page."""


class CoapError(Exception):
    """Root of all exceptions that this package defines."""


class LocalProtocolError(CoapError):
    """The calling program asked for something that the protocol does not allow."""


class RemoteProtocolError(CoapError):
    """A peer did something that the protocol does not allow."""


class PayloadFormatError(CoapError, ValueError):
    """A payload does not have the format that the caller reads it as."""


class MissingExtra(CoapError, ImportError):
    """Something needs a library that only an extra of this package brings.

    Attributes:
      extra: the name of the extra.
    """

    def __init__(self, what: str, extra: str) -> None:
        # The args make copies and pickles complete.
        super().__init__(what, extra)
        self.what = what
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.what} need the extra {self.extra!r}: run pip install 'trio-coap[{self.extra}]'"


class MessageFormatError(RemoteProtocolError):
    """A datagram is not a well-formed CoAP message (:rfc:`7252` sections 3 and 4.1).

    What the message layer needs for its answer (section 4.2: Reset for a Confirmable message, silence
    for everything else) comes along as far as it could be read.

    Attributes:
      rule: the rule that is broken, as a short constant text; rejections are counted by it.
      section: the section of RFC 7252 that has the rule, such as ``"3.1"``.
      offset: where in the datagram the fault was seen, in octets from its start.
      message_type: the two type bits (0 to 3), or None if the header could not be trusted.
      message_id: the message ID, or None likewise.
    """

    def __init__(
        self,
        rule: str,
        section: str,
        offset: int,
        *,
        message_type: int | None = None,
        message_id: int | None = None,
    ) -> None:
        # These are the args; the rest is in __dict__.  Together they make copies and pickles complete.
        super().__init__(rule, section, offset)
        self.rule = rule
        self.section = section
        self.offset = offset
        self.message_type = message_type
        self.message_id = message_id

    def __str__(self) -> str:
        return f"{self.rule} (RFC 7252 section {self.section}), at octet {self.offset}"


def shorten(value: object) -> str:
    """Return the ``repr`` of *value* for the text of an error, cut off where it gets long."""
    if isinstance(value, (str, bytes, bytearray)) and len(value) > _MAX_SHOWN:
        return f"{value[:_MAX_SHOWN]!r}..."
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
