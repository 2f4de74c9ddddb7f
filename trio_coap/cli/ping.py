"""``coap ping``: is somebody there, and how far away (:rfc:`7252` section 4.3)?

Rule: one ping is one datagram, as loss is what is asked for; ``--max-retransmit`` changes that.
"""

from __future__ import annotations

import json
from argparse import Namespace
from typing import final

import attrs
import trio

from trio_coap.cli.explanations import explain
from trio_coap.cli.problems import FAILURE, SUCCESS, CommandFailure
from trio_coap.cli.request import transmission_parameters
from trio_coap.cli.streams import say
from trio_coap.cli.target import read_uri
from trio_coap.cli.trace import TracePrinter, open_watched_endpoint
from trio_coap.client import Client
from trio_coap.messaging.errors import DeliveryError, TransmissionTimeout
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.uri import CoapUri


@final
@attrs.define
class Tally:
    """What came of the pings so far."""

    sent: int = 0
    round_trips: list[float] = attrs.Factory(list)
    """In seconds."""

    def describe(self) -> str:
        """Return the result in words."""
        answered = len(self.round_trips)
        lost = 100 * (self.sent - answered) / self.sent if self.sent else 0.0
        text = f"{self.sent} {'ping' if self.sent == 1 else 'pings'}, {answered} answered, {lost:.0f} % lost"
        if not answered:
            return text
        shortest, longest = min(self.round_trips), max(self.round_trips)
        mean = sum(self.round_trips) / answered
        return f"{text}; round trip min/avg/max {_ms(shortest)}/{_ms(mean)}/{_ms(longest)} ms"


def run_ping(arguments: Namespace) -> int:
    """Ping as *arguments* say and return the exit status: 0 if anybody answered."""
    uri = read_uri(arguments.uri)
    parameters = transmission_parameters(arguments)
    tally = Tally()
    try:
        trio.run(_ping_all, uri, parameters, arguments, tally)
    finally:
        # After Ctrl-C too: what is known by then is what was asked for.
        if tally.sent:
            (say if arguments.jsonl else print)(tally.describe())
    return SUCCESS if tally.round_trips else FAILURE


async def _ping_all(uri: CoapUri, parameters: TransmissionParameters, arguments: Namespace, tally: Tally) -> None:
    watcher = TracePrinter() if arguments.verbose else None
    deadline = float("inf") if arguments.timeout is None else arguments.timeout
    with trio.move_on_after(deadline) as scope:
        async with open_watched_endpoint(watcher, parameters=parameters) as endpoint:
            client = Client(endpoint)
            for number in range(1, arguments.count + 1):
                if number > 1:
                    await trio.sleep(arguments.interval)
                await _ping_once(client, uri, number, arguments, tally)
    if scope.cancelled_caught and not tally.round_trips:
        raise CommandFailure(f"nobody answered at coap://{uri.authority} within {deadline:g} s: check the address")


async def _ping_once(client: Client, uri: CoapUri, number: int, arguments: Namespace, tally: Tally) -> None:
    round_trip: float | None = None
    failure = ""
    tally.sent += 1
    try:
        round_trip = await client.ping(uri.unparse())
    except TransmissionTimeout as exc:
        failure = f"no answer within {exc.elapsed:.3g} s"
    except DeliveryError as exc:
        explained = explain(exc)
        failure = explained[0] if explained else str(exc)
    except (LocalProtocolError, OSError):
        tally.sent -= 1  # It never got as far as the network.
        raise
    if round_trip is not None:
        tally.round_trips.append(round_trip)
    if arguments.jsonl:
        record = {"uri": uri.unparse(), "number": number, "round_trip": round_trip, "error": failure or None}
        print(json.dumps(record), flush=True)
    elif round_trip is None:
        print(f"{number}: {failure}", flush=True)
    else:
        print(f"{number}: answer from coap://{uri.authority} after {_ms(round_trip)} ms", flush=True)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"
