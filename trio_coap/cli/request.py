"""``coap get`` and its sisters: one request, and its response."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

import attrs
import trio

from trio_coap.cli.describe import message_record, option_line, printable
from trio_coap.cli.inputs import Payload, read_options, read_payload
from trio_coap.cli.output import OutputFile, open_output_file
from trio_coap.cli.pretty import show_payload
from trio_coap.cli.problems import CommandFailure, UsageError, exit_status
from trio_coap.cli.streams import say
from trio_coap.cli.target import read_uri
from trio_coap.cli.trace import TracePrinter, open_watched_endpoint
from trio_coap.client import Client
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS, TransmissionParameters
from trio_coap.wire.codes import Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Response
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import error_for_response
from trio_coap.wire.uri import CoapUri


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


def run_request(arguments: Namespace) -> int:
    """Send the request that *arguments* stand for, show the response, and return the exit status."""
    plan = make_plan(arguments)
    watcher = TracePrinter() if arguments.verbose else None
    with open_output_file(arguments.output) as output:
        response, elapsed = trio.run(_exchange, plan, watcher)
        _show(response, elapsed, plan, arguments, output)
    return exit_status(response.code)


def make_plan(arguments: Namespace) -> Plan:
    """Return what *arguments* ask for.

    Raises:
      UsageError: if that makes no sense.
      LocalProtocolError: likewise.
    """
    uri = read_uri(arguments.uri)
    payload = Payload() if arguments.method in (Code.GET, Code.DELETE) else read_payload(arguments)
    options = read_options(arguments.option, accept=arguments.accept, content_format=payload.content_format)
    parameters = transmission_parameters(arguments)
    deadline = float("inf")
    if arguments.timeout is not None:
        deadline = arguments.timeout
    elif arguments.non:
        # Nothing is acknowledged, so nothing but time tells that there will be no answer.
        deadline = parameters.max_transmit_wait
    return Plan(arguments.method, uri, payload, options, not arguments.non, parameters, deadline)


def transmission_parameters(arguments: Namespace) -> TransmissionParameters:
    """Return the transmission parameters with what ``--ack-timeout`` and ``--max-retransmit`` change.

    Raises:
      UsageError: if they are out of range.
    """
    parameters = DEFAULT_PARAMETERS
    ack_timeout = arguments.ack_timeout if arguments.ack_timeout is not None else parameters.ack_timeout
    max_retransmit = arguments.max_retransmit if arguments.max_retransmit is not None else parameters.max_retransmit
    try:
        return attrs.evolve(
            parameters,
            ack_timeout=ack_timeout,
            max_retransmit=max_retransmit,
            # Ours to answer with, and bound to be shorter.
            empty_ack_delay=max(0.0, min(parameters.empty_ack_delay, ack_timeout / 2)),
        )
    except LocalProtocolError as exc:
        raise UsageError(str(exc)) from exc


async def _exchange(plan: Plan, watcher: TracePrinter | None) -> tuple[Response, float]:
    with trio.move_on_after(plan.deadline):
        async with open_watched_endpoint(watcher) as endpoint:
            client = Client(endpoint)
            started_at = trio.current_time()
            response = await client.exchange(
                plan.code,
                plan.uri.unparse(),
                plan.payload.value,
                confirmable=plan.is_confirmable,
                parameters=plan.parameters,
                options=plan.options,
            )
            return response, trio.current_time() - started_at
    raise CommandFailure(
        f"no response from coap://{plan.uri.authority} within {plan.deadline:g} s: allow more with --timeout, "
        "or watch what happens with -v"
    )


def _show(response: Response, elapsed: float, plan: Plan, arguments: Namespace, output: OutputFile | None) -> None:
    content_format = response.options.content_format
    is_diagnostic = not response.code.is_success and content_format is None
    if not response.code.is_success:
        # Section 5.5.2: without a format, the payload of an error is a text for people.
        said = response.text if is_diagnostic else str(error_for_response(response).problem or "")
        say(f"coap: {response.code}{': ' if said else ''}{printable(said, one_line=True)}")
    elif arguments.include or (not response.payload and sys.stdout.isatty()):
        say(str(response.code))
    if arguments.include:
        for number, value in response.options:
            say(option_line(number, value))
    if arguments.jsonl:
        record = {"uri": plan.uri.unparse(), "elapsed": round(elapsed, 6), **message_record(response)}
        print(json.dumps(record), flush=True)
    if response.code.is_success or (response.payload and not is_diagnostic):
        _deliver(response, arguments, output)


def _deliver(response: Response, arguments: Namespace, output: OutputFile | None) -> None:
    """Put the payload where it is to go."""
    if output is not None:
        output.write(response.payload)
    elif arguments.jsonl or not response.payload:
        return
    elif sys.stdout.isatty():
        show_payload(response.payload, response.options.content_format)
    else:
        sys.stdout.buffer.write(response.payload)
        sys.stdout.buffer.flush()
