"""Asking groups: each member that answers is shown when it does (:rfc:`7252` section 8).

Rule: a group never says that all have answered, so time ends it: by default a little more than the time over which servers
spread their answers.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

import trio

from trio_coap.cli.describe import printable
from trio_coap.cli.inputs import LongFile
from trio_coap.cli.problems import CommandFailure, UsageError, exit_status
from trio_coap.cli.request import has_payload, print_payload, show
from trio_coap.cli.streams import say
from trio_coap.cli.trace import TracePrinter, open_watched_endpoint
from trio_coap.cli.transfer import Plan
from trio_coap.client import Client, GroupRequest
from trio_coap.client.discovery import LINK_FORMAT, Filter, find_core, read_links, write_filters
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS, TransmissionParameters
from trio_coap.wire.codes import Code
from trio_coap.wire.errors import CoapError
from trio_coap.wire.linkformat import Link
from trio_coap.wire.message import Response

PATIENCE = DEFAULT_PARAMETERS.default_leisure + 2.0
"""How long to wait for the members of a group, in seconds: their leisure, and some time for the way."""


MAX_COMPLETED_AT_ONCE = 16
"""How many members are asked for the rest of what they offer at a time: one that has gone must not keep the others waiting."""


def run_group_request(plan: Plan, arguments: Namespace) -> int:
    """Send a request to a group and show what comes; return the exit status: that of the best response."""
    if arguments.output is not None:
        raise UsageError("a group has many answers: -O takes the one of a single host")
    payload = plan.payload.value
    if isinstance(payload, LongFile):
        raise UsageError("that file is too long for a group: what is sent there is one message, of a kilobyte or so")
    statuses = trio.run(_ask, plan, payload, arguments)
    if not statuses:
        raise CommandFailure(_nobody(plan.uri.authority, _patience(arguments)))
    return min(statuses)


async def _ask(plan: Plan, payload: bytes | str, arguments: Namespace) -> list[int]:
    watcher = TracePrinter() if arguments.verbose else None
    statuses = []
    async with open_watched_endpoint(watcher) as endpoint:
        started_at = trio.current_time()
        request = Client(endpoint).multicast(
            plan.code,
            plan.uri.unparse(),
            payload,
            parameters=plan.parameters,
            options=plan.options,
            block_size=plan.block_size,
        )
        with trio.move_on_after(_patience(arguments)):
            async with request:
                while True:
                    response = await _receive(request)
                    elapsed = round(trio.current_time() - started_at, 6)
                    uri = _source(response)
                    if not arguments.jsonl:
                        say(f"{uri}:")
                    show(response, {"uri": uri, "elapsed": elapsed}, arguments)
                    if has_payload(response) and not arguments.jsonl:
                        print_payload(response)
                    statuses.append(exit_status(response.code))
    return statuses


async def discover_group(
    uris: Sequence[str], filters: dict[str, Filter], parameters: TransmissionParameters, arguments: Namespace
) -> list[Link]:
    """Return what the members of the groups at *uris* offer, each endpoint once.

    Raises:
      CommandFailure: if nobody answers.
    """
    watcher = TracePrinter() if arguments.verbose else None
    found: dict[Endpoint, tuple[Link, ...]] = {}
    patience = _patience(arguments)
    async with open_watched_endpoint(watcher, parameters=parameters) as endpoint, trio.open_nursery() as nursery:
        client = Client(endpoint)
        for uri in uris:
            nursery.start_soon(_discover_one, client, uri, filters, patience, found)
    if not found:
        raise CommandFailure(_nobody(" and ".join(uris), patience))
    return [link for links in found.values() for link in links]


async def _discover_one(
    client: Client, uri: str, filters: dict[str, Filter], patience: float, found: dict[Endpoint, tuple[Link, ...]]
) -> None:
    """Collect what the members of one group offer; there may be no IPv6, for instance, which is said."""
    request = client.multicast(Code.GET, find_core(uri, None, filters), accept=LINK_FORMAT)

    async def collect() -> None:
        while True:
            response = await _receive(request)
            member = response.source_endpoint
            if isinstance(member, Endpoint) and member not in found:
                found[member] = _links(response, member, filters)

    try:
        with trio.move_on_after(patience):
            async with request, trio.open_nursery() as nursery:
                for _ in range(MAX_COMPLETED_AT_ONCE):
                    nursery.start_soon(collect)
    except* CoapError as group:
        say(f"coap: {uri}: {printable(str(_first(group)), one_line=True)}")


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _links(response: Response, member: Endpoint, filters: dict[str, Filter]) -> tuple[Link, ...]:
    try:
        return read_links(response, find_core(member.uri, None, filters), write_filters(filters))
    except CoapError as exc:
        say(f"coap: {member.uri}: {printable(str(exc), one_line=True)}")
        return ()


async def _receive(request: GroupRequest) -> Response:
    """Return the next response of *request*; what goes wrong with one of them is said, and the others come."""
    while True:
        try:
            return await request.receive()
        except CoapError as exc:
            if request.responders == 0:
                raise
            say(f"coap: {printable(str(exc), one_line=True)}")


def _patience(arguments: Namespace) -> float:
    return PATIENCE if arguments.timeout is None else float(arguments.timeout)


def _source(response: Response) -> str:
    source = response.source_endpoint
    return "" if source is None else source.uri


def _nobody(whom: str, patience: float) -> str:
    return f"nobody in {whom} answered within {patience:g} s: allow more with --timeout, or ask a single host"
