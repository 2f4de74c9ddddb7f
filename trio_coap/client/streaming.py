"""Responses whose body is read while it comes (:rfc:`7959` section 2.4).

Rule 1: a block is asked for when somebody wants it.  Rule 2: what has been handed out is not taken back: when the
representation changes meanwhile, that is an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self, final

import trio

from trio_coap.client.blockwise import Download
from trio_coap.client.transfer import Progress
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Response
from trio_coap.wire.options import Options


@final
class StreamedResponse:
    """A response whose body is fetched block by block; what :meth:`Client.stream` gives.

    Attributes:
      progress: how far both bodies have got.
    """

    def __init__(self, download: Download, progress: Progress) -> None:
        """Begin with the first block, which is there already."""
        self._download = download
        self._is_first_given = False
        self._error: Response | None = None
        self.progress = progress

    @property
    def head(self) -> Response:
        """The response with the first block, as it came."""
        return self._download.first

    @property
    def code(self) -> Code:
        """The code of the response."""
        return self.head.code

    @property
    def options(self) -> Options:
        """The options of the response with the first block."""
        return self.head.options

    def raise_for_code(self) -> Self:
        """Return this response if it is a success; see :meth:`Response.raise_for_code`.

        Raises:
          ResponseError: otherwise.
        """
        self.head.raise_for_code()
        return self

    async def receive_some(self) -> bytes:
        """Return the next octets of the body, one block of them; none at the end.

        Cancelling ends the exchange for the block, which can be asked for again.

        Raises:
          ResponseError: if the server answers with an error instead of a block.
          RepresentationChanged: if the block belongs to another version of the representation.
          BlockTransferError: if it does not fit to those before it.
          CoapError: see :meth:`RequestHandle.receive`.
        """
        if not self._is_first_given:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._is_first_given = True
            if self._download.payload:
                return self._download.payload
        if self._error is None and self._download.is_complete:
            await trio.lowlevel.checkpoint()
            return b""
        if self._error is None and not await self._download.advance():
            self._error = self._download.response
        if self._error is not None:
            self._error.raise_for_code()
        return self._download.payload

    def stream(self) -> AsyncIterator[bytes]:
        """Iterate over what is left of the body, block by block; see :meth:`receive_some`."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.receive_some()
        if not chunk:
            raise StopAsyncIteration
        return chunk
