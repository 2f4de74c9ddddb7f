"""Counting what is rejected, and saying why: once for each reason and remote endpoint, not once for each datagram."""

from __future__ import annotations

import logging
import math
from typing import final

from trio_coap.messaging.counters import Counters
from trio_coap.wire.message import EndpointAddress

_logger = logging.getLogger(__name__)

LOG_PERIOD = 3600.0
"""After so many seconds a full table of what was logged starts anew: what goes wrong today is logged today."""


@final
class Rejections:
    """What an endpoint rejected or ignored, by reason."""

    __slots__ = ("_counters", "_limit", "_logged", "_started_at")

    def __init__(self, counters: Counters, limit: int) -> None:
        """Count in *counters*, and log at most *limit* different pairs of reason and remote in LOG_PERIOD."""
        self._counters = counters
        self._limit = limit
        # Texts rather than endpoints: a log must not keep endpoints alive.
        self._logged: set[tuple[str, str]] = set()
        self._started_at = math.inf

    def count(self, reason: str, section: str, remote: EndpointAddress, now: float, detail: str = "") -> None:
        """Count a rejection.

        Args:
          reason: a constant text.
          section: the section of RFC 7252 that has the rule, such as ``"4.2"``; or with another RFC's number
            before it, such as ``"RFC 7641 section 4.2"``.
          remote: whose message it was.
          now: the current time, in seconds.
          detail: what else the log should say, once.
        """
        self._counters.rejected[reason] += 1
        if not self._may_log(now):
            return
        key = (reason, remote.hostinfo)
        if key in self._logged:
            return
        if not self._logged:
            self._started_at = now
        self._logged.add(key)
        rule = section if section.startswith("RFC") else f"RFC 7252 section {section}"
        _logger.info("%s: rejected: %s (%s)%s", remote.hostinfo, reason, rule, detail and f", {detail}")
        if len(self._logged) == self._limit:
            _logger.info("further rejections are counted, not logged")

    def _may_log(self, now: float) -> bool:
        if len(self._logged) < self._limit:
            return True
        if now < self._started_at + LOG_PERIOD:
            return False
        self._logged.clear()
        return True
