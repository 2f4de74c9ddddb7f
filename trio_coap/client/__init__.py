"""Requests: what an application asks of other endpoints."""

from typing import TYPE_CHECKING

from trio_coap.client.attempt import UnprocessableResponse
from trio_coap.client.client import Client
from trio_coap.client.handle import RequestHandle
from trio_coap.client.multicast import GroupRequest
from trio_coap.client.observation import Observation
from trio_coap.client.opening import open_client
from trio_coap.client.streaming import StreamedResponse
from trio_coap.client.transfer import BlockTransferError, BodyTooLarge, Progress, RepresentationChanged

if TYPE_CHECKING:
    from trio_coap.client.cache import CacheStatistics, ResponseCache

__all__ = [
    "BlockTransferError",
    "BodyTooLarge",
    "CacheStatistics",
    "Client",
    "GroupRequest",
    "Observation",
    "Progress",
    "RepresentationChanged",
    "RequestHandle",
    "ResponseCache",
    "StreamedResponse",
    "UnprocessableResponse",
    "open_client",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # Most clients have no cache.
        if name in {"CacheStatistics", "ResponseCache"}:
            from trio_coap.client import cache

            return getattr(cache, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
