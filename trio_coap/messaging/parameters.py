"""Transmission parameters and the times derived from them (:rfc:`7252` section 4.8), and limits of our own.

All durations are in seconds.
"""

from __future__ import annotations

import math

import attrs

from trio_coap.wire.errors import LocalProtocolError


@attrs.frozen
class TransmissionParameters:
    """How messages are repeated and how long they are remembered.

    The defaults are those of section 4.8.  ``attrs.evolve(parameters, ack_timeout=0.5)`` makes another set; one can
    be given to an endpoint and to a single request.  Both sides of a conversation should use the same.

    Raises:
      LocalProtocolError: if a value is out of its range.
    """

    ack_timeout: float = 2.0
    """ACK_TIMEOUT: the shortest time to the first retransmission."""

    ack_random_factor: float = 1.5
    """ACK_RANDOM_FACTOR: the longest time to the first retransmission, in ACK_TIMEOUT; at least 1."""

    max_retransmit: int = 4
    """MAX_RETRANSMIT: how often a Confirmable message is repeated, the first transmission not counted."""

    nstart: int = 1
    """NSTART: how many interactions with one remote endpoint may be outstanding (section 4.7)."""

    default_leisure: float = 5.0
    """DEFAULT_LEISURE: over how long the answers to a multicast request are spread (section 8.2)."""

    probing_rate: float = 1.0
    """PROBING_RATE: how fast, on average, to send to an endpoint that does not answer, in octets a second; inf
    for a publisher whose messages nobody answers (section 4.7)."""

    max_latency: float = 100.0
    """MAX_LATENCY: the longest time a datagram is expected to take."""

    empty_ack_delay: float = 0.1
    """How long a Confirmable message waits for a response to piggyback on its acknowledgement (section 5.2.2)."""

    exchange_lifetime: float = attrs.field(init=False, repr=False, eq=False)
    """EXCHANGE_LIFETIME: how long a Confirmable message's ID is remembered, on both sides."""

    non_lifetime: float = attrs.field(init=False, repr=False, eq=False)
    """NON_LIFETIME: how long a Non-confirmable message's ID is remembered, on both sides."""

    def __attrs_post_init__(self) -> None:
        _require(0 < self.ack_timeout < math.inf, "ack_timeout is positive", self.ack_timeout)
        # Section 4.8.1: ACK_RANDOM_FACTOR must not be decreased below 1.0.
        _require(1 <= self.ack_random_factor < math.inf, "ack_random_factor is at least 1", self.ack_random_factor)
        # The times double: sixteen repetitions of 2 s already take a day and a half.
        _require(0 <= self.max_retransmit <= 20, "max_retransmit is 0 to 20", self.max_retransmit)
        _require(self.nstart >= 1, "nstart is at least 1", self.nstart)
        _require(0 <= self.default_leisure < math.inf, "default_leisure is not negative", self.default_leisure)
        _require(self.probing_rate > 0, "probing_rate is positive", self.probing_rate)
        _require(0 < self.max_latency < math.inf, "max_latency is positive", self.max_latency)
        _require(
            0 <= self.empty_ack_delay < self.ack_timeout,
            "empty_ack_delay is shorter than ack_timeout, or every request is repeated",
            self.empty_ack_delay,
        )
        # Each message asks for one of these.
        lifetime = self.max_transmit_span + 2 * self.max_latency + self.processing_delay
        object.__setattr__(self, "exchange_lifetime", lifetime)
        object.__setattr__(self, "non_lifetime", self.max_transmit_span + self.max_latency)

    @property
    def max_transmit_span(self) -> float:
        """MAX_TRANSMIT_SPAN: the longest time from the first transmission to the last."""
        return self.ack_timeout * (2.0**self.max_retransmit - 1) * self.ack_random_factor

    @property
    def max_transmit_wait(self) -> float:
        """MAX_TRANSMIT_WAIT: the time from the first transmission to giving up."""
        return self.ack_timeout * (2.0 ** (self.max_retransmit + 1) - 1) * self.ack_random_factor

    @property
    def processing_delay(self) -> float:
        """PROCESSING_DELAY: how long a node takes to acknowledge."""
        return self.ack_timeout

    @property
    def max_rtt(self) -> float:
        """MAX_RTT: the longest round trip."""
        return 2 * self.max_latency + self.processing_delay


def _require(condition: bool, rule: str, value: float) -> None:
    if not condition:
        raise LocalProtocolError(f"{rule}, not {value}")


DEFAULT_PARAMETERS = TransmissionParameters()


@attrs.frozen
class Limits:
    """How much a local endpoint remembers; whatever a remote can make grow has its limit here.

    What is turned away for a limit is counted in the endpoint's statistics.
    """

    max_remembered: int = 100_000
    """Exchanges remembered to recognize duplicates, all remotes together.  Each takes about 130 octets besides
    its own, and each remote 2 kB: the defaults mean 13 MB, 130 MB for all remotes that there may be, and
    ``max_remembered_octets``.  Above it the oldest answers to idempotent requests, responses and errors are forgotten
    first, which :rfc:`7252` section 4.5 allows; other requests go unanswered until there is room, and their senders
    repeat them."""

    max_remembered_octets: int = 32 * 1024 * 1024
    """Octets of remembered requests, replies and their datagrams, likewise."""

    max_sent: int = 200_000
    """Sent messages on their way or remembered, because their message IDs are in use, all remotes together: requests of our
    own, notifications, and responses that are not piggybacked.  More are refused: that is three times the message IDs
    towards one remote.  Responses are refused at fifteen sixteenths of this, so that nobody who asks keeps us from asking."""

    max_sent_octets: int = 32 * 1024 * 1024
    """Octets of these messages, likewise: payload and datagram until the message has been acknowledged or given up, then
    header and token."""

    max_remotes: int = 65_536
    """Remote endpoints with state: those with whom a message was exchanged that is remembered.  At the limit
    the oldest messages that may be forgotten are, until a remote goes; if that is not to be, messages of others are
    dropped."""

    max_pending_per_remote: int = 10_000
    """Messages that NSTART, PROBING_RATE or a full message-ID space hold back for one remote.  More are refused: an
    application or a peer that piles up more than that will not be helped by a longer queue."""

    max_logged_rejections: int = 1_000
    """Pairs of a remote and a reason for which its messages are rejected that are logged in an hour, each once; beyond it
    they are only counted, so that a flood does not fill the log."""

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(Limits):
            value = getattr(self, field.name)
            _require(value >= 1, f"{field.name} is at least 1", value)


DEFAULT_LIMITS = Limits()
