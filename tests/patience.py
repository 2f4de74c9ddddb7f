"""How long a test waits: what costs nothing in virtual time is bounded in real time.

A test says the time that the rule wants: 300 seconds of silence, say.  On Trio's own clock, over real sockets, it waits as
long as the machine needs, and no longer.
"""

from __future__ import annotations

import trio
from trio.testing import MockClock

SILENCE = 0.15
"""Seconds of real time after which nothing more is expected: longer than a response waits for its acknowledgement
(``TransmissionParameters.empty_ack_delay``), shorter than the time to any retransmission that a test does not want."""

PATIENCE = 10.0
"""Seconds of real time after which a test over the loopback interface has failed; it takes milliseconds."""


def time_is_virtual() -> bool:
    return isinstance(trio.lowlevel.current_clock(), MockClock)


def passing(seconds: float) -> float:
    """Return how long to let time pass, or to listen to silence, where *seconds* would be right."""
    return seconds if time_is_virtual() else min(seconds, SILENCE)


def within(seconds: float) -> float:
    """Return how long to wait at most for what must come within *seconds*."""
    return seconds if time_is_virtual() else min(seconds, PATIENCE)
