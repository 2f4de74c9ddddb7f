"""Serving requests: handlers, sites, and the task that runs them."""

from trio_coap.server.dispatcher import Handler
from trio_coap.server.results import HandlerResult
from trio_coap.server.serve import Server, serve
from trio_coap.server.site import Resource, Site

__all__ = ["Handler", "HandlerResult", "Resource", "Server", "Site", "serve"]
