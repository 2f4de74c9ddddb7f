"""A timer among the entries: what a layer above will do later is due in the same queue as the messages.

Rule: who sets a timer is called synchronously, and must not raise; no task is needed for it, and none can be cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from trio_coap.messaging.queue import DueQueue


@final
class Timer:
    """Calls a function when its time has come, once each time that it is started.

    Attributes:
      queue_time, queue_place: the queue's.
    """

    __slots__ = ("_action", "_queue", "queue_place", "queue_time")

    def __init__(self, queue: DueQueue[Any], action: Callable[[float], None]) -> None:
        """Make a timer that does not run yet.

        Args:
          queue: of the local endpoint; when that closes, its timers stop.
          action: is given the current time, in seconds.
        """
        self._queue = queue
        self._action = action
        self.queue_time: float | None = None
        self.queue_place = -1

    def start(self, time_due: float) -> None:
        """Call at *time_due*, in seconds; a time that was set before does not count any more."""
        self._queue.schedule(self, time_due)

    def stop(self) -> None:
        """Do not call; stopping twice is fine."""
        self._queue.discard(self)

    def process_timeout(self, now: float) -> None:
        """Call now; see :meth:`MessageCacheEntry.process_timeout`."""
        self.stop()
        self._action(now)
