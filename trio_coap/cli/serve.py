"""``coap serve``: the files of a directory, for whoever asks.

Rule: it says where it listens when it does, and ends well when somebody ends it.
"""

from __future__ import annotations

import errno
import time
from argparse import Namespace
from functools import partial

import attrs
import trio

from trio_coap.cli.describe import request_path
from trio_coap.cli.files import FileHandler
from trio_coap.cli.problems import SUCCESS, CommandFailure, UsageError
from trio_coap.cli.signals import Ending, watch_signals
from trio_coap.cli.streams import say
from trio_coap.cli.tree import Tree
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.server import BlockLimits, serve
from trio_coap.transports.driver import raise_single, run_endpoint
from trio_coap.transports.udp.endpoint import SocketEndpoint
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request


def run_serve(arguments: Namespace) -> int:
    """Serve the directory that *arguments* name until a signal comes, and return the exit status."""
    host, port = arguments.bind
    try:
        tree = Tree(arguments.directory)
    except OSError as exc:
        raise UsageError(f"the directory {arguments.directory!r} cannot be served: {exc.strerror}") from exc
    try:
        handler = FileHandler(
            tree,
            may_write=arguments.write,
            max_body=arguments.max_body,
            log=_say_request if arguments.verbose else None,
        )
        trio.run(_run, handler, host or "::", port, arguments)
    finally:
        tree.close()
    return SUCCESS


async def _run(handler: FileHandler, host: str, port: int, arguments: Namespace) -> None:
    # A file of the largest size may be on its way from everybody who writes; none of them is held in memory.
    limits = attrs.evolve(BlockLimits(), max_body=arguments.max_body)
    try:
        endpoint = await _bind(host, port)
        async with run_endpoint(endpoint), trio.open_nursery() as nursery:
            await nursery.start(watch_signals, Ending(), nursery.cancel_scope, endpoint.close)
            nursery.start_soon(handler.watching.run)
            server = await nursery.start(partial(serve, handler, endpoint=endpoint, block_limits=limits))
            print(f"listening on {server.uri}", flush=True)
    except BaseExceptionGroup as group:
        raise_single(group)


async def _bind(host: str, port: int) -> SocketEndpoint:
    """Return an endpoint at the first address that *host* stands for.

    Raises:
      CommandFailure: if it is not to be had.
    """
    address, *_ = await Endpoint.resolve(host, port)
    try:
        return SocketEndpoint.create_bound_endpoint(sockaddr=address.sockaddr)
    except OSError as exc:
        reasons = {
            errno.EADDRINUSE: "somebody listens there already: choose another port, or --bind :0 for one that is free",
            errno.EADDRNOTAVAIL: "this host does not have that address: --bind :5683 listens on all that it has",
            errno.EACCES: "that port is for the administrator: choose one above 1023",
        }
        reason = reasons.get(exc.errno or 0, exc.strerror or str(exc))
        raise CommandFailure(f"listening on {address.hostinfo} is not possible, as {reason}") from exc


def _say_request(request: Request, code: Code) -> None:
    remote = request.source_endpoint
    whence = remote.hostinfo if isinstance(remote, Endpoint) else ""
    name = request.code.name or request.code.dotted
    say(f"{time.strftime('%H:%M:%S')} {whence} {name} {request_path(request)}: {code}")
