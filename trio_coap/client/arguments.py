"""The arguments that all requests share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, cast

from trio_coap.client.transfer import MAX_BODY, Progress
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.wire.block import Block
from trio_coap.wire.message import EndpointAddress
from trio_coap.wire.options import OptionInput, Options


class RequestArguments(TypedDict, total=False):
    """Keyword arguments of a request: how it is sent, and its options by name.

    Options of the application's own may be given by name too, or, where a type checker looks on, in *options*.
    """

    confirmable: bool
    """True by default; False sends a Non-confirmable request, which is not repeated: without an answer it waits until
    the caller's cancel scope ends it."""

    parameters: TransmissionParameters | None
    """Transmission parameters for this request; by default the endpoint's."""

    remote: EndpointAddress | None
    """Where to send the request (a proxy, say, or a peer that contacted us), whatever the URI's host is."""

    options: Options
    """Options in addition to those of the URI; those given by name replace them."""

    uri_host: str | None
    uri_port: int | None
    uri_query: Sequence[str] | None
    if_match: Sequence[bytes] | None
    etag: bytes | Sequence[bytes] | None
    if_none_match: bool | None
    observe: int | None
    content_format: int | None
    accept: int | None
    hop_limit: int | None
    block1: Block | None
    block2: Block | None
    size1: int | None
    size2: int | None
    proxy_uri: str | None
    proxy_scheme: str | None
    echo: bytes | None
    no_response: int | None
    request_tag: Sequence[bytes] | None


class TransferArguments(RequestArguments, total=False):
    """Keyword arguments of a request whose bodies may go in blocks (:rfc:`7959`)."""

    block_size: int | None
    """The largest block in either direction, in octets: 16, 32, ... 1024.  By default 1024 up, and whatever the server
    likes down; a size that is given is asked for from the start (early negotiation)."""

    max_body: int
    """Octets of the response's body that are put together; more is :exc:`BodyTooLarge`.  By default :data:`MAX_BODY`."""

    progress: Progress
    """Is kept up to date, both ways."""


def split_transfer_arguments(
    arguments: TransferArguments,
) -> tuple[int | None, int, Progress | None, RequestArguments]:
    """Return block size, largest response body, progress, and the arguments that are left.

    Raises:
      LocalProtocolError: if there are no blocks of that size.
    """
    if not arguments:
        return None, MAX_BODY, None, {}
    block_size = arguments.get("block_size")
    if block_size is not None:
        Block.of(0, False, block_size)
    rest = dict(arguments)
    for name in ("block_size", "max_body", "progress"):
        rest.pop(name, None)
    # What is left has no other keys.
    left = cast(RequestArguments, rest)
    return block_size, arguments.get("max_body", MAX_BODY), arguments.get("progress"), left


def split_arguments(
    arguments: RequestArguments,
) -> tuple[bool, TransmissionParameters | None, EndpointAddress | None, Options]:
    """Return confirmable, parameters, remote, and all options that *arguments* give.

    Raises:
      LocalProtocolError: if an option does not fit.
    """
    if not arguments:
        return _PLAIN
    by_name: dict[str, OptionInput] = dict(arguments)  # type: ignore[arg-type]
    for name in ("confirmable", "parameters", "remote", "options"):
        by_name.pop(name, None)
    options = arguments.get("options", _NO_OPTIONS)
    if by_name:
        options = options.replace(**by_name)
    return arguments.get("confirmable", True), arguments.get("parameters"), arguments.get("remote"), options


_NO_OPTIONS = Options()
_PLAIN = True, None, None, _NO_OPTIONS
"""What it means that there are no arguments."""
