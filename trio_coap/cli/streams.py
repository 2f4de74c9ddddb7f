"""The standard streams: whatever is the matter with them, there is no traceback.

Rule: standard output carries the result, so that failing there is a failure; standard error is for whoever listens,
and if nobody does, nothing changes.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO


def open_missing_streams() -> None:
    """Put the null device in place of each standard stream that was closed when the process started."""
    # Python has None for them, and in this order each open() finds the number of the closed one free.
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def escape_unprintable() -> None:
    """Escape on standard output what the terminal's encoding lacks: a peer may say anything."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print a line to standard error, if anybody listens."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def settle_streams() -> None:
    """Flush standard output and standard error; what cannot be written by now is dropped.

    The interpreter would try it again when it ends, complain, and change the exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _divert(stream)


def _divert(stream: TextIO) -> None:
    """Let *stream* go to the null device."""
    with suppress(OSError):  # Not every stream has a file.
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
