"""Requests: what an application asks of other endpoints."""

from trio_coap.client.client import Client, open_client
from trio_coap.client.handle import RequestHandle, UnprocessableResponse

__all__ = ["Client", "RequestHandle", "UnprocessableResponse", "open_client"]
