"""Random octets in small pieces, which are drawn in large ones: asking the system each time costs more than a message.

Rule: the source is the caller's, and all of its octets are used in order: the same seed gives the same trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

RANDOM_BLOCK = 512
"""Random octets to draw at a time: for the tokens and timeouts of 64 requests."""


@final
class RandomOctets:
    """Octets that nobody can guess, if nobody can guess those of the source."""

    __slots__ = ("_at", "_block", "_draw")

    def __init__(self, draw: Callable[[int], bytes]) -> None:
        """Draw by *draw*, which returns as many octets as it is asked for."""
        self._draw = draw
        self._block = b""
        self._at = 0

    def take(self, length: int) -> bytes:
        """Return so many octets, RANDOM_BLOCK at the most, which are given to nobody else."""
        start = self._at
        end = start + length
        if end > len(self._block):
            self._block = self._draw(RANDOM_BLOCK)
            start, end = 0, length
        self._at = end
        return self._block[start:end]
