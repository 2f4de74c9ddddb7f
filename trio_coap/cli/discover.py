"""``coap discover``: what a server offers (:rfc:`6690`, :rfc:`7252` section 7.2).

Rule: at a terminal it is a table for people; otherwise each link is a line, as a server would write it, or a record.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence

import trio

from trio_coap.cli.describe import JsonValue, printable
from trio_coap.cli.pretty import show_links
from trio_coap.cli.problems import SUCCESS, CommandFailure, UsageError
from trio_coap.cli.request import transmission_parameters
from trio_coap.cli.streams import say
from trio_coap.cli.target import read_uri
from trio_coap.cli.trace import TracePrinter, open_watched_endpoint
from trio_coap.client import Client
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.wire.linkformat import Link, LinkError, format_links
from trio_coap.wire.uri import CoapUri

_FILTERS = ("rt", "if_", "ct", "href", "title")


def run_discover(arguments: Namespace) -> int:
    """List what the server that *arguments* name offers, and return the exit status."""
    if not arguments.uri:
        raise UsageError(
            "whom to ask is missing: write coap discover HOST; asking everybody at once is not possible yet"
        )
    uri = read_uri(arguments.uri)
    filters = {name: getattr(arguments, name) for name in _FILTERS if getattr(arguments, name) is not None}
    links = trio.run(_discover, uri, filters, transmission_parameters(arguments), arguments)
    if arguments.jsonl:
        for link in links:
            print(json.dumps(_record(link)), flush=True)
    elif not links:
        say(f"coap: coap://{uri.authority} offers nothing{' of that kind' if filters else ''}")
    elif sys.stdout.isatty():
        show_links(links)
    else:
        for link in links:
            print(_line(link), flush=True)
    return SUCCESS


async def _discover(
    uri: CoapUri, filters: dict[str, str | int], parameters: TransmissionParameters, arguments: Namespace
) -> Sequence[Link]:
    watcher = TracePrinter() if arguments.verbose else None
    deadline = float("inf") if arguments.timeout is None else arguments.timeout
    with trio.move_on_after(deadline):
        async with open_watched_endpoint(watcher, parameters=parameters) as endpoint:
            return await Client(endpoint).discover(uri.unparse(), **filters)
    raise CommandFailure(
        f"no response from coap://{uri.authority} within {deadline:g} s: allow more with --timeout, "
        "or watch what happens with -v"
    )


def _line(link: Link) -> str:
    try:
        return printable(format_links([link]), one_line=True)
    except LinkError:
        # What was read may be more than the grammar has a place for.
        return printable(f"<{link.target}>", one_line=True)


def _record(link: Link) -> dict[str, JsonValue]:
    attributes: dict[str, JsonValue] = {
        name: [True if value is None else value for value in values] for name, values in link.attributes.items()
    }
    return {"uri": link.target, "attributes": attributes}
