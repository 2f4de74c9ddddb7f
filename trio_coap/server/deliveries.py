"""Responses on their way in messages of their own, for which a server that ends waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from trio_coap.messaging.errors import DeliveryError
from trio_coap.messaging.sent import SentMessageCacheEntry


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
        self._entries: dict[SentMessageCacheEntry, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: SentMessageCacheEntry) -> None:
        """Wait for the message of *entry*, whose listener this is, unless it has failed already, or is no CON."""
        if entry.listener is self and entry.is_confirmable:
            self._entries[entry] = None

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        self._discard(entry)

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        self._discard(entry)

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        self._entries.clear()
        self._when_none()

    def _discard(self, entry: SentMessageCacheEntry) -> None:
        self._entries.pop(entry, None)
        if not self._entries:
            self._when_none()
