"""One request and its response, whose bodies may be long: files are read and written as the blocks go.

=====================================================  ===============================================
what is asked for                                      how it goes
=====================================================  ===============================================
a file that is longer than a block is sent (``-d``)    read block by block
the payload goes to a file (``-O``)                    written block by block; if the representation
                                                       changes meanwhile, from the start again
everything else, and single blocks (``-o Block2=1``)   held in memory, up to ``MAX_BODY`` octets
=====================================================  ===============================================
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

import attrs

from trio_coap.cli.inputs import LongFile, Payload
from trio_coap.cli.output import OutputFile
from trio_coap.cli.problems import CommandFailure
from trio_coap.client import Client, Progress, RepresentationChanged, StreamedResponse
from trio_coap.client.arguments import TransferArguments
from trio_coap.client.transfer import MAX_BODY, MAX_RESTARTS
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Response
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import ResponseError
from trio_coap.wire.uri import CoapUri

_SAFE = frozenset({Code.GET, Code.FETCH})


@attrs.frozen
class Plan:
    """What is to be done, checked before anything is sent."""

    code: Code
    uri: CoapUri
    payload: Payload
    options: Options
    is_confirmable: bool
    parameters: TransmissionParameters
    deadline: float
    """Seconds that everything together may take; infinity for as long as it takes."""

    block_size: int | None = None
    """The largest block, in octets; None leaves it to both sides."""

    def arguments(self, progress: Progress) -> TransferArguments:
        """Return it as arguments of the client's methods; *progress* is kept up to date."""
        return TransferArguments(
            progress=progress,
            confirmable=self.is_confirmable,
            parameters=self.parameters,
            options=self.options,
            block_size=self.block_size,
        )


async def transfer(client: Client, plan: Plan, output: OutputFile | None, progress: Progress) -> Response:
    """Send the request and return the response; of what went to *output*, only code and options.

    Args:
      client: sends it.
      plan: says what.
      output: takes the payload of a success; None returns it.
      progress: is kept up to date.

    Raises:
      CommandFailure: if a file cannot be read or written, or the body is too long.
      CoapError: see :class:`Client`.
    """
    value = plan.payload.value
    names_a_block = plan.options.block1 is not None or plan.options.block2 is not None
    if names_a_block or (output is None and not isinstance(value, LongFile)):
        body = value.read() if isinstance(value, LongFile) else value
        response = await client.exchange(plan.code, plan.uri.unparse(), body, **plan.arguments(progress))
        return response if output is None or not response.code.is_success else _deliver(response, output)
    restarts = 0
    while True:
        try:
            return await _stream(client, plan, output, progress)
        except RepresentationChanged:
            if plan.code not in _SAFE or restarts >= MAX_RESTARTS:
                raise
        restarts += 1


async def _stream(client: Client, plan: Plan, output: OutputFile | None, progress: Progress) -> Response:
    uri, value = plan.uri.unparse(), plan.payload.value
    opened: AbstractContextManager[bytes | str | BinaryIO]
    opened = value.open() if isinstance(value, LongFile) else nullcontext(value)
    with opened as body:
        async with client.stream(plan.code, uri, body, **plan.arguments(progress)) as response:
            try:
                return await _read(response, output if response.code.is_success else None)
            except ResponseError as exc:
                if exc.response is None:
                    raise
                return exc.response  # It came instead of a block.


async def _read(response: StreamedResponse, output: OutputFile | None) -> Response:
    """Read the body of *response* to its end."""
    head = response.head.replace(payload=b"", block1=None, block2=None)
    if output is not None:
        output.begin()
        async for chunk in response.stream():
            output.write_some(chunk)
        output.finish()
        return head
    payload = bytearray()
    async for chunk in response.stream():
        payload += chunk
        if len(payload) > MAX_BODY:
            raise CommandFailure(
                f"the body of the response is larger than {MAX_BODY} octets: write it to a file with -O"
            )
    return head.replace(payload=bytes(payload))


def _deliver(response: Response, output: OutputFile) -> Response:
    output.write(response.payload)
    return response.replace(payload=b"")
