"""Serving requests: handlers, sites, and the task that runs them."""

from typing import TYPE_CHECKING

from trio_coap.server.conditions import check_conditions
from trio_coap.server.declarations import (
    ContentFormats,
    Declarations,
    ETagFunction,
    MethodDeclarations,
    ResourceDeclarations,
)
from trio_coap.server.dispatcher import Handler
from trio_coap.server.echo import EchoPolicy, fresh, require_fresh
from trio_coap.server.incoming import BodyIncomplete, StreamedRequest
from trio_coap.server.limits import BlockLimits
from trio_coap.server.observable import NotificationPolicy, Observable, ObservableHandler
from trio_coap.server.policy import BlockPolicy, block_policy
from trio_coap.server.resource import Resource
from trio_coap.server.results import HandlerResult, StreamedBody
from trio_coap.server.serve import Server, serve
from trio_coap.server.site import Site

if TYPE_CHECKING:
    from trio_coap.server.statistics import ServerStatistics

__all__ = [
    "BlockLimits",
    "BlockPolicy",
    "BodyIncomplete",
    "ContentFormats",
    "Declarations",
    "ETagFunction",
    "EchoPolicy",
    "Handler",
    "HandlerResult",
    "MethodDeclarations",
    "NotificationPolicy",
    "Observable",
    "ObservableHandler",
    "Resource",
    "ResourceDeclarations",
    "Server",
    "ServerStatistics",
    "Site",
    "StreamedBody",
    "StreamedRequest",
    "block_policy",
    "check_conditions",
    "fresh",
    "require_fresh",
    "serve",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # Statistics are for who asks.
        if name in {"ServerStatistics"}:
            from trio_coap.server import statistics

            return getattr(statistics, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
