"""``coap get`` and its sisters: one request, and its response."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import nullcontext

import attrs
import trio

from trio_coap.cli.describe import JsonValue, message_record, option_line, printable
from trio_coap.cli.inputs import Payload, read_options, read_payload
from trio_coap.cli.output import OutputFile, open_output_file
from trio_coap.cli.pretty import show_payload
from trio_coap.cli.problems import CommandFailure, UsageError, exit_status
from trio_coap.cli.progress import shown_progress
from trio_coap.cli.streams import say
from trio_coap.cli.target import is_group, read_uri
from trio_coap.cli.trace import TracePrinter, open_watched_endpoint
from trio_coap.cli.transfer import Plan, transfer
from trio_coap.client import Client, Progress
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS, TransmissionParameters
from trio_coap.wire.codes import Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Response
from trio_coap.wire.response_errors import error_for_response


def run_request(arguments: Namespace) -> int:
    """Send the request that *arguments* stand for, show the response, and return the exit status."""
    plan = make_plan(arguments, may_be_group=True)
    if is_group(plan.uri):
        # That module shows responses as this one does.
        from trio_coap.cli.group import run_group_request

        return run_group_request(plan, arguments)
    watcher = TracePrinter() if arguments.verbose else None
    with open_output_file(arguments.output) as output:
        response, elapsed = trio.run(_exchange, plan, watcher, output)
        show(response, {"uri": plan.uri.unparse(), "elapsed": round(elapsed, 6)}, arguments)
        if has_payload(response) and output is not None:
            output.write(response.payload)  # Of an error; that of a success is there already.
        elif has_payload(response) and not arguments.jsonl:
            print_payload(response)
    return exit_status(response.code)


def make_plan(arguments: Namespace, *, may_be_group: bool = False) -> Plan:
    """Return what *arguments* ask for, of a host or also of a group.

    Raises:
      UsageError: if that makes no sense.
      LocalProtocolError: likewise.
    """
    uri = read_uri(arguments.uri, may_be_group=may_be_group)
    payload = Payload() if arguments.method in (Code.GET, Code.DELETE) else read_payload(arguments)
    options = read_options(arguments.option, accept=arguments.accept, content_format=payload.content_format)
    parameters = transmission_parameters(arguments)
    deadline = float("inf")
    if arguments.timeout is not None:
        deadline = arguments.timeout
    elif arguments.non:
        # Nothing is acknowledged, so nothing but time tells that there will be no answer.
        deadline = parameters.max_transmit_wait
    block_size: int | None = arguments.block_size
    return Plan(arguments.method, uri, payload, options, not arguments.non, parameters, deadline, block_size)


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


async def _exchange(plan: Plan, watcher: TracePrinter | None, output: OutputFile | None) -> tuple[Response, float]:
    progress = Progress()
    # Lines of a trace and a bar do not go together; the trace says all of it.
    shown = shown_progress(progress) if watcher is None else nullcontext()
    with trio.move_on_after(plan.deadline):
        async with open_watched_endpoint(watcher) as endpoint, shown:
            started_at = trio.current_time()
            response = await transfer(Client(endpoint), plan, output, progress)
            return response, trio.current_time() - started_at
    raise CommandFailure(
        f"no response from coap://{plan.uri.authority} within {plan.deadline:g} s: allow more with --timeout, "
        "or watch what happens with -v"
    )


def show(response: Response, about: dict[str, JsonValue], arguments: Namespace) -> None:
    """Show everything but the payload: code and options on standard error, a record on standard output.

    Args:
      response: what has come.
      about: the first members of the record.
      arguments: say what is wanted.
    """
    if not response.code.is_success:
        # Section 5.5.2: without a format, the payload of an error is a text for people.
        said = response.text if _is_diagnostic(response) else str(error_for_response(response).problem or "")
        say(f"coap: {response.code}{': ' if said else ''}{printable(said, one_line=True)}")
    elif arguments.include or (not response.payload and sys.stdout.isatty() and arguments.output is None):
        say(str(response.code))
    if arguments.include:
        for number, value in response.options:
            say(option_line(number, value))
    if arguments.jsonl:
        record = {**about, **message_record(response)}
        if arguments.output is not None and response.code.is_success:
            del record["payload" if "payload" in record else "payload_hex"]  # It is in the file.
        print(json.dumps(record), flush=True)


def has_payload(response: Response) -> bool:
    """Return whether *response* has a payload that is no diagnostic."""
    return bool(response.payload) and not _is_diagnostic(response)


def _is_diagnostic(response: Response) -> bool:
    return not response.code.is_success and response.options.content_format is None


def print_payload(response: Response) -> None:
    """Put the payload of *response* on standard output: as it is, or at a terminal for people."""
    if sys.stdout.isatty():
        show_payload(response.payload, response.options.content_format)
    else:
        sys.stdout.buffer.write(response.payload)
        sys.stdout.buffer.flush()
