"""``coap discover``: what a server offers, or who answers in a group (:rfc:`6690`, :rfc:`7252` section 7.2).

Rule: at a terminal it is a table for people; otherwise each link is a line, as a server would write it, or a record.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence

import trio

from trio_coap.cli.describe import JsonValue, printable
from trio_coap.cli.group import discover_group
from trio_coap.cli.pretty import show_links
from trio_coap.cli.problems import SUCCESS, CommandFailure
from trio_coap.cli.request import transmission_parameters
from trio_coap.cli.streams import say
from trio_coap.cli.target import is_group, read_uri
from trio_coap.cli.trace import TracePrinter, open_watched_endpoint
from trio_coap.client import Client
from trio_coap.client.discovery import Filter
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.transports.udp.groups import ALL_COAP_NODES
from trio_coap.wire.linkformat import Link, LinkError, format_links
from trio_coap.wire.uri import CoapUri

_FILTERS = ("rt", "if_", "ct", "href", "title")


def run_discover(arguments: Namespace) -> int:
    """List what the server that *arguments* name offers, and return the exit status."""
    filters: dict[str, Filter] = {
        name: getattr(arguments, name) for name in _FILTERS if getattr(arguments, name) is not None
    }
    parameters = transmission_parameters(arguments)
    uri = read_uri(arguments.uri, may_be_group=True) if arguments.uri else None
    if uri is None or is_group(uri):
        uris = [uri.unparse()] if uri is not None else [Endpoint(host=group).uri for group in ALL_COAP_NODES]
        whom = "who answered"
        links: Sequence[Link] = trio.run(discover_group, uris, filters, parameters, arguments)
    else:
        whom = f"coap://{uri.authority}"
        links = trio.run(_discover, uri, filters, parameters, arguments)
    if arguments.jsonl:
        for link in links:
            print(json.dumps(_record(link)), flush=True)
    elif not links:
        say(f"coap: {whom} offers nothing{' of that kind' if filters else ''}")
    elif sys.stdout.isatty():
        show_links(links)
    else:
        for link in links:
            print(_line(link), flush=True)
    return SUCCESS


async def _discover(
    uri: CoapUri, filters: dict[str, Filter], parameters: TransmissionParameters, arguments: Namespace
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
