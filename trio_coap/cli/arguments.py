"""What verbs of the command have in common: their options, and how their words are read.

Rule: a word that does not fit is answered with one sentence.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

from trio_coap.cli.problems import UsageError
from trio_coap.wire.patterns import lazy_pattern

BLOCK_SIZES = (16, 32, 64, 128, 256, 512, 1024)
"""What blocks there are, in octets (:rfc:`7959` section 2.2)."""


_ADDRESS = lazy_pattern(r"(?:\[(?P<literal>[^][]+)\]|(?P<name>[^][:]*))(?::(?P<port>[0-9]{1,5}))?")


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of printing a page and ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise the sentence for *message*."""
        raise UsageError(f"{message}; '{self.prog} --help' shows what can be written")


Verbs = argparse._SubParsersAction


def add_verb(verbs: Verbs[Parser], name: str, what: str, epilog: str) -> Parser:
    """Add a verb and return its parser; *what* it does is said in the list of verbs, and in its own help."""
    return verbs.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_payload(verb: Parser) -> None:
    """Add the options of what is sent."""
    group = verb.add_argument_group("payload")
    one_of = group.add_mutually_exclusive_group()
    one_of.add_argument(
        "-d", "--data", metavar="TEXT|@FILE|@-", help="a text, what is in a file, or what comes from standard input"
    )
    one_of.add_argument("--hex", metavar="HEX", help="octets in hexadecimal; spaces and colons do not matter")
    one_of.add_argument(
        "--json", metavar="JSON|@FILE|@-", help="a value in JSON; sent as JSON, or with -f cbor as CBOR (extra: cbor)"
    )
    group.add_argument(
        "-f",
        "--format",
        metavar="FORMAT",
        type=content_format,
        help="the content format of the payload, by name (json, cbor, text/plain) or number; a text is text/plain",
    )
    verb.set_defaults(takes_payload=True)


def add_request(verb: Parser) -> None:
    """Add the options of a request."""
    group = verb.add_argument_group("request")
    group.add_argument(
        "-a", "--accept", metavar="FORMAT", type=content_format, help="the content format wanted, by name or number"
    )
    group.add_argument(
        "-o",
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="any other option, by name or number; repeatable; octets as 0x0102, others are taken as text",
    )
    group.add_argument(
        "--non", action="store_true", help="send the request Non-confirmable: once, without repeating it"
    )


def add_output(verb: Parser, jsonl: str = "print the response as one record in JSON") -> None:
    """Add the options of what is shown, and where."""
    group = verb.add_argument_group("output")
    group.add_argument("-O", "--output", metavar="FILE", help="write the payload to FILE as it is")
    group.add_argument("-i", "--include", action="store_true", help="show code and options on standard error")
    add_verbose(group)
    add_jsonl(group, jsonl)


def add_transmission(verb: Parser, timeout: str) -> None:
    """Add the options of how messages are sent; *timeout* says what ``--timeout`` does."""
    group = verb.add_argument_group("transmission")
    add_timeout(group, timeout)
    add_ack_timeout(group)
    add_max_retransmit(group)
    add_block_size(group)


def add_verbose(group: argparse._ActionsContainer) -> None:
    """Add ``--verbose``."""
    group.add_argument(
        "-v", "--verbose", action="store_true", help="say on standard error what goes over the wire, and when"
    )


def add_jsonl(group: argparse._ActionsContainer, what: str) -> None:
    """Add ``--jsonl``."""
    group.add_argument("--jsonl", action="store_true", help=f"{what}, on standard output")


def add_timeout(group: argparse._ActionsContainer, what: str) -> None:
    """Add ``--timeout``."""
    group.add_argument("--timeout", metavar="SECONDS", type=number(float, 0), help=what)


def add_ack_timeout(group: argparse._ActionsContainer) -> None:
    """Add ``--ack-timeout``."""
    group.add_argument(
        "--ack-timeout",
        metavar="SECONDS",
        type=number(float, 0.001, 3600),
        help="how long to wait, at the least, before the first repetition (2)",
    )


def add_max_retransmit(group: argparse._ActionsContainer) -> None:
    """Add ``--max-retransmit``."""
    group.add_argument(
        "--max-retransmit", metavar="NUMBER", type=number(int, 0, 20), help="how often to repeat the message (4)"
    )


def add_block_size(group: argparse._ActionsContainer) -> None:
    """Add ``--block-size``."""
    group.add_argument(
        "--block-size",
        metavar="OCTETS",
        type=block_size,
        help="the largest block of a body that goes in blocks: 16, 32, 64, ... 1024; by default 1024 up, and what the "
        "server likes down",
    )


def block_size(text: str) -> int:
    """Read the size of a block."""
    if text in map(str, BLOCK_SIZES):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no block size: write one of {', '.join(map(str, BLOCK_SIZES))}")


def address(text: str) -> tuple[str | None, int]:
    """Read ``HOST:PORT``, ``[HOST]:PORT``, one of them, or ``:PORT``; no host means all addresses."""
    from trio_coap.messaging.endpoint import COAP_PORT

    match = _ADDRESS.fullmatch(text)
    port = COAP_PORT if match is None or match["port"] is None else int(match["port"])
    # Digits alone are a port that lacks its colon, more likely than a host.
    if match is None or not text or text.isdigit() or port > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no address to listen on: write :5683, 127.0.0.1:5683 or [::1]:0")
    return match["literal"] or match["name"] or None, port


def content_format(text: str) -> int:
    """Read a content format, by name or number."""
    from trio_coap.wire.contentformats import content_format_of
    from trio_coap.wire.errors import CoapError

    try:
        return content_format_of(text)
    except CoapError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def number(kind: Callable[[str], float], lowest: float, highest: float = math.inf) -> Callable[[str], float]:
    """Return a reader of numbers from *lowest* to *highest*."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if lowest <= value <= highest and value < math.inf:
            return value
        what = "a whole number" if kind is int else "a number"
        limits = f"from {lowest:g}" + (f" to {highest:g}" if highest < math.inf else " up")
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} {limits}")

    return read
