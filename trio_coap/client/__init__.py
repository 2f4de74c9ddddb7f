"""Requests: what an application asks of other endpoints."""

from trio_coap.client.client import Client, open_client
from trio_coap.client.handle import RequestHandle, UnprocessableResponse
from trio_coap.client.observation import Observation

__all__ = ["Client", "Observation", "RequestHandle", "UnprocessableResponse", "open_client"]
