"""The ``coap`` command: reads the words, does what they say, and returns the exit status.

Rule 1: no traceback for what is not a defect of ours; one sentence on standard error instead.  Rule 2: what a verb
needs is imported when it is called, and ``--version`` and ``--help`` import no engine.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from trio_coap.cli.parser import read_words
from trio_coap.cli.problems import FAILURE, INTERRUPTED, SUCCESS, USAGE, CommandFailure
from trio_coap.cli.streams import escape_unprintable, open_missing_streams, say, settle_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``coap`` command.

    Args:
      argv: the words behind the name of the command; by default those that the process was started with.

    Returns:
      The exit status; ``coap --help`` says what it means.
    """
    open_missing_streams()
    escape_unprintable()
    try:
        return _run(argv)
    finally:
        settle_streams()


def _run(argv: Sequence[str] | None) -> int:
    arguments = Namespace(uri="")
    try:
        arguments = read_words(argv)
        status = _dispatch(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as exc:  # --help
        return exc.code if isinstance(exc.code, int) else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return FAILURE  # Whoever read standard output has gone.
    except Exception as exc:
        from trio_coap.cli.explanations import explain

        explained = explain(exc, _host_of(arguments))
        if explained is None:
            raise
        say(f"coap: {explained[0]}")
        return explained[1]


_RUNNERS = {
    "decode": ("decode", "run_decode"),
    "discover": ("discover", "run_discover"),
    "observe": ("observe", "run_observe"),
    "ping": ("ping", "run_ping"),
    "plugtest": ("plugtest", "run_plugtest"),
    "serve": ("serve", "run_serve"),
}
"""Module and function of each verb; those that are not here are methods."""


def _dispatch(arguments: Namespace) -> int:
    if arguments.version:
        print(f"coap {_version()}")
        return SUCCESS
    import logging

    # Warnings are about what -v shows anyway; an error is a defect, and has a traceback.
    logging.basicConfig(format="coap: %(message)s", level=logging.ERROR)
    return _runner(arguments.verb)(arguments)


def _runner(verb: str) -> Callable[[Namespace], int]:
    """Import what does *verb*, and return it."""
    module, function = _RUNNERS.get(verb, ("request", "run_request"))
    runner: Callable[[Namespace], int] = getattr(import_module(f"trio_coap.cli.{module}"), function)
    return runner


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("trio-coap")
    except PackageNotFoundError as exc:
        raise CommandFailure(
            "the version is not known, as the package is not installed: run pip install trio-coap"
        ) from exc


def _host_of(arguments: Namespace) -> str:
    """Return the host that *arguments* name, for an error about it."""
    from trio_coap.cli.target import read_uri

    try:
        return read_uri(arguments.uri).host
    except Exception:
        return ""


if __name__ == "__main__":
    sys.exit(main())
