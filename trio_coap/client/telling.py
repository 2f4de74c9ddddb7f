"""Requests that want no answer (:rfc:`7967`).

Rule 1: what is waited for is the delivery: of a Confirmable request its acknowledgement, of a Non-confirmable one that
congestion control lets it go.  Rule 2: what comes in the acknowledgement is an answer nevertheless, and the caller's;
what comes later is rejected with a Reset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import trio

from trio_coap.client.attempt import Attempt, FindTargets, reject_unprocessable
from trio_coap.client.backpressure import Backpressure
from trio_coap.client.transfer import find_challenge
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.message import Request, Response

NO_RESPONSE_AT_ALL = 26
"""The value of No-Response that covers the classes 2, 4 and 5 (:rfc:`7967` section 2.1)."""


async def tell(
    endpoint: LocalEndpoint,
    find_targets: FindTargets,
    parameters: TransmissionParameters | None,
    backpressure: Backpressure | None,
) -> Response | None:
    """Send a request and wait until it is delivered; see :meth:`Client.tell`."""
    targets = await find_targets()
    if backpressure is not None:
        await backpressure.wait(targets[0].destination_endpoint)
    telling = _Telling(endpoint, parameters, backpressure)
    response = await telling.run(targets)
    echo = None if response is None else find_challenge(response)
    if echo is None:
        return response
    again = telling.attempt.request
    assert again is not None
    again = again.replace(echo=echo)
    again.message_id = None
    return await _Telling(endpoint, parameters, backpressure).run([again])


@final
class _Telling:
    """Learns what becomes of a request; its response is in the acknowledgement, or does not matter."""

    def __init__(
        self, endpoint: LocalEndpoint, parameters: TransmissionParameters | None, backpressure: Backpressure | None
    ) -> None:
        self.attempt = Attempt(endpoint, self, parameters, when_sent=self._request_sent, may_ask_groups=True)
        self._endpoint = endpoint
        self._backpressure = backpressure
        self._is_over = trio.Event()
        self._response: Response | None = None
        self._error: Exception | None = None

    async def run(self, targets: Sequence[Request]) -> Response | None:
        try:
            self.attempt.start(targets)
            await self._is_over.wait()
        finally:
            self.attempt.end()
        if self._error is not None:
            raise self._error
        return self._response

    def response_received(self, response: Response, now: float) -> bool:
        self._error = reject_unprocessable(self._endpoint, response, now)
        self._is_over.set()
        if self._error is not None:
            return False
        self._response = response
        if self._backpressure is not None:
            self._backpressure.take_note(response, now)
        return True

    def endpoint_closed(self) -> None:
        self.request_failed(trio.ClosedResourceError("the endpoint was closed"))

    def request_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        # A response that is in the acknowledgement follows before our task runs.
        self._is_over.set()

    def request_failed(self, error: Exception) -> None:
        self._error = error
        self._is_over.set()

    def _request_sent(self, request: Request) -> None:
        if not request.is_confirmable:
            self._is_over.set()
