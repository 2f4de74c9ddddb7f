"""The words of the command line: which there are, what they mean, and examples.

Rule: every option does something, and a word that does not fit is answered with one sentence.
"""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from trio_coap.cli.problems import UsageError
from trio_coap.wire.codes import Code
from trio_coap.wire.contentformats import content_format_of
from trio_coap.wire.errors import CoapError

EXIT_STATUSES = """\
exit status:
  0    the response's code is of class 2 (success)
  1    network failure or timeout; for decode, a malformed datagram
  2    the command was not called as it can be
  4    the response's code is of class 4 (client error)
  5    the response's code is of class 5 (server error)
  130  Ctrl-C
"""

_EXAMPLES = """\
examples:
  coap get localhost/.well-known/core
  coap get 'coap://[2001:db8::1]/sensors/temp?unit=K' -i
  coap put lamp.local/mode -d on
  coap post gateway.local/log --json '{"a": 1}' -f cbor --timeout 10
  coap ping 192.0.2.7 --count 10
  coap decode 44011a2bdeadbeefb474696d65
"""

_METHODS = (
    (Code.GET, "get", "retrieve a representation of a resource"),
    (Code.PUT, "put", "create or replace a resource"),
    (Code.POST, "post", "have a resource process a payload"),
    (Code.DELETE, "delete", "remove a resource"),
    (Code.FETCH, "fetch", "retrieve what a payload asks for (RFC 8132)"),
    (Code.PATCH, "patch", "change parts of a resource (RFC 8132)"),
    (Code.IPATCH, "ipatch", "change parts of a resource, idempotently (RFC 8132)"),
)

VERBS = (*(name for _, name, _ in _METHODS), "ping", "plugtest", "decode")

_WITHOUT_PAYLOAD = """\
examples:
  coap {name} localhost/time
  coap {name} 'coap://[fe80::1%25eth0]/time' --timeout 5
  coap {name} localhost/time -o Uri-Query=unit=s -o 65000=0x0102 -v
"""

_WITH_PAYLOAD = """\
examples:
  coap {name} localhost/lamp -d on
  coap {name} localhost/lamp -d @lamp.json -f json
  echo on | coap {name} localhost/lamp -d @-
  coap {name} localhost/lamp --json '{{"on": true}}' -f cbor -a cbor
  coap {name} localhost/lamp --hex a1626f6ef5 -f cbor -o If-Match=0x1a2b
"""

_PING = """\
examples:
  coap ping localhost
  coap ping 'coap://[2001:db8::1]:61616' --count 10 --interval 0.2
"""

_PLUGTEST = """\
examples:
  coap plugtest
  coap plugtest --bind 127.0.0.1:0
  coap plugtest --bind '[2001:db8::1]:5683' --period 1

Ctrl-C and SIGTERM end it, with status 0.
"""

_DECODE = """\
examples:
  coap decode 44011a2bdeadbeefb474696d65
  coap decode 44:01:1a:2b:de:ad:be:ef 62451a2b1234ff3231
  coap decode < datagrams.txt
"""


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of printing a page and ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise the sentence for *message*."""
        wrong_verb = re.match(r"argument VERB: invalid choice: '([^']*)'", message)
        if wrong_verb is not None:
            close = difflib.get_close_matches(wrong_verb[1], VERBS)
            hint = f"did you mean {' or '.join(close)}?" if close else f"write one of {', '.join(VERBS)}"
            raise UsageError(f"there is no verb {wrong_verb[1]!r}: {hint}")
        raise UsageError(f"{message}; '{self.prog} --help' shows what can be written")


def make_parser() -> Parser:
    """Return the parser of the whole command."""
    parser = Parser(
        prog="coap",
        description="Talk to devices with CoAP, the Constrained Application Protocol (RFC 7252).",
        epilog=f"{_EXAMPLES}\n{EXIT_STATUSES}\n'coap get --help' explains the options of get, and so on.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=Parser)
    for code, name, what in _METHODS:
        takes_payload = code not in (Code.GET, Code.DELETE)
        examples = (_WITH_PAYLOAD if takes_payload else _WITHOUT_PAYLOAD).format(name=name)
        verb = _add_verb(verbs, name, what, f"{examples}\n{EXIT_STATUSES}")
        verb.set_defaults(method=code)
        verb.add_argument("uri", metavar="URI", help="coap://host[:port]/path?query; without coap:// the same is meant")
        if takes_payload:
            _add_payload(verb)
        _add_request(verb)
        _add_output(verb)
        _add_transmission(verb)
    _add_ping(verbs)
    _add_plugtest(verbs)
    _add_decode(verbs)
    return parser


def read_words(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what *argv* says, by default the words that the process was started with.

    Raises:
      UsageError: if it cannot be understood.
      SystemExit: after ``--help``.
    """
    parser = make_parser()
    arguments, surplus = parser.parse_known_args(argv)
    if arguments.version:
        return arguments
    if arguments.verb is None:
        raise UsageError("a verb is missing: write coap get URI, or 'coap --help' to see what there is")
    if surplus:
        verb = f"coap {arguments.verb}"
        raise UsageError(f"{verb} does not know {surplus[0]!r}: '{verb} --help' shows what can be written")
    return arguments


Verbs = argparse._SubParsersAction


def _add_verb(verbs: Verbs[Parser], name: str, what: str, epilog: str) -> Parser:
    return verbs.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_payload(verb: Parser) -> None:
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
        type=_content_format,
        help="the content format of the payload, by name (json, cbor, text/plain) or number; a text is text/plain",
    )
    verb.set_defaults(takes_payload=True)


def _add_request(verb: Parser) -> None:
    group = verb.add_argument_group("request")
    group.add_argument(
        "-a", "--accept", metavar="FORMAT", type=_content_format, help="the content format wanted, by name or number"
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


def _add_output(verb: Parser) -> None:
    group = verb.add_argument_group("output")
    group.add_argument("-O", "--output", metavar="FILE", help="write the payload to FILE as it is")
    group.add_argument("-i", "--include", action="store_true", help="show code and options on standard error")
    _add_verbose(group)
    _add_jsonl(group, "print the response as one record in JSON")


def _add_transmission(verb: Parser) -> None:
    group = verb.add_argument_group("transmission")
    _add_timeout(
        group,
        "give up when that has passed; unless given, 93 s without an acknowledgement, or with --non without a response",
    )
    _add_ack_timeout(group)
    group.add_argument(
        "--max-retransmit", metavar="NUMBER", type=_number(int, 0, 20), help="how often to repeat the message (4)"
    )


def _add_ping(verbs: Verbs[Parser]) -> None:
    verb = _add_verb(
        verbs, "ping", "measure round-trip times and loss with empty messages", f"{_PING}\n{EXIT_STATUSES}"
    )
    verb.add_argument("uri", metavar="HOST", help="whom to ping: a host, host:port, or a URI")
    verb.add_argument("--count", metavar="NUMBER", type=_number(int, 1), default=4, help="how many pings to send (4)")
    verb.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_number(float, 0),
        default=1.0,
        help="from one answer to the next ping (1); some peers answer no more than four in a second",
    )
    _add_timeout(verb, "end when that has passed, whatever the count")
    _add_ack_timeout(verb)
    verb.add_argument(
        "--max-retransmit",
        metavar="NUMBER",
        type=_number(int, 0, 20),
        default=0,
        help="how often to repeat a ping before it counts as lost (0)",
    )
    _add_verbose(verb)
    _add_jsonl(verb, "print a record in JSON for each ping")


def _add_plugtest(verbs: Verbs[Parser]) -> None:
    what = "serve the resources of the ETSI CoAP plugtests, to test clients against"
    verb = _add_verb(verbs, "plugtest", what, f"{_PLUGTEST}\n{EXIT_STATUSES}")
    verb.add_argument(
        "--bind",
        metavar="[HOST]:PORT",
        type=_address,
        default=(None, 5683),
        help="where to listen (:5683, on all addresses); port 0 takes one that is free",
    )
    verb.add_argument(
        "--period",
        metavar="SECONDS",
        type=_number(float, 0.01, 86400),
        default=5.0,
        help="how often the observable resources change (5)",
    )


def _add_decode(verbs: Verbs[Parser]) -> None:
    verb = _add_verb(verbs, "decode", "explain datagrams field by field", f"{_DECODE}\n{EXIT_STATUSES}")
    verb.add_argument(
        "hex",
        metavar="HEX",
        nargs="*",
        help="a datagram in hexadecimal; spaces and colons do not matter; without any, standard input has one a line",
    )
    _add_jsonl(verb, "print a record in JSON for each datagram")


def _add_verbose(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "-v", "--verbose", action="store_true", help="say on standard error what goes over the wire, and when"
    )


def _add_jsonl(group: argparse._ActionsContainer, what: str) -> None:
    group.add_argument("--jsonl", action="store_true", help=f"{what}, on standard output")


def _add_timeout(group: argparse._ActionsContainer, what: str) -> None:
    group.add_argument("--timeout", metavar="SECONDS", type=_number(float, 0), help=what)


def _add_ack_timeout(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--ack-timeout",
        metavar="SECONDS",
        type=_number(float, 0.001, 3600),
        help="how long to wait, at the least, before the first repetition (2)",
    )


def _address(text: str) -> tuple[str | None, int]:
    """Read ``HOST:PORT``, ``[HOST]:PORT`` or ``:PORT``; no host means all addresses."""
    match = re.fullmatch(r"(?:\[([^][]+)\]|([^][:]*)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no address to listen on: write :5683, 127.0.0.1:5683 or [::1]:0")
    return match[1] or match[2] or None, int(match[3])


def _content_format(text: str) -> int:
    try:
        return content_format_of(text)
    except CoapError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _number(kind: Callable[[str], float], lowest: float, highest: float = math.inf) -> Callable[[str], float]:
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
