"""Counting what is rejected, and saying why: once for each reason and remote endpoint, not once for each datagram."""

from __future__ import annotations

import logging
from typing import final

from trio_coap.messaging.statistics import Counters
from trio_coap.wire.message import EndpointAddress

_logger = logging.getLogger(__name__)


@final
class Rejections:
    """What an endpoint rejected or ignored, by reason."""

    __slots__ = ("_counters", "_limit", "_logged")

    def __init__(self, counters: Counters, limit: int) -> None:
        """Count in *counters*, and log at most *limit* different pairs of reason and remote."""
        self._counters = counters
        self._limit = limit
        # Texts rather than endpoints: a log must not keep endpoints alive.
        self._logged: set[tuple[str, str]] = set()

    def count(self, reason: str, remote: EndpointAddress, detail: object = "") -> None:
        """Count a rejection.

        Args:
          reason: a constant text.
          remote: whose message it was.
          detail: what else the log should say, once.
        """
        self._counters.rejected[reason] += 1
        if len(self._logged) >= self._limit:
            return
        key = (reason, remote.hostinfo)
        if key in self._logged:
            return
        self._logged.add(key)
        _logger.info("%s: rejected: %s", remote.hostinfo, detail or reason)
        if len(self._logged) == self._limit:
            _logger.info("further rejections are counted, not logged")
