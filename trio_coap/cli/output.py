"""The file of ``-O``: whether it can be written is found out before anything is sent.

Rule: it changes only if there is a payload for it; until then it is as it was, or not there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import final

import attrs

from trio_coap.cli.problems import CommandFailure, UsageError


@final
@attrs.define(eq=False)
class OutputFile:
    """A file that is open for a payload; made by :func:`open_output_file`."""

    path: str
    _descriptor: int
    is_written: bool = False
    """True once a payload, even an empty one, was to go into it."""

    def write(self, payload: bytes) -> None:
        """Make *payload* what the file contains.

        Raises:
          CommandFailure: if the system does not take it.
        """
        self.is_written = True
        try:
            # A terminal, a pipe or a device has nothing to cut off.
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.ftruncate(self._descriptor, 0)
            with open(self._descriptor, "wb", closefd=False) as stream:
                stream.write(payload)
        except OSError as exc:
            raise CommandFailure(_sentence(self.path, exc)) from exc


@contextmanager
def open_output_file(path: str | None) -> Iterator[OutputFile | None]:
    """Open the file at *path* for a payload; without a path there is none.

    A file that was made for this and got no payload is removed at the end.

    Raises:
      UsageError: if it cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        descriptor, is_new = _open(path)
    except OSError as exc:
        raise UsageError(_sentence(path, exc)) from exc
    output = OutputFile(path, descriptor)
    try:
        yield output
    finally:
        os.close(descriptor)
        if is_new and not output.is_written:
            with suppress(OSError):
                os.unlink(path)


def _open(path: str) -> tuple[int, bool]:
    """Return a descriptor for writing, and whether the file is new."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        # Also a link to nowhere: then this makes what it points to.
        return os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), False


def _sentence(path: str, exc: OSError) -> str:
    return f"the file {path!r} of -O cannot be written: {exc.strerror}"
