"""What an observation has for its consumer: the newest state, put together if it comes in blocks (:rfc:`7959` section 2.6).

=============================================  ======================================================================
what comes                                     what happens
=============================================  ======================================================================
a newer state, while one waits                 the one that waits gives way, and is counted
a newer state, while one is read               the same; reading begins again, unless the ETag says that it is the same
the blocks are those of another state,         the state is skipped and counted, and the observation registers again
an error comes instead of one, or nothing      some seconds later; the failure is raised if the observation has ended,
                                               or it is one too many in a row
a body larger than the consumer takes          is raised: it will not get smaller
the consumer is cancelled                      the state waits again, as if nobody had begun to read it
=============================================  ======================================================================

Rule: the blocks are fetched by the task that receives, in its time and its cancel scope; there is no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import trio

from trio_coap.client.backpressure import Backpressure
from trio_coap.client.blockwise import Download, Upload
from trio_coap.client.transfer import ECHO, MAX_RESTARTS, BodyTooLarge, Conversation, Progress, RequestTags
from trio_coap.messaging.errors import DeliveryError
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.wire.body import BodyReader
from trio_coap.wire.codes import CON
from trio_coap.wire.errors import RemoteProtocolError
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import ResponseError

_OF_REGISTRATION = frozenset({6, 23, 27, ECHO})
"""What a registration has and the requests for further blocks lack: Observe, Block2, Block1 and Echo."""

FetchError = ResponseError | RemoteProtocolError | DeliveryError
"""Why the rest of a state is not to be had."""


@final
class StateReader:
    """Fetches what is behind the first block of a state."""

    __slots__ = ("backpressure", "block_size", "endpoint", "max_body", "parameters", "progress")

    def __init__(
        self,
        endpoint: LocalEndpoint,
        parameters: TransmissionParameters | None,
        backpressure: Backpressure | None,
        block_size: int | None,
        max_body: int,
        progress: Progress,
    ) -> None:
        self.endpoint = endpoint
        self.parameters = parameters
        self.backpressure = backpressure
        self.block_size = block_size
        self.max_body = max_body
        self.progress = progress

    def is_needed(self, first: Response) -> bool:
        """Return whether *first* is a block, or more than may be given to the consumer."""
        if not first.code.is_success:
            return False
        return first.options.block2 is not None or len(first.payload) > self.max_body

    async def read(self, first: Response, registration: Request) -> Response:
        """Return the whole state: the notification *first*, with all of the payload.

        Raises:
          ResponseError: if the server answers with an error instead of a block.
          BlockTransferError: if the blocks do not fit together; RepresentationChanged or BodyTooLarge if it is that.
          CoapError: see :meth:`RequestHandle.receive`.
        """
        # Nobody would repeat a lost Non-confirmable request for a block, whatever the registration was.
        target = registration.replace(payload=b"", options=registration.options.without(*_OF_REGISTRATION))
        target.type = CON

        async def find_targets() -> list[Request]:
            return [target]

        conversation = Conversation(self.endpoint, target, find_targets, self.parameters, self.backpressure)
        upload = Upload(conversation, BodyReader(b""), RequestTags(), self.progress, self.block_size)
        upload.repeated_payload = registration.payload
        download = Download(conversation, first, upload, self.progress, self.block_size)
        last = await download.read_once(self.max_body)
        return first.replace(payload=last.raise_for_code().payload, block1=None, block2=None)


@final
class _Reading:
    __slots__ = ("first", "scope")

    def __init__(self, first: Response) -> None:
        self.first = first
        self.scope = trio.CancelScope()


@final
class States:
    """The newest state that was not received yet, and who waits for it.

    Attributes:
      skipped: how many states gave way to newer ones, or could not be read.
    """

    def __init__(self, reader: StateReader | None, register_again: Callable[[FetchError], None]) -> None:
        """Begin with none.

        Args:
          reader: reads the rest of states that come in blocks; None leaves them as they come.
          register_again: is called when that has failed, and another try is worth while.
        """
        self.skipped = 0
        self._reader = reader
        self._register_again = register_again
        self._newest: Response | None = None
        self._reading: _Reading | None = None
        self._failures = 0
        self._has_ended = False
        self._is_closed = False
        self._error: Exception | None = None
        self._waiting = trio.lowlevel.ParkingLot()

    def put(self, response: Response) -> None:
        """Take a state, which is newer than all before."""
        reading = self._reading
        if reading is not None and _is_same_state(reading.first, response):
            reading.first = response
            return
        if reading is not None:
            reading.scope.cancel()
            self._reading = None
        if reading is not None or self._newest is not None:
            self.skipped += 1
        self._newest = response
        self._waiting.unpark_all()

    def end(self, error: Exception | None = None) -> None:
        """Learn that no more will come, and why; only the first time counts."""
        if not self._has_ended:
            self._has_ended = True
            self._error = error
            self._waiting.unpark_all()

    def close(self) -> None:
        """Learn that nobody wants to receive any more."""
        self._is_closed = True
        self._newest = None
        if self._reading is not None:
            self._reading.scope.cancel()
            self._reading = None
        self._waiting.unpark_all()

    async def receive(self, registration: Callable[[], Request]) -> Response:
        """Wait for a state; see :meth:`Observation.receive`.

        Args:
          registration: returns the one that holds by now.
        """
        await trio.lowlevel.checkpoint()
        while True:
            first = await self._take()
            if self._reader is None or not self._reader.is_needed(first):
                self._failures = 0
                return first
            whole = await self._read(self._reader, first, registration())
            if whole is not None:
                self._failures = 0
                return whole

    async def _take(self) -> Response:
        while self._newest is None:
            if self._is_closed:
                raise trio.ClosedResourceError("the observation was left")
            if self._has_ended:
                raise self._error or trio.EndOfChannel
            await self._waiting.park()
        first, self._newest = self._newest, None
        return first

    async def _read(self, reader: StateReader, first: Response, registration: Request) -> Response | None:
        """Return the whole state, or None if it gave way, or could not be read."""
        reading = self._reading = _Reading(first)
        whole = None
        try:
            with reading.scope:
                whole = await reader.read(first, registration)
        except (ResponseError, RemoteProtocolError, DeliveryError) as exc:
            if self._reading is reading:
                self._reading = None
                self._skip(exc)
            return None
        finally:
            if whole is None and self._reading is reading:
                self._reading, self._newest = None, reading.first
                self._waiting.unpark_all()
        if self._reading is not reading:
            return None
        self._reading = None
        return whole

    def _skip(self, error: FetchError) -> None:
        self.skipped += 1
        self._failures += 1
        if self._has_ended or isinstance(error, BodyTooLarge) or self._failures > MAX_RESTARTS:
            self._failures = 0
            raise error
        self._register_again(error)


def _is_same_state(one: Response, other: Response) -> bool:
    etag = one.options.etag
    return bool(etag) and etag == other.options.etag and one.options.block2 == other.options.block2
