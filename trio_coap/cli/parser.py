"""The words of the command line: which there are, what they mean, and examples.

Rule: every option does something, and a word that does not fit is answered with one sentence.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn, final

from trio_coap.cli.arguments import (
    Parser,
    Verbs,
    add_ack_timeout,
    add_jsonl,
    add_max_retransmit,
    add_output,
    add_payload,
    add_request,
    add_timeout,
    add_transmission,
    add_verb,
    add_verbose,
    address,
    content_format,
    number,
)
from trio_coap.cli.problems import UsageError
from trio_coap.wire.codes import Code

EXIT_STATUSES = """\
exit status:
  0    the response's code is of class 2 (success); for observe and serve, Ctrl-C or SIGTERM
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
  coap get camera.local/picture -O picture.jpg
  coap observe lamp.local/mode --for 60
  coap discover gateway.local --rt temperature
  coap ping 192.0.2.7 --count 10
  coap serve ./public --bind :5683
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

VERBS = (*(name for _, name, _ in _METHODS), "observe", "discover", "ping", "serve", "plugtest", "decode")

_TIMEOUT = (
    "give up when that has passed; unless given, 93 s without an acknowledgement, or with --non without a response"
)

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
  coap {name} localhost/firmware -d @image.bin --block-size 512
  echo on | coap {name} localhost/lamp -d @-
  coap {name} localhost/lamp --json '{{"on": true}}' -f cbor -a cbor
  coap {name} localhost/lamp --hex a1626f6ef5 -f cbor -o If-Match=0x1a2b
"""

_OBSERVE = """\
examples:
  coap observe localhost/time
  coap observe localhost/time --count 3
  coap observe localhost/door --for 3600 --jsonl
  coap observe localhost/time | head -1

Ctrl-C and SIGTERM tell the server that nothing more is wanted, and end within a second.
"""

_DISCOVER = """\
examples:
  coap discover
  coap discover 224.0.1.187 --rt temperature --timeout 3
  coap discover localhost
  coap discover localhost --rt temperature --ct json
  coap discover 'coap://[2001:db8::1]' --href '/sensors/*' --jsonl
"""

_SERVE = """\
examples:
  coap serve .
  coap serve ./public --bind 127.0.0.1:0 -v
  coap serve ./inbox --write --max-body 100000

Files whose names begin with a dot, symbolic links and devices are not served.
Ctrl-C and SIGTERM end it.
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


@final
class _CommandParser(Parser):
    """The parser of the whole command, which knows the verbs."""

    def error(self, message: str) -> NoReturn:
        """Raise the sentence for *message*."""
        wrong_verb = re.match(r"argument VERB: invalid choice: '([^']*)'", message)
        if wrong_verb is not None:
            import difflib

            close = difflib.get_close_matches(wrong_verb[1], VERBS)
            hint = f"did you mean {' or '.join(close)}?" if close else f"write one of {', '.join(VERBS)}"
            raise UsageError(f"there is no verb {wrong_verb[1]!r}: {hint}")
        super().error(message)


def make_parser() -> Parser:
    """Return the parser of the whole command."""
    parser = _CommandParser(
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
        verb = add_verb(verbs, name, what, f"{examples}\n{EXIT_STATUSES}")
        verb.set_defaults(method=code)
        verb.add_argument("uri", metavar="URI", help="coap://host[:port]/path?query; without coap:// the same is meant")
        if takes_payload:
            add_payload(verb)
        add_request(verb)
        add_output(verb)
        add_transmission(verb, _TIMEOUT)
    _add_observe(verbs)
    _add_discover(verbs)
    _add_ping(verbs)
    _add_serve(verbs)
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


def _add_observe(verbs: Verbs[Parser]) -> None:
    verb = add_verb(
        verbs, "observe", "show each state of a resource, as it changes (RFC 7641)", f"{_OBSERVE}\n{EXIT_STATUSES}"
    )
    verb.set_defaults(method=Code.GET)
    verb.add_argument("uri", metavar="URI", help="coap://host[:port]/path?query; without coap:// the same is meant")
    group = verb.add_argument_group("observation")
    group.add_argument("--count", metavar="NUMBER", type=number(int, 1), help="end after so many states")
    group.add_argument("--for", metavar="SECONDS", dest="duration", type=number(float, 0), help="end after that time")
    add_request(verb)
    add_output(verb, "print a record in JSON for each state")
    add_transmission(verb, "give up when there is no response at all by then")


def _add_discover(verbs: Verbs[Parser]) -> None:
    verb = add_verb(
        verbs, "discover", "list what a server offers, or who offers what (RFC 6690)", f"{_DISCOVER}\n{EXIT_STATUSES}"
    )
    verb.add_argument(
        "uri",
        metavar="HOST",
        nargs="?",
        default="",
        help="whom to ask: a host, host:port, a URI, or a group; without it, all CoAP nodes nearby",
    )
    group = verb.add_argument_group("filters; a * at the end stands for any further characters")
    group.add_argument("--rt", metavar="TYPE", help="only resources of that type")
    group.add_argument("--if", metavar="INTERFACE", dest="if_", help="only resources with that interface")
    group.add_argument(
        "--ct", metavar="FORMAT", type=content_format, help="only resources with that content format, by name or number"
    )
    group.add_argument("--href", metavar="PATH", help="only resources at that path")
    group.add_argument("--title", metavar="TEXT", help="only resources with that title")
    output = verb.add_argument_group("output")
    add_verbose(output)
    add_jsonl(output, "print a record in JSON for each resource")
    transmission = verb.add_argument_group("transmission")
    add_timeout(
        transmission, "give up when that has passed; unless given, 93 s without an acknowledgement, or 7 s of a group"
    )
    add_ack_timeout(transmission)
    add_max_retransmit(transmission)


def _add_serve(verbs: Verbs[Parser]) -> None:
    verb = add_verb(verbs, "serve", "serve the files of a directory", f"{_SERVE}\n{EXIT_STATUSES}")
    verb.add_argument("directory", metavar="DIRECTORY", help="what is served, with everything below it")
    verb.add_argument("--write", action="store_true", help="let clients create, replace and delete files")
    verb.add_argument(
        "--bind",
        metavar="[HOST]:PORT",
        type=address,
        default=(None, 5683),
        help="where to listen (:5683, on all addresses); port 0 takes one that is free",
    )
    verb.add_argument(
        "--max-body",
        metavar="OCTETS",
        type=number(int, 1, 1 << 30),
        default=16 * 1024 * 1024,
        help="how large a file clients may write (16777216)",
    )
    verb.add_argument(
        "-v", "--verbose", action="store_true", help="say on standard error what is asked for, and what the answer is"
    )


def _add_ping(verbs: Verbs[Parser]) -> None:
    verb = add_verb(verbs, "ping", "measure round-trip times and loss with empty messages", f"{_PING}\n{EXIT_STATUSES}")
    verb.add_argument("uri", metavar="HOST", help="whom to ping: a host, host:port, or a URI")
    verb.add_argument("--count", metavar="NUMBER", type=number(int, 1), default=4, help="how many pings to send (4)")
    verb.add_argument(
        "--interval",
        metavar="SECONDS",
        type=number(float, 0),
        default=1.0,
        help="from one answer to the next ping (1); some peers answer no more than four in a second",
    )
    add_timeout(verb, "end when that has passed, whatever the count")
    add_ack_timeout(verb)
    verb.add_argument(
        "--max-retransmit",
        metavar="NUMBER",
        type=number(int, 0, 20),
        default=0,
        help="how often to repeat a ping before it counts as lost (0)",
    )
    add_verbose(verb)
    add_jsonl(verb, "print a record in JSON for each ping")


def _add_plugtest(verbs: Verbs[Parser]) -> None:
    what = "serve the resources of the ETSI CoAP plugtests, to test clients against"
    verb = add_verb(verbs, "plugtest", what, f"{_PLUGTEST}\n{EXIT_STATUSES}")
    verb.add_argument(
        "--bind",
        metavar="[HOST]:PORT",
        type=address,
        default=(None, 5683),
        help="where to listen (:5683, on all addresses); port 0 takes one that is free",
    )
    verb.add_argument(
        "--period",
        metavar="SECONDS",
        type=number(float, 0.01, 86400),
        default=5.0,
        help="how often the observable resources change (5)",
    )


def _add_decode(verbs: Verbs[Parser]) -> None:
    verb = add_verb(verbs, "decode", "explain datagrams field by field", f"{_DECODE}\n{EXIT_STATUSES}")
    verb.add_argument(
        "hex",
        metavar="HEX",
        nargs="*",
        help="a datagram in hexadecimal; spaces and colons do not matter; without any, standard input has one a line",
    )
    add_jsonl(verb, "print a record in JSON for each datagram")
