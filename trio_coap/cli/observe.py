"""``coap observe``: each state of a resource as it comes (:rfc:`7641`).

=====================================================  ===============================================
what ends it                                           what is said, and the exit status
=====================================================  ===============================================
``--count`` or ``--for``                               nothing; 0, or 1 if there was no response
Ctrl-C, SIGTERM, SIGHUP                                nothing; 0, or 130 if there was no response
whoever read standard output goes                      nothing; 1
the server, with an error                              the error; 4 or 5
the server, with a response without Observe            a sentence; 0
no answer, a Reset                                     a sentence; 1
=====================================================  ===============================================

Rule 1: whatever ends it on our side, the server is told.  Rule 2: standard output that does not flow holds nothing up: the
newest state wins, and those that were left out are counted.
"""

from __future__ import annotations

import math
import os
import stat
import sys
import time
from argparse import Namespace
from typing import final

import attrs
import trio

from trio_coap.cli.describe import JsonValue
from trio_coap.cli.output import OutputFile, open_output_file
from trio_coap.cli.pretty import payload_text, show_payload
from trio_coap.cli.problems import INTERRUPTED, SUCCESS, CommandFailure, exit_status
from trio_coap.cli.request import has_payload, make_plan, show
from trio_coap.cli.signals import Ending, watch_signals
from trio_coap.cli.streams import say
from trio_coap.cli.trace import TracePrinter, open_watched_endpoint
from trio_coap.cli.transfer import Plan
from trio_coap.client import Client, Observation, Progress
from trio_coap.transports.driver import DrivenEndpoint, raise_single
from trio_coap.wire.contentformats import LINK_FORMAT
from trio_coap.wire.message import Response

GOODBYE_SECONDS = 0.8
"""How long telling the server may take, in seconds: the verb ends within a second, whether or not it is told."""

PIPE_PIECE = 4096
"""Octets that a pipe takes at once when it takes any (PIPE_BUF on Linux)."""


@final
@attrs.define(eq=False)
class Watch:
    """An observation at the command line."""

    plan: Plan
    arguments: Namespace
    output: OutputFile | None
    ending: Ending = attrs.Factory(Ending)
    states: int = 0
    """Responses that have come."""
    last: Response | None = None
    started_at: float = 0.0
    is_reader_gone: bool = False
    """True once nobody reads standard output any more."""


def run_observe(arguments: Namespace) -> int:
    """Observe what *arguments* ask for, until something ends it, and return the exit status."""
    plan = make_plan(arguments)
    with open_output_file(arguments.output) as output:
        watch = Watch(plan, arguments, output)
        trio.run(_run, watch)
    if watch.last is not None:
        return exit_status(watch.last.code)
    return INTERRUPTED if watch.ending.was_asked else SUCCESS


async def _run(watch: Watch) -> None:
    watcher = TracePrinter() if watch.arguments.verbose else None
    try:
        async with open_watched_endpoint(watcher) as endpoint, trio.open_nursery() as nursery:
            duration = math.inf if watch.arguments.duration is None else watch.arguments.duration
            with trio.move_on_after(duration) as scope:
                await nursery.start(watch_signals, watch.ending, scope, endpoint.close)
                nursery.start_soon(_watch_reader, watch, scope)
                await _observe(watch, endpoint, nursery)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise_single(group)
    if watch.is_reader_gone:
        raise BrokenPipeError("nobody reads standard output")
    if watch.last is None and not watch.ending.was_asked:
        raise CommandFailure(
            f"no response from coap://{watch.plan.uri.authority} within {duration:g} s: allow more with --for, "
            "or watch what happens with -v"
        )


async def _observe(watch: Watch, endpoint: DrivenEndpoint, nursery: trio.Nursery) -> None:
    client, plan = Client(endpoint), watch.plan
    watch.started_at = trio.current_time()
    goodbye = trio.CancelScope(shield=True)
    with trio.CancelScope(deadline=watch.started_at + plan.deadline) as patience:
        try:
            async with client.observe(plan.uri.unparse(), **plan.arguments(Progress())) as observation:
                try:
                    await _follow(watch, observation, patience)
                finally:
                    nursery.start_soon(_hurry, goodbye, endpoint)
        finally:
            goodbye.cancel()
    if watch.last is None and patience.cancelled_caught:
        raise CommandFailure(
            f"no response from coap://{plan.uri.authority} within {plan.deadline:g} s: allow more with --timeout, "
            "or watch what happens with -v"
        )


async def _follow(watch: Watch, observation: Observation, patience: trio.CancelScope) -> None:
    """Show the states of *observation* as long as they are wanted; the first one ends the *patience*."""
    count = math.inf if watch.arguments.count is None else watch.arguments.count
    async for response in observation:
        patience.deadline = math.inf
        await _show_state(watch, response)
        if watch.states >= count:
            break
    else:
        _say_why(watch)
    if observation.skipped:
        say(f"coap: {observation.skipped} states were left out, as newer ones had come")


async def _hurry(goodbye: trio.CancelScope, endpoint: DrivenEndpoint) -> None:
    """Close *endpoint* if the *goodbye* takes too long."""
    with goodbye:
        await trio.sleep(GOODBYE_SECONDS)
        endpoint.close()


def _say_why(watch: Watch) -> None:
    """Say that the server has ended it, or did not begin."""
    if watch.last is None or not watch.last.code.is_success:
        return  # The error has been shown.
    if watch.states == 1:
        say("coap: the server does not let this be observed, now at least: that was a plain response")
    else:
        say("coap: the server has ended the observation")


async def _show_state(watch: Watch, response: Response) -> None:
    watch.states += 1
    watch.last = response
    about: dict[str, JsonValue] = {
        "uri": watch.plan.uri.unparse(),
        "elapsed": round(trio.current_time() - watch.started_at, 6),
        "observe": response.options.observe,
    }
    if watch.arguments.jsonl:
        await _wait_until_read()
    show(response, about, watch.arguments)
    if watch.output is not None:
        if response.code.is_success or has_payload(response):
            watch.output.write(response.payload)
    elif not watch.arguments.jsonl and (response.code.is_success or has_payload(response)):
        await _print_state(response)


async def _print_state(response: Response) -> None:
    payload, content_format = response.payload, response.options.content_format
    if sys.stdout.isatty():
        await _wait_until_read()
        text = payload_text(payload, content_format)[0]
        is_short = content_format != LINK_FORMAT and "\n" not in text.removesuffix("\n")
        print(time.strftime("%H:%M:%S"), end="  " if is_short else "\n")
        show_payload(payload, content_format)
        return
    line = payload if payload.endswith(b"\n") else payload + b"\n"
    pipe = _flowing()
    if pipe is None:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    for start in range(0, len(line), PIPE_PIECE):
        await trio.lowlevel.wait_writable(pipe)
        os.write(pipe, line[start : start + PIPE_PIECE])


async def _wait_until_read() -> None:
    """Wait until standard output takes more."""
    pipe = _flowing()
    if pipe is not None:
        await trio.lowlevel.wait_writable(pipe)


def _flowing() -> int | None:
    """Return the descriptor of standard output if it is a pipe or a terminal, where a reader may be slow."""
    try:
        descriptor = sys.stdout.fileno()
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError):
        return None  # A test's, say.
    return descriptor if stat.S_ISFIFO(mode) or os.isatty(descriptor) else None


async def _watch_reader(watch: Watch, scope: trio.CancelScope) -> None:
    """End when whoever reads the pipe goes: the next state may be long in coming."""
    pipe = _flowing()
    if pipe is None or os.isatty(pipe):
        return
    # The writing end of a pipe has nothing to read, ever: what wakes us is that the other end is closed.
    await trio.lowlevel.wait_readable(pipe)
    watch.is_reader_gone = True
    scope.cancel()
