"""Messages on their way that somebody waits for: responses of their own, and the last ones to observers.

Rule: an observer that is silent to its last notification gets no others: those that were to be sent after it are given up.
Responses are not: their client asks for them, and it may be the acknowledgement that is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from trio_coap.messaging.errors import DeliveryError, ResetReceived
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.codes import CON


@final
class Deliveries:
    """Confirmable messages that were neither acknowledged nor given up; a :class:`trio_coap.messaging.sent.SentListener`.

    ``len(deliveries)`` is their number, which the endpoint's limits for sent messages bound.
    """

    def __init__(self, when_none: Callable[[], None]) -> None:
        """Start with none.

        Args:
          when_none: is called when none is left.
        """
        self._when_none = when_none
        self._entries: dict[SentMessageCacheEntry, bool] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: SentMessageCacheEntry, *, is_last: bool = False) -> None:
        """Wait for the message of *entry*, whose listener this is, unless it has failed already, or is no CON.

        Args:
          entry: the message's.
          is_last: True for the last notification to an observer.
        """
        if entry.listener is self and entry.message.type is CON:
            self._entries[entry] = is_last

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        self._discard(entry)

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        if self._entries.get(entry) and not isinstance(error, ResetReceived):
            self._give_up(entry, now)
        self._discard(entry)

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        self._entries.clear()
        self._when_none()

    def _give_up(self, failed: SentMessageCacheEntry, now: float) -> None:
        remote = failed.destination_endpoint
        # From the end: one that waits takes the place of one that is given up before it, and would be sent.
        for entry, is_last in list(reversed(self._entries.items())):
            if is_last and entry is not failed and entry.destination_endpoint is remote and entry.attempts <= 1:
                del self._entries[entry]
                entry.complete(now)

    def _discard(self, entry: SentMessageCacheEntry) -> None:
        self._entries.pop(entry, None)
        if not self._entries:
            self._when_none()
