"""Drivers: what connects an engine to a socket, a clock and a source of random numbers, in a nursery."""

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.transports.resolver import resolve_addresses

Endpoint.set_resolver(resolve_addresses)
